//! Links: exactly-once, in-order delivery of messages between two incarnations, over requests that get lost.
//!
//! Every request of Mobula is retried, so every request must be idempotent, even while its first try is still running
//! (decision D4). Instead of asking that of each handler, the link numbers what it sends and remembers what it took,
//! once for all message types. Handlers above it may count on each [`crate::Message`] arriving once and in order.
//!
//! **States.** An incarnation is *unknown*, then *living*, then *dead*; [`Event::PeerKnown`] and [`Event::PeerDied`]
//! move it, forwards only, and both may be repeated or skipped (a newer life of a node implies the death of the older
//! ones). The head's first life is living from the start. Messages to the unknown wait; messages to the living are
//! numbered into [`Envelope`]s, at most [`LinkSettings::window`] in flight; messages to the dead are dropped and
//! counted. An envelope in flight is either *under way* (the shell has a request open) or *resting* until its next
//! try.
//!
//! **Batching.** [`Event::Send`] only queues. [`Event::Flush`] seals what is queued, at once while the window has room;
//! when it has none, messages gather and an [`Ack::Taken`] sends them on together. So a lone message never waits for
//! company, and a busy link fills its envelopes by itself (the idea of Nagle's algorithm, RFC 896, per envelope).
//!
//! **Size.** Bytes are bounded like envelopes: at most [`LinkSettings::window_bytes`] in flight to a peer, so that what is
//! under way can arrive within the limit of one request; a single message may be larger, up to
//! [`LinkSettings::message_bytes`]. One that is larger still, or that the transport refuses for its size, is given back
//! ([`Effect::Undelivered`]) and its number travels empty: it is never tried again, and never lost in silence. Whoever
//! makes messages keeps them small; this is the last line.
//!
//! **Signs of life** ([`Message::is_pulse`]) stand outside all this: the newest one goes out with the next flush, whatever
//! the window, alone in an envelope without a number. It may be lost, repeated or overtaken, and carries what tells the
//! newer of two. Behind bulky messages it would come late, and its sender be declared dead for being busy.
//!
//! **Guarantees,** for a sender S and a receiver R, neither of them declared dead in the other's view:
//! - what R has delivered from S is at any time a prefix of what S was asked to send to R, less what was given back;
//! - if requests get through sometimes, and each learns that the other lives, R delivers all of it;
//! - after R is told that S died, R delivers nothing from S any more: it answers [`Ack::StaleSender`] without looking
//!   inside (invariant I39), and S, hearing that, emits [`Effect::Fenced`] and is silent ever after;
//! - what is confirmed costs no memory; unconfirmed costs its own size. A receiver holds at most a window of envelopes
//!   per peer. The dead cost nothing beyond one number for each node name.
//!
//! **What must not happen.** Giving up: there is no retry budget, only membership ends an
//! obligation. Judging: no number of lost requests makes a peer dead; that is [`crate::member`]'s verdict
//! alone. A clock of its own for requests: the shell sets each request's time limit (well below the health
//! timeout) and reports exactly one `Acked`, `Lost` or `Refused` for each `Transmit`; a late or repeated
//! report is harmless.
//!
//! **Different from Ray:** there each handler has to be idempotent by itself (`rpc.rst`; handlers that wait are the
//! trap), a retryable gRPC client keeps a queue per peer with 1 s to 60 s back-off (`retryable_grpc_client.h`), and
//! order is restored per actor by client-side sequence numbers. Here one layer does it for everything, addresses carry
//! the epoch, and there is no jitter: retries are as reproducible as the rest.

mod incoming;
mod machine;
mod outgoing;
mod words;

#[cfg(test)]
mod tests;

pub use machine::Link;
pub use words::{Ack, Counters, Effect, Envelope, Event, LinkSettings};
