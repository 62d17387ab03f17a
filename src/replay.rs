//! `mobula replay`: the same run again, up to an event, or from an event on with other dice.

use super::RunArgs;
use mobula_scenarios::Options;
use std::process::ExitCode;

/// Flags of `replay`.
#[derive(clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Stop at the event of this number and print the state of every machine.
    #[arg(long, value_name = "EVENT")]
    until: Option<u64>,
    /// From the event of this number on, take other unlikely paths: those of `--branch-seed`.
    #[arg(long, value_name = "EVENT")]
    branch_at: Option<u64>,
    /// The other dice.
    #[arg(long, value_name = "SEED", requires = "branch_at", default_value_t = 1)]
    branch_seed: u64,
}

/// Runs the scenario as asked. Simulated worlds only: elsewhere nothing happens twice.
pub fn replay(args: &ReplayArgs) -> ExitCode {
    let branch = args.branch_at.map(|event| (event, args.branch_seed));
    let options = Options { until: args.until, branch, ..args.run.options() };
    if options.world == mobula_runtime::WorldKind::Real {
        eprintln!("error: nothing happens twice in the real world; replay in turmoil or madsim");
        return ExitCode::from(2);
    }
    let reports = mobula_scenarios::run_path(&args.run.path, &options);
    ExitCode::from(mobula_scenarios::exit_code(&reports))
}
