//! Clusters to rehearse on: one description, one set of fault verbs, one set of checks, three worlds.
//!
//! [`run`] builds the cluster that a [`ClusterSpec`] describes, in the world that [`RunOptions`] name, and runs a
//! driver on it. The driver is an ordinary Mobula program with a [`Cluster`] in its hand: through
//! [`Cluster::context`] it uses the runtime, through the other methods it kills, pauses, cuts off and adds nodes.
//! What it returns comes back in a [`RunReport`], with the hash of the event log where there is one.
//!
//! | | turmoil, madsim | real |
//! | --- | --- | --- |
//! | head, nodes | simulated machines of one thread | processes: `PROGRAM head`, `PROGRAM node` ([`child`]) |
//! | driver | the machine `driver` | this process |
//! | kill | the machine's tasks stop, connections close | SIGKILL |
//! | power off | silence, and the disk loses what was not synced | SIGSTOP, and never woken again |
//! | pause, resume | tasks stand still | SIGSTOP, SIGCONT |
//! | partition, heal | messages vanish | [`FaultError::Unsupported`], and a line in [`RunReport::skipped_faults`] |
//! | faults of calls | one table for all nodes | those without `to`; later than the beginning, `from` the driver only |
//! | hold, slow link, loss, clock jump | yes | unsupported, and a line |
//! | faults of disks, damage to spill files | yes | unsupported, and a line |
//! | strangers | from the driver's machine, at every node | the same, through real sockets |
//! | evict, shrink a store, look into one | yes | the driver's own store; others unsupported, and a line |
//! | link speed | [`ClusterSpec::link`] | the machine's own, and a line in [`RunReport::skipped_faults`] |
//!
//! Which simulator there is, is decided when compiling: turmoil, or with `--cfg madsim` madsim and nothing else. Asking
//! for another world is [`RunFailure::WrongBuild`], which says what to type.
//!
//! # Guarantees
//! - Same specification, options and driver: same event log, in a simulated world.
//! - Every wait of the harness is bounded, and says who did not come.
//! - A fault that a world cannot do is never skipped silently.
//! - After [`run`] has returned no process of the cluster is left, whatever the driver did; when this process dies, its
//!   children see the end of their standard input and go as well.
//!
//! # What must not happen
//! See `README.md` beside this file.

pub mod check;
pub mod child;
mod cluster;
mod fault;
mod profile;
mod run;
mod spec;
pub mod trace;
mod world;

pub use cluster::{Cluster, Intent, Program};
pub use fault::{FaultError, NodeState};
pub use mobula_env::{DiskDamage, DiskFaults, Followed, Recorded, Rng, RpcFault, RpcFaultKind, SHARED, WorldKind};
pub use profile::{Profile, ProfileError};
pub use run::{RunFailure, RunOptions, RunReport, run};
pub use spec::{ClusterSettings, ClusterSpec, DRIVER, HEAD, LinkSpec, NodeSpec, SpecError};
