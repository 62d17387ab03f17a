//! The times of a run that was recorded, for a simulation that plays it again: how long each message was under way, how
//! long each execution took, and how long each process needed to come up.
//!
//! Messages are matched by who says them, to whom, and what they are called: the third `PushTask` from A to B takes as
//! long as the third in the record, however the link has packed them into envelopes this time. An envelope arrives as one:
//! it takes the time of the first message in it that has a counterpart. It is held back where it arrives, so that one
//! that has left arrives although its sender dies. What has no counterpart takes what the simulated link takes, and so
//! does what was faster in the record than this link can be, and an envelope that is sent again.
//!
//! Executions are matched by label, number of the task and number of the attempt. They take at least as long as in the
//! record: what the simulator charges for one is not taken back.

use crate::backend::Place;
use crate::env::Env;
use crate::log::lock;
use mobula_protocol::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;

/// From whom, to whom, and what it is called.
pub type MessageKind = (String, String, String);
/// Label, number of the task, number of the attempt.
pub type Execution = (String, u64, u32);

/// What a record says of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// How long messages were under way, in the order in which they were sent; none for one that never arrived.
    pub delays: BTreeMap<MessageKind, Vec<Option<Nanos>>>,
    /// How long executions took.
    pub spans: BTreeMap<Execution, Nanos>,
    /// By node, how long each of its lives took until it was a member, from its start; those that were to be there when the
    /// driver began, from the beginning of the world.
    pub starts: BTreeMap<String, Vec<Nanos>>,
    /// When the driver began, with all nodes there.
    pub ready: Nanos,
}

/// How far a simulation went as recorded. A message that never arrived is in neither number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Messages that were under way as long as in the record.
    pub as_recorded: u64,
    /// Other messages: without a counterpart, in an envelope with others that took another time, or too fast for the
    /// simulated link.
    pub otherwise: u64,
}

/// When an envelope is to arrive, and how many of its messages have their recorded time then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    at: Nanos,
    messages: u64,
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at.0, self.messages)
    }
}

impl Arrival {
    /// Reads what is displayed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (at, messages) = text.split_once(' ')?;
        Some(Self { at: Nanos(at.parse().ok()?), messages: messages.parse().ok()? })
    }
}

/// A record that is being played: what has had its turn so far. It knows no clock.
#[derive(Debug, Default)]
pub struct Playback {
    recorded: Recorded,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Messages of each kind so far.
    said: BTreeMap<MessageKind, usize>,
    /// The envelopes so far that may be sent again.
    sent: BTreeSet<String>,
    /// Lives of each node so far.
    lives: BTreeMap<String, usize>,
    followed: Followed,
}

impl Playback {
    /// From the beginning of a record.
    pub fn new(recorded: Recorded) -> Self {
        Self { recorded, state: Mutex::default() }
    }

    /// How far it was followed until now.
    pub fn followed(&self) -> Followed {
        lock(&self.state).followed
    }

    /// When an envelope that is sent `now`, with messages of these names, is to arrive, if the record says. `id` names one
    /// that may be sent again: its messages count once.
    pub(crate) fn sent<'a>(
        &self,
        from: &str,
        to: &str,
        id: Option<String>,
        names: impl Iterator<Item = &'a str>,
        now: Nanos,
    ) -> Option<Arrival> {
        let mut state = lock(&self.state);
        if id.is_some_and(|id| !state.sent.insert(id)) {
            return None;
        }
        let found: Vec<Option<Nanos>> = names.map(|name| self.next(&mut state, from, to, name)).collect();
        let delay = found.iter().flatten().next().copied();
        let messages = found.iter().filter(|found| delay.is_some() && **found == delay).count() as u64;
        state.followed.otherwise += found.len() as u64 - messages;
        delay.map(|delay| Arrival { at: now + delay, messages })
    }

    /// An envelope is there: to be held back, or too late by more than the clock can resolve.
    fn arrived(&self, arrival: Arrival, now: Nanos, tick: Nanos) {
        let followed = &mut lock(&self.state).followed;
        match now <= arrival.at + tick {
            true => followed.as_recorded += arrival.messages,
            false => followed.otherwise += arrival.messages,
        }
    }

    /// What the next message of a kind took in the record.
    fn next(&self, state: &mut State, from: &str, to: &str, name: &str) -> Option<Nanos> {
        let kind = (from.to_owned(), to.to_owned(), name.to_owned());
        let delays = self.recorded.delays.get(&kind);
        let said = state.said.entry(kind).or_default();
        let number = std::mem::replace(said, *said + 1);
        delays.and_then(|delays| delays.get(number)).copied().flatten()
    }

    /// How long the next life of a node took to come up in the record, if it is there.
    pub(crate) fn start(&self, node: &str) -> Option<Nanos> {
        let mut state = lock(&self.state);
        let lives = state.lives.entry(node.to_owned()).or_default();
        let number = std::mem::replace(lives, *lives + 1);
        self.recorded.starts.get(node)?.get(number).copied()
    }

    /// How long an execution took in the record, if it is there.
    pub(crate) fn span(&self, label: &str, task: u64, attempt: u32) -> Option<Nanos> {
        self.recorded.spans.get(&(label.to_owned(), task, attempt)).copied()
    }
}

impl Env {
    /// The record that is played, in a simulation that plays one.
    pub(crate) fn playback(&self) -> Option<&Playback> {
        match self.place() {
            #[cfg(not(madsim))]
            Place::Real(_) => None,
            Place::Simulated(sim) => sim.world.playback.get().map(|playback| &**playback),
        }
    }

    /// In a simulation that plays a record, waits as long as this life of the node took there to become a member: its
    /// timers then stand as they stood there, and nodes join in the same order. Nothing to wait for elsewhere.
    pub async fn start_as_recorded(&self) {
        if let Some(time) = self.playback().and_then(|playback| playback.start(self.node())) {
            self.sleep(time).await;
        }
    }

    /// In a simulation that plays a record, waits until the driver began there. Nothing to wait for elsewhere.
    pub async fn ready_as_recorded(&self) {
        if let Some(playback) = self.playback() {
            self.wait_for(playback.recorded.ready).await;
        }
    }

    /// Waits until an envelope that is there is to arrive.
    pub(crate) async fn arrive_as_recorded(&self, arrival: Arrival) {
        if let Some(playback) = self.playback() {
            playback.arrived(arrival, self.now(), self.place().tick());
            self.wait_for(arrival.at).await;
        }
    }

    /// In a simulation that plays a record, waits until an execution that has `spent` this long has taken what it took
    /// there, and returns how long it took in the end. Nothing to wait for elsewhere.
    pub async fn as_recorded(&self, label: &str, task: u64, attempt: u32, spent: Nanos) -> Nanos {
        let Some(playback) = self.playback() else { return spent };
        let Some(span) = playback.span(label, task, attempt).filter(|span| *span > spent) else { return spent };
        let began = self.now().saturating_sub(spent);
        self.wait_for(began + span).await;
        self.now().saturating_sub(began)
    }
}

#[cfg(test)]
mod tests;
