//! What a driver holds: its context, and the verbs that break the cluster.

use crate::fault::{FaultError, NodeState};
use crate::spec::{ClusterSettings, DRIVER, HEAD, NodeSpec, SpecError};
use crate::world::{Lives, World};
use mobula_env::{Env, RpcFault, SimHandle, WorldKind};
use mobula_protocol::Nanos;
use mobula_runtime::{Context, Node, Question};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod drivers;
mod storage;
mod strangers;

pub(crate) use drivers::Once;
pub use drivers::Program;
pub use strangers::Intent;

/// A running cluster, as its driver sees it. Cheap to clone.
///
/// Every verb resolves when the fault is in place; what the cluster makes of it takes its time. The head is the node
/// `"head"`, the driver's own node is `"driver"`.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

type Reply = tokio::sync::oneshot::Sender<Vec<String>>;

struct Shared {
    /// The driver's own node.
    node: Node,
    settings: ClusterSettings,
    world: World,
    lives: Lives,
    machines: Mutex<BTreeMap<String, Machine>>,
    #[cfg_attr(madsim, allow(dead_code, reason = "nothing is skipped where every world is simulated"))]
    skipped: Skipped,
}

/// The lines of [`RunReport::skipped_faults`](crate::RunReport::skipped_faults).
pub(crate) type Skipped = Arc<Mutex<Vec<String>>>;

/// A machine other than the driver's.
struct Machine {
    /// None for the head.
    spec: Option<NodeSpec>,
    state: NodeState,
}

/// What a [`Cluster`] is made of.
pub(crate) struct Parts {
    pub node: Node,
    pub nodes: Vec<NodeSpec>,
    pub settings: ClusterSettings,
    pub world: World,
    pub lives: Lives,
    pub skipped: Skipped,
}

impl Cluster {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { node, nodes, settings, world, lives, skipped } = parts;
        let named = |spec: NodeSpec| (spec.name.clone(), Machine { spec: Some(spec), state: NodeState::Running });
        let mut machines: BTreeMap<String, Machine> = nodes.into_iter().map(named).collect();
        machines.insert(HEAD.to_owned(), Machine { spec: None, state: NodeState::Running });
        Self(Arc::new(Shared { node, settings, world, lives, machines: Mutex::new(machines), skipped }))
    }

    /// The driver's own node, which runs no tasks.
    pub fn context(&self) -> &Context {
        self.0.node.context()
    }

    /// The driver's world.
    pub fn env(&self) -> &Env {
        self.context().env()
    }

    /// In which world this is, for reports.
    pub fn world(&self) -> WorldKind {
        self.env().world()
    }

    /// The settings all nodes have.
    pub fn settings(&self) -> &ClusterSettings {
        &self.0.settings
    }

    /// Names of the nodes that are alive as far as the harness knows, paused ones included, in name order; without the
    /// head and the driver.
    pub fn nodes(&self) -> Vec<String> {
        let machines = self.machines();
        let alive = |(name, machine): &(&String, &Machine)| {
            let alive = matches!(self.state(name, machine), NodeState::Running | NodeState::Paused);
            machine.spec.is_some() && alive
        };
        machines.iter().filter(alive).map(|(name, _)| name.clone()).collect()
    }

    /// What a node does, as far as the harness knows. The driver always runs.
    ///
    /// # Errors
    /// No such node.
    pub fn state_of(&self, node: &str) -> Result<NodeState, FaultError> {
        if node == DRIVER {
            return Ok(NodeState::Running);
        }
        let machines = self.machines();
        machines.get(node).map(|machine| self.state(node, machine)).ok_or_else(|| no_such_node(node, &machines))
    }

    /// Ends the node's process. Peers see its connections close.
    ///
    /// # Errors
    /// No such node, already dead, or the driver.
    pub async fn kill(&self, node: &str) -> Result<(), FaultError> {
        self.transition("kill", node, &[NodeState::Running, NodeState::Paused], NodeState::Killed)?;
        self.0.lives.forget(node);
        self.0.world.kill(node).await
    }

    /// Takes the power from the machine. Peers see silence; its disk keeps what was synced.
    ///
    /// # Errors
    /// No such node, already dead, or the driver.
    pub async fn power_off(&self, node: &str) -> Result<(), FaultError> {
        self.transition("power off", node, &[NodeState::Running, NodeState::Paused], NodeState::Off)?;
        self.0.lives.forget(node);
        self.0.world.power_off(node).await
    }

    /// Makes the node stand still. Peers see silence.
    ///
    /// # Errors
    /// No such node, not running, or the driver.
    pub async fn pause(&self, node: &str) -> Result<(), FaultError> {
        self.transition("pause", node, &[NodeState::Running], NodeState::Paused)?;
        self.0.world.pause(node).await
    }

    /// Lets a paused node go on. It does not know that it stood still, and may have been declared dead meanwhile.
    ///
    /// # Errors
    /// No such node, not paused, or the driver.
    pub async fn resume(&self, node: &str) -> Result<(), FaultError> {
        self.transition("resume", node, &[NodeState::Paused], NodeState::Running)?;
        self.0.world.resume(node).await
    }

    /// Starts the node's next life under the same name; kills it first if it is alive. Its join is refused until the
    /// cluster has noticed the death of the last one: see [`Cluster::joined`]. The head goes on with its log; without one
    /// (see [`ClusterSettings::head_log`]) it is the head of another cluster, and the nodes of this one end.
    ///
    /// # Errors
    /// No such node, or the driver.
    pub async fn restart(&self, node: &str) -> Result<(), FaultError> {
        use NodeState::{Killed, Off, Paused, Running, Stopped};
        self.transition("restart", node, &[Running, Paused, Killed, Off, Stopped], Running)?;
        self.0.lives.forget(node);
        let spec = self.machines().get(node).and_then(|machine| machine.spec.clone());
        match spec {
            Some(spec) => self.0.world.restart(&spec).await,
            None => self.0.world.restart_head().await,
        }
    }

    /// Takes the head's log away, and ends its process first if it is alive.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn wipe_head(&self) -> Result<(), FaultError> {
        if matches!(self.state_of(HEAD)?, NodeState::Running | NodeState::Paused) {
            self.kill(HEAD).await?;
        }
        self.0.world.wipe_head().await
    }

    /// Cuts both directions between two machines.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn partition(&self, a: &str, b: &str) -> Result<(), FaultError> {
        self.known(&[a, b])?;
        match &self.0.world {
            World::Simulated(simulated) => simulated.sim.partition(a, b).await,
            #[cfg(not(madsim))]
            World::Real(_) => return Err(self.skip(format!("partition {a} {b}"), NO_FILTERS)),
        }
        Ok(())
    }

    /// Drops what `from` sends to `to`, not the other direction.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn partition_oneway(&self, from: &str, to: &str) -> Result<(), FaultError> {
        self.known(&[from, to])?;
        match &self.0.world {
            World::Simulated(simulated) => simulated.sim.partition_oneway(from, to).await,
            #[cfg(not(madsim))]
            World::Real(_) => return Err(self.skip(format!("partition_oneway {from} {to}"), NO_FILTERS)),
        }
        Ok(())
    }

    /// Restores both directions between two machines.
    ///
    /// # Errors
    /// No such node. Nothing is ever cut in the real world, so there it succeeds.
    pub async fn heal(&self, a: &str, b: &str) -> Result<(), FaultError> {
        self.known(&[a, b])?;
        match &self.0.world {
            World::Simulated(simulated) => simulated.sim.heal(a, b).await,
            #[cfg(not(madsim))]
            World::Real(_) => {}
        }
        Ok(())
    }

    /// From now on calls meet this fault. In the real world only those of the driver: the other processes get theirs
    /// when they start, from [`RunOptions::rpc_faults`](crate::RunOptions::rpc_faults).
    ///
    /// # Errors
    /// In the real world, a fault of another process's calls.
    pub async fn inject(&self, fault: RpcFault) -> Result<(), FaultError> {
        match &self.0.world {
            World::Simulated(simulated) => simulated.sim.inject(fault),
            #[cfg(not(madsim))]
            World::Real(_) if fault.from.as_deref() == Some(DRIVER) && fault.to.is_none() => {
                self.env().inject_rpc_fault(RpcFault { from: None, ..fault });
            }
            #[cfg(not(madsim))]
            World::Real(_) => return Err(self.skip(format!("rpc fault {fault}"), "the other processes run already")),
        }
        Ok(())
    }

    /// Injected faults that name so many calls and met fewer, so far or until they were healed. None in the real world,
    /// where the faults live in other processes.
    pub fn unmet_rpc_faults(&self) -> Vec<RpcFault> {
        match &self.0.world {
            World::Simulated(simulated) => simulated.sim.unmet_rpc_faults(),
            #[cfg(not(madsim))]
            World::Real(_) => Vec::new(),
        }
    }

    /// Holds what two machines say to each other, until [`Cluster::release_messages`]: nothing is lost, all of it is late.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn hold(&self, a: &str, b: &str) -> Result<(), FaultError> {
        self.between("hold", a, b, |sim| sim.hold(a, b))
    }

    /// Lets what is held between two machines arrive.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn release_messages(&self, a: &str, b: &str) -> Result<(), FaultError> {
        self.between("release_messages", a, b, |sim| sim.release_messages(a, b))
    }

    /// Adds `latency` to what messages between two machines take. Zero mends it.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn slow_link(&self, a: &str, b: &str, latency: Nanos) -> Result<(), FaultError> {
        self.between("slow_link", a, b, |sim| sim.slow_link(a, b, latency))
    }

    /// Loses requests and replies between two machines, each with this probability. Zero mends it.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn lose(&self, a: &str, b: &str, probability: f64) -> Result<(), FaultError> {
        self.between("loss", a, b, |sim| sim.lose(a, b, probability))
    }

    #[cfg_attr(madsim, allow(unused_variables, reason = "nothing is skipped where every world is simulated"))]
    fn between(&self, verb: &str, a: &str, b: &str, act: impl FnOnce(&SimHandle)) -> Result<(), FaultError> {
        self.known(&[a, b])?;
        match &self.0.world {
            World::Simulated(simulated) => act(&simulated.sim),
            #[cfg(not(madsim))]
            World::Real(_) => return Err(self.skip(format!("{verb} {a} {b}"), NO_FILTERS)),
        }
        Ok(())
    }

    /// Moves a machine's wall clock. Nothing may depend on it.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn clock_jump(&self, node: &str, nanos: i64) -> Result<(), FaultError> {
        self.known(&[node])?;
        match &self.0.world {
            World::Simulated(simulated) => simulated.sim.clock_jump(node, nanos).await,
            #[cfg(not(madsim))]
            World::Real(_) => {
                return Err(self.skip(format!("clock_jump {node}"), "it would need a clock of the node's own"));
            }
        }
        Ok(())
    }

    /// Restores all links, and ends all faults of calls; in the real world only those of the driver.
    ///
    /// # Errors
    /// None so far.
    pub async fn heal_all(&self) -> Result<(), FaultError> {
        match &self.0.world {
            World::Simulated(simulated) => simulated.sim.heal_all().await,
            #[cfg(not(madsim))]
            World::Real(_) => self.env().end_rpc_faults(),
        }
        Ok(())
    }

    /// Starts one more node. Does not wait until it has joined.
    ///
    /// # Errors
    /// A name that was given before, and a node that cannot be.
    pub async fn add_node(&self, spec: NodeSpec) -> Result<(), FaultError> {
        spec.validate()?;
        {
            let mut machines = self.machines();
            if let Some(machine) = machines.get(&spec.name) {
                return Err(FaultError::NameTaken { state: self.state(&spec.name, machine), name: spec.name });
            }
            machines.insert(spec.name.clone(), Machine { spec: Some(spec.clone()), state: NodeState::Running });
        }
        self.0.world.start(&spec).await
    }

    /// Waits until the driver's view of the cluster lists the present life of each of these nodes (and until the head is
    /// up, if it is among them), at most as long as a death takes to be noticed and a join may be tried.
    ///
    /// # Errors
    /// [`FaultError::NotJoined`] with what kept each from coming, and no such node.
    pub async fn joined(&self, nodes: &[&str]) -> Result<(), FaultError> {
        self.known(nodes)?;
        let settings = &self.0.settings;
        let patience = settings.health_timeout * 2 + settings.health_period + settings.head_grace;
        let from = self.env().now();
        loop {
            let missing = self.missing(nodes).await;
            if missing.iter().all(Option::is_none) {
                return Ok(());
            }
            let waited = self.env().now().saturating_sub(from);
            let hopeless = nodes.iter().any(|node| self.0.lives.has_failed(node));
            if hopeless || waited >= patience {
                return Err(FaultError::NotJoined { missing: missing.into_iter().flatten().collect(), waited });
            }
            self.env().sleep(Nanos::millis(10)).await;
        }
    }

    /// What every node that can be asked waits for: `"{node}: {who} waits ..."`, in node order. In the real world that
    /// is the driver's own.
    pub async fn waits(&self) -> Vec<String> {
        self.ask_all(Question::Waits).await
    }

    /// The state of every machine of every node that can be asked, as [`Cluster::waits`].
    pub async fn states(&self) -> Vec<String> {
        self.ask_all(Question::State).await
    }

    async fn ask_all(&self, question: fn(Reply) -> Question) -> Vec<String> {
        const PATIENCE: Nanos = Nanos::millis(100);
        let mut lines = Vec::new();
        for (node, context) in self.contexts() {
            match self.env().timeout(PATIENCE, context.ask(question)).await {
                Ok(Ok(answers)) => lines.extend(answers.into_iter().map(|answer| format!("{node}: {answer}"))),
                Ok(Err(why)) => lines.push(format!("{node}: it is gone, {why}")),
                Err(_) => lines.push(format!("{node}: it does not answer")),
            }
        }
        lines
    }

    /// Makes a node take no more work; waits until the driver's node knows.
    ///
    /// # Errors
    /// No such node, or one that does not answer.
    pub async fn drain(&self, node: &str) -> Result<(), FaultError> {
        const DRAIN: Nanos = Nanos::secs(10);
        self.known(&[node])?;
        let failed = |why: mobula_protocol::TaskError| FaultError::Runtime {
            verb: "drain",
            name: node.to_owned(),
            why: why.to_string(),
        };
        self.context().drain(node, DRAIN).await.map_err(failed)
    }

    /// For each node, what keeps it from being seen.
    async fn missing(&self, nodes: &[&str]) -> Vec<Option<String>> {
        let view = self.context().ask(Question::Cluster).await;
        let seen = |node: &&str| {
            // Nobody but itself says that the head is up.
            if *node == HEAD {
                return self.0.lives.joined_as(HEAD).err().map(|why| format!("{node}: {why}"));
            }
            if *node == DRIVER {
                return None;
            }
            let view = match &view {
                Ok(view) => view,
                Err(why) => return Some(format!("the driver's own node is gone: {why}")),
            };
            let life = match self.0.lives.joined_as(node) {
                Ok(life) => life,
                Err(why) => return Some(format!("{node}: {why}")),
            };
            let listed = |entry: &Arc<mobula_protocol::member::NodeView>| entry.member.incarnation.to_string() == life;
            let unseen = format!("{node}: joined as {life}, but the driver does not see it");
            if view.nodes.iter().any(listed) { None } else { Some(unseen) }
        };
        nodes.iter().map(seen).collect()
    }

    /// The contexts of the nodes that live in this process, by name: all simulated ones, and the driver's own.
    pub(crate) fn contexts(&self) -> Vec<(String, Context)> {
        let mut contexts = self.0.lives.contexts();
        contexts.push((DRIVER.to_owned(), self.context().clone()));
        contexts
    }

    fn machines(&self) -> MutexGuard<'_, BTreeMap<String, Machine>> {
        self.0.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it does, also if nobody did anything to it.
    fn state(&self, name: &str, machine: &Machine) -> NodeState {
        let is_over = || self.0.lives.is_over(name) || self.0.world.has_exited(name);
        let by_itself = machine.state == NodeState::Running && is_over();
        if by_itself { NodeState::Stopped } else { machine.state }
    }

    fn known(&self, nodes: &[&str]) -> Result<(), FaultError> {
        let machines = self.machines();
        match nodes.iter().find(|node| **node != DRIVER && !machines.contains_key(**node)) {
            Some(node) => Err(no_such_node(node, &machines)),
            None => Ok(()),
        }
    }

    fn transition(&self, verb: &'static str, node: &str, from: &[NodeState], to: NodeState) -> Result<(), FaultError> {
        if node == DRIVER {
            return Err(FaultError::Driver { verb });
        }
        let mut machines = self.machines();
        let state = match machines.get(node) {
            Some(machine) => self.state(node, machine),
            None => return Err(no_such_node(node, &machines)),
        };
        if !from.contains(&state) {
            return Err(FaultError::WrongState { verb, name: node.to_owned(), state });
        }
        if let Some(machine) = machines.get_mut(node) {
            machine.state = to;
        }
        Ok(())
    }

    /// Remembers that a fault was skipped, and says so.
    #[cfg(not(madsim))]
    fn skip(&self, what: String, why: &'static str) -> FaultError {
        let error = FaultError::Unsupported { what, world: self.world(), why };
        self.0.skipped.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        error
    }
}

#[cfg(not(madsim))]
const NO_FILTERS: &str = "it would need packet filters in a network namespace";

fn no_such_node(name: &str, machines: &BTreeMap<String, Machine>) -> FaultError {
    let known: Vec<String> = machines.keys().cloned().chain([DRIVER.to_owned()]).collect();
    let nearest = mobula_runtime::nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    FaultError::NoSuchNode { name: name.to_owned(), nearest, known }
}

impl From<FaultError> for crate::RunFailure {
    fn from(why: FaultError) -> Self {
        Self::Start(why.to_string())
    }
}

impl From<SpecError> for String {
    fn from(why: SpecError) -> Self {
        why.to_string()
    }
}
