//! This program as a child of itself: nodes of real clusters, and measurements that need a process of their own.

#![allow(clippy::disallowed_methods, reason = "a fresh heap needs a fresh process")]

use crate::figure::Figure;
use crate::{actors, store, tasks, transfer};
use mobula_sim::child::{HeadArgs, NodeArgs};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

/// What the program is when it started itself, which is not for people, and what is no group of figures.
#[derive(Debug, clap::Subcommand)]
pub enum Child {
    /// Draw a paper's figure again, with our measurements, into its folder in papers/.
    Figure {
        /// Which.
        paper: Figure,
    },
    /// The head of a real cluster.
    #[command(hide = true)]
    Head(HeadArgs),
    /// A node of a real cluster.
    #[command(hide = true)]
    Node(Box<NodeArgs>),
    /// Queues tasks and says what that took.
    #[command(hide = true)]
    Queued {
        /// How many.
        tasks: usize,
    },
    /// Reads an object of another process's store.
    #[command(hide = true)]
    Reader(store::reader::ReaderArgs),
    /// Creates actors and says how much memory that took.
    #[command(hide = true)]
    IdleActors {
        /// How many.
        actors: usize,
    },
    /// Sends bytes over a plain socket to whoever asks.
    #[command(hide = true)]
    RawSend {
        /// How many at a time.
        bytes: usize,
    },
    /// Fills object tables and says how much memory that took besides the objects.
    #[command(hide = true)]
    Metadata {
        /// Objects in each table.
        objects: u64,
        /// How many tables, so that the growth can be seen.
        tables: u64,
    },
}

impl Child {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let done = match self {
            Self::Figure { paper } => paper.draw(),
            Self::Head(args) => mobula_sim::child::head(&args).map_err(|why| why.to_string()),
            Self::Node(args) => mobula_sim::child::node(&args).map_err(|why| why.to_string()),
            Self::Queued { tasks } => say(tasks::queued::measure(tasks)),
            Self::Reader(args) => say(store::reader::measure(&args)),
            Self::IdleActors { actors } => say(actors::measure(actors)),
            Self::RawSend { bytes } => transfer::raw::send(bytes),
            Self::Metadata { objects, tables } => say(store::metadata::measure(objects, tables)),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("error: {why}");
                ExitCode::FAILURE
            }
        }
    }
}

fn say<T: Serialize>(answer: Result<T, String>) -> Result<(), String> {
    let line = serde_json::to_string(&answer?).map_err(|why| why.to_string())?;
    println!("{line}");
    Ok(())
}

/// This program.
///
/// # Errors
/// The system does not say which file it is.
pub fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|why| format!("which program is this? {why}"))
}

/// Runs this program with these arguments and reads its answer.
///
/// # Errors
/// It cannot be started, or what it said before it failed.
pub fn ask<T: DeserializeOwned>(arguments: &[&str]) -> Result<T, String> {
    let output = Command::new(program()?).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|why| format!("cannot start a process: {why}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("nothing");
        return Err(format!("the process that measures it ended with {} and said: {last}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|why| format!("the process that measures it: {why}"))
}
