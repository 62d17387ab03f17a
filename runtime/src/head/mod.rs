//! The head: it admits nodes, watches them, keeps the membership log, and places actors. It holds no object and runs no
//! task, and no call of an actor passes through it, so its load grows with neither.
//!
//! With a [`log`](crate::HeadSettings::log) it survives its process: whatever it has said follows from turns that are on
//! disk, so that the next life goes on in the middle of a sentence, and nobody can tell a restart from a slow head.

mod actors;
mod core;
mod journal;
mod log;
mod measure;
mod shell;

pub use log::LogError;
pub use measure::append_turns;
pub use shell::Head;
