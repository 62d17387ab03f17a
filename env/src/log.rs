//! What a world records about itself: the event log, probe counts and the first failure.
//!
//! Every line of the log is `{number} {model ns} {node} {kind} {detail}`. The rolling hash covers all lines in order,
//! so two runs with equal hashes took the same course. Lines follow the order in which things happened in the process;
//! on turmoil the clocks of two nodes may differ by one tick within it.

use mobula_protocol::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Where the lines of a real node go.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// A panic somewhere in the world, and on which node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) node: String,
    pub(crate) message: String,
}

#[derive(Default)]
struct Log {
    events: u64,
    hash: u64,
    lines: Vec<String>,
}

/// The observations of one world (in simulation) or of one node (in the real world).
#[derive(Default)]
pub(crate) struct Record {
    hashed: bool,
    keep_lines: bool,
    sink: OnceLock<LogSink>,
    log: Mutex<Log>,
    probes: Mutex<BTreeMap<&'static str, u64>>,
    coverage: Mutex<BTreeSet<String>>,
    reached: Notify,
    /// Bytes received over network cards.
    moved: AtomicU64,
    failure: Mutex<Option<Failure>>,
    failed: Notify,
    /// From the event of this number on, the dice of this seed.
    branch: Option<(u64, u64)>,
}

/// Locks `mutex`. A panic while it was held is reported on its own; the data under our locks is always whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Record {
    /// For a simulation: every line is counted and hashed, and kept if `keep_lines`.
    pub(crate) fn simulated(keep_lines: bool, branch: Option<(u64, u64)>) -> Self {
        Self { hashed: true, keep_lines, branch, ..Self::default() }
    }

    /// The seed of another course of events, if it has begun.
    pub(crate) fn branched(&self) -> Option<u64> {
        let (at, seed) = self.branch?;
        (self.events() >= at).then_some(seed)
    }

    /// How many lines there are.
    pub(crate) fn events(&self) -> u64 {
        lock(&self.log).events
    }

    /// Resolves once there are so many lines.
    pub(crate) async fn events_reach(&self, count: u64) {
        self.until(|| self.events() >= count).await;
    }

    /// Lines go to `sink` from now on. The first sink stays.
    pub(crate) fn set_sink(&self, sink: LogSink) {
        let _ = self.sink.set(sink);
    }

    /// Whether lines go anywhere.
    pub(crate) fn is_kept(&self) -> bool {
        self.hashed || self.sink.get().is_some()
    }

    pub(crate) fn emit(&self, now: Nanos, node: &str, kind: &'static str, detail: fmt::Arguments<'_>) {
        if !self.is_kept() {
            return;
        }
        let sink = self.sink.get();
        self.append(now, node, kind, detail, sink);
        // Last: whoever waits for a number of lines finds this one there.
        self.probe(kind);
    }

    fn append(&self, now: Nanos, node: &str, kind: &str, detail: fmt::Arguments<'_>, sink: Option<&LogSink>) {
        let mut log = lock(&self.log);
        let line = format!("{} {} {node} {kind} {detail}", log.events, now.0);
        log.events += 1;
        log.hash = xxh3_64_with_seed(line.as_bytes(), log.hash);
        if let Some(sink) = sink {
            sink(&line);
        }
        if self.keep_lines {
            log.lines.push(line);
        }
    }

    pub(crate) fn probe(&self, site: &'static str) {
        *lock(&self.probes).entry(site).or_default() += 1;
        self.reached.notify_waiters();
    }

    pub(crate) fn cover(&self, situation: String) {
        lock(&self.coverage).insert(situation);
    }

    /// The situations noted, moved out.
    pub(crate) fn take_coverage(&self) -> BTreeSet<String> {
        std::mem::take(&mut *lock(&self.coverage))
    }

    /// Counts bytes received.
    pub(crate) fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.reached.notify_waiters();
    }

    /// Resolves once `site` was reached `count` times.
    pub(crate) async fn probed(&self, site: &str, count: u64) {
        self.until(|| lock(&self.probes).get(site).copied().unwrap_or_default() >= count).await;
    }

    /// Resolves once so many bytes were received.
    pub(crate) async fn bytes_moved(&self, bytes: u64) {
        self.until(|| self.moved.load(Ordering::Relaxed) >= bytes).await;
    }

    pub(crate) fn probes(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.probes).clone()
    }

    async fn until(&self, is_true: impl Fn() -> bool) {
        loop {
            let mut reached = std::pin::pin!(self.reached.notified());
            // Before looking, so that nothing is missed between the look and the wait.
            reached.as_mut().enable();
            if is_true() {
                return;
            }
            reached.await;
        }
    }

    /// Hash, number of events and kept lines; the lines are moved out.
    pub(crate) fn take_log(&self) -> (u64, u64, Vec<String>) {
        let mut log = lock(&self.log);
        (log.hash, log.events, std::mem::take(&mut log.lines))
    }

    /// Remembers the first failure and wakes whoever waits for one.
    pub(crate) fn fail(&self, failure: Failure) {
        lock(&self.failure).get_or_insert(failure);
        self.failed.notify_one();
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    /// Resolves once something has failed. At most one waiter.
    #[cfg(madsim)]
    pub(crate) async fn failed(&self) -> Failure {
        loop {
            if let Some(failure) = self.failure() {
                return failure;
            }
            self.failed.notified().await;
        }
    }
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic whose payload is not text".to_owned())
}
