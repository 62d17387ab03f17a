//! The head: it admits nodes, watches them, and keeps the membership log. It holds no object and runs no task, so its load
//! does not grow with either (Ray's control store also places actors and groups; that is for a later room here).

mod shell;

pub use shell::Head;
