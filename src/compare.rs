//! `mobula compare`: one scenario in simulation and on processes of this machine, and how far the prediction was off.

use mobula_runtime::WorldKind;
use mobula_scenarios::{Options, Outcome, Report, run_file};
use mobula_sim::Profile;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `compare`.
#[derive(clap::Args)]
pub struct CompareArgs {
    /// Scenario files.
    #[arg(value_name = "FILE", required = true)]
    paths: Vec<PathBuf>,
    /// What `mobula calibrate` wrote.
    #[arg(long, value_name = "FILE", default_value = "out/machine.profile")]
    profile: PathBuf,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Real runs, of which the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Prints simulated and real seconds of each file, from its first step to its last, and the error. Exit code 1 if a run
/// does not pass.
pub fn compare(args: &CompareArgs) -> ExitCode {
    let profile = match std::fs::read_to_string(&args.profile) {
        Ok(text) => text.parse::<Profile>().map_err(|why| why.to_string()),
        Err(why) => Err(format!("{why}; `mobula calibrate` measures this machine and writes it")),
    };
    let profile = match profile {
        Ok(profile) => profile,
        Err(why) => {
            eprintln!("error: {}: {why}", args.profile.display());
            return ExitCode::from(2);
        }
    };
    println!("{:>12} {:>12} {:>8}  scenario", "simulated", "real", "error");
    let mut code = ExitCode::SUCCESS;
    for path in &args.paths {
        let options = |world, machine| Options {
            world,
            machine,
            seed: args.seed,
            quiet: true,
            timed: true,
            ..Options::default()
        };
        let simulated = seconds(run_file(path, &options(WorldKind::Turmoil, Some(profile.clone()))));
        let real = (0..args.runs.max(1)).map(|_| seconds(run_file(path, &options(WorldKind::Real, None))));
        match simulated.and_then(|simulated| Ok((simulated, median(real.collect::<Result<_, String>>()?)))) {
            Ok((simulated, real)) => {
                let error = (simulated / real - 1.0) * 100.0;
                println!("{simulated:>10.3} s {real:>10.3} s {error:>+7.0}%  {}", path.display());
            }
            Err(why) => {
                eprintln!("error: {}: {why}", path.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// What the steps of a run took.
fn seconds(report: Report) -> Result<f64, String> {
    match (report.outcome, report.failure) {
        (Outcome::Passed, _) => Ok(report.steps_time.as_secs_f64()),
        (_, Some(failure)) => Err(format!("in the {} world: {}", report.world, failure.message)),
        (outcome, None) => Err(format!("in the {} world it {}", report.world, outcome.word())),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
