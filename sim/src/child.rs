//! The other half of the real world: what a program does that is started as `head` or as `node`.
//!
//! A program that wants to be the nodes of a real cluster has these two subcommands; the flags are defined here once,
//! for the parent that writes them and for the child that reads them.
//!
//! ```text
//! PROGRAM head --port 0                           says   mobula head listening on 127.0.0.1:4711
//! PROGRAM node --join 127.0.0.1:4711 --name A     says   mobula node A joined 127.0.0.1:4711 as n1.2
//! ```
//! The line is the first on the standard output; errors go to the standard error, with exit code 1. A node ends when it
//! is told to, when its cluster declares it dead, and when a task of the runtime panics.
//!
//! The cluster's key is in the environment, as `MOBULA_KEY` ([`mobula_runtime::ClusterKey`]); a process that has none
//! there uses that of its user, `~/.mobula/key`, which a head makes if it is missing.

mod args;
#[cfg(not(madsim))]
mod serve;
#[cfg(not(madsim))]
mod write;

pub use args::{HeadArgs, NodeArgs};
#[cfg(not(madsim))]
pub use serve::{ChildError, head, node};
