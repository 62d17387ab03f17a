//! Playing scenarios.
//!
//! One driver task executes the steps in order; `parallel` lists and planned faults run inside the same task, so that a
//! simulated run is a function of file and seed. After the last step the conditions of `[expect]` are checked, the network
//! heals, paused nodes go on, all references are dropped, and the ledgers of all nodes must become clean.

mod actors;
mod assertions;
mod compare;
mod dataset;
mod driver;
mod faults;
mod groups;
mod jobs;
mod journal;
mod print;
mod record;
mod replay;
mod report;
mod steps;
mod strangers;
mod streams;
mod words;

pub use record::{Record, RecordError};
pub use replay::AsRecorded;
pub use report::{Failure, Outcome, Report};

use crate::file::{self, Scenario};
use driver::Driver;
use journal::Journal;
use mobula_runtime::{Nanos, WorldKind};
use mobula_sim::{ClusterSettings, ClusterSpec, LinkSpec, NodeSpec, Profile, RpcFault, RunOptions, trace};
use record::Ended;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A run that takes longer in its own time is stuck, unless the file says otherwise.
const MAX_TIME: Nanos = Nanos::secs(120);
/// The simulator gives up this much later than the driver, who can say what it waits for.
const MARGIN: Nanos = Nanos::secs(60);

/// How to run scenarios.
#[derive(Clone, Debug)]
pub struct Options {
    /// In which world.
    pub world: WorldKind,
    /// Of all random numbers.
    pub seed: u64,
    /// Where results are written. Default: `out/` and the file's name.
    pub out: Option<PathBuf>,
    /// Print one document instead of lines.
    pub json: bool,
    /// Write the event log into this file.
    pub trace: Option<PathBuf>,
    /// Real world: the program to start as head and nodes. Default: this one.
    pub program: Option<PathBuf>,
    /// Simulated worlds: all nodes are processes of this machine. Default: each has one of its own, as the file says.
    pub machine: Option<Profile>,
    /// Print nothing.
    pub quiet: bool,
    /// Stop when the event log has so many lines, and report the state of every machine; simulated worlds only.
    pub until: Option<u64>,
    /// Simulated worlds: the record of a real run whose times are kept and whose end is to be met. Default: the one that
    /// the file names.
    pub as_recorded: Option<PathBuf>,
    /// From this event on, other dice: those of this seed; simulated worlds only.
    pub branch: Option<(u64, u64)>,
    /// The plan was drawn and knows nothing of its run: faults that never came are no failure.
    pub drawn: bool,
    /// Keep the event log in the report.
    pub keep_lines: bool,
    /// The run is timed: in the real world no event log is written beside it, and its history is not checked.
    pub timed: bool,
}

impl Default for Options {
    /// The simulator of this build, seed 0, lines for people.
    fn default() -> Self {
        let RunOptions { world, seed, program, .. } = RunOptions::default();
        Self {
            world,
            seed,
            out: None,
            json: false,
            trace: None,
            program,
            machine: None,
            quiet: false,
            timed: false,
            until: None,
            as_recorded: None,
            branch: None,
            drawn: false,
            keep_lines: false,
        }
    }
}

/// Runs one file and prints what happens, as it happens.
///
/// Must not be called from inside an async runtime. Never panics for what the file, the cluster or a task does.
pub fn run_file(path: &Path, options: &Options) -> Report {
    let report = match file::read(path) {
        Err(why) => Report::refused(path, options, why.to_string()),
        Ok(scenario) => match unsuited(&scenario, options) {
            Some(message) => Report::refused(path, options, message),
            None => play(scenario, options),
        },
    };
    print::report(&report, options);
    report
}

/// Runs a file, or all `*.toml` files in and below a directory in the order of their names, with a summary. The files of a directory
/// that are not for the world are left out, visibly.
pub fn run_path(path: &Path, options: &Options) -> Vec<Report> {
    if !path.is_dir() {
        return vec![run_file(path, options)];
    }
    let files = match scenario_files(path) {
        Ok(files) if !files.is_empty() => files,
        Ok(_) => return vec![refuse(path, options, format!("{}: no scenario (*.toml) in it", path.display()))],
        Err(why) => return vec![refuse(path, options, format!("{}: {why}", path.display()))],
    };
    let mut left_out = Vec::new();
    let mut reports = Vec::new();
    for file in &files {
        match file::read(file).ok().and_then(|scenario| unsuited(&scenario, options)) {
            Some(why) => left_out.push(why),
            None => reports.push(run_file(file, options)),
        }
    }
    print::summary(&reports, &left_out, options);
    reports
}

/// Why a scenario makes no sense in this world, if it does not.
fn unsuited(scenario: &Scenario, options: &Options) -> Option<String> {
    if scenario.worlds.is_empty() || scenario.worlds.contains(&options.world) {
        return None;
    }
    let worlds: Vec<String> = scenario.worlds.iter().map(ToString::to_string).collect();
    Some(format!("{} is for {}, not for {}", scenario.file, worlds.join(" and "), options.world))
}

fn refuse(path: &Path, options: &Options, message: String) -> Report {
    let report = Report::refused(path, options, message);
    print::report(&report, options);
    report
}

/// This file, or the `*.toml` files of this directory and of those below it, sorted.
///
/// # Errors
/// The system's, as when there is nothing of this name.
pub fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if path.is_dir() { scenario_files(path) } else { path.metadata().map(|_| vec![path.to_owned()]) }
}

fn scenario_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(scenario_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "toml") && !path.ends_with("Cargo.toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The exit code of several runs: the worst, known failures aside. A panic is worse than a failure.
pub fn exit_code(reports: &[Report]) -> u8 {
    let code = |report: &Report| if report.is_known_failure() && reports.len() > 1 { 0 } else { report.exit_code() };
    reports.iter().map(code).max().unwrap_or(0)
}

#[allow(clippy::disallowed_methods, reason = "the trace is written after the world has ended")]
pub(crate) fn play(mut scenario: Scenario, options: &Options) -> Report {
    let record = match replay::open(&scenario, options) {
        Ok(record) => record,
        Err(why) => return Report::refused(Path::new(&scenario.file), options, why.to_string()),
    };
    let recorded = replay::times(record.as_ref(), options);
    if let (Some(record), Some(_)) = (&record, &recorded) {
        record.time_faults(&mut scenario);
    }
    let bound = scenario.settings.max_time.unwrap_or(MAX_TIME);
    let run_options = RunOptions {
        world: options.world,
        seed: options.seed,
        trace: options.trace.is_some()
            || options.keep_lines
            || recorded.is_some()
            || (options.world == WorldKind::Real && !options.timed),
        branch: options.branch,
        max_time: bound + MARGIN,
        buggify: scenario.settings.buggify,
        rpc_faults: from_the_beginning(&scenario),
        tick: scenario.settings.tick,
        machine: options.machine.clone(),
        recorded,
        program: options.program.clone(),
    };
    let stem = Path::new(&scenario.file).file_stem().unwrap_or_default();
    let out = options.out.clone().unwrap_or_else(|| Path::new("out").join(stem));
    let journal = Arc::new(Journal::new(options));
    journal.begin(&scenario, options);
    let (plan, told) = (Arc::new(scenario), journal.clone());
    let (shared, chosen) = (plan.clone(), options.clone());
    let folder = persist_folder();
    let mut run = mobula_sim::run(spec(&plan, &folder), run_options, move |cluster| async move {
        Driver::new(cluster, shared, told, out, &chosen).play(bound).await
    });
    // It is there only if something was persisted.
    let _ = std::fs::remove_dir_all(&folder);
    let (lines, followed) = (std::mem::take(&mut run.lines), run.followed);
    let ready = run.ready;
    let mut report = Report::of(&plan, options, run);
    if let (Some(failure), Some(line)) = (&mut report.failure, journal.line()) {
        *failure = failure.clone().at(&plan.file, line);
    }
    report.states = journal.take_states();
    report.digest = journal.digest();
    report.counters = journal.counters();
    report.steps_time = journal.steps_time();
    let ended = Ended::of(&report, &journal);
    if let Some(record) = record.filter(|_| options.until.is_none()) {
        replay::judge(&mut report, &record, &plan, &journal, followed, &lines);
    }
    if let Some(trace) = &options.trace {
        let of_real = || record::text(&plan, options.seed, ready, &lines, &journal, &ended);
        match std::fs::write(trace, picture(trace, &lines, &report, of_real)) {
            Ok(()) => report.trace = Some(trace.clone()),
            Err(why) => {
                report.outcome = Outcome::Refused;
                report.failure = Some(Failure::new("trace", format!("cannot write {}: {why}", trace.display())));
            }
        }
    }
    if options.keep_lines {
        report.lines = lines;
    }
    report
}

/// The event log in the form that the name of its file asks for: `.html` a space-time diagram, `.json` for Perfetto,
/// `.shiviz` for ShiViz, else its lines, of a real run as a record of it.
fn picture(file: &Path, lines: &[String], report: &Report, record: impl FnOnce() -> String) -> String {
    let events = || trace::Event::parse_all(lines);
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => trace::html(&events(), &headline(report)),
        Some("json") => trace::perfetto(&events()),
        Some("shiviz") => trace::shiviz(&events()),
        _ if report.world == WorldKind::Real => record(),
        _ => lines.join("\n") + "\n",
    }
}

fn headline(report: &Report) -> trace::Headline {
    let failure = report.failure.as_ref();
    let why = failure.map(|failure| format!("{} ({})", failure.message, failure.checker));
    let causes = failure.map(|failure| failure.causal_chain.clone()).unwrap_or_default();
    trace::Headline {
        title: format!("{}, seed {}", report.name, report.seed),
        outcome: report.outcome.word().to_owned(),
        broken: report.broken,
        chain: why.into_iter().chain(causes).collect(),
        replay: report.replay.clone(),
    }
}

/// The faults of calls that are there before any node starts.
fn from_the_beginning(scenario: &Scenario) -> Vec<RpcFault> {
    let begun = scenario.faults.iter().filter(|fault| fault.trigger == file::Trigger::Beginning);
    let rpc = |(_, fault): &(usize, file::Fault)| match fault {
        file::Fault::Rpc { fault, .. } => Some(fault.clone()),
        _ => None,
    };
    begun.flat_map(|fault| &fault.actions).filter_map(rpc).collect()
}

/// A folder outside the cluster for the persisted values of one run, which two runs at a time do not share.
fn persist_folder() -> PathBuf {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("mobula-persist-{}-{run}", std::process::id()))
}

fn spec(scenario: &Scenario, persist: &Path) -> ClusterSpec {
    let (file, defaults, link) = (&scenario.settings, ClusterSettings::default(), LinkSpec::default());
    ClusterSpec {
        nodes: scenario.cluster.nodes.iter().map(|node| node_spec(scenario, node)).collect(),
        settings: ClusterSettings {
            health_period: file.health_period.unwrap_or(defaults.health_period),
            health_timeout: file.health_timeout.unwrap_or(defaults.health_timeout),
            head_grace: file.head_grace.unwrap_or(defaults.head_grace),
            head_log: file.head_log.unwrap_or(defaults.head_log),
            inline: file.inline.unwrap_or(defaults.inline),
            lineage: file.lineage.unwrap_or(defaults.lineage),
            store_grace: file.store_grace.unwrap_or(defaults.store_grace),
            driver_store: file.driver_store.unwrap_or(defaults.driver_store),
            memory_policy: file.memory_policy.unwrap_or(defaults.memory_policy),
            spill: file.spill.clone().unwrap_or(defaults.spill),
            relay_from: file.relay_from.unwrap_or(defaults.relay_from),
            persist: Some(persist.to_string_lossy().into_owned()),
            policy: file.policy.clone().unwrap_or(defaults.policy),
        },
        link: LinkSpec {
            latency: scenario.cluster.latency.map_or(link.latency, |latency| (latency, latency)),
            bandwidth: scenario.cluster.bandwidth.unwrap_or(link.bandwidth),
        },
    }
}

/// A node of the cluster, or one that is added later.
fn node_spec(scenario: &Scenario, node: &file::Node) -> NodeSpec {
    NodeSpec {
        name: node.name.text.clone(),
        resources: node.resources.clone(),
        labels: node.labels.clone(),
        store: node.store.unwrap_or(scenario.cluster.store),
        memory: node.memory,
    }
}

#[cfg(test)]
mod tests;
