//! Execution: a machine that decides, a shell that drives tasks, and what people see meanwhile.

mod cluster;
mod local;
mod machine;
mod progress;
mod shell;
#[cfg(test)]
mod tests;
mod topology;

pub(crate) use cluster::Outside;
pub use cluster::{Cluster, Part};
pub use local::Local;
pub use machine::Executor;
pub use progress::{Bars, OpInfo, ProgressSink, Silent};
pub use shell::{Completion, Consumer, Launch, execute};
pub use topology::{Effect, Event, Limits, OpProgress, Output, Shape, Source, Topology};
