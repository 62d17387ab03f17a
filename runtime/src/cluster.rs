//! A whole cluster in one process: the default for a program that was told nothing else.

use crate::api::Context;
use crate::error::StartError;
use crate::head::Head;
use crate::node::Node;
use crate::settings::{HeadSettings, NodeSettings};
use mobula_env::{Env, MemoryNet, RealConfig, RealNet, RealNode};
use mobula_protocol::member::MemberSettings;
use mobula_protocol::sched::SharedPolicy;
use mobula_protocol::{ByteSize, Labels, Nanos, Resources};
use mobula_store::MemoryPolicy;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;

/// How long the news of a join may take within one process.
const JOIN_NEWS: Nanos = Nanos::secs(10);

/// How long a node goes on without its head, which is in the same process and can only be slow.
const EMBEDDED_GRACE: Nanos = Nanos::secs(600);

/// A head and any number of nodes in this process, connected in memory: no port is opened, nothing needs to be set up.
///
/// Each node has threads of its own, so killing one stops everything that runs on it.
pub struct Embedded {
    net: MemoryNet,
    head_address: String,
    seed: u64,
    nodes: BTreeMap<String, (Node, RealNode)>,
    /// After the nodes: they say goodbye to it.
    _head: (Head, RealNode),
}

/// A node of an embedded cluster, in one line.
#[derive(Clone, Debug)]
pub struct EmbeddedNode {
    /// Its name.
    pub name: String,
    /// What tasks may use there.
    pub resources: Resources,
    /// The capacity of its store.
    pub store: ByteSize,
    /// What happens to referenced primary copies when it is full.
    pub memory_policy: MemoryPolicy,
    /// See [`NodeSettings::spill`].
    pub spill: Vec<String>,
    /// Free-form properties.
    pub labels: Labels,
    /// See [`NodeSettings::persist`].
    pub persist: Option<String>,
    /// See [`NodeSettings::policy`].
    pub policy: SharedPolicy,
}

impl EmbeddedNode {
    /// A node with some cpus and a store of 256 MiB.
    pub fn new(name: &str, cpus: u64) -> Self {
        let NodeSettings { store, memory_policy, spill, persist, policy, .. } = NodeSettings::default();
        let (name, resources, labels) = (name.to_owned(), Resources::cpus(cpus), Labels::new());
        Self { name, resources, store, memory_policy, spill, labels, persist, policy }
    }

    /// The same with a store of so many bytes.
    #[must_use]
    pub fn object_store_memory(mut self, bytes: ByteSize) -> Self {
        self.store = bytes;
        self
    }
}

impl Embedded {
    /// One node with a cpu per core of this machine. The driver's context is that node's: see [`Embedded::context`].
    ///
    /// # Errors
    /// When the machine cannot give the memory or the threads.
    pub fn start() -> Result<Self, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
        // The one node cannot die without its head, which is in the same process. So a silence means a busy process.
        let members = MemberSettings { health_period: Nanos::secs(1), health_timeout: Nanos::secs(600) };
        let head = HeadSettings { members, ..HeadSettings::default() };
        Self::with(&[EmbeddedNode::new("local", cores)], head, 0)
    }

    /// A head with these settings and these nodes.
    ///
    /// # Errors
    /// As [`Embedded::start`], and names that clash.
    pub fn with(nodes: &[EmbeddedNode], head: HeadSettings, seed: u64) -> Result<Self, StartError> {
        let net = MemoryNet::default();
        let real = real("head", &net, seed, 1)?;
        let head = real.block_on(Head::start(&real.env, head))?;
        let head_address = head.address().to_owned();
        let mut cluster = Self { net, head_address, seed, nodes: BTreeMap::new(), _head: (head, real) };
        for node in nodes {
            cluster.add_node(node)?;
        }
        Ok(cluster)
    }

    /// Adds a node.
    ///
    /// # Errors
    /// As [`Embedded::with`].
    pub fn add_node(&mut self, node: &EmbeddedNode) -> Result<(), StartError> {
        let real = real(&node.name, &self.net, self.seed, 2)?;
        let settings = NodeSettings {
            head_grace: EMBEDDED_GRACE,
            name: node.name.clone(),
            resources: node.resources.clone(),
            labels: node.labels.clone(),
            store: node.store,
            memory_policy: node.memory_policy,
            spill: node.spill.clone(),
            persist: node.persist.clone(),
            policy: node.policy.clone(),
            ..NodeSettings::default()
        };
        let joined = real.block_on(Node::join(&real.env, &self.head_address, settings))?;
        self.nodes.insert(node.name.clone(), (joined, real));
        // The others hear of it a moment later; until they have, "the cluster has this node" would not be true of them.
        for (known, real) in self.nodes.values() {
            let names = [node.name.as_str()];
            real.block_on(known.context().await_nodes(&names, JOIN_NEWS))
                .map_err(|why| StartError::Os(io::Error::other(why)))?;
        }
        Ok(())
    }

    /// Kills a node as a crash would: nothing on it runs any more, nobody is told. Says whether there was one.
    pub fn kill(&mut self, name: &str) -> bool {
        let Some((_, real)) = self.nodes.remove(name) else { return false };
        real.kill();
        true
    }

    /// The context of a node's own process, if there is such a node.
    pub fn context_of(&self, name: &str) -> Option<&Context> {
        self.nodes.get(name).map(|(node, _)| node.context())
    }

    /// The context of the first node in name order; none once all were killed.
    pub fn context(&self) -> Option<&Context> {
        self.nodes.values().next().map(|(node, _)| node.context())
    }

    /// Runs a driver to its end on the threads of the first node.
    ///
    /// # Panics
    /// If every node was killed.
    pub fn block_on<F: Future>(&self, driver: F) -> F::Output {
        let (_, real) = self.nodes.values().next().expect("a driver needs a node to run on");
        real.block_on(driver)
    }
}

impl Embedded {
    /// Ends the cluster as a program does that is about to end itself: what was spilled is off the disk when this returns.
    /// Not from within a runtime; dropping the cluster leaves that to the background.
    pub fn end(self) {
        for (node, real) in self.nodes.values() {
            real.block_on(node.clear_spill());
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        for (_, (_, real)) in std::mem::take(&mut self.nodes) {
            real.kill();
        }
    }
}

fn real(name: &str, net: &MemoryNet, seed: u64, threads: usize) -> Result<RealNode, StartError> {
    let net = RealNet::Memory(net.clone());
    let disk_dir = Some(RealConfig::temporary_disk());
    let config = RealConfig { node: name.to_owned(), seed, net, threads, disk_dir, ..RealConfig::default() };
    Ok(Env::real(config)?)
}
