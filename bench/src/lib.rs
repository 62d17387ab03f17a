//! Measures one group of figures on this machine and prints them as one table: `mobula-bench GROUP`.
//!
//! Every figure has a name that never changes, a unit, and a baseline measured in the same run, so that a ratio means
//! something on any machine. `README.md` beside this crate says what each row means and what limits it.
//!
//! What must NOT happen: a row that is silently missing (a figure that could not be measured says why), a value from
//! another run, a ratio whose direction depends on the unit (larger is better, always).

// Simulated time says nothing about this machine.
#![cfg(not(madsim))]

mod actors;
mod baseline;
mod child;
mod clock;
mod codec;
mod control;
mod figure;
mod flights;
mod group;
mod lab;
mod machine;
mod program;
mod recovery;
mod report;
mod sample;
mod simulation;
mod spill;
mod store;
mod tasks;
mod transfer;

pub use program::main;
