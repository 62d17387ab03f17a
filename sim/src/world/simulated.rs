//! A cluster inside a simulator: the head and every node is a machine of one simulation.

use super::World;
use super::lives::{Life, Lives};
use crate::check::history::Watch;
use crate::cluster::{Cluster, Once, Parts, Skipped};
use crate::profile::Profile;
use crate::run::{RunFailure, RunOptions, RunReport};
use crate::spec::{ClusterSettings, ClusterSpec, HEAD, NodeSpec};
use mobula_env::{Costs, Env, Playback, SimConfig, SimHandle, simulate};
use mobula_protocol::Nanos;
use mobula_runtime::{Head, Node, NodeSettings};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The head's port. Simulated machines have all their ports for themselves.
const HEAD_PORT: u16 = 7_000;

type Boot = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The machines of one simulation.
pub(crate) struct Simulated {
    pub(crate) sim: SimHandle,
    settings: ClusterSettings,
    lives: Lives,
}

/// Runs `driver` on the cluster in the simulator of this build.
pub(crate) fn run<T, D, F>(spec: ClusterSpec, options: &RunOptions, driver: D) -> RunReport<T>
where
    T: Send + 'static,
    D: FnOnce(Cluster) -> F + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let machine = options.machine.as_ref();
    let own = Costs { nic: spec.link.bandwidth, ..Costs::default() };
    let playback = options.recorded.clone().map(|recorded| Arc::new(Playback::new(recorded)));
    let (least, most) = machine.map_or(spec.link.latency, |machine| (machine.latency, machine.latency));
    let config = SimConfig {
        seed: options.seed,
        // What takes the record's time must not be late by dice.
        latency: if playback.is_some() { (least, least) } else { (least, most) },
        max_time: options.max_time,
        tick: options.tick.unwrap_or(SimConfig::default().tick),
        costs: machine.map_or(own, Profile::costs),
        host: machine.map(|machine| machine.cores),
        trace: options.trace,
        buggify: options.buggify,
        branch: options.branch,
        ..SimConfig::default()
    };
    let (lives, skipped) = (Lives::default(), Skipped::default());
    let (faults, watch) = (options.rpc_faults.clone(), Watch::default());
    let watching = watch.clone();
    let report = {
        let (lives, skipped, playback) = (lives.clone(), skipped.clone(), playback.clone());
        simulate(config, move |env, sim| async move {
            env.log_to(Arc::new(move |line| watching.line(line)));
            playback.into_iter().for_each(|playback| sim.play(playback));
            faults.into_iter().for_each(|fault| sim.inject(fault));
            let cluster = start(&env, sim, spec, lives, skipped).await?;
            Ok(driver(cluster).await)
        })
    };
    lives.clear();
    let skipped_faults = std::mem::take(&mut *skipped.lock().unwrap_or_else(PoisonError::into_inner));
    RunReport {
        outcome: report.outcome.map_err(RunFailure::from).and_then(|driven| driven),
        event_log_hash: Some(report.log_hash),
        events: report.events,
        lines: report.lines,
        virtual_time: report.virtual_time,
        wall: Duration::ZERO,
        broken: watch.broken(),
        coverage: report.coverage,
        probes: report.probes,
        ready: Nanos::ZERO,
        followed: playback.map(|playback| playback.followed()),
        skipped_faults,
    }
}

/// Boots all machines and waits until the driver sees them.
async fn start(
    env: &Env,
    sim: SimHandle,
    spec: ClusterSpec,
    lives: Lives,
    skipped: Skipped,
) -> Result<Cluster, RunFailure> {
    let ClusterSpec { nodes, settings, .. } = spec;
    let simulated = Simulated { sim, settings: settings.clone(), lives: lives.clone() };
    simulated.sim.start_node(HEAD, 1, boot_head(settings.clone(), lives.clone())).await;
    for node in &nodes {
        simulated.start(node).await;
    }
    env.start_as_recorded().await;
    let node = Node::join(env, &head(), settings.driver()).await.map_err(|why| RunFailure::Start(why.to_string()))?;
    let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let cluster = Cluster::new(Parts { node, nodes, settings, world: World::Simulated(simulated), lives, skipped });
    cluster.joined(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    env.ready_as_recorded().await;
    Ok(cluster)
}

impl Simulated {
    /// Starts the first life of a machine.
    pub(crate) async fn start(&self, spec: &NodeSpec) {
        let boot = boot_node(self.settings.node(spec), self.lives.clone(), None);
        self.sim.start_node(&spec.name, spec.cores(), boot).await;
    }
}

impl Simulated {
    /// Starts the first life of a machine with a driver.
    pub(crate) async fn start_driver(&self, spec: &NodeSpec, program: Once) {
        let boot = boot_node(self.settings.node(spec), self.lives.clone(), Some(program));
        self.sim.start_node(&spec.name, 1, boot).await;
    }
}

pub(super) fn head() -> String {
    format!("{HEAD}:{HEAD_PORT}")
}

fn boot_head(settings: ClusterSettings, lives: Lives) -> impl Fn(Env) -> Boot + Send + Sync + 'static {
    move |env| {
        let (settings, lives) = (settings.clone(), lives.clone());
        Box::pin(async move {
            match Head::start(&env, settings.head(HEAD_PORT)).await {
                Ok(head) => {
                    env.emit("up", format_args!("{}", head.address()));
                    lives.set(HEAD, Life::Joined { incarnation: HEAD.to_owned(), context: None });
                    // The head lives as long as this task.
                    env.spawn("hold", async move {
                        let why = head.stopped().await;
                        lives.set(HEAD, Life::Stopped(why));
                    });
                }
                Err(why) => lives.set(HEAD, Life::Failed(why.to_string())),
            }
        })
    }
}

fn boot_node(
    settings: NodeSettings,
    lives: Lives,
    program: Option<Once>,
) -> impl Fn(Env) -> Boot + Send + Sync + 'static {
    let settings = Arc::new(settings);
    move |env| {
        let (settings, lives, program) = (settings.clone(), lives.clone(), program.clone());
        Box::pin(async move {
            let name = settings.name.clone();
            env.start_as_recorded().await;
            let node = match Node::join(&env, &head(), NodeSettings::clone(&settings)).await {
                Ok(node) => node,
                Err(why) => {
                    env.emit("refused", format_args!("{why}"));
                    return lives.set(&name, Life::Failed(why.to_string()));
                }
            };
            let context = node.context().clone();
            let incarnation = context.incarnation().to_string();
            env.emit("joined", format_args!("{incarnation}"));
            lives.set(&name, Life::Joined { incarnation, context: Some(context.clone()) });
            let program = program.and_then(|once| once.lock().unwrap_or_else(PoisonError::into_inner).take());
            if let Some(program) = program {
                env.spawn("driver", program(context));
            }
            env.spawn("watch", async move {
                let why = node.stopped().await;
                lives.set(&name, Life::Stopped(why));
            });
        })
    }
}
