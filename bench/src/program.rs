//! The command line.

use crate::child::Child;
use crate::group::{self, Group};
use crate::report::Report;
use clap::Parser;
use std::process::ExitCode;

/// Measures one group of figures on this machine.
#[derive(Parser)]
#[command(name = "mobula-bench", version, about, arg_required_else_help = true)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
struct Command {
    #[arg(required = true, value_parser = group::find, help = format!("Which figures: {}", group::names()))]
    group: Option<&'static Group>,
    /// Print one document instead of a table.
    #[arg(long)]
    json: bool,
    /// Fewer repetitions: every group within a minute.
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

/// How many repetitions a person is willing to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    quick: bool,
}

impl Effort {
    /// `full`, or `quick` if that was asked for.
    pub fn of(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    mobula_runtime::worker_main();
    let command = Command::parse();
    let Some(group) = command.group else {
        // clap insists on a group unless there is a subcommand.
        return command.child.map_or(ExitCode::from(2), Child::run);
    };
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build; its figures are worth nothing: use cargo run --release");
    }
    let report = Report::of(group.name, (group.rows)(Effort { quick: command.quick }));
    if command.json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    ExitCode::SUCCESS
}
