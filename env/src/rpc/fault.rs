//! Faults of calls, as data: which calls meet them, and what becomes of those.
//!
//! They act on the calling side, above the transport, so they mean the same in every world. A simulated world has one
//! table for all of its nodes; a real process has its own.
//!
//! | kind | the request | the caller is told |
//! | --- | --- | --- |
//! | `request_lost` | is never sent | that the call failed |
//! | `reply_lost` | is handled to its end | then that the call failed |
//! | `in_flight` | is delivered and still being handled | at once that the call failed; the retry meets the first attempt |
//! | `duplicate` | is delivered twice, at the same time | the answer to one of them |
//! | `delay` | is sent later | the answer |
//! | `reorder` | is sent after a later call to the same peer was answered | the answer |
//! | `stale_epoch` | is sent, after copies that claim to be from and for earlier lives | the answer to itself |
//!
//! The first three and their counting are those of Ray's RPC chaos (`testing_rpc_failure`), of which `in_flight` was
//! added after tests with real packet loss had found what the others could not (Ray issue 56413). A fault decides by the
//! number of the call and by its own random stream, never by those of other faults.

use crate::log::lock;
use crate::rng::Rng;
use mobula_protocol::Nanos;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// What becomes of a call; see the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcFaultKind {
    /// Never sent.
    RequestLost,
    /// Handled, but the answer does not arrive.
    ReplyLost,
    /// Reported failed while it is still being handled.
    InFlight,
    /// Delivered twice.
    Duplicate,
    /// Sent this much later.
    Delay(Nanos),
    /// Overtaken by a later call to the same peer.
    Reorder,
    /// Preceded by copies from and for earlier lives.
    StaleEpoch,
}

impl RpcFaultKind {
    /// The words for them, in scenario files and on command lines.
    pub const WORDS: [&'static str; 7] =
        ["request_lost", "reply_lost", "in_flight", "duplicate", "delay", "reorder", "stale_epoch"];

    /// The kind called `word`; `delay` is how long a delayed call waits.
    pub fn of(word: &str, delay: Nanos) -> Option<Self> {
        Some(match word {
            "request_lost" => Self::RequestLost,
            "reply_lost" => Self::ReplyLost,
            "in_flight" => Self::InFlight,
            "duplicate" => Self::Duplicate,
            "delay" => Self::Delay(delay),
            "reorder" => Self::Reorder,
            "stale_epoch" => Self::StaleEpoch,
            _ => return None,
        })
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::RequestLost => "request_lost",
            Self::ReplyLost => "reply_lost",
            Self::InFlight => "in_flight",
            Self::Duplicate => "duplicate",
            Self::Delay(_) => "delay",
            Self::Reorder => "reorder",
            Self::StaleEpoch => "stale_epoch",
        }
    }
}

/// A fault of calls. Text form: `kind=delay,for=5ms,method=PushTask,from=A,to=B,nth=3,count=2,probability=0.5`.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcFault {
    /// What happens.
    pub kind: RpcFaultKind,
    /// Only to calls of this method, or that carry a message of this name; else to all.
    pub method: Option<String>,
    /// Only to calls of this node.
    pub from: Option<String>,
    /// Only to calls to this node; simulated worlds only, where addresses begin with names.
    pub to: Option<String>,
    /// The first of the matching calls it happens to, from 1.
    pub nth: u64,
    /// To how many of them; none: to all from there on.
    pub count: Option<u64>,
    /// With which probability to each of them.
    pub probability: f64,
}

impl RpcFault {
    /// The fault `kind` of every call.
    pub fn new(kind: RpcFaultKind) -> Self {
        Self { kind, method: None, from: None, to: None, nth: 1, count: None, probability: 1.0 }
    }
}

impl fmt::Display for RpcFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kind={}", self.kind.word())?;
        if let RpcFaultKind::Delay(time) = self.kind {
            write!(f, ",for={}ns", time.0)?;
        }
        for (key, value) in [("method", &self.method), ("from", &self.from), ("to", &self.to)] {
            if let Some(value) = value {
                write!(f, ",{key}={value}")?;
            }
        }
        write!(f, ",nth={}", self.nth)?;
        if let Some(count) = self.count {
            write!(f, ",count={count}")?;
        }
        write!(f, ",probability={}", self.probability)
    }
}

impl FromStr for RpcFault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for field in text.split(',') {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("`{field}` is no `key=value`"))?;
            fields.insert(key, value);
        }
        fn read<T: FromStr>(key: &str, value: Option<&str>, default: T) -> Result<T, String> {
            let wrong = |value| format!("`{key}={value}` cannot be read");
            value.map_or(Ok(default), |value| value.parse().map_err(|_| wrong(value)))
        }
        let delay = read("for", fields.remove("for"), Nanos::ZERO)?;
        let kind = fields.remove("kind").unwrap_or("request_lost");
        let none = || format!("there is no fault `{kind}`; there are {}", RpcFaultKind::WORDS.join(", "));
        let fault = Self {
            kind: RpcFaultKind::of(kind, delay).ok_or_else(none)?,
            method: fields.remove("method").map(str::to_owned),
            from: fields.remove("from").map(str::to_owned),
            to: fields.remove("to").map(str::to_owned),
            nth: read("nth", fields.remove("nth"), 1)?,
            count: fields.remove("count").map(|count| read("count", Some(count), 0)).transpose()?,
            probability: read("probability", fields.remove("probability"), 1.0)?,
        };
        match fields.keys().next() {
            None => Ok(fault),
            Some(key) => Err(format!("a fault of calls has no `{key}`")),
        }
    }
}

/// What one direction between two machines does to calls.
#[derive(Clone, Debug, Default)]
struct Direction {
    /// Added to the time a message takes.
    latency: Nanos,
    /// Nothing gets through until it is released; then everything does.
    held: bool,
    /// The probability that a message is lost, and its dice.
    loss: Option<(f64, Rng)>,
}

struct Armed {
    fault: RpcFault,
    /// Matching calls so far.
    calls: u64,
    rng: Rng,
}

impl Armed {
    /// Whether it was promised to more calls than there were. With a probability, or without a count, nothing is.
    fn is_unmet(&self) -> bool {
        let Self { fault, calls, .. } = self;
        fault.probability >= 1.0
            && fault.count.is_some_and(|count| *calls < fault.nth.saturating_sub(1).saturating_add(count))
    }
}

#[derive(Default)]
struct Table {
    armed: Vec<Armed>,
    /// Faults that were ended before they had met the calls they name.
    ended: Vec<RpcFault>,
    directions: BTreeMap<(String, String), Direction>,
}

/// All faults of calls of a world, or of a real process.
#[derive(Default)]
pub(crate) struct RpcFaults {
    /// Whether there is anything in the table: calls look no further if not.
    any: AtomicBool,
    table: Mutex<Table>,
    released: Notify,
}

impl RpcFaults {
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    pub(crate) fn inject(&self, seed: u64, fault: RpcFault) {
        // A stream per fault: taking one away leaves the dice of the others as they are.
        let rng = Rng::new(seed, &fault.to_string(), "rpc fault");
        let mut table = lock(&self.table);
        table.armed.push(Armed { fault, calls: 0, rng });
        self.any.store(true, Ordering::Relaxed);
    }

    /// Ends all faults of calls and mends all links; what was held travels on.
    pub(crate) fn clear(&self) {
        let mut table = lock(&self.table);
        let ended = table.unmet();
        *table = Table { ended, ..Table::default() };
        drop(table);
        self.any.store(false, Ordering::Relaxed);
        self.released.notify_waiters();
    }

    /// Faults with a count that met fewer calls than that, so far or until they were ended.
    pub(crate) fn unmet(&self) -> Vec<RpcFault> {
        lock(&self.table).unmet()
    }

    pub(crate) fn hold(&self, from: &str, to: &str, held: bool) {
        self.direction(from, to, |direction| direction.held = held);
        if !held {
            self.released.notify_waiters();
        }
    }

    pub(crate) fn slow(&self, from: &str, to: &str, latency: Nanos) {
        self.direction(from, to, |direction| direction.latency = latency);
    }

    pub(crate) fn lossy(&self, seed: u64, from: &str, to: &str, probability: f64) {
        let rng = Rng::new(seed, &format!("{from} {to}"), "loss");
        self.direction(from, to, |direction| direction.loss = (probability > 0.0).then_some((probability, rng)));
    }

    fn direction(&self, from: &str, to: &str, change: impl FnOnce(&mut Direction)) {
        change(lock(&self.table).directions.entry((from.to_owned(), to.to_owned())).or_default());
        self.any.store(true, Ordering::Relaxed);
    }

    /// What becomes of a call that has, or carries, these `names`. Counts the call.
    pub(crate) fn fate<'a>(&self, from: &str, to: &str, names: impl Iterator<Item = &'a str>) -> Option<RpcFaultKind> {
        let names: Vec<&str> = names.collect();
        let mut table = lock(&self.table);
        let mut fate = None;
        for armed in &mut table.armed {
            let Armed { fault, calls, rng } = armed;
            let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
            let carries = fault.method.as_deref().is_none_or(|method| names.contains(&method));
            if !carries || !is(&fault.from, from) || !is(&fault.to, to) {
                continue;
            }
            *calls += 1;
            let within = *calls >= fault.nth && fault.count.is_none_or(|count| *calls - fault.nth < count);
            if within && rng.chance(fault.probability) && fate.is_none() {
                fate = Some(fault.kind);
            }
        }
        fate.or_else(|| table.lose(from, to, RpcFaultKind::RequestLost))
            .or_else(|| table.lose(to, from, RpcFaultKind::ReplyLost))
    }

    /// What is added to the time a message takes.
    pub(crate) fn latency(&self, from: &str, to: &str) -> Nanos {
        lock(&self.table).of(from, to).map_or(Nanos::ZERO, |direction| direction.latency)
    }

    /// Returns when nothing holds messages in this direction any more.
    pub(crate) async fn passable(&self, from: &str, to: &str) {
        while self.is_held(from, to) {
            self.released.notified().await;
        }
    }

    pub(crate) fn is_held(&self, from: &str, to: &str) -> bool {
        lock(&self.table).of(from, to).is_some_and(|direction| direction.held)
    }
}

impl Table {
    fn unmet(&self) -> Vec<RpcFault> {
        let unmet = self.armed.iter().filter(|armed| armed.is_unmet()).map(|armed| &armed.fault);
        self.ended.iter().chain(unmet).cloned().collect()
    }

    fn of(&self, from: &str, to: &str) -> Option<&Direction> {
        // Built for the look-up: this happens only while there are faults.
        self.directions.get(&(from.to_owned(), to.to_owned()))
    }

    fn lose(&mut self, from: &str, to: &str, kind: RpcFaultKind) -> Option<RpcFaultKind> {
        let direction = self.directions.get_mut(&(from.to_owned(), to.to_owned()))?;
        let (probability, rng) = direction.loss.as_mut()?;
        rng.chance(*probability).then_some(kind)
    }
}

#[cfg(test)]
mod tests;
