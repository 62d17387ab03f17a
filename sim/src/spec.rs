//! What a cluster looks like before anything happens to it.

use mobula_protocol::member::{MemberSettings, SettingsError};
use mobula_protocol::{ByteSize, Labels, Nanos, Resources};
use mobula_runtime::{HeadSettings, MemoryPolicy, NodeSettings, SharedPolicy};
use std::collections::BTreeSet;

/// The name of the machine on which the head runs, for fault verbs.
pub const HEAD: &str = "head";
/// Where the head keeps its log, on its machine's disk.
pub(crate) const HEAD_LOG: &str = "head-log";
/// The name of the driver's own node, for fault verbs. It runs no tasks.
pub const DRIVER: &str = "driver";

/// A cluster as a scenario or a test describes it. The head and the driver's node come by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterSpec {
    /// The nodes that run tasks.
    pub nodes: Vec<NodeSpec>,
    /// What holds for all of them.
    pub settings: ClusterSettings,
    /// The network between all machines.
    pub link: LinkSpec,
}

/// A node that runs tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// Its name: letters, digits and `-`; not `head`, `driver` or `shared`.
    pub name: String,
    /// What its tasks may use. Its simulated machine has as many cores as there are cpus here, at least one.
    pub resources: Resources,
    /// Free-form properties.
    pub labels: Labels,
    /// The capacity of its object store.
    pub store: ByteSize,
    /// What its tasks may use of memory, if not what the world has.
    pub memory: Option<ByteSize>,
}

/// Settings of the runtime, with the runtime's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSettings {
    /// How often nodes say that they live.
    pub health_period: Nanos,
    /// How long a silence is death; at least three periods.
    pub health_timeout: Nanos,
    /// How long a join is tried, and how long a node goes on without its head.
    pub head_grace: Nanos,
    /// Whether the head keeps a log, so that it can be restarted.
    pub head_log: bool,
    /// Results up to this many bytes travel in messages.
    pub inline: ByteSize,
    /// How long a new object waits for room in a full store.
    pub store_grace: Nanos,
    /// Bytes of lineage that each owner keeps.
    pub lineage: ByteSize,
    /// Objects of this size and larger are passed on by receivers that have not got all of them yet.
    pub relay_from: ByteSize,
    /// The capacity of the driver's store.
    pub driver_store: ByteSize,
    /// What happens to referenced primary copies when a store is full.
    pub memory_policy: MemoryPolicy,
    /// Directories for spilled objects, on each node's disk, or in storage that all share (`shared:NAME`); with none,
    /// nothing is spilled.
    pub spill: Vec<String>,
    /// The folder for persisted values, outside the cluster.
    pub persist: Option<String>,
    /// Where tasks and actors go.
    pub policy: SharedPolicy,
}

/// The simulated network between two machines. The real world uses the network it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// The least and the largest one-way latency of a message.
    pub latency: (Nanos, Nanos),
    /// Bytes per second of each direction of each machine's network card.
    pub bandwidth: ByteSize,
}

/// A cluster that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not a name for a node.
    #[error(
        "`{name}` is no name for a node; use up to 64 letters, digits and `-`, and none of `head`, `driver` and `shared`"
    )]
    BadName {
        /// What was given.
        name: String,
    },
    /// Two nodes would have one name.
    #[error("there are two nodes called `{name}`; every node needs a name of its own")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A node without a store could hold no value.
    #[error("the store of node `{name}` has no bytes; give it some, as in 100MB")]
    NoStore {
        /// The node.
        name: String,
    },
    /// Health settings under which healthy nodes would die.
    #[error(transparent)]
    Health(#[from] SettingsError),
    /// Latencies the wrong way round.
    #[error("the least latency {least} is above the largest {most}")]
    Latency {
        /// The least.
        least: Nanos,
        /// The largest.
        most: Nanos,
    },
}

impl NodeSpec {
    /// A node with some cpus and the runtime's default store.
    pub fn new(name: &str, cpus: u64) -> Self {
        Self {
            name: name.to_owned(),
            resources: Resources::cpus(cpus),
            labels: Labels::new(),
            store: NodeSettings::default().store,
            memory: None,
        }
    }

    /// The same with another store.
    #[must_use]
    pub fn store(mut self, store: ByteSize) -> Self {
        self.store = store;
        self
    }

    /// The same with a limit to the memory of its tasks.
    #[must_use]
    pub fn memory(mut self, limit: ByteSize) -> Self {
        self.memory = Some(limit);
        self
    }

    /// Cores of the simulated machine: enough that every cpu a task asks for is one.
    pub(crate) fn cores(&self) -> u32 {
        let cpus = self.resources.get(Resources::CPU).0.div_ceil(10_000);
        u32::try_from(cpus).unwrap_or(u32::MAX).max(1)
    }

    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        // The narrowest of what the worlds allow, so that a file means the same in all of them.
        let plain = self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let length = (1..=mobula_protocol::member::LONGEST_NAME).contains(&self.name.len());
        let taken = [HEAD, DRIVER, mobula_env::SHARED];
        if !plain || !length || taken.contains(&self.name.as_str()) {
            return Err(SpecError::BadName { name: self.name.clone() });
        }
        if self.store == ByteSize::ZERO {
            return Err(SpecError::NoStore { name: self.name.clone() });
        }
        Ok(())
    }
}

impl ClusterSpec {
    /// `n` nodes `A`, `B`, ... of one cpu each; from the 27th on, `A1`, `B1`, ...
    pub fn nodes(n: usize) -> Self {
        let name = |i: usize| {
            let letter = char::from(b'A' + (i % 26) as u8);
            if i < 26 { letter.to_string() } else { format!("{letter}{}", i / 26) }
        };
        Self { nodes: (0..n).map(|i| NodeSpec::new(&name(i), 1)).collect(), ..Self::default() }
    }

    /// Whether this cluster can be.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.settings.members().validate()?;
        let (least, most) = self.link.latency;
        if least > most {
            return Err(SpecError::Latency { least, most });
        }
        let mut names = BTreeSet::new();
        for node in &self.nodes {
            node.validate()?;
            if !names.insert(&node.name) {
                return Err(SpecError::NameTaken { name: node.name.clone() });
            }
        }
        Ok(())
    }
}

impl ClusterSettings {
    pub(crate) fn members(&self) -> MemberSettings {
        MemberSettings { health_period: self.health_period, health_timeout: self.health_timeout }
    }

    pub(crate) fn head(&self, port: u16) -> HeadSettings {
        HeadSettings {
            members: self.members(),
            policy: self.policy.clone(),
            port,
            log: self.head_log.then(|| HEAD_LOG.to_owned()),
            ..HeadSettings::default()
        }
    }

    pub(crate) fn node(&self, spec: &NodeSpec) -> NodeSettings {
        NodeSettings {
            name: spec.name.clone(),
            resources: spec.resources.clone(),
            labels: spec.labels.clone(),
            store: spec.store,
            memory_limit: spec.memory,
            memory_policy: self.memory_policy,
            spill: self.spill.clone(),
            inline: self.inline,
            store_grace: self.store_grace,
            lineage: self.lineage,
            persist: self.persist.clone(),
            policy: self.policy.clone(),
            relay_from: self.relay_from,
            head_grace: self.head_grace,
            port: 0,
        }
    }

    pub(crate) fn driver(&self) -> NodeSettings {
        self.node(&self.driver_spec(DRIVER))
    }

    /// A node that runs no tasks.
    pub(crate) fn driver_spec(&self, name: &str) -> NodeSpec {
        NodeSpec {
            name: name.to_owned(),
            resources: Resources::none(),
            labels: Labels::new(),
            store: self.driver_store,
            memory: None,
        }
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        let (node, head) = (NodeSettings::default(), HeadSettings::default());
        Self {
            health_period: head.members.health_period,
            health_timeout: head.members.health_timeout,
            head_grace: node.head_grace,
            head_log: true,
            inline: node.inline,
            store_grace: node.store_grace,
            lineage: node.lineage,
            relay_from: node.relay_from,
            driver_store: node.store,
            memory_policy: node.memory_policy,
            spill: node.spill,
            persist: node.persist,
            policy: node.policy,
        }
    }
}

impl Default for LinkSpec {
    /// That of [`mobula_env::SimConfig`] and [`mobula_env::Costs`].
    fn default() -> Self {
        let simulated = mobula_env::SimConfig::default();
        Self { latency: simulated.latency, bandwidth: simulated.costs.nic }
    }
}
