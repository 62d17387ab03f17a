//! How requests look as bytes: MessagePack of the protocol's own types, inside the one rpc service of `env`.
//!
//! `Join` carries a [`JoinRequest`] before a node has an identity, `Exchange` an [`Envelope`] of messages between two
//! incarnations of one cluster; `Memory` asks a node what is in its store, `Why` what waits there, `Jobs` the head which
//! jobs it knows. MessagePack, because another language can read it.

use bytes::Bytes;
use mobula_env::{RpcCode, RpcStatus};
use mobula_protocol::link::{Ack, Envelope};
use mobula_protocol::member::{JoinError, JoinRequest, Joined};
use mobula_protocol::{ClusterId, TaskId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Method name of [`JoinRequest`] to `Result<Joined, JoinError>`.
pub const JOIN: &str = "Join";
/// Method name of `(ClusterId, Envelope)` to [`ExchangeAnswer`].
pub const EXCHANGE: &str = "Exchange";

/// Method name of nothing to [`MemoryReport`](crate::MemoryReport): for people, from any process.
pub const MEMORY: &str = "Memory";

/// Method name of a [`TaskId`] to what the node knows of what the task waits for, or of none to everything that waits
/// there, a text a fact: for people.
pub const WHY: &str = "Why";

/// Method name of a job's name, or of none for all without their logs, to a list of
/// [`JobInfo`](mobula_protocol::job::JobInfo): for people, from any process; of the head.
pub const JOBS: &str = "Jobs";

/// What a join is answered with.
pub type JoinAnswer = Result<(ClusterId, Joined), JoinError>;

/// What an exchange is answered with.
pub type ExchangeAnswer = Result<Ack, OtherCluster>;

/// The envelope was for another cluster, in which the same incarnations mean others; it was not read. From the head it is
/// a verdict: the cluster of whoever asked is gone, with its head's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("this is cluster {mine}, not {yours}: the storage of that one's head is gone, and its nodes must end")]
pub struct OtherCluster {
    /// The answerer's.
    pub mine: ClusterId,
    /// The asker's.
    pub yours: ClusterId,
}

/// The bytes of `value`.
///
/// # Errors
/// When the value cannot be expressed, which no protocol type can cause; callers report it rather than panic.
pub fn write<T: Serialize>(value: &T) -> Result<Bytes, RpcStatus> {
    rmp_serde::to_vec(value).map(Bytes::from).map_err(|why| RpcStatus::new(RpcCode::Internal, why))
}

/// The value in `bytes`.
///
/// # Errors
/// When they are no such value: the peer speaks another version, or is no Mobula at all.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RpcStatus> {
    rmp_serde::from_slice(bytes).map_err(|why| {
        let what = std::any::type_name::<T>();
        RpcStatus::new(RpcCode::InvalidArgument, format!("not a {what} of this protocol version: {why}"))
    })
}

/// Reads a request of a known method.
pub enum Request {
    /// A node wants to join.
    Join(JoinRequest),
    /// Messages from an incarnation.
    Exchange(ClusterId, Envelope),
    /// What is in the store?
    Memory,
    /// What does this task wait for, or everything?
    Why(Option<TaskId>),
    /// Which jobs are there?
    Jobs(Option<String>),
}

impl Request {
    /// Reads the body of `method`.
    ///
    /// # Errors
    /// An unknown method, named together with the known ones, or a body that cannot be read.
    pub fn parse(method: &str, body: &[u8]) -> Result<Self, RpcStatus> {
        match method {
            JOIN => Ok(Self::Join(read(body)?)),
            EXCHANGE => {
                let (cluster, envelope) = read(body)?;
                Ok(Self::Exchange(cluster, envelope))
            }
            MEMORY => Ok(Self::Memory),
            WHY => Ok(Self::Why(read(body)?)),
            JOBS => Ok(Self::Jobs(read(body)?)),
            other => {
                let known = [JOIN, EXCHANGE, MEMORY, WHY, JOBS].join(", ");
                let message = format!("no method `{other}`; there are {known}");
                Err(RpcStatus::new(RpcCode::NotFound, message))
            }
        }
    }
}
