//! The one seam between Mobula and the world: clock, spawn, randomness, network, sockets and processes of one
//! host, rpc and its faults, disk, files outside the cluster, compute.
//!
//! [`Env`] is a concrete, cloneable handle over a closed set of worlds. One `Env` is one life of one node: a restarted
//! node gets a new one. The code above it is the same in all worlds and cannot tell them apart except by
//! [`Env::world`], which is for reports only.
//!
//! | | real | turmoil (`cargo test`) | madsim (`cargo madsim`) |
//! | --- | --- | --- | --- |
//! | node | a tokio runtime of its own | a turmoil host | a madsim node |
//! | time | monotonic clock | 1 ms ticks = 100 us of the model, idle ones left out | events; 1 simulator ms = 1 us of the model |
//! | network | sockets, or memory | simulated TCP, real HTTP/2 bytes | simulated streams, boxed calls |
//! | fidelity | everything | the wire | time and scale |
//! | [`Env::awake`] | polls for a while ([`Vigil`]) | waits | waits |
//! | [`Env::compute`] | a thread for blocking work | inline, charged to the cores | inline, charged to the cores |
//! | [`Env::resident`] | of the process | unknown | unknown |
//! | [`Env::disk`] | a directory | memory, loses what was not synced | memory, loses what was not synced |
//! | [`Recorded`] times | - | kept, in ticks | kept |
//! | `Env::serve_local` | a Unix socket | unsupported | - |
//! | [`Env::start_process`] | this program, once more | inline, charged to the cores | inline, charged to the cores |
//! | [`Env::files`] | real files | real files, time charged | real files, time charged |
//!
//! # Guarantees
//! - **Determinism.** A simulation is a function of its [`SimConfig`] and its driver: same binary, same lines in the
//!   event log, in another process too (`tests/determinism.rs`).
//! - **No lost panic.** A panic in a task, a handler or a boot function ends a simulation with [`SimFailure::Panic`];
//!   in the real world it is printed, kept for [`RealNode::failure`] and fails the node.
//! - **No port for strangers.** Both ends of every connection prove the cluster's key before anything that was sent
//!   over it is read: see [`ClusterKey`] for what that protects and what not. Other processes of the host are let in by
//!   their user ([`local`]).
//! - **A dead node is silent or closed, never half alive.** Killing a node stops all of its tasks, those inside tonic
//!   too.
//! - **Every connect and every call ends**, at the latest with a timeout: a simulated segment lost in a partition is
//!   never sent again, and real peers vanish as well. Reading from a [`Stream`] has no built-in limit; use
//!   [`Env::timeout`].
//!
//! # What must not happen
//! No other crate names tokio's time, net, fs or task modules, tonic, turmoil or madsim. No code under simulation
//! reads the wall clock, starts a thread or draws from the operating system: that breaks determinism without an error
//! message.
//!
//! # Time dilation
//! Both simulators round every sleep up to one millisecond. `Env` therefore lets a simulator millisecond stand for
//! less: one microsecond of the model on madsim, which jumps from event to event and pays nothing for finer time; on
//! turmoil, which visits every host at every tick that is not left out as idle, 100 us, or what [`SimConfig::tick`] says.
//! All times in this API are model times.

// This is the room that owns what the others may not touch.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "env is the seam to clocks, threads and files")]

// rustdoc, which does not get these flags, is let through.
#[cfg(not(any(tokio_unstable, madsim, doc)))]
compile_error!(
    "mobula-env needs `--cfg tokio_unstable`, which .cargo/config.toml sets. An environment variable RUSTFLAGS \
     replaces the flags of that file: unset it, or add `--cfg tokio_unstable` to it. Without the flag turmoil is not \
     deterministic and panics in spawned tasks are lost."
);

mod backend;
pub mod compute;
mod disk;
mod env;
mod files;
mod key;
#[cfg(not(madsim))]
pub mod local;
mod log;
#[cfg(not(madsim))]
mod memory;
mod net;
mod playback;
pub mod process;
mod rng;
mod rpc;
mod sim;
mod task;
mod vigil;

#[cfg(not(madsim))]
pub use backend::real::{MemoryNet, RealConfig, RealNet, RealNode};
pub use compute::{Costs, Resource};
pub use disk::{Claim, Disk, DiskDamage, DiskFaults, DiskHold, FileWriter, LEASE as CLAIM_LEASE};
pub use env::{Elapsed, Env, Interval, UnknownWorld, WorldKind};
pub use files::Files;
pub use key::{ClusterKey, KEY, KeyError, WrongKey};
pub use log::LogSink;
pub use net::{Listener, Stream};
pub use playback::{Execution, Followed, MessageKind, Playback, Recorded};
pub use rng::Rng;
pub use rpc::{MESSAGE_LIMIT, RpcClient, RpcCode, RpcError, RpcFault, RpcFaultKind, RpcServer, RpcService, RpcStatus};
pub use sim::{SHARED, SimConfig, SimFailure, SimHandle, SimReport, simulate};
pub use task::{Task, TaskGone};
pub use vigil::Vigil;
