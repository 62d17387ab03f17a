//! Moving the bytes of one object from nodes that have them to a node that needs them.
//!
//! [`crate::pull`] says which objects a node receives and when; what happens on the way is decided here, by two
//! machines that know neither sockets nor memory: [`Receive`], one for each object on its way to this node, and
//! [`Serve`], one for everything this node sends.
//!
//! # Words
//!
//! A *holder* has a sealed copy by the owner's word. A *relay* is still receiving and passes on what it has (Hoplite,
//! SIGCOMM'21). An *attempt* is one receive buffer, filled from its start without a gap; what is filled is for good,
//! so that a relay can send it on and a checksum can follow it. A *stream* is one request to one source, answered by
//! *chunks*; an attempt goes through as many streams as it needs, and each carries its [`Ticket`].
//!
//! ```text
//!              Open                    Chunk, Arrived
//!  (no stream) -----> asked a source ------------------> receiving -----> whole: Done
//!      ^  ^             |        | Redirected                |
//!      |  |             |        '--> asked a relay          |
//!      |  '-------------+------ Broken, silent, stalled -----'      goes on where it was, elsewhere
//!      '-- a wait that doubles, once every holder has failed
//! ```
//!
//! # Receiving
//!
//! 1. **Never from the start again.** A stream begins at the first byte that is missing. Whatever breaks, the next one
//!    goes on from there, from another holder if there is one (Ray aborts the buffer and pulls anew, scenario C20).
//! 2. **Only the current stream counts.** A chunk is taken if it carries the current ticket and begins where the last
//!    one ended. Late chunks of an older stream or attempt, and duplicates, are refused before they are read into the
//!    buffer ([`Receive::accepts`], invariants I11, I18).
//! 3. **Who is asked.** A holder that has not failed since something last arrived, drawn by a hash of (object, this
//!    node, ticket): receivers spread without talking to each other, and a replay draws the same. When all have failed,
//!    a wait, from [`BACKOFF_FIRST`] doubling to [`BACKOFF_LAST`], and all deserve a new try; so do new holders at once.
//! 4. **Silence is failure.** A source that says nothing for [`SILENCE`] is given up. A relay may say that it is
//!    waiting itself, but not for longer than [`STALL`] without a byte: so relays that wait for each other in a circle,
//!    which crossing failovers could form, part again.
//! 5. It ends when the bytes are whole or when it is dropped. It never gives up by itself: while the owner lists a
//!    holder there is hope, and when it lists none, the pull machine ends the attempt.
//!
//! # Serving, and broadcast
//!
//! 6. **Bounded.** Chunks that were allowed to go out but have not left yet are at most the limit given, or a single
//!    chunk. Receivers take turns, one chunk each, so that a receiver of ten objects gets no more than one of one.
//! 7. **One receiver of an object at a time** ([`FAN_OUT`]). A holder that is sending a large object to somebody
//!    sends whoever else asks for it to a receiver further down, the newest that has nobody below it yet. So a
//!    broadcast becomes a chain through which chunks flow like through a pipe, and takes about the time of one
//!    transfer whatever the number of receivers; from the holder it needs one transfer's bytes instead of one each. A
//!    receiver that is done is a holder itself, and the owner tells so.
//! 8. **Small objects are not relayed** (below [`RELAYED`] by default): a hop would cost more than it saves. Nor is a receiver that was
//!    let down by [`DETOURS`] relays in a row: it is served directly. So every receiver gets through, whatever the
//!    relays do.
//! 9. A relay serves whoever was sent to it and sends nobody further. The holder sends nobody to a receiver below it
//!    in its own tree, and nobody to a relay that somebody complained of.
//!
//! # What must NOT happen
//!
//! - A byte taken twice, or after a gap; a chunk of a stream that was given up.
//! - A wait that nobody ends: every state but *whole* has a deadline.
//! - A decision about membership: who is dead is said from outside.
//!
//! # Differences from Ray and from Hoplite
//!
//! Ray's receivers ask a random holder, and a node becomes a source only when it has the whole object; Ray's sender
//! pushes chunks in any order and the receiver's buffer is aborted when it dies. Hoplite's directory, a central
//! service, hands out senders and takes them back; here the holder that is asked decides, because it knows what it is
//! sending, and the owner hears of whole copies only. Both read from one source at a time; so do we.

mod receive;
mod serve;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use receive::{BACKOFF_FIRST, BACKOFF_LAST, DETOURS, Receive, ReceiveEffect, ReceiveEvent, SILENCE, STALL};
pub use serve::{FAN_OUT, RELAYED, Request, Serve, ServeEffect, ServeEvent, StreamId};

use crate::{Attempt, Incarnation, ObjectId};

/// The name of one stream of one attempt at one node. Every request and every chunk carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// Which attempt to receive the object.
    pub attempt: Attempt,
    /// Which stream of it, from 1.
    pub stream: u32,
}

/// A number that differs between nodes, objects and tickets, and is the same in every run (the finaliser of
/// SplitMix64).
fn draw(object: ObjectId, own: Incarnation, ticket: Ticket) -> u64 {
    let owner = u64::from(object.owner().node.0) << 32 | u64::from(object.owner().epoch.0);
    let who = u64::from(own.node.0) << 32 | u64::from(own.epoch.0);
    let which = u64::from(object.index) << 32 | u64::from(ticket.attempt.0);
    [owner, object.task.seq, who, which, u64::from(ticket.stream)].into_iter().fold(0, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
