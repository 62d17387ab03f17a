//! What a person may set on a node or a head, with defaults that need no thought.

use mobula_protocol::owner::DEFAULT_LINEAGE_LIMIT;
use mobula_protocol::sched::SharedPolicy;
use mobula_protocol::{ByteSize, Labels, Nanos, Resources};
use mobula_store::MemoryPolicy;

/// Settings of one node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its name, unique in the cluster.
    pub name: String,
    /// What tasks may use here. A driver's own node has none.
    pub resources: Resources,
    /// Free-form properties.
    pub labels: Labels,
    /// Capacity of its object store.
    pub store: ByteSize,
    /// What happens to referenced primary copies when it is full.
    pub memory_policy: MemoryPolicy,
    /// What the node's process may use besides its store: above 95 % of it the memory monitor ends tasks, one at a time
    /// ([`mobula_protocol::memory`]). With none it is the memory of the machine, or of the control group it runs in, less
    /// the store, of which at most half is taken off; in simulation there is no limit then. To have no limit, set one that
    /// is larger than the machine.
    pub memory_limit: Option<ByteSize>,
    /// Directories for spilled objects, written to in turn: relative to the node's disk, absolute, or in storage that all
    /// nodes see and that outlives them: a directory that all machines mount (`shared:/mnt/pool`), or a folder of an
    /// object store (`s3://bucket/folder`, feature `object-store`). With none, nothing is spilled, and a full store
    /// refuses what does not fit.
    pub spill: Vec<String>,
    /// Results and arguments up to this many bytes travel in messages and live with their owner; larger results stay in
    /// the store of the node that made them, larger arguments in that of the submitter. At most 1 MiB, whatever is set.
    /// Ray's limit is the same 100 KiB.
    pub inline: ByteSize,
    /// How long a new object waits in a full store in which nothing is being spilled, before its task fails.
    pub store_grace: Nanos,
    /// Objects of this size and larger are passed on by receivers that have not got all of them yet; smaller ones come
    /// from whole copies only.
    pub relay_from: ByteSize,
    /// How long a join is tried, and how long a node goes on without hearing from its head.
    pub head_grace: Nanos,
    /// Bytes of finished tasks' specifications that are kept to rebuild lost values. What is beyond it fails with the
    /// reason `LINEAGE_EVICTED` when it is lost.
    pub lineage: ByteSize,
    /// The folder for values that are to outlive all nodes: a path that every node of the cluster can write and read,
    /// such as one of a network file system. With none, nothing can be persisted.
    pub persist: Option<String>,
    /// Where this node's own tasks go, and where it sends requests that it has no room for.
    pub policy: SharedPolicy,
    /// Port of its rpc service; 0 for any free one.
    pub port: u16,
}

impl NodeSettings {
    /// The limit as it holds on a machine with so much memory; none if neither is known.
    pub(crate) fn memory_limit_of(&self, machine: Option<ByteSize>) -> Option<ByteSize> {
        let rest = |all: ByteSize| all.saturating_sub(self.store.min(ByteSize(all.0 / 2)));
        self.memory_limit.or(machine.map(rest))
    }
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            name: "node".to_owned(),
            resources: Resources::cpus(1),
            labels: Labels::new(),
            store: ByteSize(256 << 20),
            memory_policy: MemoryPolicy::Spill,
            memory_limit: None,
            spill: vec!["spill".to_owned()],
            inline: ByteSize(100 << 10),
            store_grace: Nanos::secs(2),
            relay_from: mobula_protocol::transfer::RELAYED,
            head_grace: Nanos::secs(10),
            lineage: DEFAULT_LINEAGE_LIMIT,
            persist: None,
            policy: SharedPolicy::default(),
            port: 0,
        }
    }
}

/// Settings of the head.
#[derive(Clone, Debug)]
pub struct HeadSettings {
    /// How often nodes say that they live, and how long a silence is death. Those of a cluster stay as they were first.
    pub members: mobula_protocol::member::MemberSettings,
    /// Where actors go.
    pub policy: SharedPolicy,
    /// The directory of its log: relative to the machine's disk, or absolute. With it the head's next life goes on with
    /// the same cluster; without, that one is another cluster, and the nodes of this one end.
    pub log: Option<String>,
    /// How long the head goes on without being able to write its log.
    pub log_grace: Nanos,
    /// Port of its rpc service; 0 for any free one.
    pub port: u16,
}

impl Default for HeadSettings {
    fn default() -> Self {
        let members = mobula_protocol::member::MemberSettings::default();
        Self { members, policy: SharedPolicy::default(), log: None, log_grace: Nanos::secs(10), port: 0 }
    }
}
