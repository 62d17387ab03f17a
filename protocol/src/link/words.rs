//! What goes into a link, what comes out, and what two links say to each other.

use crate::{ByteSize, Incarnation, Message, Nanos};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a link batches and retries. The same on every node of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSettings {
    /// How far beyond the oldest unanswered envelope a sender may number: the most envelopes in flight to one peer, and
    /// the most a receiver holds back to restore their order. At least 1.
    pub window: u32,
    /// The most messages in one envelope. At least 1.
    pub batch: usize,
    /// About the most bytes of values in one envelope; a larger message travels alone.
    pub batch_bytes: ByteSize,
    /// About the most bytes in flight to one peer, unless one envelope alone has more. At least [`Self::batch_bytes`].
    pub window_bytes: ByteSize,
    /// About the most bytes of one message; a larger one is given back ([`Effect::Undelivered`]).
    pub message_bytes: ByteSize,
    /// How long an envelope rests after its first failed request.
    pub retry_first: Nanos,
    /// The longest rest; each failure doubles the one before.
    pub retry_max: Nanos,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            window: 8,
            batch: 512,
            batch_bytes: ByteSize::mb(1),
            window_bytes: ByteSize::mb(4),
            message_bytes: ByteSize(64 << 20),
            retry_first: Nanos::millis(20),
            retry_max: Nanos::secs(1),
        }
    }
}

/// The request of the wire: the next messages from one incarnation to another. `(from, seq)` is the request id; sending
/// the same envelope again is always harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who says so.
    pub from: Incarnation,
    /// To whom, and to no other life of it.
    pub to: Incarnation,
    /// Counts the envelopes of this pair, from 1; or [`Envelope::PULSE`].
    pub seq: u64,
    /// What is said, in order.
    pub messages: Vec<Message>,
}

impl Envelope {
    /// The number of every envelope that has no place in the order: it carries one [`Message::is_pulse`].
    pub const PULSE: u64 = 0;

    /// The kinds of its messages, each once with its number, as in `"Heartbeat+View*2"`; for logs and pictures.
    pub fn summary(&self) -> String {
        let mut kinds: Vec<(&str, usize)> = Vec::new();
        for message in &self.messages {
            match kinds.iter_mut().find(|(kind, _)| *kind == message.name()) {
                Some((_, times)) => *times += 1,
                None => kinds.push((message.name(), 1)),
            }
        }
        let shown = |(kind, times): &(&str, usize)| match times {
            1 => (*kind).to_owned(),
            _ => format!("{kind}*{times}"),
        };
        kinds.iter().map(shown).collect::<Vec<_>>().join("+")
    }
}

/// The reply of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ack {
    /// It is delivered, or held to be delivered in its turn. Also the answer to every duplicate.
    Taken,
    /// The sender is dead by the receiver's membership view; nothing was read. Final: the sender must end.
    StaleSender,
    /// The addressed incarnation does not live here (any more); nothing was read. Not a death verdict: those come from
    /// the membership log alone, so the sender keeps trying until it is told.
    WrongReceiver,
    /// The receiver has not heard of the sender yet, does not know its own name yet, or the envelope lies beyond its
    /// window; nothing was read. Try again.
    NotYetKnown,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This process was given its identity. Once, before the first `Send`; a new life takes a new [`super::Link`].
    Started(Incarnation),
    /// Something is to be said. Panics if `to` is this process: whoever talks to itself needs no link.
    Send {
        /// To whom.
        to: Incarnation,
        /// What.
        message: Message,
    },
    /// There is nothing more to send for the moment: let it travel.
    Flush,
    /// An envelope came in. Exactly one [`Effect::Reply`] follows in the same step.
    Received(Envelope),
    /// A transmitted envelope was answered.
    Acked {
        /// By whom.
        to: Incarnation,
        /// Which.
        seq: u64,
        /// How.
        ack: Ack,
    },
    /// A transmitted envelope is larger than the transport takes, now and ever.
    Refused {
        /// To whom it was addressed.
        to: Incarnation,
        /// Which.
        seq: u64,
    },
    /// A transmitted envelope was not answered: the request failed or ran out of time.
    Lost {
        /// To whom it was addressed.
        to: Incarnation,
        /// Which.
        seq: u64,
    },
    /// The membership log says that this incarnation lives.
    PeerKnown(Incarnation),
    /// The membership log says that this incarnation is dead.
    PeerDied(Incarnation),
    /// The deadline of [`crate::Machine::next_deadline`] has come.
    Tick,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make one request with this envelope, with a time limit, and report [`Event::Acked`], [`Event::Lost`] or
    /// [`Event::Refused`].
    Transmit {
        /// The envelope.
        envelope: Arc<Envelope>,
        /// About how many bytes are under way to this peer, these included, and after each failure of this envelope twice
        /// as many: the limit grows with them, so that a slow network is given its time in the end.
        load: ByteSize,
    },
    /// This message cannot be sent: it is too large. It takes no part in the order any more; whoever waits for what it
    /// would have brought about must be told.
    Undelivered {
        /// For whom it was.
        to: Incarnation,
        /// What it said.
        message: Message,
    },
    /// Act on this message.
    Deliver {
        /// Who sent it.
        from: Incarnation,
        /// What it says.
        message: Message,
    },
    /// Answer the request that carried this envelope.
    Reply {
        /// Who sent it.
        from: Incarnation,
        /// Which it was.
        seq: u64,
        /// The answer.
        ack: Ack,
    },
    /// The cluster has declared this process dead: stop acting. At most once; the link is silent ever after.
    Fenced {
        /// Who said so; this process itself if its own membership view did.
        by: Incarnation,
    },
}

/// What a link has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages accepted for sending.
    pub sent: u64,
    /// Envelopes transmitted for the first time.
    pub envelopes: u64,
    /// Envelopes transmitted again.
    pub retransmitted: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Envelopes received more than once.
    pub duplicates: u64,
    /// Envelopes from the dead, refused unread (invariant I39).
    pub refused_stale: u64,
    /// Envelopes for another incarnation, refused unread (invariant I39).
    pub refused_wrong_receiver: u64,
    /// Envelopes put off: sender unknown, or beyond the window.
    pub put_off: u64,
    /// Messages given back because they are too large.
    pub undelivered: u64,
    /// Messages dropped because their receiver, or this process, is dead.
    pub dropped: u64,
}
