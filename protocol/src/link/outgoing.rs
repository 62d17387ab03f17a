//! The sending half of one peer: a queue, and a window of numbered envelopes that are not answered yet.

use super::{Envelope, LinkSettings};
use crate::{ByteSize, Incarnation, Message, Nanos, Violation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How often the time that a request is given is doubled at most.
const MOST_DOUBLED: u32 = 10;

/// Messages to one incarnation that it has not confirmed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Outgoing {
    /// The newest sign of life that was not transmitted.
    pulse: Option<Message>,
    /// Not numbered yet, each with its weight.
    queue: VecDeque<(u64, Message)>,
    /// Envelopes numbered so far; the next one gets the number after.
    numbered: u64,
    /// Numbered, not confirmed.
    in_flight: BTreeMap<u64, InFlight>,
    /// The weight of what is in flight.
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct InFlight {
    envelope: Arc<Envelope>,
    bytes: u64,
    /// Failed requests so far.
    losses: u32,
    /// When to transmit again; `None` while a request is under way.
    rests_until: Option<Nanos>,
}

impl Outgoing {
    pub fn push(&mut self, message: Message) {
        if message.is_pulse() {
            self.pulse = Some(message);
        } else {
            self.queue.push_back((message.weight() as u64, message));
        }
    }

    /// Messages queued or in flight. A sign of life is no obligation.
    pub fn backlog(&self) -> usize {
        self.queue.len() + self.in_flight.values().map(|f| f.envelope.messages.len()).sum::<usize>()
    }

    /// Whether an envelope could be sealed now.
    pub fn is_ready(&self, settings: &LinkSettings) -> bool {
        self.pulse.is_some() || self.has_room(settings)
    }

    /// Whether the next message of the queue may travel.
    fn has_room(&self, settings: &LinkSettings) -> bool {
        let oldest = self.in_flight.keys().next().map_or(self.numbered, |oldest| oldest - 1);
        let Some((weight, _)) = self.queue.front() else { return false };
        let light = self.in_flight.is_empty() || self.bytes + weight <= settings.window_bytes.0;
        light && self.numbered - oldest < u64::from(settings.window)
    }

    /// The next envelope, and about how many bytes are under way with it. A sign of life goes first, alone and without a
    /// number; then the queue's messages, if the window has room.
    pub fn seal(
        &mut self,
        settings: &LinkSettings,
        from: Incarnation,
        to: Incarnation,
    ) -> Option<(Arc<Envelope>, ByteSize)> {
        if let Some(pulse) = self.pulse.take() {
            let envelope = Envelope { from, to, seq: Envelope::PULSE, messages: vec![pulse] };
            return Some((Arc::new(envelope), ByteSize::ZERO));
        }
        if !self.has_room(settings) {
            return None;
        }
        let most = settings.batch_bytes.0.min(settings.window_bytes.0.saturating_sub(self.bytes));
        let (mut count, mut bytes) = (0, 0);
        for (weight, _) in self.queue.iter().take(settings.batch) {
            if count > 0 && bytes + weight > most {
                break;
            }
            bytes += weight;
            count += 1;
        }
        self.numbered += 1;
        self.bytes += bytes;
        let messages = self.queue.drain(..count).map(|(_, message)| message).collect();
        let envelope = Arc::new(Envelope { from, to, seq: self.numbered, messages });
        let in_flight = InFlight { envelope: envelope.clone(), bytes, losses: 0, rests_until: None };
        self.in_flight.insert(self.numbered, in_flight);
        Some((envelope, ByteSize(self.bytes)))
    }

    /// Forgets a confirmed envelope. Returns the end of its rest if it was resting (a late answer to an earlier
    /// request).
    pub fn confirm(&mut self, seq: u64) -> Option<Nanos> {
        let flight = self.in_flight.remove(&seq)?;
        self.bytes -= flight.bytes;
        flight.rests_until
    }

    /// Takes the messages out of an envelope under way that can never arrive. What is left of it, its number, is still to
    /// be transmitted: the receiver waits for it.
    pub fn empty(&mut self, seq: u64) -> Option<(Vec<Message>, Arc<Envelope>)> {
        let flight = self.in_flight.get_mut(&seq).filter(|flight| flight.rests_until.is_none())?;
        let Envelope { from, to, seq, ref messages } = *flight.envelope;
        let messages = messages.clone();
        self.bytes -= std::mem::take(&mut flight.bytes);
        flight.envelope = Arc::new(Envelope { from, to, seq, messages: Vec::new() });
        Some((messages, flight.envelope.clone()))
    }

    /// Lets an unanswered envelope rest, twice as long each time. Returns until when; `None` if nothing is under way.
    pub fn rest(&mut self, now: Nanos, seq: u64, settings: &LinkSettings) -> Option<Nanos> {
        let flight = self.in_flight.get_mut(&seq).filter(|flight| flight.rests_until.is_none())?;
        let doubled = settings.retry_first * 1_u64.checked_shl(flight.losses).unwrap_or(u64::MAX);
        flight.losses += 1;
        flight.rests_until = Some(now + doubled.min(settings.retry_max));
        flight.rests_until
    }

    /// Ends a rest: the envelope to transmit again, and for how many bytes it is to be given time.
    pub fn retry(&mut self, seq: u64) -> Option<(Arc<Envelope>, ByteSize)> {
        let flight = self.in_flight.get_mut(&seq)?;
        flight.rests_until = None;
        let load = self.bytes.saturating_mul(1 << flight.losses.min(MOST_DOUBLED));
        Some((flight.envelope.clone(), ByteSize(load)))
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
        let bytes: u64 = self.in_flight.values().map(|flight| flight.bytes).sum();
        let alone = self.in_flight.values().filter(|flight| flight.bytes > 0).count() <= 1;
        let bounded = bytes == self.bytes && (alone || bytes <= settings.window_bytes.0);
        Violation::unless(bounded, "link_bytes", || {
            format!("{bytes} bytes are in flight, counted {}, the most is {}", self.bytes, settings.window_bytes)
        })?;
        let newest = self.in_flight.keys().next_back().copied().unwrap_or(0);
        Violation::unless(newest <= self.numbered, "link_numbers", || {
            format!("envelope {newest} is in flight but only {} were numbered", self.numbered)
        })
    }
}
