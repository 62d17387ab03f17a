//! How requests look as bytes: MessagePack of the protocol's own types, inside the one rpc service of `env`.
//!
//! `Join` carries a [`JoinRequest`] before a node has an identity, `Exchange` an [`Envelope`] of messages between two
//! incarnations; `Memory` asks a node what is in its store, `Why` what waits there. MessagePack, because another language
//! can read it.

use bytes::Bytes;
use mobula_env::{RpcCode, RpcStatus};
use mobula_protocol::TaskId;
use mobula_protocol::link::{Ack, Envelope};
use mobula_protocol::member::{JoinError, JoinRequest, Joined};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Method name of [`JoinRequest`] to `Result<Joined, JoinError>`.
pub const JOIN: &str = "Join";
/// Method name of [`Envelope`] to [`Ack`].
pub const EXCHANGE: &str = "Exchange";

/// Method name of nothing to [`MemoryReport`](crate::MemoryReport): for people, from any process.
pub const MEMORY: &str = "Memory";

/// Method name of a [`TaskId`] to what the node knows of what the task waits for, or of none to everything that waits there, a
/// text a fact: for people.
pub const WHY: &str = "Why";

/// What a join is answered with.
pub type JoinAnswer = Result<Joined, JoinError>;

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
    Exchange(Envelope),
    /// What is in the store?
    Memory,
    /// What does this task wait for, or everything?
    Why(Option<TaskId>),
}

impl Request {
    /// Reads the body of `method`.
    ///
    /// # Errors
    /// An unknown method, named together with the known ones, or a body that cannot be read.
    pub fn parse(method: &str, body: &[u8]) -> Result<Self, RpcStatus> {
        match method {
            JOIN => Ok(Self::Join(read(body)?)),
            EXCHANGE => Ok(Self::Exchange(read(body)?)),
            MEMORY => Ok(Self::Memory),
            WHY => Ok(Self::Why(read(body)?)),
            other => {
                let message = format!("no method `{other}`; there are `{JOIN}`, `{EXCHANGE}`, `{MEMORY}` and `{WHY}`");
                Err(RpcStatus::new(RpcCode::NotFound, message))
            }
        }
    }
}

/// The reply to an exchange.
///
/// # Errors
/// As [`write`].
pub fn ack(ack: Ack) -> Result<Bytes, RpcStatus> {
    write(&ack)
}
