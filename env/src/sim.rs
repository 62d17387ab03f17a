//! Simulations: one API over both simulators.
//!
//! [`simulate`] builds a world, runs the driver on the node `"driver"` and reports. The driver starts the other nodes
//! and injects the faults through a [`SimHandle`]. Which simulator runs is decided when compiling (`--cfg madsim`).
//!
//! | fault | peers see | the node |
//! | --- | --- | --- |
//! | kill | connections close, new ones are refused | all tasks stop; its disk keeps what was written |
//! | power off | silence | all tasks stop; its disk keeps what was synced |
//! | pause | silence, until it goes on | tasks stand still; what arrived waits |
//! | partition | silence between two nodes, in one or both directions | runs |
//! | hold | silence, until the messages are released and all arrive | runs |
//! | slow link, loss | calls that take longer or fail | runs |
//! | faults of calls | calls lost, late, twice, out of order, or of earlier lives ([`RpcFault`]) | runs |
//! | faults of the disk | what the node makes of them | writes fail or take longer; files are damaged or gone |
//! | clock jump | nothing | its wall clock moves, and no other clock |
//!
//! Healing a partition does not repair the streams it cut on turmoil, where lost segments are not sent again.

mod world;

use crate::backend::simulator;
use crate::compute::Costs;
use crate::disk::{DiskDamage, DiskFaults};
use crate::env::Env;
use crate::playback::Playback;
use crate::rpc::RpcFault;
use futures_util::future::BoxFuture;
use mobula_protocol::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

pub(crate) use world::host;
pub(crate) use world::{Gated, Machine, Primitive, SimPlace, World};

/// The name of the node that runs the driver.
pub(crate) const DRIVER: &str = "driver";

/// What the disk that all machines share is called where a machine's disk can be named.
pub const SHARED: &str = "shared";

/// What a simulation depends on, besides its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimConfig {
    /// Of all random numbers in the world.
    pub seed: u64,
    /// The least and the largest one-way latency of a message, in model time.
    pub latency: (Nanos, Nanos),
    /// A world that lives longer, in model time, is [`SimFailure::Stuck`].
    pub max_time: Nanos,
    /// The cores of the driver's node.
    pub cores: u32,
    /// The step of turmoil's clock, in model time: the least that a sleep or a message takes. Turmoil visits every node at
    /// every step in which a message is under way or somebody wakes, so coarser is faster. madsim goes from event to event,
    /// in steps of a microsecond whatever this says.
    pub tick: Nanos,
    /// The cost model of all nodes.
    pub costs: Costs,
    /// All nodes are processes of one host with so many cores: they share its cores, network card, disk and memory bus.
    /// Without it each node is a machine of its own.
    pub host: Option<u32>,
    /// Keep all lines of the event log, not only their hash and number.
    pub trace: bool,
    /// Let [`Env::buggify`] fire.
    pub buggify: bool,
    /// From the event of this number on, [`Env::buggify`] fires by the dice of this other seed: the same past, another
    /// future.
    pub branch: Option<(u64, u64)>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            latency: (Nanos::micros(50), Nanos::micros(200)),
            max_time: Nanos::secs(600),
            cores: 2,
            tick: Nanos::micros(100),
            costs: Costs::default(),
            host: None,
            trace: false,
            buggify: false,
            branch: None,
        }
    }
}

/// Why a simulation has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimFailure {
    /// Some task of `node` panicked.
    #[error("panic on node {node}: {message}")]
    Panic {
        /// The text of the panic.
        message: String,
        /// Where; `"?"` if it was outside all tasks of [`Env`].
        node: String,
    },
    /// The driver had not finished after [`SimConfig::max_time`].
    #[error("stuck: the driver had not finished at {at}")]
    Stuck {
        /// The model time at which the run was given up.
        at: Nanos,
    },
}

/// What a simulation leaves behind.
#[derive(Clone, Debug)]
pub struct SimReport<T> {
    /// The driver's result.
    pub outcome: Result<T, SimFailure>,
    /// Of all lines of the event log, in order.
    pub log_hash: u64,
    /// How many lines there were.
    pub events: u64,
    /// The lines, if [`SimConfig::trace`] was set.
    pub lines: Vec<String>,
    /// The situations noted with [`Env::cover`].
    pub coverage: BTreeSet<String>,
    /// How often each [`Env::probe`] was reached.
    pub probes: BTreeMap<&'static str, u64>,
    /// How long the world lived, in model time.
    pub virtual_time: Nanos,
}

/// Runs `driver` in a new world and reports. The world ends when the driver returns, some task panics, or
/// [`SimConfig::max_time`] has passed.
///
/// Runs on a thread of its own, because thread-local state left by an earlier simulation (hash map keys, for one) would
/// make the second differ from the first. Must not be called from inside a runtime.
pub fn simulate<T, D, F>(config: SimConfig, driver: D) -> SimReport<T>
where
    T: Send + 'static,
    D: FnOnce(Env, SimHandle) -> F + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let run = move || {
        let world = World::new(config);
        let handle = SimHandle { world: world.clone() };
        let outcome = simulator::run(&world, move |env| driver(env, handle));
        let (log_hash, events, lines) = world.record.take_log();
        let probes = world.record.probes();
        let coverage = world.record.take_coverage();
        SimReport { outcome, log_hash, events, lines, coverage, probes, virtual_time: world.ended_at() }
    };
    let simulation = std::thread::Builder::new().name("simulation".into()).spawn(run);
    let joined = simulation.expect("the operating system gives a thread for the simulation").join();
    joined.unwrap_or_else(|bug| std::panic::resume_unwind(bug))
}

/// Starts nodes and injects faults. Every method resolves when its effect is in place.
///
/// A name that is no node is a bug of the driver: the methods panic and list the names there are.
#[derive(Clone)]
pub struct SimHandle {
    world: Arc<World>,
}

impl std::fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimHandle")
    }
}

impl SimHandle {
    /// Adds a machine and starts its node by running `boot`, which starts the node's tasks. The node lives on after
    /// `boot` has returned. Panics if there is such a node already.
    pub async fn start_node(
        &self,
        name: &str,
        cores: u32,
        boot: impl Fn(Env) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        self.world.add_machine(name, cores, Arc::new(boot));
        self.note("start", format_args!("{name} cores={cores}"));
        simulator::apply(&self.world, Primitive::Boot(name.to_owned())).await;
    }

    /// Ends the node's process: all its tasks stop, its connections close, new ones are refused. Its disk keeps
    /// everything written. Does nothing to a dead node.
    pub async fn kill(&self, name: &str) {
        let machine = self.world.mortal(name);
        self.note("kill", format_args!("{name}"));
        if machine.die(world::Power::Killed) {
            simulator::apply(&self.world, Primitive::Crash(name.to_owned())).await;
        }
    }

    /// Takes the power from the machine: silence for its peers, and its disk keeps only what was synced.
    pub async fn power_off(&self, name: &str) {
        let machine = self.world.mortal(name);
        self.note("power_off", format_args!("{name}"));
        // Silence first: closing connections would otherwise still be seen.
        let was_alive = machine.die(world::Power::Off);
        self.relink(name).await;
        if was_alive {
            simulator::apply(&self.world, Primitive::Crash(name.to_owned())).await;
        }
        machine.power_cut();
    }

    /// Starts the node's next life: a new [`Env`], the same disk. Kills it first if it is alive.
    pub async fn restart(&self, name: &str) {
        let machine = self.world.mortal(name);
        if machine.is_running() {
            self.kill(name).await;
        }
        self.note("restart", format_args!("{name}"));
        machine.power_on();
        machine.resume();
        self.relink(name).await;
        simulator::apply(&self.world, Primitive::Boot(name.to_owned())).await;
    }

    /// Stops the node's tasks where they are, as SIGSTOP does.
    pub async fn pause(&self, name: &str) {
        let machine = self.world.mortal(name);
        self.note("pause", format_args!("{name}"));
        machine.pause();
    }

    /// Lets a paused node go on.
    pub async fn resume(&self, name: &str) {
        let machine = self.world.mortal(name);
        self.note("resume", format_args!("{name}"));
        machine.resume();
    }

    /// Cuts both directions between two nodes.
    pub async fn partition(&self, a: &str, b: &str) {
        self.note("partition", format_args!("{a} {b}"));
        self.cut(a, b, true).await;
        self.cut(b, a, true).await;
    }

    /// Drops what `from` sends to `to`, not the other direction.
    pub async fn partition_oneway(&self, from: &str, to: &str) {
        self.note("partition_oneway", format_args!("{from} {to}"));
        self.cut(from, to, true).await;
    }

    /// Restores both directions between two nodes.
    pub async fn heal(&self, a: &str, b: &str) {
        self.note("heal", format_args!("{a} {b}"));
        self.cut(a, b, false).await;
        self.cut(b, a, false).await;
    }

    /// From now on calls meet this fault; see [`crate::RpcFault`].
    pub fn inject(&self, fault: RpcFault) {
        self.note("inject", format_args!("{fault}"));
        self.world.faults.inject(self.world.config.seed, fault);
    }

    /// From now on messages and executions take the times of a record. The first record stays.
    pub fn play(&self, playback: Arc<Playback>) {
        let _ = self.world.playback.set(playback);
    }

    /// Injected faults with a count that met fewer calls than that.
    pub fn unmet_rpc_faults(&self) -> Vec<RpcFault> {
        self.world.faults.unmet()
    }

    /// Holds what `a` and `b` say to each other, until [`SimHandle::release_messages`].
    pub fn hold(&self, a: &str, b: &str) {
        self.note("hold", format_args!("{a} {b}"));
        self.each_way(a, b, |from, to| self.world.faults.hold(from, to, true));
    }

    /// Lets everything arrive that is held between `a` and `b`.
    pub fn release_messages(&self, a: &str, b: &str) {
        self.note("release_messages", format_args!("{a} {b}"));
        self.each_way(a, b, |from, to| self.world.faults.hold(from, to, false));
    }

    /// Adds `latency` to what calls and new connections between `a` and `b` take in each direction. Zero mends it.
    pub fn slow_link(&self, a: &str, b: &str, latency: Nanos) {
        self.note("slow_link", format_args!("{a} {b} {latency}"));
        self.each_way(a, b, |from, to| self.world.faults.slow(from, to, latency));
    }

    /// Loses requests and replies between `a` and `b`, each with this probability. Zero mends it. Byte streams are not
    /// concerned: a real one retransmits, a simulated one would never recover.
    pub fn lose(&self, a: &str, b: &str, probability: f64) {
        self.note("loss", format_args!("{a} {b} {probability}"));
        let seed = self.world.config.seed;
        self.each_way(a, b, |from, to| self.world.faults.lossy(seed, from, to, probability));
    }

    fn each_way(&self, a: &str, b: &str, change: impl Fn(&str, &str)) {
        self.world.machine(a);
        self.world.machine(b);
        change(a, b);
        change(b, a);
    }

    /// How many connections and calls this machine has refused for want of the key; see [`Env::refused`].
    pub fn refused(&self, name: &str) -> u64 {
        self.world.machine(name).refused()
    }

    /// Restores all links, and ends all faults of calls.
    pub async fn heal_all(&self) {
        self.note("heal_all", format_args!("-"));
        self.world.faults.clear();
        for (from, to) in self.world.cuts() {
            self.cut(&from, &to, false).await;
        }
    }

    /// Moves the node's wall clock; see [`Env::clock_jump`].
    pub async fn clock_jump(&self, name: &str, delta_nanos: i64) {
        self.note("clock_jump", format_args!("{name} {delta_nanos}"));
        self.world.machine(name).clock_jump(delta_nanos);
    }

    /// Changes how the disk of a machine, or the [shared](SHARED) one, behaves from now on.
    pub async fn disk_faults(&self, name: &str, faults: DiskFaults) {
        self.note("disk_faults", format_args!("{name} {faults}"));
        self.world.with_disk(name, |disk| disk.faults = faults);
    }

    /// How that disk behaves now.
    pub fn disk_faults_of(&self, name: &str) -> DiskFaults {
        self.world.with_disk(name, |disk| disk.faults)
    }

    /// Damages every file of that disk whose path contains `part`, or removes it. Says how many.
    pub async fn damage_files(&self, name: &str, part: &str, damage: DiskDamage) -> usize {
        let damaged = self.world.with_disk(name, |disk| disk.damage(part, damage));
        self.note("disk_damage", format_args!("{name} {damage} {damaged} files"));
        damaged
    }

    /// The files of that disk whose path contains `part`, with their lengths.
    pub fn files(&self, name: &str, part: &str) -> Vec<(String, u64)> {
        self.world.with_disk(name, |disk| disk.files(part))
    }

    async fn cut(&self, from: &str, to: &str, cut: bool) {
        self.world.machine(from);
        self.world.machine(to);
        self.world.set_cut(from, to, cut);
        self.link(from, to).await;
    }

    /// Applies the state of all links of a node.
    async fn relink(&self, name: &str) {
        for other in self.world.names() {
            if other != name {
                self.link(name, &other).await;
                self.link(&other, name).await;
            }
        }
    }

    async fn link(&self, from: &str, to: &str) {
        let cut = self.world.is_cut(from, to);
        let link = Primitive::Link { from: from.to_owned(), to: to.to_owned(), cut };
        simulator::apply(&self.world, link).await;
    }

    fn note(&self, kind: &'static str, detail: std::fmt::Arguments<'_>) {
        self.world.record.emit(self.world.now(), "world", kind, detail);
    }
}
