//! Every decision of Mobula, as plain state machines without async, clocks, I/O or randomness.
//!
//! A machine is a struct with `step(now, event, &mut effects)`, `next_deadline()` and `check()` (see [`Machine`]). Same
//! inputs, same outputs, always; that is what lets the very same code run on sockets and in two simulators.
//!
//! | module | decides | in Ray |
//! | --- | --- | --- |
//! | [`member`] | who is in the cluster, under which epoch, and who is dead | GcsNodeManager, health check |
//! | [`link`] | exactly-once, in-order messages between two incarnations over retried requests | retryable gRPC client |
//! | [`sched`] | leases: asked for, placed (policy), granted, queued, spilled back; what runs under them | raylet |
//! | [`owner`] | references, attempts, lineage, recovery, items of generators | ReferenceCounter, TaskManager |
//! | [`directory`] | where the copies of an object are, and who wants to know | OwnershipObjectDirectory |
//! | [`actor`] | where actors live, the order of their calls, exactly once | GcsActorManager, ActorTaskSubmitter |
//! | [`pull`] | which objects a node fetches next, within its memory | PullManager |
//! | [`transfer`] | from whom an object's bytes come, chunk by chunk, and who is sent what | ObjectManager, PushManager |
//! | [`memory`] | which attempt ends when a node runs out of memory | MemoryMonitor, WorkerKillingPolicy |
//!
//! Beside them: [`planted`] marks where bugs can be switched on, to measure what finds them; [`Map`] is a hash map
//! whose order is a function of what was done to it.
//!
//! What must NOT happen here: an import of another Mobula crate, of tokio, of a clock, a socket or a file; iteration over a
//! hash map of the standard library; a random draw. The clippy ban list and `tests/rooms.rs` enforce it.

mod ids;
mod machine;
mod map;
mod message;
mod resources;
mod spec;
mod units;

pub mod actor;
pub mod directory;
pub mod job;
pub mod link;
pub mod member;
pub mod memory;
pub mod owner;
pub mod planted;
pub mod pull;
pub mod sched;
pub mod transfer;

pub use ids::{
    Attempt, Bundle, ClusterId, Epoch, FunctionId, GroupId, Incarnation, LeaseId, NodeId, NotATask, ObjectId, OwnerId,
    TaskId,
};
pub use machine::{Machine, Violation};
pub use map::Map;
pub use message::{Credit, Located, Message, ResultPlace, SharedPlace, TaskOutcome, TaskResult};
pub use resources::{Amount, Labels, Resources};
pub use spec::{
    Arg, Durability, INLINE_TOTAL, Placement, Replay, Retries, SchedulingClass, Share, Streaming, TaskError,
    TaskErrorKind, TaskSpec, UnreconstructableReason,
};
pub use units::{ByteSize, Nanos, UnitError};
