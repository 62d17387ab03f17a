//! Events and effects of a node's leases.

use crate::member::{ClusterView, NodeLoad};
use crate::sched::Refusal;
use crate::{Bundle, Incarnation, LeaseId, OwnerId, Resources, SchedulingClass};
use std::sync::Arc;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The cluster changed.
    View(Arc<ClusterView>),
    /// An owner asks for a lease.
    Request {
        /// Who sent it; must be the owner in the lease id.
        from: OwnerId,
        /// Its name.
        lease: LeaseId,
        /// For what.
        class: Arc<SchedulingClass>,
        /// Spillbacks so far.
        hops: u8,
    },
    /// The owner needs it no longer, queued or granted.
    Return {
        /// Which.
        lease: LeaseId,
    },
    /// The running task of the lease waits for a value.
    Blocked {
        /// Which.
        lease: LeaseId,
    },
    /// It waits no longer.
    Unblocked {
        /// Which.
        lease: LeaseId,
    },
    /// An owner wants resources set aside for a bundle of a placement group.
    Reserve {
        /// Who sent it; must be the owner of the group.
        from: OwnerId,
        /// Its name.
        bundle: Bundle,
        /// How much.
        resources: Resources,
    },
    /// It no longer does; what runs in the bundle ends. Nothing if there is no such bundle here.
    Unreserve {
        /// Which.
        bundle: Bundle,
    },
    /// Membership declared this owner dead.
    OwnerDied(OwnerId),
    /// This node is about to leave: it takes nothing new, and what was granted runs on.
    Drain,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the owner it has the lease, after making a worker ready for it.
    Grant {
        /// The owner.
        to: OwnerId,
        /// Which.
        lease: LeaseId,
    },
    /// Tell the owner to ask another node.
    Spillback {
        /// The owner.
        to: OwnerId,
        /// Which.
        lease: LeaseId,
        /// The node that has room.
        target: Incarnation,
    },
    /// Tell the owner no.
    Refuse {
        /// The owner.
        to: OwnerId,
        /// Which.
        lease: LeaseId,
        /// Why.
        why: Refusal,
    },
    /// Tell the owner that the bundle is set aside.
    Reserved {
        /// The owner.
        to: OwnerId,
        /// Which.
        bundle: Bundle,
    },
    /// Tell the owner that there is no room for it.
    Unreserved {
        /// The owner.
        to: OwnerId,
        /// Which.
        bundle: Bundle,
    },
    /// A granted lease is gone; the worker under it stops.
    Ended {
        /// Which.
        lease: LeaseId,
    },
    /// Tell the head, with the next heartbeat or at once.
    LoadChanged(NodeLoad),
}
