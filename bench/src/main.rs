//! `mobula-bench GROUP`: measures one group of figures on this machine and prints them as one table.
//!
//! Every figure has a name that never changes, a unit, and a baseline measured in the same run, so that a ratio means
//! something on any machine. `README.md` beside this crate says what each row means and what limits it.
//!
//! What must NOT happen: a row that is silently missing (a figure that could not be measured says why), a value from
//! another run, a ratio whose direction depends on the unit (larger is better, always).

#[cfg(not(madsim))]
mod actors;
#[cfg(not(madsim))]
mod baseline;
#[cfg(not(madsim))]
mod child;
#[cfg(not(madsim))]
mod clock;
#[cfg(not(madsim))]
mod codec;
#[cfg(not(madsim))]
mod flights;
#[cfg(not(madsim))]
mod group;
#[cfg(not(madsim))]
mod lab;
#[cfg(not(madsim))]
mod machine;
#[cfg(not(madsim))]
mod program;
#[cfg(not(madsim))]
mod report;
#[cfg(not(madsim))]
mod sample;
#[cfg(not(madsim))]
mod store;
#[cfg(not(madsim))]
mod tasks;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    program::main()
}

/// Simulated time says nothing about this machine.
#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    eprintln!(
        "error: this build simulates; measure with the standard one: cargo run --release -p mobula-bench -- tasks"
    );
    std::process::ExitCode::from(2)
}
