//! The sending half of one peer: a queue, and a window of numbered envelopes that are not answered yet.

use super::{Envelope, LinkSettings};
use crate::spec::Arg;
use crate::{Incarnation, Message, Nanos, ResultPlace, TaskOutcome, Violation};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Messages to one incarnation that it has not confirmed.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Not numbered yet.
    queue: VecDeque<Message>,
    /// Envelopes numbered so far; the next one gets the number after.
    numbered: u64,
    /// Numbered, not confirmed.
    in_flight: BTreeMap<u64, InFlight>,
}

#[derive(Debug)]
struct InFlight {
    envelope: Arc<Envelope>,
    /// Failed requests so far.
    losses: u32,
    /// When to transmit again; `None` while a request is under way.
    rests_until: Option<Nanos>,
}

impl Outgoing {
    pub fn push(&mut self, message: Message) {
        self.queue.push_back(message);
    }

    /// Messages queued or in flight.
    pub fn backlog(&self) -> usize {
        self.queue.len() + self.in_flight.values().map(|f| f.envelope.messages.len()).sum::<usize>()
    }

    /// Whether an envelope could be sealed now.
    pub fn is_ready(&self, settings: &LinkSettings) -> bool {
        let oldest = self.in_flight.keys().next().map_or(self.numbered, |oldest| oldest - 1);
        !self.queue.is_empty() && self.numbered - oldest < u64::from(settings.window)
    }

    /// Numbers the next envelope, if the window has room and the queue something to say.
    pub fn seal(&mut self, settings: &LinkSettings, from: Incarnation, to: Incarnation) -> Option<Arc<Envelope>> {
        if !self.is_ready(settings) {
            return None;
        }
        let (mut count, mut bytes) = (0, 0);
        for message in self.queue.iter().take(settings.batch) {
            bytes += weight(message);
            if count > 0 && bytes > settings.batch_bytes.0 {
                break;
            }
            count += 1;
        }
        self.numbered += 1;
        let messages = self.queue.drain(..count).collect();
        let envelope = Arc::new(Envelope { from, to, seq: self.numbered, messages });
        let in_flight = InFlight { envelope: envelope.clone(), losses: 0, rests_until: None };
        self.in_flight.insert(self.numbered, in_flight);
        Some(envelope)
    }

    /// Forgets a confirmed envelope. Returns the end of its rest if it was resting (a late answer to an earlier
    /// request).
    pub fn confirm(&mut self, seq: u64) -> Option<Nanos> {
        self.in_flight.remove(&seq)?.rests_until
    }

    /// Lets an unanswered envelope rest, twice as long each time. Returns until when; `None` if nothing is under way.
    pub fn rest(&mut self, now: Nanos, seq: u64, settings: &LinkSettings) -> Option<Nanos> {
        let flight = self.in_flight.get_mut(&seq).filter(|flight| flight.rests_until.is_none())?;
        let doubled = settings.retry_first * 1_u64.checked_shl(flight.losses).unwrap_or(u64::MAX);
        flight.losses += 1;
        flight.rests_until = Some(now + doubled.min(settings.retry_max));
        flight.rests_until
    }

    /// Ends a rest: the envelope to transmit again.
    pub fn retry(&mut self, seq: u64) -> Option<Arc<Envelope>> {
        let flight = self.in_flight.get_mut(&seq)?;
        flight.rests_until = None;
        Some(flight.envelope.clone())
    }

    /// The resting envelopes and until when they rest.
    pub fn resting(&self) -> impl Iterator<Item = (Nanos, u64)> {
        self.in_flight.iter().filter_map(|(seq, flight)| Some((flight.rests_until?, *seq)))
    }

    pub fn check(&self, settings: &LinkSettings) -> Result<(), Violation> {
        let span = self.in_flight.keys().next().map_or(0, |oldest| self.numbered + 1 - oldest);
        Violation::unless(span <= u64::from(settings.window), "link_window", || {
            format!("{span} envelopes from the oldest in flight to the newest, the window is {}", settings.window)
        })?;
        let newest = self.in_flight.keys().next_back().copied().unwrap_or(0);
        Violation::unless(newest <= self.numbered, "link_numbers", || {
            format!("envelope {newest} is in flight but only {} were numbered", self.numbered)
        })
    }
}

/// About how many bytes a message takes on the wire. Only what can grow is looked at; the rest counts as 64.
fn weight(message: &Message) -> u64 {
    let grows = match message {
        Message::PushTask { spec, inline, .. } => {
            let args = spec.args.iter().map(|arg| match arg {
                Arg::Value(bytes, _) => bytes.len(),
                Arg::Ref(_) => 0,
            });
            args.sum::<usize>() + inline.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
        }
        Message::TaskDone { outcome: TaskOutcome::Returned(results), .. } => {
            let inline = results.iter().map(|result| match &result.place {
                ResultPlace::Inline(bytes) => bytes.len(),
                ResultPlace::Stored(_) => 0,
            });
            inline.sum()
        }
        Message::Located { located: crate::Located::Inline(bytes), .. } => bytes.len(),
        Message::View { entries, loads, .. } => (entries.len() + loads.len()) * 256,
        Message::Free(objects) => objects.len() * 24,
        _ => 0,
    };
    grows as u64 + 64
}
