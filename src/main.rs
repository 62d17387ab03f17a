//! The command line.

#![allow(clippy::disallowed_methods, reason = "a command line starts processes and reads the files it is given")]
#![allow(clippy::disallowed_types, reason = "a person at the command line waits in wall time")]

#[cfg(not(madsim))]
mod calibrate;
mod check;
#[cfg(not(madsim))]
mod compare;
mod digests;
#[cfg(not(madsim))]
mod jobs;
#[cfg(not(madsim))]
mod memory;
mod mutants;
mod replay;
mod shrink;
mod sweep;
#[cfg(not(madsim))]
mod why;

#[cfg(feature = "planted")]
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
#[cfg(feature = "planted")]
use mobula_protocol::planted;
use mobula_runtime::WorldKind;
use mobula_scenarios::{Options, Record};
use mobula_sim::child::{HeadArgs, NodeArgs};
use std::path::{Path, PathBuf};
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
    /// 101 panic.
    Run(RunArgs),
    /// Play a scenario under many seeds and say which of them fail; equal answers are part of passing.
    Sweep(sweep::SweepArgs),
    /// Play a run again: up to an event, where every machine says its state, or from an event on with other dice.
    Replay(replay::ReplayArgs),
    /// Make a failing scenario smaller while it fails in the same way, and write it down.
    Shrink(shrink::ShrinkArgs),
    /// Measure the simulator: after how many seeds is each planted bug found?
    Mutants(mutants::MutantsArgs),
    /// Measure what this machine can do, and write it down for `compare`.
    #[cfg(not(madsim))]
    Calibrate(calibrate::CalibrateArgs),
    /// Play a scenario in simulation, as processes of one machine, and really: times side by side, with the error.
    #[cfg(not(madsim))]
    Compare(compare::CompareArgs),
    /// Play a scenario twice with one seed, in two processes, and compare every line of the event log.
    ///
    /// Exit codes: 0 all lines are equal, 4 they are not, 2 there is nothing to compare.
    Check(check::CheckArgs),
    /// Play scenarios in one world and write what they answer into its column of a table of all worlds.
    Digests(digests::DigestsArgs),
    /// Be the head of a cluster. Prints the address that nodes join.
    Head(HeadArgs),
    /// Be a node of a cluster.
    Node(Box<NodeArgs>),
    /// List the jobs of a running cluster and what became of them, or print the log of one.
    #[cfg(not(madsim))]
    Jobs(jobs::JobsArgs),
    /// Show what is in the object stores of a running cluster.
    #[cfg(not(madsim))]
    Memory(memory::MemoryArgs),
    /// Say what a task of a running cluster waits for: arguments, room, or something that no node has.
    #[cfg(not(madsim))]
    Why(why::WhyArgs),
}

/// Where scenarios are played: flags of every command that plays them.
#[derive(Args)]
struct Place {
    /// Where: turmoil, madsim or real. Default: the simulator of this build, which is turmoil unless it was made by
    /// `cargo madsim-run`.
    #[arg(long)]
    world: Option<WorldKind>,
    /// Where results are written. Default: out/ and the scenario's file name.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Switch this planted bug on, to see what it does.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "BUG", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(planted::MUTANTS.iter().map(|mutant| mutant.name)))]
    planted: Option<String>,
}

impl Place {
    /// There, with this seed. From now on the planted bug that was asked for is on, in builds that have any.
    fn options(&self, seed: u64) -> Options {
        #[cfg(feature = "planted")]
        planted::activate(self.planted.as_deref());
        let default = Options::default();
        Options { world: self.world.unwrap_or(default.world), seed, out: self.out.clone(), ..default }
    }
}

/// One run: what the commands work on that look at a run closely.
#[derive(Args)]
struct OneRun {
    /// A scenario file.
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    place: Place,
}

impl OneRun {
    fn options(&self) -> Options {
        self.place.options(self.seed)
    }

    /// Refuses the real world, where `what` makes no sense.
    fn must_be_simulated(&self, what: &str) -> Result<(), ExitCode> {
        if self.options().world != WorldKind::Real {
            return Ok(());
        }
        eprintln!("error: nothing happens twice in the real world; {what} in turmoil or madsim");
        Err(ExitCode::from(2))
    }
}

/// Flags of `run`.
#[derive(Args)]
struct RunArgs {
    /// A scenario file, or a directory of them.
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Seed of all random numbers. Default: 1, or that of the record.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    place: Place,
    /// Play FILE as this record of a real run says: messages and tasks take the times they took there, and the run fails if
    /// it ends otherwise. `--world real --trace` writes such a record.
    #[arg(long, value_name = "RECORD")]
    as_recorded: Option<PathBuf>,
    /// Print one document a run instead of lines.
    #[arg(long)]
    json: bool,
    /// Write the event log of a FILE into this file: .html a space-time diagram, .json for Perfetto, .shiviz for ShiViz,
    /// else its lines, which of a real run are a record that can be played again.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Plays what was asked for.
fn run(args: &RunArgs) -> ExitCode {
    if args.trace.is_some() && args.path.is_dir() {
        eprintln!(
            "error: {} is a directory, and each run in it has an event log; --trace takes a file",
            args.path.display()
        );
        return ExitCode::from(2);
    }
    let recorded = match &args.as_recorded {
        Some(record) => match seed_of(record, args) {
            Ok(seed) => Some(seed),
            Err(why) => {
                eprintln!("error: {why}");
                return ExitCode::from(2);
            }
        },
        None => None,
    };
    let place = args.place.options(args.seed.or(recorded).unwrap_or(1));
    let (trace, as_recorded) = (args.trace.clone(), args.as_recorded.clone());
    let options = Options { json: args.json, trace, as_recorded, ..place };
    ExitCode::from(mobula_scenarios::exit_code(&mobula_scenarios::run_path(&args.path, &options)))
}

/// The seed of a record that is to be played, if it can be.
fn seed_of(record: &Path, args: &RunArgs) -> Result<u64, String> {
    if args.path.is_dir() {
        return Err(format!("{} is a directory; --as-recorded takes the scenario of the record", args.path.display()));
    }
    if args.place.world == Some(WorldKind::Real) {
        return Err("the real world keeps its own times; play a record in turmoil or madsim".to_owned());
    }
    Record::read(record).map(|record| record.seed).map_err(|why| why.to_string())
}

fn main() -> ExitCode {
    #[cfg(not(madsim))]
    mobula_runtime::worker_main();
    match Command::parse().what {
        What::Run(args) => run(&args),
        What::Sweep(args) => sweep::sweep(&args),
        #[cfg(not(madsim))]
        What::Calibrate(args) => calibrate::calibrate(&args),
        #[cfg(not(madsim))]
        What::Compare(args) => compare::compare(&args),
        What::Check(args) => check::check(&args),
        What::Digests(args) => digests::digests(&args),
        What::Replay(args) => replay::replay(&args),
        What::Shrink(args) => shrink::shrink(&args),
        What::Mutants(args) => mutants::mutants(&args),
        #[cfg(not(madsim))]
        What::Memory(args) => memory::memory(&args),
        #[cfg(not(madsim))]
        What::Why(args) => why::why(&args),
        #[cfg(not(madsim))]
        What::Jobs(args) => jobs::jobs(&args),
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
