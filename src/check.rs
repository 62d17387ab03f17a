//! `mobula check`: is a run a function of its seed? Two processes, because statics and addresses differ between them.

use super::OneRun;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Flags of `check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    run: OneRun,
}

/// Runs the scenario twice and compares the event logs line by line. Exit code 4 at the first difference. Simulated worlds
/// only: the real one has no event log to compare.
pub fn check(args: &CheckArgs) -> ExitCode {
    if let Err(code) = args.run.must_be_simulated("compare") {
        return code;
    }
    let traces = [0, 1].map(|n| std::env::temp_dir().join(format!("mobula-check-{}-{n}.log", std::process::id())));
    let code = match [&traces[0], &traces[1]].map(|trace| once(args, trace)) {
        [Ok(first), Ok(second)] => compare(&first, &second),
        [Err(why), _] | [_, Err(why)] => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    };
    for trace in traces {
        // It is not there if its run failed before it wrote one.
        let _ = std::fs::remove_file(trace);
    }
    code
}

fn once(args: &CheckArgs, trace: &Path) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|why| format!("cannot find this program: {why}"))?;
    let mut command = Command::new(program);
    command.arg("run").arg(&args.run.path).arg("--seed").arg(args.run.seed.to_string());
    command.arg("--trace").arg(trace).stdout(Stdio::null());
    if let Some(world) = args.run.place.world {
        command.arg("--world").arg(world.to_string());
    }
    if let Some(out) = &args.run.place.out {
        command.arg("--out").arg(out);
    }
    #[cfg(feature = "planted")]
    if let Some(bug) = &args.run.place.planted {
        command.arg("--planted").arg(bug);
    }
    let status = command.status().map_err(|why| format!("cannot run the scenario: {why}"))?;
    let log = std::fs::read_to_string(trace);
    log.map_err(|why| format!("the run ended with {status} and left no event log: {why}"))
}

fn compare(first: &str, second: &str) -> ExitCode {
    let different = first.lines().zip(second.lines()).position(|(a, b)| a != b);
    let (lines, others) = (first.lines().count(), second.lines().count());
    match different {
        None if lines == others => {
            println!("deterministic: {lines} lines, all equal in both processes");
            ExitCode::SUCCESS
        }
        None => {
            println!("not deterministic: {lines} lines in one process, {others} in the other, equal as far as they go");
            ExitCode::from(4)
        }
        Some(at) => {
            println!("not deterministic: line {} differs", at + 1);
            println!("  one   {}", first.lines().nth(at).unwrap_or_default());
            println!("  other {}", second.lines().nth(at).unwrap_or_default());
            ExitCode::from(4)
        }
    }
}
