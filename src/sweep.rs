//! `mobula sweep`: one scenario, many seeds.

use super::RunArgs;
use mobula_scenarios::{Options, Report};
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;

/// Flags of `sweep`.
#[derive(clap::Args)]
pub struct SweepArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Which seeds, the last one excluded, as in 0..100.
    #[arg(long, value_name = "FROM..TO", value_parser = seeds)]
    seeds: Range<u64>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is no range of seeds; write it as in `0..100`");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.trim().parse().map_err(|_| wrong())?, to.trim().parse().map_err(|_| wrong())?);
    if from < to { Ok(from..to) } else { Err(wrong()) }
}

/// Runs every seed, prints a line for each, and fails if one of them fails or answers differently from the first.
pub fn sweep(args: &SweepArgs) -> ExitCode {
    let mut reports = Vec::new();
    let mut first: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut differs = 0_u64;
    for seed in args.seeds.clone() {
        let options = Options { seed, quiet: true, json: false, ..args.run.options() };
        for report in mobula_scenarios::run_path(&args.run.path, &options) {
            let (known_seed, known) = *first.entry(report.name.clone()).or_insert((seed, report.digest));
            print(seed, &report);
            if known != report.digest {
                println!("       answers differ from those of seed {known_seed}: {known:016x}");
                differs += 1;
            }
            reports.push(report);
        }
    }
    let failed = reports.iter().filter(|report| report.exit_code() != 0).count();
    println!("{} runs, {failed} failed, {differs} with other answers than the first", reports.len());
    let code = mobula_scenarios::exit_code(&reports).max(u8::from(differs > 0));
    ExitCode::from(code)
}

fn print(seed: u64, report: &Report) {
    let log = report.event_log_hash.map_or_else(|| "-".to_owned(), |hash| format!("{hash:016x}"));
    let (name, outcome, answers) = (&report.name, report.outcome.word(), report.digest);
    println!("seed {seed:>6}  {outcome:<8}  log {log}  answers {answers:016x}  {:>6} ms  {name}", report.wall_ms);
    if let Some(failure) = &report.failure {
        println!("       {}", failure.message);
    }
}
