//! What goes wrong, and when.

use super::model::{Name, Node};
use mobula_runtime::{ByteSize, Nanos};
use mobula_sim::{DiskDamage, RpcFault};

/// Something goes wrong, or is mended.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The process ends; peers see their connections close.
    Kill(Name),
    /// The machine goes silent and ends.
    PowerOff(Name),
    /// The process stands still.
    Pause(Name),
    /// It goes on.
    Resume(Name),
    /// The node's next life begins.
    Restart(Name),
    /// The head's log is gone, and the head with it.
    WipeHead,
    /// Messages between two nodes vanish; only those from the first to the second if `oneway`.
    Partition {
        /// The first node.
        a: Name,
        /// The second node.
        b: Name,
        /// Whether the other direction still works.
        oneway: bool,
    },
    /// Ends the partition of two nodes, or all partitions.
    Heal(Option<(Name, Name)>),
    /// What two machines say to each other waits until it is released.
    Hold {
        /// The first machine.
        a: Name,
        /// The second machine.
        b: Name,
    },
    /// It arrives.
    ReleaseMessages {
        /// The first machine.
        a: Name,
        /// The second machine.
        b: Name,
    },
    /// Messages between two machines take longer.
    SlowLink {
        /// The first machine.
        a: Name,
        /// The second machine.
        b: Name,
        /// How much longer, each way.
        latency: Nanos,
    },
    /// Requests and replies between two machines are lost.
    Loss {
        /// The first machine.
        a: Name,
        /// The second machine.
        b: Name,
        /// Each with this probability.
        probability: f64,
    },
    /// Calls meet a fault.
    Rpc {
        /// Which calls, and what becomes of them.
        fault: RpcFault,
        /// The nodes it names.
        nodes: Vec<Name>,
    },
    /// A machine's wall clock moves.
    ClockJump {
        /// The machine.
        node: Name,
        /// How far, in nanoseconds.
        nanos: i64,
    },
    /// A node takes no more work.
    Drain(Name),
    /// A node joins.
    AddNode(Node),
    /// A node loses its copy of an object.
    Evict {
        /// The object.
        object: Name,
        /// The node.
        node: Name,
        /// Whether also a primary copy goes.
        force: bool,
    },
    /// The budget of a node's store changes.
    ShrinkStore {
        /// The node.
        node: Name,
        /// To so many bytes.
        to: ByteSize,
    },
    /// A disk behaves differently.
    Disk(Name, DiskChange),
    /// All spill files of a machine are damaged or removed.
    DamageSpill(Name, DiskDamage),
}

/// How a disk behaves from now on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DiskChange {
    /// Nothing more can be written.
    Full,
    /// This share of writes fails.
    Errors(f64),
    /// Everything takes so many times as long.
    Slower(u64),
    /// As it should.
    Mended,
}

/// Faults with the moment they happen at.
#[derive(Clone, Debug)]
pub struct PlannedFault {
    /// Its line.
    pub line: usize,
    /// When.
    pub trigger: Trigger,
    /// What happens, in order.
    pub actions: Vec<(usize, Fault)>,
}

/// When a planned fault happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// At this model time after the first step began.
    At(Nanos),
    /// When so many tasks of a label are finished.
    Finished {
        /// The label: the name a task was submitted under, or a Dataset operator.
        label: Name,
        /// How many.
        goal: Goal,
    },
    /// When the object has a value somewhere.
    Sealed(Name),
    /// When so many bytes were received over network cards.
    Moved(ByteSize),
    /// When a place in the code under test was reached so often: a probe, or a kind of line of the event log.
    Probe {
        /// Its name.
        site: String,
        /// How often.
        nth: u64,
    },
    /// From the beginning, before any node starts. Only faults of calls.
    Beginning,
}

/// How many tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many.
    Count(u64),
    /// Such a share, in percent, of those the file submits or the Dataset operator has.
    Percent(f64),
}
