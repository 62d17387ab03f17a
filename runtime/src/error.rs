//! Why a process cannot take part in a cluster.

use crate::head::LogError;
use mobula_env::{KeyError, RpcError, WrongKey};
use mobula_protocol::member::{JoinError, SettingsError};
use mobula_store::StoreError;
use std::io;

/// A head, node or driver that cannot start. Every one names the thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The head did not let it in.
    #[error(transparent)]
    Refused(JoinError),
    /// The head does not let it in: its cluster has another key.
    #[error("cannot join: {0}")]
    WrongKey(#[from] WrongKey),
    /// This process's own key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The head cannot be reached.
    #[error("no head at {0}: {1}; is `mobula head` running there?")]
    NoHead(String, RpcError),
    /// The store cannot be had.
    #[error(transparent)]
    Store(StoreError),
    /// Nothing can be spilled there.
    #[error("no place to spill to: {0}")]
    Spill(io::Error),
    /// The port cannot be had.
    #[error("port {0} is in use by another process; take another one, or 0 for any free port")]
    PortInUse(u16),
    /// The network refuses something else.
    #[error("cannot listen: {0}")]
    Listen(io::Error),
    /// The head's log cannot be gone on with.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The health settings make no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The operating system refuses threads or files.
    #[error("cannot start a node: {0}")]
    Os(#[from] io::Error),
}

impl StartError {
    pub(crate) fn port(port: u16, why: io::Error) -> Self {
        if why.kind() == io::ErrorKind::AddrInUse { Self::PortInUse(port) } else { Self::Listen(why) }
    }
}
