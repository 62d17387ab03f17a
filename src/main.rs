//! The command line.

#![allow(clippy::disallowed_methods, reason = "a command line starts processes and reads the files it is given")]
#![allow(clippy::disallowed_types, reason = "a person at the command line waits in wall time")]

mod check;
#[cfg(not(madsim))]
mod memory;
mod mutants;
mod replay;
mod shrink;
mod sweep;

use clap::{Args, Parser, Subcommand};
use mobula_runtime::WorldKind;
use mobula_scenarios::Options;
use mobula_sim::child::{HeadArgs, NodeArgs};
use std::path::PathBuf;
use std::process::ExitCode;

/// A distributed runtime that is trusted because every failure has been rehearsed.
#[derive(Parser)]
#[command(name = "mobula", version, about, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Play a scenario file, or every one in a directory.
    ///
    /// Exit codes: 0 passed, 1 an expectation or invariant failed, 2 the file or the command line is wrong, 3 stuck,
    /// 4 not deterministic, 101 panic.
    Run(RunArgs),
    /// Play a scenario under many seeds and say which of them fail; equal answers are part of passing.
    Sweep(sweep::SweepArgs),
    /// Play a run again: up to an event, where every machine says its state, or from an event on with other dice.
    Replay(replay::ReplayArgs),
    /// Make a failing scenario smaller while it fails in the same way, and write it down.
    Shrink(shrink::ShrinkArgs),
    /// Measure the simulator: after how many seeds is each planted bug found?
    Mutants(mutants::MutantsArgs),
    /// Play a scenario twice with one seed, in two processes, and compare every line of the event log.
    Check(check::CheckArgs),
    /// Be the head of a cluster. Prints the address that nodes join.
    Head(HeadArgs),
    /// Be a node of a cluster.
    Node(NodeArgs),
    /// Show what is in the object stores of a running cluster.
    #[cfg(not(madsim))]
    Memory(memory::MemoryArgs),
}

/// Flags of `run`, shared by the commands that run.
#[derive(Args, Clone)]
struct RunArgs {
    /// A scenario file, or a directory of them.
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Where: turmoil, madsim or real. Default: the simulator of this build, which is turmoil unless it was made by
    /// `cargo madsim-run`.
    #[arg(long)]
    world: Option<WorldKind>,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where results are written. Default: out/ and the scenario's file name.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one document instead of lines.
    #[arg(long)]
    json: bool,
    /// Write the event log into this file: .html a space-time diagram, .json for Perfetto, .shiviz for ShiViz, else its
    /// lines.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl RunArgs {
    fn options(&self) -> Options {
        let default = Options::default();
        Options {
            world: self.world.unwrap_or(default.world),
            seed: self.seed,
            out: self.out.clone(),
            json: self.json,
            trace: self.trace.clone(),
            ..default
        }
    }
}

fn main() -> ExitCode {
    match Command::parse().what {
        What::Run(args) => {
            let reports = mobula_scenarios::run_path(&args.path, &args.options());
            ExitCode::from(mobula_scenarios::exit_code(&reports))
        }
        What::Sweep(args) => sweep::sweep(&args),
        What::Check(args) => check::check(&args),
        What::Replay(args) => replay::replay(&args),
        What::Shrink(args) => shrink::shrink(&args),
        What::Mutants(args) => mutants::mutants(&args),
        #[cfg(not(madsim))]
        What::Memory(args) => memory::memory(&args),
        #[cfg(not(madsim))]
        What::Head(args) => ended(mobula_sim::child::head(&args)),
        #[cfg(not(madsim))]
        What::Node(args) => ended(mobula_sim::child::node(&args)),
        #[cfg(madsim)]
        What::Head(_) | What::Node(_) => {
            eprintln!("error: this build simulates; real processes need the standard one: cargo run --release -- head");
            ExitCode::from(2)
        }
    }
}

/// Panics are what is looked for: their messages are in the reports.
fn without_panic_messages() {
    std::panic::set_hook(Box::new(|_| {}));
}

#[cfg(not(madsim))]
fn ended(result: Result<(), mobula_sim::child::ChildError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
