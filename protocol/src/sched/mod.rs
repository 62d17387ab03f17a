//! Scheduling: leases, the policy that places them, and the queue of a leased worker.
//!
//! A *lease* is the permission to run tasks of one [`crate::SchedulingClass`] on one node, one at a time; the node sets
//! the class's resources aside as long as the lease lives. The owner of tasks asks for leases and keeps them while it
//! has tasks, so that the scheduler is asked once per lease and not once per task.
//!
//! ```text
//!  owner                                   node
//!  Dispatch --LeaseRequest---------------> Local      grants, queues or spills back
//!           <-Granted/Spillback/Refused---
//!           --PushTask-------------------> Executor   waits for arguments, runs in order
//!           <-TaskStarted, TaskDone-------
//!           --LeaseReturn----------------> Local, and its Ended goes to the Executor
//! ```
//!
//! | here | in Ray | where we differ |
//! | --- | --- | --- |
//! | [`Policy`] | `HybridSchedulingPolicy` and its siblings, `LeasePolicy` | one pure function, seeded ties |
//! | [`Dispatch`] | `NormalTaskSubmitter` | pipelined pushes, leases end after a term, ids are counters |
//! | [`Local`] | `ClusterLeaseManager`, `LocalLeaseManager` | fair over owners, bounded hops, exact amounts |
//! | [`Groups`] | `GcsPlacementGroupManager` | owned by their creator, reserved and used, nothing to persist |
//! | [`Pool`] | `WorkerPool` | only for the tasks that ask for a process |
//! | [`Executor`] | `TaskReceiver`, `LeaseDependencyManager` | hands back what waits behind a blocked task |
//!
//! Guarantees over all, checked by `closed_loop_tests.rs`: a task whose class some living node can satisfy is
//! executed in the end (I36); after every lease is returned each node is as free as at its start (I33); a lease is
//! granted at most once in the whole cluster (I34); a request is spilled back at most [`MAX_HOPS`] times.

#[cfg(test)]
mod closed_loop_tests;
pub mod dispatch;
pub mod executor;
pub mod group;
pub mod local;
pub mod policy;
pub mod pool;
mod types;

pub use dispatch::{Dispatch, DispatchSettings};
pub use executor::Executor;
pub use group::{Groups, Strategy};
pub use local::{Local, MAX_HOPS};
pub(crate) use policy::mix;
pub use policy::{Candidate, Decision, Hybrid, Packed, Policy, Random, Request, SharedPolicy, Spread, UnknownPolicy};
pub use pool::Pool;
pub use types::Refusal;
