//! Scenario files, the built-in workloads they use, and the runner.
//!
//! A scenario is a script a person can read aloud: a cluster, what the driver does, what goes wrong and when, and what must
//! be true. [`file::read`] turns a file into a [`file::Scenario`] and refuses every unknown word with its line and the
//! nearest valid one, before anything runs. [`run_file`] plays it in one of the worlds of `mobula-sim` and reports.
//!
//! `README.md` beside this crate is the grammar; a test parses its examples.
//!
//! What must NOT happen: a scenario that passes because a fault was skipped without a line that says so; a step whose
//! failure does not name the file and the line; an answer (digest) that depends on the world.

pub mod actors;
pub mod condition;
pub mod expr;
pub mod file;
mod run;
pub mod search;
pub mod tasks;
pub mod value;

pub use run::{
    AsRecorded, Failure, Options, Outcome, Record, RecordError, Report, exit_code, files, run_file, run_path,
};
