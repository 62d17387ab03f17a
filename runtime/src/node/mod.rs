//! A node: its machines, and the thin shell around them.

mod actor_worker;
mod actors;
mod bulk;
mod cancel;
mod core;
mod coverage;
mod describe;
mod durability;
mod follow;
mod gets;
mod groups;
mod holds;
mod input;
mod jobs;
mod memory;
mod monitor;
mod peers;
mod processes;
mod route;
mod shell;
mod stream;
mod words;
mod worker;

pub(crate) use actors::{ActorInput, KnownReply};
pub(crate) use bulk::ask_once;
pub(crate) use cancel::Cancels;
pub use groups::GroupInput;
pub(crate) use peers::{Failure, Peers, REQUEST_TIMEOUT};
pub(crate) use processes::Processes;
pub use shell::Node;
pub(crate) use stream::Credits;
pub(crate) use words::Input;
pub use words::{Ledger, Question};
pub use worker::crash;
pub(crate) use worker::{death, run_caught};
