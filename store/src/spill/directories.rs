//! Which directory is written to next: round robin over those that did not just fail.

use super::SpillFailure;
use mobula_protocol::Nanos;

/// How long a directory rests after its first failure.
pub const REST_FIRST: Nanos = Nanos::millis(50);
/// How long it rests at most.
pub const REST_LAST: Nanos = Nanos::millis(500);

/// The directories of one table, by position.
#[derive(Debug)]
pub(crate) struct Directories {
    all: Vec<Directory>,
    next: usize,
}

#[derive(Clone, Debug, Default)]
struct Directory {
    /// A batch is being written to it: one at a time, so that files are written in one piece.
    busy: bool,
    rests_until: Nanos,
    failures: u32,
    why: Option<SpillFailure>,
}

impl Directories {
    pub fn new(count: usize) -> Self {
        Self { all: vec![Directory::default(); count], next: 0 }
    }

    /// The next one that is neither busy nor resting; from now on it is busy.
    pub fn take(&mut self, now: Nanos) -> Option<usize> {
        let count = self.all.len();
        let turn = (0..count).map(|step| (self.next + step) % count);
        let found = turn.into_iter().find(|at| self.is_free(*at, now))?;
        self.all[found].busy = true;
        self.next = (found + 1) % count;
        Some(found)
    }

    fn is_free(&self, at: usize, now: Nanos) -> bool {
        let directory = &self.all[at];
        !directory.busy && directory.rests_until <= now
    }

    /// A batch taken for `at` turned out to be empty.
    pub fn give_back(&mut self, at: usize) {
        self.all[at].busy = false;
        self.next = at;
    }

    pub fn succeeded(&mut self, at: usize) {
        self.all[at] = Directory::default();
    }

    pub fn failed(&mut self, at: usize, now: Nanos, why: SpillFailure) {
        let directory = &mut self.all[at];
        let rest = Nanos(REST_FIRST.0 << directory.failures.min(16)).min(REST_LAST);
        *directory =
            Directory { busy: false, rests_until: now + rest, failures: directory.failures + 1, why: Some(why) };
    }

    /// How many batches are being written.
    pub fn busy(&self) -> usize {
        self.all.iter().filter(|directory| directory.busy).count()
    }

    /// Whether what is asked to be written can be expected to be: some directory has not failed last time.
    pub fn is_healthy(&self) -> bool {
        self.all.iter().any(|directory| directory.failures == 0)
    }

    /// When the first resting one can be tried again.
    pub fn rests_until(&self, now: Nanos) -> Option<Nanos> {
        self.all.iter().filter(|directory| !directory.busy && directory.rests_until > now).map(|d| d.rests_until).min()
    }

    /// Why the last write failed, if none succeeded since in any directory.
    pub fn complaint(&self) -> Option<&SpillFailure> {
        if self.is_healthy() { None } else { self.all.iter().find_map(|directory| directory.why.as_ref()) }
    }
}
