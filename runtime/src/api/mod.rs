//! The public API: references, contexts, task calls, functions, actors.

mod actor;
mod actor_init;
mod arguments;
mod call;
mod context;
mod durability;
mod function;
mod group;
mod job;
mod keeper;
mod memory;
mod ready;
mod reference;
mod stream;
mod usage;
mod why;

pub(crate) use actor::READY;
pub use actor::{
    Actor, ActorCall, ActorClass, ActorType, Constructed, Constructor, Handle, Hooks, Instance, Method, MethodBody,
    MethodFuture, MethodItems, saved, this, this_mut,
};
pub use actor_init::{ActorInit, ActorState, death_of};
pub use arguments::Argument;
pub use call::{IntoArg, Many, One, Streamed, TaskCall};
pub use context::{Context, Progress, Waited, read};
pub(crate) use context::{Placed, Shared, gone, value_hash};
pub use function::{
    Body, BoxFuture, Input, Items, Output, Outputs, ProcessInput, Rest, TaskFunction, encoded, find, nearest,
    output_of, raised,
};
pub use group::PlacementGroup;
pub use job::{Job, JobFailure, jobs_of};
pub use keeper::Keeper;
pub use memory::{DepartedCopy, MemoryReport, ObjectMemory, OwnerMemory};
pub use ready::WaitSet;
pub use reference::ObjectRef;
pub use stream::ObjectStream;
pub use usage::{JobMemory, by_job, owned};
