//! Which node gets a lease: one pure function from a versioned view and a request to a decision.
//!
//! The owner calls it to find the node to ask, a node calls it to find where to spill a request back to. Both see the
//! same rules, so a request does not bounce between two opinions (Ray's two schedulers did, ray#20050).
//!
//! A decision has three steps:
//! 1. **Constraints** (`constraints.rs`), the same for every policy: [`Placement`], draining, excluded nodes, and what
//!    a node has in all. What is left is feasible; if nothing is left the answer says what is missing where.
//! 2. **Room.** Nodes whose available resources, less what was already asked for there, hold the request.
//! 3. **Preference.** The policy orders the nodes with room. If none has room, every policy queues at the same node:
//!    the one with most argument bytes, then the shortest queue for its size.
//!
//! A policy therefore cannot break a constraint, and a new one is one file with one function ([`Policy::choose`]):
//! ```
//! use mobula_protocol::sched::{Candidate, Policy, Request, SharedPolicy};
//!
//! /// The node with the most room, in absolute terms.
//! #[derive(Debug)]
//! struct Roomiest;
//!
//! impl Policy for Roomiest {
//!     fn name(&self) -> &'static str {
//!         "roomiest"
//!     }
//!
//!     fn choose(&self, _: &Request<'_>, candidates: &[Candidate<'_>]) -> usize {
//!         let room = |i: &usize| candidates[*i].node.load.available.get("cpu");
//!         (0..candidates.len()).max_by_key(room).unwrap_or(0)
//!     }
//! }
//!
//! let policy = SharedPolicy::new(Roomiest);       // for the settings of nodes and of the head
//! assert_eq!(policy.to_string(), "roomiest");
//! assert!("packed".parse::<SharedPolicy>().is_ok());  // those that come with Mobula have names
//! ```
//!
//! Where we differ from Ray: `SPREAD` is the least used node and not a rotating counter, so that the function stays
//! pure; locality is used only among nodes with room; ties come from a seed in the request.

mod constraints;
mod shared;
mod shipped;
#[cfg(test)]
mod tests;

pub use shared::{SharedPolicy, UnknownPolicy};
pub use shipped::{Hybrid, Packed, Random, Spread};

use crate::member::{ClusterView, NodeView};
use crate::{Amount, ByteSize, GroupId, Incarnation, NodeId, Placement, Resources, SchedulingClass};
use constraints::feasible;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

pub(super) use constraints::lacking;

/// Leases of a class that asks for no resources which count as one node's share. Such a class is bounded by nothing
/// else.
const SLOTS_WITHOUT_RESOURCES: u64 = 16;

/// What a policy decides about.
pub struct Request<'a> {
    /// The cluster as the asker knows it.
    pub view: &'a ClusterView,
    /// What is to run.
    pub class: &'a SchedulingClass,
    /// Already asked for at these nodes by the asker, and not yet visible in their loads.
    pub pending: &'a BTreeMap<NodeId, Resources>,
    /// Argument bytes by node.
    pub near: &'a [(NodeId, ByteSize)],
    /// The asker's own node: preferred among equals.
    pub home: Option<NodeId>,
    /// Nodes that must not be chosen.
    pub exclude: &'a BTreeSet<NodeId>,
    /// A seeded number that breaks ties.
    pub tie: u64,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Here: there is room now.
    Node(Incarnation),
    /// Everything that could run it is full: the best node to wait at.
    Busy(Incarnation),
    /// No living node can ever run it; the text says what is missing.
    Infeasible(String),
    /// It must run on the node of this name, and no living node has it.
    NoSuchNode(String),
    /// It must run on the node of this name, which takes no more work: it is draining, and that is for good.
    Leaving(String),
    /// It must run in this placement group, and there is none.
    GroupRemoved(GroupId),
}

/// A feasible node with room, as a policy sees it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a NodeView,
    /// The most used of the resources the class asks for, in ten-thousandths of what the node has.
    pub used: u64,
    /// Argument bytes there.
    pub near: ByteSize,
    /// Whether it has gpus that this class would not use.
    pub wastes_gpu: bool,
}

impl Candidate<'_> {
    /// Its node id.
    pub fn id(&self) -> NodeId {
        self.node.member.incarnation.node
    }
}

/// A preference over nodes.
pub trait Policy: Send + Sync {
    /// What settings call it.
    fn name(&self) -> &'static str;

    /// The index of the preferred candidate. `candidates` is never empty, is in node id order, and each has room. An
    /// index out of range counts as the last one.
    fn choose(&self, request: &Request<'_>, candidates: &[Candidate<'_>]) -> usize;

    /// Decides: constraints, room, then [`choose`](Policy::choose). Costs O(nodes).
    fn pick(&self, request: &Request<'_>) -> Decision {
        let nodes = match feasible(request) {
            Ok(nodes) => nodes,
            Err(decision) => return decision,
        };
        let with_room: Vec<_> = nodes.iter().filter(|node| has_room(request, node)).map(|n| seen(request, n)).collect();
        if with_room.is_empty() {
            return queue_at(request, &nodes);
        }
        let index = match request.class.placement {
            Placement::Spread => Spread.choose(request, &with_room),
            _ => self.choose(request, &with_room),
        };
        Decision::Node(with_room[index.min(with_room.len() - 1)].node.member.incarnation)
    }
}

/// How many leases of `class` the nodes of `view` could hold at once if nothing else ran.
pub(super) fn cluster_slots(view: &ClusterView, class: &SchedulingClass) -> u64 {
    let nothing = (BTreeMap::new(), BTreeSet::new());
    let request = Request { view, class, pending: &nothing.0, near: &[], home: None, exclude: &nothing.1, tie: 0 };
    let slots = |node: &&NodeView| slots(&node.member.total, &class.resources);
    feasible(&request).map_or(0, |nodes| nodes.iter().map(slots).fold(0, u64::saturating_add))
}

/// A number that looks random and depends on its inputs alone (splitmix64's finaliser).
pub(crate) fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How often `request` fits into `total`.
pub(super) fn slots(total: &Resources, request: &Resources) -> u64 {
    request.iter().map(|(name, want)| total.get(name).0 / want.0).min().unwrap_or(SLOTS_WITHOUT_RESOURCES)
}

fn has_room(request: &Request<'_>, node: &NodeView) -> bool {
    let pending = request.pending.get(&node.member.incarnation.node);
    request.class.resources.iter().all(|(name, want)| {
        let asked = pending.map_or(Amount(0), |pending| pending.get(name));
        node.load.available.get(name).0 >= want.0 + asked.0
    })
}

fn seen<'a>(request: &Request<'_>, node: &'a NodeView) -> Candidate<'a> {
    let id = node.member.incarnation.node;
    let pending = request.pending.get(&id);
    let used = |(name, _): (&str, Amount)| {
        let total = node.member.total.get(name).0;
        let asked = pending.map_or(0, |pending| pending.get(name).0);
        let used = total.saturating_sub(node.load.available.get(name).0) + asked;
        (used.saturating_mul(10_000)).checked_div(total).unwrap_or(0)
    };
    Candidate {
        node,
        used: request.class.resources.iter().map(used).max().unwrap_or(0),
        near: bytes_at(request, id),
        wastes_gpu: node.member.total.get("gpu") > Amount(0) && request.class.resources.get("gpu") == Amount(0),
    }
}

fn bytes_at(request: &Request<'_>, node: NodeId) -> ByteSize {
    request.near.iter().filter(|(at, _)| *at == node).map(|(_, size)| *size).sum()
}

/// The node to wait at when all are full. Everyone uses the same rule, because it is about queues and not about
/// placement.
fn queue_at(request: &Request<'_>, nodes: &[&NodeView]) -> Decision {
    let queue = |node: &NodeView| {
        let id = node.member.incarnation.node;
        let slots = slots(&node.member.total, &request.class.resources).max(1);
        let pending = request.pending.get(&id);
        let asked = pending.map_or(0, |pending| match request.class.resources.iter().next() {
            Some((name, want)) => pending.get(name).0 / want.0,
            None => 0,
        });
        (u64::from(node.load.queued) + asked).saturating_mul(10_000) / slots
    };
    let best = nodes.iter().min_by_key(|node| {
        let id = node.member.incarnation.node;
        let near = if request.class.placement == Placement::Spread { ByteSize(0) } else { bytes_at(request, id) };
        (Reverse(near), queue(node), request.home != Some(id), mix(request.tie, u64::from(id.0)))
    });
    match best {
        Some(node) => Decision::Busy(node.member.incarnation),
        None => Decision::Infeasible("no node takes new work".into()),
    }
}
