//! `mobula sweep`: many seeds of one scenario, or of plans drawn from the seeds.

use super::Place;
use mobula_scenarios::search::{Document, Oracle, Search, Strategy, play_twice, swarm};
use mobula_scenarios::{Options, Outcome, Report};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// Flags of `sweep`.
#[derive(clap::Args)]
pub struct SweepArgs {
    /// A scenario file, or a directory of them.
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Which seeds, the last one excluded, as in 0..100.
    #[arg(long, value_name = "FROM..TO", value_parser = seeds)]
    seeds: Range<u64>,
    /// Draw cluster, workload and fault mix from each seed. The path is then the directory in which plans that fail are
    /// written, as scenario files.
    #[arg(long)]
    swarm: bool,
    /// How the plans of a swarm are chosen: random, coverage (those that reach new situations are changed a little) or
    /// lineage (faults that cut every derivation of a success seen so far, as Molly does). The last two learn from each
    /// run, so they play one at a time.
    #[arg(long, value_name = "SEARCH", requires = "swarm", default_value_t = Strategy::Random)]
    search: Strategy,
    /// Print one document a run and one of them all instead of lines.
    #[arg(long)]
    json: bool,
    /// Simulations at the same time, each on a thread of its own.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// `0..100`.
pub fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is no range of seeds; write it as in `0..100`");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.trim().parse().map_err(|_| wrong())?, to.trim().parse().map_err(|_| wrong())?);
    if from < to { Ok(from..to) } else { Err(wrong()) }
}

/// Runs every seed, prints a line for each, and fails if one of them fails or answers differently from the first.
pub fn sweep(args: &SweepArgs) -> ExitCode {
    if args.swarm {
        super::without_panic_messages();
    }
    if args.search != Strategy::Random && args.jobs > 1 {
        eprintln!("error: a {} search learns from each run; --jobs is for the random one", args.search);
        return ExitCode::from(2);
    }
    let started = Instant::now();
    let mut tally = Tally::default();
    match args.search {
        Strategy::Random => each_seed(args, |seed, reports| {
            let plan = args.swarm.then(|| swarm(seed));
            reports.into_iter().for_each(|report| tally.take(args, seed, plan.as_ref(), report));
        }),
        learning => {
            let (mut search, mut oracle) = (Search::new(learning), Oracle::default());
            for seed in args.seeds.clone() {
                let plan = search.next(seed);
                let options = Options { quiet: true, ..args.place.options(seed) };
                let report = search.play(&plan, &mut oracle, &options);
                tally.take(args, seed, Some(&plan), report);
            }
        }
    }
    match args.json {
        true => println!("{}", tally.to_json()),
        false => tally.print(started.elapsed().as_secs_f64()),
    }
    ExitCode::from(mobula_scenarios::exit_code(&tally.reports).max(u8::from(tally.differs > 0)))
}

/// Plays all seeds on so many threads as asked for, and hands the reports out in the order of the seeds.
fn each_seed(args: &SweepArgs, mut take: impl FnMut(u64, Vec<Report>)) {
    let next = AtomicU64::new(args.seeds.start);
    let (send, done) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            let (next, send) = (&next, send.clone());
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.seeds.end || send.send((seed, play(args, seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let (mut waiting, mut turn) = (BTreeMap::new(), args.seeds.start);
        for (seed, reports) in done {
            waiting.insert(seed, reports);
            while let Some(reports) = waiting.remove(&turn) {
                take(turn, reports);
                turn += 1;
            }
        }
    });
}

fn play(args: &SweepArgs, seed: u64) -> Vec<Report> {
    let options = Options { quiet: true, ..args.place.options(seed) };
    match args.swarm {
        true => vec![play_twice(&swarm(seed), "swarm.toml", &options)],
        false => mobula_scenarios::run_path(&args.path, &options),
    }
}

#[derive(Default)]
struct Tally {
    reports: Vec<Report>,
    /// The first answers of each scenario, and of which seed they are.
    first: BTreeMap<String, (u64, u64)>,
    differs: u64,
}

impl Tally {
    /// Takes note of a run, of this plan if it was drawn.
    fn take(&mut self, args: &SweepArgs, seed: u64, plan: Option<&Document>, report: Report) {
        // A file that is wrong is so with every seed; once is enough for people.
        if report.outcome == Outcome::Refused && !args.json && self.first.contains_key(&report.name) {
            self.reports.push(report);
            return;
        }
        match args.json {
            true => println!("{}", report.to_json()),
            false => print(seed, &report),
        }
        let (known_seed, known) = *self.first.entry(report.name.clone()).or_insert((seed, report.digest));
        // A search changes a plan and keeps its name; its oracle has compared the answers.
        if known != report.digest && plan.is_none() {
            self.differs += 1;
            if !args.json {
                println!("       answers differ from those of seed {known_seed}: {known:016x}");
            }
        }
        if let Some(plan) = plan.filter(|_| report.outcome != Outcome::Passed) {
            match write(&args.path, seed, plan) {
                Ok(file) if !args.json => println!("       mobula shrink {} --seed {seed}", file.display()),
                Ok(_) => {}
                Err(why) => eprintln!("error: the plan of seed {seed} cannot be written: {why}"),
            }
        }
        self.reports.push(report);
    }

    /// Runs that did not pass, known failures among them.
    fn failed(&self) -> usize {
        self.reports.iter().filter(|report| report.exit_code() != 0).count()
    }

    fn situations(&self) -> usize {
        self.reports.iter().flat_map(|report| &report.coverage).collect::<BTreeSet<_>>().len()
    }

    /// The probes that no run reached.
    fn never(&self) -> Vec<&'static str> {
        let reached: BTreeSet<&str> = self.reports.iter().flat_map(|report| report.probes.keys().copied()).collect();
        mobula_runtime::PROBES.iter().copied().filter(|probe| !reached.contains(probe)).collect()
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "runs": self.reports.len(),
            "failed": self.failed(),
            "other_answers": self.differs,
            "situations": self.situations(),
            "never_reached": self.never(),
            "peak_memory": peak_memory(),
        })
    }

    fn print(&self, seconds: f64) {
        let runs = self.reports.len();
        println!("{runs} runs, {} failed, {} with other answers than the first", self.failed(), self.differs);
        let events: u64 = self.reports.iter().map(|report| report.events).sum();
        let lived: f64 = self.reports.iter().map(|report| report.virtual_time.0 as f64 / 1e9).sum();
        println!(
            "{:.1} runs/s, {:.0} events/s, {:.1} simulated seconds a second",
            runs as f64 / seconds,
            events as f64 / seconds,
            lived / seconds
        );
        if let Some(bytes) = peak_memory() {
            println!("{:.0} MB of memory at most", bytes as f64 / 1e6);
        }
        println!("{} situations (machine, how full, event)", self.situations());
        let never = self.never();
        if !never.is_empty() {
            println!("never reached: {}", never.join(", "));
        }
    }
}

/// The most memory this process ever had, in bytes; none where Linux does not say it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Writes the plan of a seed down.
fn write(directory: &Path, seed: u64, plan: &Document) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let file = directory.join(format!("swarm-{seed}.toml"));
    std::fs::write(&file, plan.to_string())?;
    Ok(file)
}

fn print(seed: u64, report: &Report) {
    let log = report.event_log_hash.map_or_else(|| "-".to_owned(), |hash| format!("{hash:016x}"));
    let (name, outcome, answers) = (&report.name, report.outcome.word(), report.digest);
    println!("seed {seed:>6}  {outcome:<8}  log {log}  answers {answers:016x}  {:>6} ms  {name}", report.wall_ms);
    if let Some(failure) = &report.failure {
        println!("       {}: {}", failure.checker, failure.message);
    }
}
