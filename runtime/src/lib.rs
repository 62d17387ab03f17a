//! Head, node, worker and driver as thin shells over protocol machines, and the public API.

#![cfg_attr(madsim, allow(unused))]

// The macros name this crate as its users do.
extern crate self as mobula_runtime;

mod api;
#[cfg(not(madsim))]
mod cluster;
mod error;
mod head;
#[cfg(not(madsim))]
mod local;
mod node;
mod objects;
mod persist;
pub mod process;
mod settings;
mod spill;
mod trespass;
mod warm;
mod wire;

pub use api::*;
#[cfg(not(madsim))]
pub use cluster::{Embedded, EmbeddedNode};
pub use error::StartError;
pub use head::{Head, LogError, append_turns};
#[cfg(not(madsim))]
pub use local::{Find, attach, share};
#[cfg(not(madsim))]
pub use mobula_env::RealConfig;
pub use mobula_env::compute::charge;
#[cfg(not(madsim))]
pub use mobula_env::local::LocalServer;
pub use mobula_env::{ClusterKey, Env, Files, KEY, KeyError, WorldKind, WrongKey};
pub use mobula_macros::{actor, task};
pub use mobula_protocol::actor::{ActorDeath, ActorId};
pub use mobula_protocol::job::{JobError, JobId, JobInfo, JobStatus};
pub use mobula_protocol::owner::{Counters, Holding};
pub use mobula_protocol::sched::{Candidate, Policy, Request, SharedPolicy, Strategy, UnknownPolicy};
pub use mobula_protocol::{
    Amount, ByteSize, ClusterId, Durability, FunctionId, Incarnation, Labels, Machine, Nanos, NodeId, ObjectId,
    Placement, Replay, Resources, Retries, TaskErrorKind, TaskId, UnreconstructableReason, Violation,
};
pub use mobula_store::codec::{Blob, Rope, Strided, Tensor};
pub use mobula_store::{Client, ClientError, MemoryPolicy, StoreError, Usage};
pub use node::{Ledger, Node, Question, crash};
#[cfg(not(madsim))]
pub use process::worker_main;
pub use settings::{HeadSettings, NodeSettings};
pub use trespass::{Outcome, Trespass, trespass};

/// Everything a simulated run may reach in this crate and `env`: kinds of lines of the event log, and unlikely paths. A
/// sweep lists those it never reached.
pub const PROBES: &[&str] = &[
    "actor",
    "admit",
    "call",
    "construct",
    "constructed",
    "create",
    "finish-call",
    "exchange.late",
    "fetch.late",
    "node.short-turn",
    "cancel",
    "declare-dead",
    "died",
    "evict",
    "fetch",
    "fetch-failed",
    "finish",
    "free-by-hand",
    "free-copy",
    "get-failed",
    "gone",
    "got",
    "grant",
    "group",
    "joined",
    "lease-end",
    "load",
    "log-failed",
    "memory-kill",
    "misaddressed",
    "missed",
    "no-room",
    "persisted",
    "put",
    "recv",
    "ref+",
    "ref-",
    "replicate",
    "resumed",
    "rpc-fault",
    "send",
    "set-aside",
    "skip",
    "spillback",
    "start",
    "stop",
    "stray",
    "submit",
    "take-over",
    "undelivered",
    "ungroup",
    "replica-failed",
    "endure",
    "loaded",
    "saved",
    "transfer.redirected",
    "transfer.refused",
    "transfer.relayed",
    "transfer.resumed",
    "promote",
    "refused",
    "restore",
    "shrink",
    "source",
    "spill",
    "spill failed",
    "spill lost",
    "sweep failed",
    "swept",
    "up",
];

/// What the calls between nodes are called: the methods of the wire, then the messages inside `Exchange`.
pub fn call_names() -> impl Iterator<Item = &'static str> + Clone {
    [wire::JOIN, wire::EXCHANGE].into_iter().chain(mobula_protocol::Message::names())
}

/// The one error of the public API: typed, with a cause (decision D10).
pub type Error = mobula_protocol::TaskError;
/// The result of most calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the macros expand to. Not for use by hand.
#[doc(hidden)]
pub mod macros {
    pub use crate::api::{
        ActorClass, Constructed, Constructor, Handle, Hooks, Instance, Method, MethodBody, MethodFuture, MethodItems,
        saved, this, this_mut,
    };
    pub use crate::api::{Body, BoxFuture, Input, Items, Many, One, Outputs, Rest, Streamed, TaskCall};
    pub use crate::api::{TaskFunction, encoded, output_of, raised};
    pub use inventory;
}
