//! What can be wrong with a fault.

use mobula_env::WorldKind;
use mobula_protocol::Nanos;
use std::fmt;

/// What the harness did to a machine last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It runs.
    Running,
    /// It stands still.
    Paused,
    /// Its process is gone.
    Killed,
    /// It has no power.
    Off,
    /// It stopped by itself: the cluster declared it dead, or it never came up.
    Stopped,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Killed => "killed",
            Self::Off => "without power",
            Self::Stopped => "stopped",
        })
    }
}

/// A fault that was not injected, or whose effect did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// This world cannot do it. The report lists it among [`RunReport::skipped_faults`](crate::RunReport).
    #[error("{what}: skipped, the {world} world cannot do it: {why}")]
    Unsupported {
        /// The verb and its arguments.
        what: String,
        /// The world.
        world: WorldKind,
        /// What it would need.
        why: &'static str,
    },
    /// No node has this name.
    #[error("there is no node `{name}`; {}", .nearest.as_deref().map_or(
        format!("the nodes are {}", .known.join(", ")), |nearest| format!("did you mean `{nearest}`?")))]
    NoSuchNode {
        /// The name asked for.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
        /// All names there are.
        known: Vec<String>,
    },
    /// A node to be added that cannot be.
    #[error(transparent)]
    Spec(#[from] crate::SpecError),
    /// A node has this name, dead or alive.
    #[error("there is a node `{name}` already, {state}; `restart` starts its next life")]
    NameTaken {
        /// The name.
        name: String,
        /// What it does.
        state: NodeState,
    },
    /// The verb does not apply to what the node does now.
    #[error("cannot {verb} `{name}`: it is {state}")]
    WrongState {
        /// The verb.
        verb: &'static str,
        /// The node.
        name: String,
        /// What it does.
        state: NodeState,
    },
    /// The driver is the one who injects the faults; it can only be cut off.
    #[error("cannot {verb} the driver: it is who injects the faults")]
    Driver {
        /// The verb.
        verb: &'static str,
    },
    /// Nodes that did not join.
    #[error("not joined after {waited}: {}", .missing.join("; "))]
    NotJoined {
        /// Each with what is known about it.
        missing: Vec<String>,
        /// How long they were waited for.
        waited: Nanos,
    },
    /// The runtime did not do what it was asked.
    #[error("cannot {verb} `{name}`: {why}")]
    Runtime {
        /// The verb.
        verb: &'static str,
        /// The node.
        name: String,
        /// Why.
        why: String,
    },
    /// The operating system refuses.
    #[error("cannot {verb} `{name}`: {why}")]
    Os {
        /// The verb.
        verb: &'static str,
        /// The node.
        name: String,
        /// The system's words.
        why: String,
    },
}
