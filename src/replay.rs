//! `mobula replay`: the same run again, up to an event, or from an event on with other dice.

use super::OneRun;
use mobula_scenarios::Options;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `replay`.
#[derive(clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    run: OneRun,
    /// Stop at the event of this number and print the state of every machine.
    #[arg(long, value_name = "EVENT")]
    until: Option<u64>,
    /// From the event of this number on, take other unlikely paths: those of `--branch-seed`.
    #[arg(long, value_name = "EVENT")]
    branch_at: Option<u64>,
    /// The other dice.
    #[arg(long, value_name = "SEED", requires = "branch_at", default_value_t = 1)]
    branch_seed: u64,
    /// Play it as this record of a real run says, as `run` does.
    #[arg(long, value_name = "RECORD")]
    as_recorded: Option<PathBuf>,
    /// Write the event log into this file, as `run` does.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Runs the scenario as asked. Simulated worlds only: elsewhere nothing happens twice.
pub fn replay(args: &ReplayArgs) -> ExitCode {
    if let Err(code) = args.run.must_be_simulated("replay") {
        return code;
    }
    let branch = args.branch_at.map(|event| (event, args.branch_seed));
    let (trace, as_recorded) = (args.trace.clone(), args.as_recorded.clone());
    let options = Options { until: args.until, branch, as_recorded, trace, ..args.run.options() };
    ExitCode::from(mobula_scenarios::run_file(&args.run.path, &options).exit_code())
}
