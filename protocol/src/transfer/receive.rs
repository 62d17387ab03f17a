//! One object on its way to this node.

use super::{Ticket, draw};
use crate::{Attempt, ByteSize, Incarnation, Machine, Nanos, ObjectId, Violation};
use std::collections::BTreeSet;

/// How long to wait before all holders of an object are asked a second time.
pub const BACKOFF_FIRST: Nanos = Nanos::millis(50);
/// The longest such wait. Ray starts at 10 s and grows without this bound; a local network heals faster.
pub const BACKOFF_LAST: Nanos = Nanos::secs(5);
/// A source that says nothing for this long is given up.
pub const SILENCE: Nanos = Nanos::secs(2);
/// A relay that sends no byte for this long is given up, whatever else it says.
pub const STALL: Nanos = Nanos::secs(5);
/// A receiver that so many relays in a row have let down asks to be served by the holder itself.
pub const DETOURS: u32 = 3;

/// One attempt to receive one object. See the [module](super) for its rules.
#[derive(Debug)]
pub struct Receive {
    own: Incarnation,
    object: ObjectId,
    attempt: Attempt,
    size: u64,
    /// Bytes that have arrived: all of them, from the start.
    reached: u64,
    /// Living nodes with a sealed copy, by the owner's word, without this one.
    holders: Vec<Incarnation>,
    /// Holders that failed since something last arrived.
    failed: BTreeSet<Incarnation>,
    /// The source that failed last; the next one asked is told.
    blamed: Option<Incarnation>,
    /// The holder to go back to after a relay failed.
    back: Option<Incarnation>,
    /// Relays that failed since something last arrived.
    detours: u32,
    stream: Option<Stream>,
    /// Streams opened so far.
    streams: u32,
    /// How often the wait was served.
    rounds: u32,
    retry_at: Option<Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    ticket: Ticket,
    from: Incarnation,
    /// The holder that sent us to this relay.
    via: Option<Incarnation>,
    /// When the source last said anything.
    heard: Nanos,
    /// When the last byte arrived.
    moved: Nanos,
}

/// What happened to an attempt. Whatever names a ticket other than the current one changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveEvent {
    /// The living holders by the owner's word: at the beginning, and whenever that changes.
    Holders(Vec<Incarnation>),
    /// This node was declared dead.
    Died(Incarnation),
    /// So many bytes of an [accepted](Receive::accepts) chunk are in the buffer.
    Arrived {
        /// Of which stream.
        ticket: Ticket,
        /// How many.
        bytes: u64,
    },
    /// The source lives, but has nothing to send yet.
    Waiting {
        /// Of which stream.
        ticket: Ticket,
    },
    /// The source says: ask that relay.
    Redirected {
        /// Of which stream.
        ticket: Ticket,
        /// The relay.
        to: Incarnation,
    },
    /// There is no source there, it has nothing of the object, the connection ended, or it said what it must not.
    Broken {
        /// Which stream.
        ticket: Ticket,
    },
    /// The deadline of [`Machine::next_deadline`] has come.
    Tick,
}

/// What must be done for an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveEffect {
    /// Ask a source for the bytes from `offset` on.
    Open {
        /// The name of the stream.
        ticket: Ticket,
        /// Whom to ask.
        from: Incarnation,
        /// The first byte that is missing.
        offset: u64,
        /// The source that failed last, so that nobody else is sent there.
        blamed: Option<Incarnation>,
        /// Ask not to be sent to a relay.
        direct: bool,
    },
    /// Give up that stream.
    Close {
        /// Which.
        ticket: Ticket,
    },
    /// All bytes are here. Once.
    Done,
}

impl Receive {
    /// An attempt of `own` to receive `size` bytes. Asks nobody before [`ReceiveEvent::Holders`].
    pub fn new(own: Incarnation, object: ObjectId, attempt: Attempt, size: ByteSize) -> Self {
        Self {
            own,
            object,
            attempt,
            size: size.0,
            reached: 0,
            holders: Vec::new(),
            failed: BTreeSet::new(),
            blamed: None,
            back: None,
            detours: 0,
            stream: None,
            streams: 0,
            rounds: 0,
            retry_at: None,
        }
    }

    /// How many bytes are here, all from the start.
    pub fn reached(&self) -> ByteSize {
        ByteSize(self.reached)
    }

    /// Whether a chunk may be read into the buffer: it is of the current stream, it begins at the first missing byte,
    /// and it does not go beyond the end.
    pub fn accepts(&self, ticket: Ticket, offset: u64, bytes: u64) -> bool {
        self.is_current(ticket) && offset == self.reached && bytes > 0 && bytes <= self.size - self.reached
    }

    /// Whom the bytes come from at the moment.
    pub fn source(&self) -> Option<Incarnation> {
        self.stream.map(|stream| stream.from)
    }

    /// Streams opened so far.
    pub fn streams(&self) -> u32 {
        self.streams
    }

    fn is_current(&self, ticket: Ticket) -> bool {
        self.stream.is_some_and(|stream| stream.ticket == ticket)
    }

    fn arrived(&mut self, now: Nanos, bytes: u64, out: &mut Vec<ReceiveEffect>) {
        let Some(stream) = &mut self.stream else { return };
        (stream.heard, stream.moved) = (now, now);
        self.reached = (self.reached + bytes).min(self.size);
        self.failed.clear();
        (self.blamed, self.back, self.detours, self.rounds) = (None, None, 0, 0);
        if self.reached == self.size {
            self.stream = None;
            out.push(ReceiveEffect::Done);
        }
    }

    fn redirected(&mut self, now: Nanos, to: Incarnation, out: &mut Vec<ReceiveEffect>) {
        let Some(Stream { ticket, from, via, .. }) = self.stream else { return };
        if via.is_some() || to == self.own {
            // Relays send nobody further (rule 9).
            self.give_up(now, out);
            return;
        }
        out.push(ReceiveEffect::Close { ticket });
        self.open(now, to, Some(from), out);
    }

    /// The current source failed; another is looked for.
    fn give_up(&mut self, now: Nanos, out: &mut Vec<ReceiveEffect>) {
        let Some(stream) = self.stream.take() else { return };
        out.push(ReceiveEffect::Close { ticket: stream.ticket });
        self.blamed = Some(stream.from);
        self.back = stream.via;
        match stream.via {
            Some(_) => self.detours += 1,
            // One that is no longer listed is not asked again anyway.
            None if self.holders.contains(&stream.from) => drop(self.failed.insert(stream.from)),
            None => {}
        }
        self.pursue(now, out);
    }

    /// Asks a source if none is being asked and there is one to ask; else sees to it that there will be a next time.
    fn pursue(&mut self, now: Nanos, out: &mut Vec<ReceiveEffect>) {
        if self.stream.is_some() || self.reached == self.size {
            return;
        }
        let untried: Vec<Incarnation> =
            self.holders.iter().copied().filter(|holder| !self.failed.contains(holder)).collect();
        let back = self.back.take().filter(|back| untried.contains(back));
        if untried.is_empty() {
            if self.retry_at.is_none() && !self.holders.is_empty() {
                self.retry_at = Some(now + Nanos(BACKOFF_FIRST.0 << self.rounds.min(32)).min(BACKOFF_LAST));
                self.rounds += 1;
            }
            return;
        }
        self.retry_at = None;
        let next = Ticket { attempt: self.attempt, stream: self.streams + 1 };
        let drawn = untried[(draw(self.object, self.own, next) % untried.len() as u64) as usize];
        self.open(now, back.unwrap_or(drawn), None, out);
    }

    fn open(&mut self, now: Nanos, from: Incarnation, via: Option<Incarnation>, out: &mut Vec<ReceiveEffect>) {
        self.streams += 1;
        let ticket = Ticket { attempt: self.attempt, stream: self.streams };
        self.stream = Some(Stream { ticket, from, via, heard: now, moved: now });
        let direct = self.detours >= DETOURS;
        // A relay decides nothing, so the complaint is kept for the next holder.
        let blamed = if via.is_none() { self.blamed.take() } else { self.blamed };
        out.push(ReceiveEffect::Open { ticket, from, offset: self.reached, blamed, direct });
    }

    fn ticked(&mut self, now: Nanos, out: &mut Vec<ReceiveEffect>) {
        if self.gives_up_at().is_some_and(|at| at <= now) {
            self.give_up(now, out);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.failed.clear();
            self.pursue(now, out);
        }
    }

    /// When the current source is given up if nothing is heard.
    fn gives_up_at(&self) -> Option<Nanos> {
        let stream = self.stream?;
        let silent = stream.heard + SILENCE;
        Some(if stream.via.is_some() { silent.min(stream.moved + STALL) } else { silent })
    }
}

impl Machine for Receive {
    type Event = ReceiveEvent;
    type Effect = ReceiveEffect;

    fn step(&mut self, now: Nanos, event: ReceiveEvent, out: &mut Vec<ReceiveEffect>) {
        match event {
            ReceiveEvent::Holders(holders) => {
                let whole = self.reached == self.size && self.streams == 0 && self.holders.is_empty();
                self.holders = holders.into_iter().filter(|holder| *holder != self.own).collect();
                // A holder that is no longer listed and comes back deserves a new try.
                self.failed.retain(|holder| self.holders.contains(holder));
                self.retry_at = self.retry_at.filter(|_| !self.holders.is_empty());
                if whole {
                    out.push(ReceiveEffect::Done);
                }
                self.pursue(now, out);
            }
            ReceiveEvent::Died(dead) => {
                self.holders.retain(|holder| *holder != dead);
                if self.source() == Some(dead) {
                    self.give_up(now, out);
                }
                self.failed.remove(&dead);
            }
            ReceiveEvent::Arrived { ticket, bytes } if self.is_current(ticket) => self.arrived(now, bytes, out),
            ReceiveEvent::Waiting { ticket } if self.is_current(ticket) => {
                if let Some(stream) = &mut self.stream {
                    stream.heard = now;
                }
            }
            ReceiveEvent::Redirected { ticket, to } if self.is_current(ticket) => self.redirected(now, to, out),
            ReceiveEvent::Broken { ticket } if self.is_current(ticket) => self.give_up(now, out),
            ReceiveEvent::Tick => self.ticked(now, out),
            // Of a stream that was given up.
            ReceiveEvent::Arrived { .. }
            | ReceiveEvent::Waiting { .. }
            | ReceiveEvent::Redirected { .. }
            | ReceiveEvent::Broken { .. } => {}
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.gives_up_at().into_iter().chain(self.retry_at).min()
    }

    fn check(&self) -> Result<(), Violation> {
        let whole = self.reached == self.size;
        let fine = self.reached <= self.size
            && !(whole && self.stream.is_some())
            && (self.retry_at.is_none() || self.stream.is_none())
            && (whole || self.holders.is_empty() || self.next_deadline().is_some())
            && self.failed.iter().all(|failed| self.holders.contains(failed))
            && self.source() != Some(self.own);
        Violation::unless(fine, "transfer receive", || format!("{self:?}"))
    }
}
