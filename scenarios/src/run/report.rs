//! What a run leaves behind, for people and for programs.

use super::{AsRecorded, Options};
use crate::file::Scenario;
use mobula_runtime::{Nanos, WorldKind};
use mobula_sim::{RunFailure, RunReport};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every expectation and invariant held.
    Passed,
    /// One did not.
    Failed,
    /// Nothing more happened within the bound.
    Stuck,
    /// The file, the command line or the build does not allow the run.
    Refused,
    /// Some part of the program panicked: a bug.
    Panicked,
}

impl Outcome {
    /// The word for it in documents. A panic is a failure with the checker `panic`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed | Self::Panicked => "failed",
            Self::Stuck => "stuck",
            Self::Refused => "refused",
        }
    }
}

/// What did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who noticed: `expect`, `fault`, an invariant's number, `progress`, `panic`, `file`.
    pub checker: String,
    /// What was expected and what was found.
    pub message: String,
    /// The step, as `FILE:LINE`.
    pub step: Option<String>,
    /// The failure's causes, nearest first.
    pub causal_chain: Vec<String>,
}

impl Failure {
    /// A failure without causes.
    pub(crate) fn new(checker: &str, message: impl Into<String>) -> Self {
        Self { checker: checker.to_owned(), message: message.into(), step: None, causal_chain: Vec::new() }
    }

    /// The same, at a line of a file.
    pub(super) fn at(mut self, file: &str, line: usize) -> Self {
        self.step.get_or_insert_with(|| format!("{file}:{line}"));
        self
    }
}

/// What a run leaves behind.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario's name; the file's if it could not be read.
    pub name: String,
    /// The world.
    pub world: WorldKind,
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What did not hold, if something did not.
    pub failure: Option<Failure>,
    /// The event that broke an invariant, if one was broken.
    pub broken: Option<u64>,
    /// Of all lines of the event log; none in the real world.
    pub event_log_hash: Option<u64>,
    /// Of the logical results: equal in all worlds.
    pub digest: u64,
    /// Lines of the event log.
    pub events: u64,
    /// Time the world lived, in its own time.
    pub virtual_time: Nanos,
    /// From the beginning of the first step to the end of the last, in the world's time.
    pub steps_time: Nanos,
    /// Time a person waited.
    pub wall_ms: u64,
    /// Sums over all tasks of the driver.
    pub counters: BTreeMap<&'static str, u64>,
    /// What this world could not do.
    pub skipped_faults: Vec<String>,
    /// How far it went as recorded, if a record was played.
    pub as_recorded: Option<AsRecorded>,
    /// Where the event log was written.
    pub trace: Option<PathBuf>,
    /// The command that does the same again.
    pub replay: String,
    /// Why the file says it cannot pass yet.
    pub known_failing: Option<String>,
    /// What the machines said when the run was stopped at [`Options::until`].
    pub states: Vec<String>,
    /// The situations that nodes were in.
    pub coverage: BTreeSet<String>,
    /// How often each probe was reached.
    pub probes: BTreeMap<&'static str, u64>,
    /// The event log, with [`Options::keep_lines`].
    pub lines: Vec<String>,
}

impl Report {
    /// 0 passed, 1 an expectation or invariant failed, 2 the file or the command line is wrong, 3 stuck, 101 panic.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::Passed => 0,
            Outcome::Failed => 1,
            Outcome::Refused => 2,
            Outcome::Stuck => 3,
            Outcome::Panicked => 101,
        }
    }

    /// Whether it failed as its file says it would.
    pub fn is_known_failure(&self) -> bool {
        self.known_failing.is_some() && !matches!(self.outcome, Outcome::Passed | Outcome::Refused)
    }

    /// The report as one document.
    pub fn to_json(&self) -> Json {
        let failure = self.failure.as_ref().map(|failure| {
            json!({
                "checker": failure.checker,
                "message": failure.message,
                "step": failure.step,
                "causal_chain": failure.causal_chain,
            })
        });
        let mut document = json!({
            "name": self.name,
            "world": self.world.to_string(),
            "seed": self.seed,
            "outcome": self.outcome.word(),
            "failure": failure,
            "event_log_hash": self.event_log_hash.map(|hash| format!("{hash:016x}")),
            "digest": format!("{:016x}", self.digest),
            "events": self.events,
            "virtual_ns": self.virtual_time.0,
            "wall_ms": self.wall_ms,
            "counters": self.counters,
            "skipped_faults": self.skipped_faults,
            "trace": self.trace,
            "replay": self.replay,
        });
        if let Some(AsRecorded { file, messages, order }) = &self.as_recorded {
            document["as_recorded"] = json!({
                "record": file,
                "messages": messages.as_recorded,
                "other_messages": messages.otherwise,
                "pairs": order.pairs,
                "pairs_in_order": order.kept,
            });
        }
        document
    }

    /// A run that did not take place.
    pub(crate) fn refused(path: &Path, options: &Options, message: String) -> Self {
        let mut report = Self::empty(path.display().to_string(), path, options);
        report.outcome = Outcome::Refused;
        report.failure = Some(Failure::new("file", message));
        report
    }

    /// The report of a run.
    pub(super) fn of(scenario: &Scenario, options: &Options, run: RunReport<Result<(), Failure>>) -> Self {
        let mut report = Self::empty(scenario.name.clone(), Path::new(&scenario.file), options);
        report.known_failing = scenario.known_failing.clone();
        (report.outcome, report.failure) = match run.outcome {
            Ok(Ok(())) => (Outcome::Passed, None),
            Ok(Err(failure)) if failure.checker == PROGRESS => (Outcome::Stuck, Some(failure)),
            Ok(Err(failure)) => (Outcome::Failed, Some(failure)),
            Err(why) => {
                let (outcome, checker) = match &why {
                    RunFailure::Spec(_) | RunFailure::WrongBuild { .. } => (Outcome::Refused, "file"),
                    RunFailure::Start(_) => (Outcome::Failed, "start"),
                    RunFailure::Panic { .. } => (Outcome::Panicked, "panic"),
                    RunFailure::Stuck { .. } => (Outcome::Stuck, PROGRESS),
                };
                (outcome, Some(Failure::new(checker, why.to_string())))
            }
        };
        if let Some(broken) = run.broken {
            // It came first: what else went wrong may follow from it.
            report.outcome = Outcome::Failed;
            report.broken = Some(broken.event);
            let mut failure = Failure::new(broken.invariant, format!("event {}: {}", broken.event, broken.message));
            failure.causal_chain = broken.chain;
            report.failure = Some(failure);
        }
        report.event_log_hash = run.event_log_hash;
        if let Some(failure) = report.failure.as_mut().filter(|_| report.broken.is_none()) {
            // What only the harness knows: who waits.
            failure.causal_chain.truncate(CAUSES);
        }
        report.events = run.events;
        report.virtual_time = run.virtual_time;
        report.wall_ms = u64::try_from(run.wall.as_millis()).unwrap_or(u64::MAX);
        report.skipped_faults = run.skipped_faults;
        report.probes = run.probes;
        report.coverage = run.coverage;
        report
    }

    fn empty(name: String, path: &Path, options: &Options) -> Self {
        let record = options.as_recorded.as_ref().map(|record| format!(" --as-recorded {}", record.display()));
        let (file, record) = (path.display(), record.unwrap_or_default());
        Self {
            name,
            world: options.world,
            seed: options.seed,
            outcome: Outcome::Passed,
            failure: None,
            broken: None,
            event_log_hash: None,
            digest: 0,
            events: 0,
            virtual_time: Nanos::ZERO,
            steps_time: Nanos::ZERO,
            wall_ms: 0,
            counters: BTreeMap::new(),
            skipped_faults: Vec::new(),
            as_recorded: None,
            trace: None,
            replay: format!("mobula run {file} --world {} --seed {}{record}", options.world, options.seed),
            known_failing: None,
            states: Vec::new(),
            coverage: BTreeSet::new(),
            probes: BTreeMap::new(),
            lines: Vec::new(),
        }
    }
}

/// The most causes of a failure that are told.
const CAUSES: usize = 60;

/// The checker that notices that nothing more happens.
pub(super) const PROGRESS: &str = "progress";
