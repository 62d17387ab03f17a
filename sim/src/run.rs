//! A run: a cluster, a driver, a report.

use crate::check::history::Broken;
use crate::cluster::Cluster;
use crate::profile::Profile;
use crate::spec::{ClusterSpec, SpecError};
use crate::world;
use mobula_env::{Followed, Recorded, RpcFault, SimFailure, WorldKind};
use mobula_protocol::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// Where and how to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// In which world.
    pub world: WorldKind,
    /// Of all random numbers.
    pub seed: u64,
    /// Keep the lines of the event log. In the real world these are the driver's own.
    pub trace: bool,
    /// A driver that needs longer is stuck; in time of the world.
    pub max_time: Nanos,
    /// Take unlikely paths in the code under test; see [`mobula_env::Env::buggify`]. Simulated worlds only.
    pub buggify: bool,
    /// Same past, other future: see [`mobula_env::SimConfig::branch`].
    pub branch: Option<(u64, u64)>,
    /// Faults of calls that are there from the beginning. Real world: those of the nodes' own processes are handed to
    /// them when they start.
    pub rpc_faults: Vec<RpcFault>,
    /// The step of turmoil's clock; see [`mobula_env::SimConfig::tick`].
    pub tick: Option<Nanos>,
    /// Simulated worlds: all nodes are processes of this machine, and share it. Without it each has a machine of its own.
    pub machine: Option<Profile>,
    /// Simulated worlds: messages and executions take the times of a record, and what is not in it the least time of the
    /// link.
    pub recorded: Option<Recorded>,
    /// Real world: the program to start as `head` and as `node`, with the flags of [`crate::child`]; by default this
    /// one.
    pub program: Option<PathBuf>,
}

impl Default for RunOptions {
    /// The simulator of this build, seed 0, no trace, ten minutes.
    fn default() -> Self {
        Self {
            world: SIMULATOR,
            seed: 0,
            trace: false,
            max_time: Nanos::secs(600),
            buggify: false,
            branch: None,
            rpc_faults: Vec::new(),
            tick: None,
            machine: None,
            recorded: None,
            program: None,
        }
    }
}

/// The simulator this build has.
pub(crate) const SIMULATOR: WorldKind = if cfg!(madsim) { WorldKind::Madsim } else { WorldKind::Turmoil };

/// What a run leaves behind.
#[derive(Clone, Debug)]
pub struct RunReport<T> {
    /// What the driver returned.
    pub outcome: Result<T, RunFailure>,
    /// Of all lines of the event log, in order. The real world has none: nothing there repeats.
    pub event_log_hash: Option<u64>,
    /// How many lines there were.
    pub events: u64,
    /// The lines, if asked for.
    pub lines: Vec<String>,
    /// How long the world lived, in its own time.
    pub virtual_time: Nanos,
    /// How long a person waited for it.
    pub wall: Duration,
    /// The first invariant over the history that was broken; simulated worlds only.
    pub broken: Option<Broken>,
    /// The situations that nodes were in; simulated worlds only.
    pub coverage: BTreeSet<String>,
    /// How often each probe was reached; in the real world, in the driver.
    pub probes: BTreeMap<&'static str, u64>,
    /// When the driver began, with all nodes there, in the time of the event log; real world only.
    pub ready: Nanos,
    /// How far it went as recorded, if a record was played.
    pub followed: Option<Followed>,
    /// What this world could not do although it was asked to, a line each, in order.
    pub skipped_faults: Vec<String>,
}

/// Why a run has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFailure {
    /// The cluster cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// This program was not built for that world.
    #[error("this program was built without the {world} world; type {command}")]
    WrongBuild {
        /// The world asked for.
        world: WorldKind,
        /// What to type instead.
        command: &'static str,
    },
    /// The cluster did not come up.
    #[error("the cluster did not start: {0}")]
    Start(String),
    /// Some task of some node panicked, or the driver did.
    #[error("panic on node {node}: {message}")]
    Panic {
        /// The text of the panic.
        message: String,
        /// Where.
        node: String,
    },
    /// The driver had not finished after [`RunOptions::max_time`].
    #[error("stuck: the driver had not finished at {at}")]
    Stuck {
        /// When the run was given up, in the world's time.
        at: Nanos,
    },
}

impl From<SimFailure> for RunFailure {
    fn from(failure: SimFailure) -> Self {
        match failure {
            SimFailure::Panic { message, node } => Self::Panic { message, node },
            SimFailure::Stuck { at } => Self::Stuck { at },
        }
    }
}

/// Builds the cluster, waits until all its nodes have joined, runs `driver` on it and takes it down again.
///
/// Must not be called from inside an async runtime. Never panics for what the cluster or the driver does.
#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "how long the person at the screen waited; nothing in the run sees it"
)]
pub fn run<T, D, F>(spec: ClusterSpec, options: RunOptions, driver: D) -> RunReport<T>
where
    T: Send + 'static,
    D: FnOnce(Cluster) -> F + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let started = std::time::Instant::now();
    let mut report = match spec.validate() {
        Err(why) => RunReport::failed(why.into()),
        Ok(()) => match options.world {
            world if world == SIMULATOR => world::simulated::run(spec, &options, driver),
            #[cfg(not(madsim))]
            WorldKind::Real => world::real::run(spec, &options, driver),
            world => RunReport::failed(wrong_build(world)),
        },
    };
    report.wall = started.elapsed();
    report
}

fn wrong_build(world: WorldKind) -> RunFailure {
    let command = match world {
        WorldKind::Madsim => "`cargo madsim-run` in place of `cargo run`, or `cargo madsim` in place of `cargo test`",
        WorldKind::Turmoil | WorldKind::Real => "`cargo run` in place of `cargo madsim-run`",
    };
    RunFailure::WrongBuild { world, command }
}

impl<T> RunReport<T> {
    pub(crate) fn failed(why: RunFailure) -> Self {
        Self {
            outcome: Err(why),
            event_log_hash: None,
            events: 0,
            lines: Vec::new(),
            virtual_time: Nanos::ZERO,
            wall: Duration::ZERO,
            broken: None,
            coverage: BTreeSet::new(),
            probes: BTreeMap::new(),
            ready: Nanos::ZERO,
            followed: None,
            skipped_faults: Vec::new(),
        }
    }
}
