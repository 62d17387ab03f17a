//! Object bytes between nodes: framed byte streams, read straight into the destination's region (decision D9). The
//! decisions are those of [`mobula_protocol::transfer`]; this is the shell around its two machines.
//!
//! ```text
//! request (72):  object: owner node, owner epoch (4 each), task number (8), result index (4)
//!                to: node, epoch   by: node, epoch   blamed: node, epoch, or zeros
//!                ticket: attempt, stream (4 each)    first byte (8)    size (8)    1 for "no relay" (4)
//! frame (28):    kind (4)  ticket: attempt, stream (4 each)  two numbers (8 each)
//!   0 not here   nothing sealed or arriving, another size, or another life of this node
//!   1 chunk      first byte, length; that many bytes follow
//!   2 waiting    alive, but nothing to send yet
//!   3 redirect   ask that relay: node, epoch
//! ```
//! All numbers are little-endian. A connection serves one request after the other; the answer to a request ends with
//! "not here", "redirect", or the last byte of the object. Whatever else ends it ends the connection.
//!
//! What must NOT happen: a byte copied on its way besides by the operating system; a byte read into the region that
//! [`Receive::accepts`](mobula_protocol::transfer::Receive::accepts) refused; a region sealed whose checksum was not
//! verified (end to end: what was sealed at the source is what is sealed here; Ray checks none, #26395).

mod frame;
mod outbound;
mod receive;
mod send;
mod source;

use crate::objects::Objects;
use frame::{Asked, FRAME};
use mobula_env::{Env, Stream};
use mobula_protocol::member::ClusterView;
use mobula_protocol::transfer::Ticket;
use mobula_protocol::{Attempt, ByteSize, Incarnation, Nanos, ObjectId};
use outbound::Outbound;
pub(super) use receive::receive;
pub(super) use send::serve;
use source::Arriving;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// The largest chunk: Ray's are 5 MiB. A relay passes on what it has of one, a receiver that takes turns waits for one.
const CHUNK: usize = 1 << 20;
/// Bytes are moved, and in simulation charged, in steps of this size: they stay in the cache between the socket and
/// the checksum.
const STEP: usize = 256 << 10;
/// Bytes of chunks on their way out of a node at a time.
const OUTBOUND: ByteSize = ByteSize(32 << 20);
/// How often a source that has nothing to send says that it lives.
const SIGN_OF_LIFE: Nanos = Nanos::millis(500);
/// A chunk of up to this size is put behind its frame: copying it costs less than a second call of the system.
const TOGETHER: usize = 4 << 10;
/// Unused connections kept for each peer.
const IDLE: usize = 4;

/// The living members, which say where their byte streams are.
pub(crate) type Members = Arc<ClusterView>;

/// What all transfers of a node share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bulk {
    env: Env,
    me: Incarnation,
    objects: Objects,
    arriving: Arriving,
    outbound: Outbound,
    members: watch::Receiver<Members>,
    relay_from: ByteSize,
    idle: Arc<Mutex<BTreeMap<Incarnation, Vec<Stream>>>>,
}

impl Bulk {
    /// The transfers of the node `me`, which learns the addresses of the others through `members`.
    pub fn new(
        env: &Env,
        me: Incarnation,
        objects: &Objects,
        relay_from: ByteSize,
        members: watch::Receiver<Members>,
    ) -> Self {
        Self {
            env: env.clone(),
            me,
            objects: objects.clone(),
            arriving: Arriving::default(),
            outbound: Outbound::new(me, OUTBOUND, relay_from),
            relay_from,
            members,
            idle: Arc::default(),
        }
    }

    /// A connection to this peer that nobody uses.
    fn take_idle(&self, peer: Incarnation) -> Option<Stream> {
        lock(&self.idle).get_mut(&peer)?.pop()
    }

    fn put_idle(&self, peer: Incarnation, stream: Stream) {
        let mut idle = lock(&self.idle);
        let streams = idle.entry(peer).or_default();
        if streams.len() < IDLE {
            streams.push(stream);
        }
        // The dead get no requests.
        let living = self.members.borrow();
        idle.retain(|peer, _| living.member(*peer).is_some());
    }

    /// One connection to this peer failed, so the others are not trusted.
    fn drop_idle(&self, peer: Incarnation) {
        let dropped = lock(&self.idle).remove(&peer);
        drop(dropped);
    }
}

/// Asks a source for an object as a receiver does, from outside of a transfer, and reads the first frame of its
/// answer; only that there was one is told.
pub(crate) async fn ask_once(env: &Env, bulk: &str, from: Incarnation, object: ObjectId, size: u64) -> io::Result<()> {
    let ticket = Ticket { attempt: Attempt(0), stream: 0 };
    let asked = Asked { object, to: from, by: from, blamed: None, ticket, offset: 0, size, direct: true };
    let mut stream = env.connect(bulk).await?;
    stream.write_all(&asked.to_bytes()).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; FRAME]).await.map(drop)
}

/// A poisoned lock is taken over: its holder panicked, which ends the run elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
