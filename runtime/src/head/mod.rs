//! The head: it admits nodes, watches them, keeps the membership log, and places actors. It holds no object and runs no
//! task, and no call of an actor passes through it, so its load grows with neither.

mod actors;
mod shell;

pub use shell::Head;
