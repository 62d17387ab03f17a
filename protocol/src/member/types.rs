//! What the cluster knows of a node.

use crate::{Incarnation, Labels, Resources};
use serde::{Deserialize, Serialize};

/// A node as it registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// This life of it.
    pub incarnation: Incarnation,
    /// Its name, unique among the living.
    pub name: String,
    /// Where its rpc service listens.
    pub rpc: String,
    /// Where its byte streams listen.
    pub bulk: String,
    /// What it has in all.
    pub total: Resources,
    /// Its properties.
    pub labels: Labels,
}

/// What a node can take on right now. Soft state: only the newest version counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Counts up with each change, so that an older load never replaces a newer one.
    pub version: u64,
    /// Not leased at the moment.
    pub available: Resources,
    /// Lease requests waiting there.
    pub queued: u32,
    /// Whether it takes no new work because it is about to leave.
    pub draining: bool,
}

impl NodeLoad {
    /// What everybody assumes of a member before its first report (version 0): all of it is free.
    pub fn idle(member: &Member) -> Self {
        Self { available: member.total.clone(), ..Self::default() }
    }
}

/// One entry of the membership log. Verdicts are final: after `Died` an incarnation never comes back (invariant I38).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberEvent {
    /// A node registered.
    Joined(Member),
    /// A node was declared dead, or left.
    Died {
        /// Which life ended.
        incarnation: Incarnation,
        /// Why, for people.
        why: String,
    },
}
