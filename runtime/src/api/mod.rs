//! The public API: references, contexts, task calls, functions.

mod call;
mod context;
mod function;
mod ready;
mod reference;

pub use call::{IntoArg, Many, One, TaskCall};
pub use context::{Context, Progress, Waited, read};
pub(crate) use context::{Placed, Shared, value_hash};
pub use function::{Body, BoxFuture, Input, Outputs, Rest, TaskFunction, find, nearest, output_of, raised};
pub use ready::WaitSet;
pub use reference::ObjectRef;
