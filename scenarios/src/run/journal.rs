//! What is known of a run while it goes on: outside the world, so that it survives a run that panics or gets stuck.

use super::{Options, print};
use crate::file::Scenario;
use mobula_runtime::{Counters, Nanos, Progress};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::Xxh3;

/// The results so far, and the steps under way.
pub(super) struct Journal {
    inner: Mutex<Inner>,
    prints: bool,
}

#[derive(Default)]
struct Inner {
    steps: usize,
    /// Lines of the steps under way.
    running: BTreeSet<usize>,
    /// The line of the step that failed.
    failed: Option<usize>,
    /// Results by name: hash of the value, or error.
    results: BTreeMap<String, String>,
    /// The tasks so far, by label.
    progress: Progress,
    /// When planned faults came, by their place in the file.
    moments: BTreeMap<usize, Nanos>,
    /// When the last step ended.
    last: Nanos,
    /// What the machines said when the run was stopped at an event.
    states: Vec<String>,
}

impl Journal {
    pub fn new(options: &Options) -> Self {
        Self { inner: Mutex::default(), prints: !options.quiet && !options.json }
    }

    /// Whether people watch.
    pub fn prints(&self) -> bool {
        self.prints
    }

    /// Says what is about to be played.
    pub fn begin(&self, scenario: &Scenario, options: &Options) {
        if self.prints {
            print::heading(scenario, options);
        }
    }

    /// A step begins.
    pub fn started(&self, line: usize) {
        self.lock().running.insert(line);
    }

    /// A step is over; prints its line.
    pub fn ended(&self, line: usize, at: Nanos, what: &str, result: Result<&str, &str>) {
        let mut inner = self.lock();
        inner.running.remove(&line);
        inner.steps += 1;
        inner.last = at;
        if result.is_err() {
            inner.failed.get_or_insert(line);
        }
        if self.prints {
            print::step(inner.steps, at, what, result);
        }
    }

    /// Something that happens beside the steps; prints its line.
    pub fn note(&self, at: Nanos, what: &str, result: &str) {
        if self.prints {
            print::note(at, what, result);
        }
    }

    /// Prints a table or other text.
    pub fn show(&self, text: &str) {
        if self.prints {
            print::text(text);
        }
    }

    /// A result that must be the same in all worlds.
    pub fn result(&self, name: String, result: String) {
        self.lock().results.insert(name, result);
    }

    /// The tasks so far.
    pub fn progress(&self, progress: &Progress) {
        self.lock().progress.clone_from(progress);
    }

    /// A planned fault came, so long after the first step.
    pub fn fault_came(&self, number: usize, at: Nanos) {
        self.lock().moments.insert(number, at);
    }

    /// When planned faults came, by their place in the file.
    pub fn moments(&self) -> BTreeMap<usize, Nanos> {
        self.lock().moments.clone()
    }

    /// The tasks of the driver, by label.
    pub fn tasks(&self) -> BTreeMap<String, Counters> {
        self.lock().progress.iter().map(|(label, counters)| (label.to_string(), *counters)).collect()
    }

    /// What the machines say.
    pub fn states(&self, states: Vec<String>) {
        self.lock().states = states;
    }

    /// What the machines said, if the run was stopped for that.
    pub fn take_states(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().states)
    }

    /// The line of the step that failed, or else of one that is under way.
    pub fn line(&self) -> Option<usize> {
        let inner = self.lock();
        inner.failed.or_else(|| inner.running.last().copied())
    }

    /// From the beginning of the first step to the end of the last that is over.
    pub fn steps_time(&self) -> Nanos {
        self.lock().last
    }

    /// A hash of all results.
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for (name, result) in &self.lock().results {
            hasher.update(format!("{name} = {result}\n").as_bytes());
        }
        hasher.digest()
    }

    /// Sums over all tasks of the driver.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut totals = Counters::default();
        for (_, counters) in &self.lock().progress {
            totals.submitted += counters.submitted;
            totals.executions += counters.executions;
            totals.finished += counters.finished;
            totals.failed += counters.failed;
            totals.retried += counters.retried;
            totals.rebuilt += counters.rebuilt;
        }
        BTreeMap::from([
            ("submitted", totals.submitted),
            ("executions", totals.executions),
            ("finished", totals.finished),
            ("failed", totals.failed),
            ("retried", totals.retried),
            ("rebuilt", totals.rebuilt),
        ])
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
