//! How a process reads the store of a node on its own host, without a copy: the agreement between the two.
//!
//! ```text
//!  client                                            node
//!    | connect ------------------------------------->  | Session::new
//!    | <----------- Hello and the arena's descriptor   |
//!    | map it, read-only                               |
//!    | get(id) ------------------------------------->  | finds the object, holds a View under a new token
//!    | <------------------ token, offset, length       |
//!    | reads its mapping                               |
//!    | release(token) ------------------------------>  | drops the View
//!    | (ends, or is killed at any instruction)         | end of the connection: drops the Session, hence all Views
//! ```
//!
//! A node that knows what the client is about to read (a worker process, its arguments) lends it without being asked, and
//! says so by means of its own: [`Session::lend`], [`Client::borrow`]. The release is the same.
//!
//! This module has no socket: a [`Link`] carries the messages, and the node's shell feeds a [`Session`].
//!
//! # Guarantees
//! - Bytes a client was given stay as they are until it drops them, or dies. What it holds is on the node's ledger as
//!   bytes in use, like any view.
//! - A client that dies at any instruction releases all it held, because the node holds it on behalf of the connection,
//!   and the system ends the connection with the process.
//! - A client cannot write the arena: the descriptor is sealed against that.
//!
//! # What must NOT happen
//! The node ends a [`Session`] while its connection lives: the client may be reading. A malformed message is refused,
//! not answered by hanging up.
//!
//! # Messages
//! Little-endian. Request, 24 bytes: kind (4; 1 get, 2 release), owner node (4), owner epoch (4), result index (4), task
//! number or token (8). Reply to a get, 32 bytes: outcome (4; 0 not here, 1 here, 2 refused), zero (4), token (8),
//! offset (8), length (8). A release has no reply. The greeting is the ASCII letters `MOBA`, then version 1 (4).

use crate::arena::Attached;
use crate::{StoreError, View};
use bytes::Bytes;
use mobula_protocol::{Incarnation, ObjectId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What the node says first, together with the descriptor.
pub const HELLO: [u8; 8] = *b"MOBA\x01\0\0\0";
const REQUEST: usize = 24;
const REPLY: usize = 32;
const GET: u32 = 1;
const RELEASE: u32 = 2;
const ABSENT: u32 = 0;
const HERE: u32 = 1;
const REFUSED: u32 = 2;

/// A connection between a client and its node, which keeps the bounds of messages and their order.
pub trait Link: Send + Sync + 'static {
    /// Sends a request and waits for the reply to it, which replaces what is in `reply`.
    ///
    /// # Errors
    /// The connection is broken.
    fn call(&self, request: &[u8], reply: &mut Vec<u8>) -> io::Result<()>;

    /// Sends a message that has no reply. If the connection is broken, the node has noticed or will.
    fn tell(&self, message: &[u8]);
}

/// Why a client has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection is broken: the node is gone.
    #[error("the node does not answer: {0}")]
    Link(#[from] io::Error),
    /// The arena cannot be mapped.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The other side is no node, or one of another version.
    #[error("the node greets with {found:02x?}; this client understands {HELLO:02x?}")]
    Greeting {
        /// What it said.
        found: Vec<u8>,
    },
    /// The other side said something that makes no sense.
    #[error("the node answered {found:02x?}, which means nothing")]
    Reply {
        /// What it said.
        found: Vec<u8>,
    },
}

/// A process's access to the objects of a node on the same host. Cheap to clone; all clones are one connection, which
/// ends when the last clone and the last bytes got through it are gone.
#[derive(Clone)]
pub struct Client {
    arena: Attached,
    link: Arc<dyn Link>,
}

/// Tells the node that one pin is over.
struct Pin {
    link: Arc<dyn Link>,
    token: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.link.tell(&request(RELEASE, None, self.token));
    }
}

impl Client {
    /// A client over a new connection, with what the node sent first.
    ///
    /// # Errors
    /// [`ClientError::Greeting`]; [`ClientError::Store`] if the descriptor is not an arena's.
    pub fn over(link: Arc<dyn Link>, greeting: &[u8], descriptor: &OwnedFd) -> Result<Self, ClientError> {
        if greeting != HELLO {
            return Err(ClientError::Greeting { found: greeting.to_vec() });
        }
        Self::attached(link, descriptor)
    }

    /// A client of a node that lends what it wants this process to read, without being asked: see [`Session::lend`].
    ///
    /// # Errors
    /// [`ClientError::Store`] if the descriptor is not an arena's.
    pub fn attached(link: Arc<dyn Link>, descriptor: &OwnedFd) -> Result<Self, ClientError> {
        Ok(Self { arena: Attached::map(descriptor)?, link })
    }

    /// The bytes that the node has lent; none if there are no such bytes in its arena. They stay as they are, and the
    /// node's, until the last clone or slice of them is dropped. To be called once for each loan.
    pub fn borrow(&self, loan: Loan) -> Option<Bytes> {
        let pin = Pin { link: self.link.clone(), token: loan.token };
        self.arena.bytes(loan.offset, loan.len, pin)
    }

    /// The bytes of a sealed object, where they lie, or `None` if the node does not have it now. They stay as they are
    /// until the last clone or slice of them is dropped.
    ///
    /// # Errors
    /// [`ClientError::Link`], [`ClientError::Reply`].
    pub fn get(&self, id: ObjectId) -> Result<Option<Bytes>, ClientError> {
        let mut reply = Vec::with_capacity(REPLY);
        self.link.call(&request(GET, Some(id), id.task.seq), &mut reply)?;
        let nonsense = || ClientError::Reply { found: reply.clone() };
        let words: [u64; 4] = words(&reply).ok_or_else(nonsense)?;
        let [outcome, token, offset, len] = words;
        match outcome as u32 {
            ABSENT => Ok(None),
            HERE => {
                let pin = Pin { link: self.link.clone(), token };
                self.arena.bytes(offset, len, pin).map(Some).ok_or_else(nonsense)
            }
            _ => Err(nonsense()),
        }
    }
}

fn request(kind: u32, id: Option<ObjectId>, last: u64) -> [u8; REQUEST] {
    let mut out = [0; REQUEST];
    let owner = id.map_or((0, 0, 0), |id| (id.task.owner.node.0, id.task.owner.epoch.0, id.index));
    let fields = [kind, owner.0, owner.1, owner.2];
    for (place, field) in out.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    out[16..].copy_from_slice(&last.to_le_bytes());
    out
}

/// `N` little-endian words, and nothing else.
fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: &[[u8; 8]; N] = words.try_into().ok()?;
    rest.is_empty().then(|| words.map(u64::from_le_bytes))
}

/// Bytes that a node has lent to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loan {
    /// Under which the session holds them.
    pub token: u64,
    /// Where they are in the arena.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// The node's side of one connection: what the client holds. Dropping it releases all of that; see the module's
/// documentation for when that is allowed.
#[derive(Debug, Default)]
pub struct Session {
    held: BTreeMap<u64, View>,
    next: u64,
}

impl Session {
    /// Of a client that just connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many views the client holds.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Lends the client a view that it has not asked for, until it releases it.
    pub fn lend(&mut self, view: View) -> Loan {
        self.next += 1;
        let loan = Loan { token: self.next, offset: view.offset(), len: view.len() as u64 };
        self.held.insert(loan.token, view);
        loan
    }

    /// The bytes of a loan, for a client in this very process, which has no mapping of its own; none if it was released.
    pub fn lent(&self, loan: Loan) -> Option<Bytes> {
        self.held.get(&loan.token).map(View::bytes)
    }

    /// What the client's release of this loan does.
    pub fn release(&mut self, loan: Loan) {
        self.held.remove(&loan.token);
    }

    /// Answers one message; `find` looks an object up. The reply is empty if none is due.
    pub fn answer(&mut self, message: &[u8], find: impl FnOnce(ObjectId) -> Option<View>, reply: &mut Vec<u8>) {
        reply.clear();
        let Some([first, second, last]) = words(message) else { return put(reply, REFUSED, [0; 3]) };
        let (kind, node) = (first as u32, (first >> 32) as u32);
        let (epoch, index) = (second as u32, (second >> 32) as u32);
        match kind {
            GET => {
                let id = TaskId { owner: Incarnation::new(node, epoch), seq: last }.result(index);
                match find(id) {
                    None => put(reply, ABSENT, [0; 3]),
                    Some(view) => {
                        let Loan { token, offset, len } = self.lend(view);
                        put(reply, HERE, [token, offset, len]);
                    }
                }
            }
            RELEASE => drop(self.held.remove(&last)),
            _ => put(reply, REFUSED, [0; 3]),
        }
    }
}

fn put(reply: &mut Vec<u8>, outcome: u32, words: [u64; 3]) {
    reply.extend(u64::from(outcome).to_le_bytes());
    reply.extend(words.into_iter().flat_map(u64::to_le_bytes));
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.arena)
    }
}
