//! Actors: objects with state that live in one process at a time, and the calls of their methods.
//!
//! A call is a task whose placement is an actor ([`crate::Placement::Actor`]): the caller's [`crate::owner`] numbers its
//! attempts, owns its results and keeps its budgets, as for any task. Instead of a lease of its own it runs under the
//! lease of the actor, which the head holds for the actor's life. So the lease names the actor's incarnation, and a
//! message to an earlier one names a lease that is gone.
//!
//! ```text
//!   caller's node                      head                           host's node
//!   Owner  Callers --Watch-----------> Registry --Enqueue--> Dispatch --LeaseRequest--> Local
//!     ^      |  ^ <--Status----------- |   ^  <--Assign------/        <--LeaseGranted--
//!     |      |  |                      |   |
//!     |      |  |                      +---|--Start, Stop, Saved-------------------> Host --Construct, Run--> worker
//!     |      |  |                          +--Started, Save, Ended------------------- |
//!     |      |  +-- TaskDone of calls -----------------------------------------------/ ^
//!     |      +--- Call ----------------------------------------------------------------+
//! ```
//! [`Registry`] has the life cycle, names and checkpoints; [`Callers`] has the order of calls and what a lost
//! incarnation means for them; [`Host`] has the queues, the reply cache and when a state is saved.
//!
//! # Guarantees
//! - **Order (I12).** Calls through one handle start in the order in which they were submitted, each once its arguments
//!   exist; a call that has failed is skipped. A restart keeps the order: calls that are sent again go in the same order.
//!   A clone of a handle in the same process shares its order; a handle that travelled to another process, or was read
//!   from a value, has one of its own. Calls of unordered actors start as their arguments come.
//! - **No overlap (I13).** A new incarnation starts only when the old one's worker has returned, or its node is dead. A
//!   synchronous method that never returns therefore keeps its actor from being replaced: threads cannot be killed.
//! - **One incarnation (I15), one name.** The head names each incarnation by a lease, and takes no word of any other.
//! - **Restarts (I16).** At most `max_restarts` after crashes of the worker or its node; none after a kill, the owner's
//!   death, the last handle's end or an error of the constructor. The end of a node that was drained before is not
//!   counted.
//! - **Unavailable is not dead.** A call in flight when its incarnation ends waits for the head's verdict: it is sent
//!   again if its budget allows; else it fails with `ActorUnavailable` (it may or may not have run, and the actor will be
//!   back) or `ActorDied(cause)`. A call that had not begun is never charged: it waits for the next incarnation.
//! - **Exactly once (I14).** If asked for, a reply leaves the host only after a checkpoint that includes the call's
//!   effect *and its reply* is with the head. An incarnation that starts from a checkpoint answers the calls it includes
//!   from the reply cache and runs the others, the *tail*, again: nobody has seen an effect of theirs. One checkpoint
//!   covers every call that ended while the one before was on its way (group commit). This holds for the actor's own
//!   state, whatever the method does and however often it crashes; what a method does to the world outside, or by
//!   calling other actors, may happen again.
//! - **Placement groups (P6).** An actor that names a group lives in one of its bundles and uses what was set aside there.
//!   The process that makes the actor publishes the group to the head before it asks for the actor, and every change
//!   after that ([`crate::sched::group`]); a restart goes where the bundle is by then. With the group its actors end,
//!   whoever hears of it first: the head, or the host whose lease goes with the bundle.
//! - **Methods that stream (F03)** are calls whose results come one by one ([`crate::owner`] numbers and keeps them, as for
//!   tasks). A call has its turn until its last item, or until its consumer leaves or cancels it; one that takes `&mut self`
//!   has the actor alone meanwhile, one that takes `&self` shares it as other such calls do. When the incarnation ends under
//!   it, the call is lost like any other: made again if the budget allows, and then the consumer goes on where it was and is
//!   given nothing twice; else the stream ends with `ActorUnavailable` or `ActorDied` after the items that were made. An
//!   exactly-once actor has no such calls: an item is out before the checkpoint that would have its effect, and the
//!   checkpoint comes after the last one. Whoever asks for it is refused at submission.
//! - **Constructor arguments are pinned for life**: the head is registered as a holder of every object they reach.
//!
//! # Durability
//! Checkpoints and the registry live in the head's memory: they survive every node, not the head. A checkpoint is at most
//! [`CHECKPOINT_LIMIT`] bytes, replies included.
//!
//! # Where we differ from Ray
//! - Ray renumbers retried calls (#51904), so their order across incarnations can change; here the submission number is
//!   the order, for ever.
//! - Ray charges a call that is submitted while the actor restarts; here only a call that may have run.
//! - Exactly once and checkpoints do not exist in Ray; nor are constructor arguments pinned (#53727).
//! - An actor holds its resources for life, one cpu unless told otherwise (Ray: one to be placed, none while it runs).
//! - Calls whose result was lost run again while the actor lives; a dead actor is not brought back for it.
//!
//! # Must not happen
//! A restart decided anywhere but in the registry; a call retried on the ground of a timeout.

mod callers;
mod host;
mod registry;
mod types;
mod words;

#[cfg(test)]
mod closed_loop_tests;
#[cfg(test)]
mod group_loop_tests;

pub use callers::{Callers, Effect as CallersEffect, Event as CallersEvent, WINDOW as SEND_WINDOW};
pub use host::{Effect as HostEffect, Event as HostEvent, Host};
pub use registry::{Effect as RegistryEffect, Event as RegistryEvent, GRACE, Registry};
pub use types::{ActorDeath, ActorId, ActorName, ActorOptions, ActorSpec, CHECKPOINT_LIMIT, Checkpoint, End, Place};
pub use words::{Known, Word};
