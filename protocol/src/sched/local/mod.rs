//! The node's side of leases: grants, queues or spills back.
//!
//! # States of a lease here
//! ```text
//!            Request                    Blocked
//!   (none) ----------> queued -> granted ------> blocked
//!      ^                 |  |      |   ^            |
//!      |    Return, ...  |  |      |   +------------+
//!      +-----------------+  |      |     Unblocked
//!      +--------------------+------+  Return, OwnerDied
//!         spilled back, refused
//! ```
//! # Guarantees
//! - **Capacity (I32).** For each resource: free + held by granted leases = total + debt, in exact amounts, and free
//!   and debt are never both above zero. Only [`Event::Unblocked`] makes debt: a task that comes back from `get` takes
//!   its resources again at once, even above the total, because the alternative is a second wait while it holds its
//!   stack and its arguments. Until the debt of a resource is repaid nothing that needs that resource is granted. The
//!   overrun is at most what the leases blocked at that time hold.
//! - **Placement groups (I35).** What is set aside for a bundle is not free, and an account of its own: requests of the
//!   group's classes are granted from it and from nothing else, also while the node drains. A bundle is set aside if it
//!   fits what is free, and goes with everything in it when its owner returns it or dies. Only its owner may use it, and
//!   the head, for the owner's actors. Requests for bundles and others do not wait for each other.
//! - **Every request is answered** by exactly one of grant, spillback and refusal, unless its owner returns it or dies
//!   first.
//! - **Fairness (I36).** The highest priority first, always. Within a priority the group that has had least of this
//!   node for its weight ([`Share`], `shares.rs`), so that a saturated node is shared by weight and a new job does not
//!   wait for the backlog of an old one (K09). Within a group owners in turn, and first come first served within an
//!   owner. A request too large for what is free may be overtaken by others at most [`MAX_PASSED`] times; then everyone
//!   waits for it.
//! - **Bounded hops.** A request that was spilled back [`MAX_HOPS`] times is granted or queued, never sent on, except
//!   by a node that drains, which refuses it. Requests sent to a node count against its room until its load is heard of
//!   again.
//! - **Idempotent return.** A return of a lease unknown here leaves a tombstone, and the request it overtook is then
//!   ignored (ray#13545, ray#65420). At most [`MAX_TOMBSTONES`]; the oldest goes first.
//! - **Hard constraints hold at grant time (I9).** Placement and totals are checked here again, whatever the asker's
//!   view said.
//! - **Fencing.** Nothing is granted to an owner after [`Event::OwnerDied`] for it or for a later life of its node.
//!
//! # Where we differ from Ray
//! `ClusterLeaseManager` and `LocalLeaseManager` hold a request in one of several queues per scheduling class and take
//! the classes in turn, whoever asks; a request spilled back once must be granted or rejected (ray#20050). Here a lease
//! id names everything from the first message, queues are per owner, a rejected request may try a bounded number of
//! other nodes, and waiting for arguments is no business of the lease (the executor hands tasks back instead of holding
//! the lease).

mod bundles;
mod ledger;
mod shares;
#[cfg(test)]
mod tests;
mod words;

pub use words::{Effect, Event};

use super::policy::{lacking, mix};
use super::{Decision, Policy, Refusal, Request};
use crate::member::{ClusterView, Member, NodeLoad};
use crate::{Bundle, Epoch, GroupId, Incarnation, LeaseId, Machine, Nanos, NodeId, OwnerId, Placement, Resources};
use crate::{SchedulingClass, Share, Violation};
use ledger::Ledger;
use shares::{Shares, part};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, LazyLock};

/// Spillbacks after which a request is granted or queued where it is.
pub const MAX_HOPS: u8 = 4;

/// How often a waiting request may be overtaken because it does not fit yet.
pub const MAX_PASSED: u32 = 64;

/// Returns remembered because they may have overtaken their request.
pub const MAX_TOMBSTONES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued { hops: u8, passed: u32 },
    Granted,
    Blocked,
}

#[derive(Debug)]
struct Lease {
    class: Arc<SchedulingClass>,
    state: State,
    /// The bundle it was granted in, if its class belongs into a placement group.
    bundle: Option<Bundle>,
}

/// Who stands in one queue: the requests of one owner for one share of the node or of the same bundles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    owner: OwnerId,
    /// The placement group, and which of its bundles if only one will do.
    inside: Option<(GroupId, Option<u32>)>,
    share: Arc<Share>,
}

impl Line {
    fn of(lease: LeaseId, class: &SchedulingClass) -> Self {
        static DEFAULT: LazyLock<Arc<Share>> = LazyLock::new(Arc::default);
        let inside = match &class.placement {
            Placement::Group { group, index } => Some((*group, *index)),
            _ => None,
        };
        Self { owner: lease.owner, inside, share: class.share.as_ref().unwrap_or(&DEFAULT).clone() }
    }

    /// Those who compete for the same resources: all outside groups, and all in the same group.
    fn account(&self) -> Option<GroupId> {
        self.inside.map(|(group, _)| group)
    }
}

/// The leases of one node. See the module's documentation.
pub struct Local {
    member: Member,
    policy: Arc<dyn Policy>,
    seed: u64,
    draws: u64,
    ledger: Ledger,
    leases: BTreeMap<LeaseId, Lease>,
    /// What is set aside for placement groups, each with an account of its own.
    bundles: BTreeMap<Bundle, (Resources, Ledger)>,
    /// Queued leases, oldest first. No queue is empty.
    queues: BTreeMap<Line, VecDeque<LeaseId>>,
    /// The one served last; the next in order has its turn.
    served: Option<Line>,
    shares: Shares,
    /// The time of the step.
    now: Nanos,
    tombstones: BTreeSet<LeaseId>,
    /// The tombstones and some that are gone, oldest first.
    tombstone_order: VecDeque<LeaseId>,
    /// The latest life of each node that is known to have ended.
    dead: BTreeMap<NodeId, Epoch>,
    view: Arc<ClusterView>,
    /// Sent to other nodes since they last told their load.
    redirected: BTreeMap<NodeId, Resources>,
    /// This node alone: where a request is never spilled to.
    here: BTreeSet<NodeId>,
    load: NodeLoad,
}

impl Local {
    /// A node that is entirely free. `member` is the node as it registered; `policy` chooses where to spill to, and
    /// `seed` breaks its ties.
    pub fn new(member: Member, policy: Arc<dyn Policy>, seed: u64) -> Self {
        let load = NodeLoad { version: 1, available: member.total.clone(), queued: 0, draining: false };
        Self {
            ledger: Ledger::new(member.total.clone()),
            here: [member.incarnation.node].into(),
            policy,
            seed,
            draws: 0,
            leases: BTreeMap::new(),
            bundles: BTreeMap::new(),
            queues: BTreeMap::new(),
            served: None,
            shares: Shares::default(),
            now: Nanos::ZERO,
            tombstones: BTreeSet::new(),
            tombstone_order: VecDeque::new(),
            dead: BTreeMap::new(),
            view: Arc::default(),
            redirected: BTreeMap::new(),
            load,
            member,
        }
    }

    /// What the node can take on right now.
    pub fn load(&self) -> &NodeLoad {
        &self.load
    }

    /// What granted leases hold that are not blocked.
    pub fn used(&self) -> Resources {
        self.ledger.used()
    }

    /// Leases known here: queued, granted and blocked ones.
    pub fn leases(&self) -> impl Iterator<Item = LeaseId> {
        self.leases.keys().copied()
    }

    /// Why a lease is not granted yet; `None` if it is, or is unknown here.
    pub fn why(&self, lease: LeaseId) -> Option<String> {
        let entry = self.leases.get(&lease)?;
        if !matches!(entry.state, State::Queued { .. }) {
            return None;
        }
        let ahead =
            self.queues.get(&Line::of(lease, &entry.class))?.iter().take_while(|queued| **queued != lease).count();
        let (needs, free) = (&entry.class.resources, self.free_for(&entry.class));
        Some(format!(
            "{ahead} requests of its owner are ahead; needs {needs}, node {} has {free} free",
            self.member.name
        ))
    }

    fn request(&mut self, from: OwnerId, lease: LeaseId, class: Arc<SchedulingClass>, hops: u8, out: &mut Vec<Effect>) {
        if self.leases.contains_key(&lease) || self.tombstones.remove(&lease) {
            return;
        }
        if let Some(why) = self.refusal(from, lease, &class) {
            return out.push(Effect::Refuse { to: from, lease, why });
        }
        // What was set aside stays so until it is given back.
        if self.load.draining && class.placement.group().is_none() {
            return self.turn_away(lease, &class, hops, out);
        }
        let state = State::Queued { hops, passed: 0 };
        self.leases.insert(lease, Lease { class: class.clone(), state, bundle: None });
        let line = Line::of(lease, &class);
        self.shares.joined(self.now, &line.share);
        self.queues.entry(line).or_default().push_back(lease);
        self.serve(out);
        let waits = self.leases.get(&lease).is_some_and(|lease| lease.state != State::Granted);
        if waits && let Some(target) = self.spill_target(&class, hops, false) {
            self.forget(lease);
            out.push(Effect::Spillback { to: from, lease, target });
        }
    }

    fn refusal(&self, from: OwnerId, lease: LeaseId, class: &SchedulingClass) -> Option<Refusal> {
        if self.dead.get(&from.node).is_some_and(|epoch| from.epoch <= *epoch) {
            return Some(Refusal::OwnerDead);
        }
        if lease.owner != from {
            return Some(Refusal::Infeasible(format!("lease {lease} is not {from}'s to ask for")));
        }
        match class.placement.group() {
            // The head leases for the actors of everybody.
            Some(group) if group.owner != from && from != Incarnation::HEAD => {
                Some(Refusal::Infeasible(format!("placement group {group} is not {from}'s to use")))
            }
            Some(group) => self.no_bundle(group, class).map(Refusal::Infeasible),
            None => lacking(&self.member, class).map(Refusal::Infeasible),
        }
    }

    /// While draining: to any other node that could run it, even a busy one, or back with a refusal.
    fn turn_away(&mut self, lease: LeaseId, class: &SchedulingClass, hops: u8, out: &mut Vec<Effect>) {
        out.push(match self.spill_target(class, hops, true) {
            Some(target) => Effect::Spillback { to: lease.owner, lease, target },
            None => Effect::Refuse { to: lease.owner, lease, why: Refusal::Draining },
        });
    }

    /// Another node with room for `class`; with `even_busy`, one that could ever have room will do.
    fn spill_target(&mut self, class: &SchedulingClass, hops: u8, even_busy: bool) -> Option<Incarnation> {
        // A class that is bound to this node, also softly, waits for it while it takes work.
        let bound = match &class.placement {
            Placement::Node { name, .. } => *name == self.member.name,
            placement => placement.group().is_some(),
        };
        if hops >= MAX_HOPS || bound && !even_busy {
            return None;
        }
        self.draws += 1;
        let request = Request {
            view: &self.view,
            class,
            pending: &self.redirected,
            near: &[],
            home: None,
            exclude: &self.here,
            tie: mix(self.seed, self.draws),
        };
        let target = match self.policy.pick(&request) {
            Decision::Node(target) => target,
            Decision::Busy(target) if even_busy => target,
            _ => return None,
        };
        self.redirected.entry(target.node).or_default().give(&class.resources);
        Some(target)
    }

    /// Grants while anything fits.
    fn serve(&mut self, out: &mut Vec<Effect>) {
        while let Some(line) = self.next_to_serve() {
            let Some(lease) = self.queues.get(&line).and_then(|queue| queue.front().copied()) else { return };
            self.unqueue(lease);
            self.hold(lease);
            self.served = Some(line);
            out.push(Effect::Grant { to: lease.owner, lease });
        }
    }

    /// What a granted lease holds is not free.
    fn hold(&mut self, lease: LeaseId) {
        let Some(entry) = self.leases.get_mut(&lease) else { return };
        entry.state = State::Granted;
        let class = entry.class.clone();
        if class.placement.group().is_some() {
            return self.hold_inside(lease, &class);
        }
        if !crate::planted!("local-grants-beyond-total") {
            self.ledger.hold(&class.resources);
        }
        let part = part(&self.member.total, &class.resources);
        self.shares.hold(self.now, &Line::of(lease, &class).share, part);
    }

    /// The reverse of [`Local::hold`].
    fn release(&mut self, lease: LeaseId, class: &SchedulingClass, bundle: Option<Bundle>) {
        if class.placement.group().is_some() {
            return self.release_inside(class, bundle);
        }
        self.ledger.release(&class.resources);
        let part = part(&self.member.total, &class.resources);
        self.shares.release(self.now, &Line::of(lease, class).share, part);
    }

    /// The next in turn whose oldest request fits; those before it that do not fit were passed once more.
    fn next_to_serve(&mut self) -> Option<Line> {
        let after = self.served.as_ref().map_or(Unbounded, Excluded);
        let rest = self.queues.range((after, Unbounded));
        let mut order: Vec<(Line, LeaseId)> = rest
            .chain(self.queues.iter().take_while(|(line, _)| Some(*line) <= self.served.as_ref()))
            .filter_map(|(line, queue)| Some((line.clone(), *queue.front()?)))
            .collect();
        // Stable: among equals the turn decides.
        let (shares, now) = (&self.shares, self.now);
        order.sort_by_cached_key(|(line, _)| (std::cmp::Reverse(line.share.priority), shares.had(now, &line.share)));
        let starved = |lease| matches!(self.leases[lease].state, State::Queued { passed: MAX_PASSED.., .. });
        // The first that was passed too often is the only one of its account that may be served.
        let mut first: BTreeMap<Option<GroupId>, LeaseId> = BTreeMap::new();
        for (line, lease) in order.iter().filter(|(_, lease)| starved(lease)) {
            first.entry(line.account()).or_insert(*lease);
        }
        let may = |line: &Line, lease| first.get(&line.account()).is_none_or(|starved| starved == lease);
        let fits = |lease| self.has_room(&self.leases[lease].class);
        let found = order.iter().position(|(line, lease)| may(line, lease) && fits(lease))?;
        let account = order[found].0.account();
        for (_, lease) in order[..found].iter().filter(|(line, _)| line.account() == account) {
            if let Some(Lease { state: State::Queued { passed, .. }, .. }) = self.leases.get_mut(lease) {
                *passed += 1;
            }
        }
        Some(order.swap_remove(found).0)
    }

    fn unqueue(&mut self, lease: LeaseId) {
        let Some(entry) = self.leases.get(&lease) else { return };
        let line = Line::of(lease, &entry.class);
        if let Some(queue) = self.queues.get_mut(&line) {
            queue.retain(|queued| *queued != lease);
            if queue.is_empty() {
                self.queues.remove(&line);
            }
        }
    }

    /// Removes a lease in whatever state and gives back what it holds. Says whether there was a worker under it.
    fn forget(&mut self, lease: LeaseId) -> bool {
        if self.leases.get(&lease).is_some_and(|entry| matches!(entry.state, State::Queued { .. })) {
            self.unqueue(lease);
        }
        let Some(entry) = self.leases.remove(&lease) else { return false };
        if entry.state == State::Granted && !crate::planted!("local-leaks-returned-leases") {
            self.release(lease, &entry.class, entry.bundle);
        }
        self.shares.left(&Line::of(lease, &entry.class).share);
        !matches!(entry.state, State::Queued { .. })
    }

    fn bury(&mut self, lease: LeaseId) {
        if self.tombstones.insert(lease) {
            self.tombstone_order.push_back(lease);
        }
        while self.tombstone_order.len() > MAX_TOMBSTONES {
            if let Some(oldest) = self.tombstone_order.pop_front() {
                self.tombstones.remove(&oldest);
            }
        }
    }

    fn owner_died(&mut self, owner: OwnerId, out: &mut Vec<Effect>) {
        let dead = self.dead.entry(owner.node).or_insert(owner.epoch);
        *dead = owner.epoch.max(*dead);
        let all = LeaseId { owner, seq: 0 }..=LeaseId { owner, seq: u64::MAX };
        let theirs = self.leases.range(all).filter(|_| !crate::planted!("local-keeps-leases-of-the-dead"));
        let theirs: Vec<_> = theirs.map(|(lease, _)| *lease).collect();
        for lease in theirs {
            if self.forget(lease) {
                out.push(Effect::Ended { lease });
            }
        }
        self.return_bundles_of(owner, out);
        self.tombstones.retain(|lease| lease.owner != owner);
        self.tombstone_order.retain(|lease| lease.owner != owner);
    }

    fn viewed(&mut self, view: Arc<ClusterView>, out: &mut Vec<Effect>) {
        let version = |view: &ClusterView, id: NodeId| {
            let found = view.nodes.binary_search_by_key(&id, |node| node.member.incarnation.node);
            found.ok().map(|index| (view.nodes[index].member.incarnation, view.nodes[index].load.version))
        };
        self.redirected
            .retain(|id, _| version(&view, *id).is_some() && version(&view, *id) == version(&self.view, *id));
        self.view = view;
        // Room elsewhere: each class is tried until it finds none, so this costs O(queued + classes * nodes).
        let mut hopeless = BTreeSet::new();
        for lease in self.queued() {
            let Some(Lease { class, state: State::Queued { hops, .. }, .. }) = self.leases.get(&lease) else {
                continue;
            };
            let (class, hops) = (class.clone(), *hops);
            if hops >= MAX_HOPS || hopeless.contains(&class) {
                continue;
            }
            match self.spill_target(&class, hops, false) {
                Some(target) => {
                    self.forget(lease);
                    out.push(Effect::Spillback { to: lease.owner, lease, target });
                }
                None => {
                    hopeless.insert(class);
                }
            }
        }
    }

    fn drain(&mut self, out: &mut Vec<Effect>) {
        self.load.draining = true;
        for lease in self.queued() {
            if let Some(Lease { class, state: State::Queued { hops, .. }, bundle: _ }) = self.leases.get(&lease)
                && class.placement.group().is_none()
            {
                let (class, hops) = (class.clone(), *hops);
                self.forget(lease);
                self.turn_away(lease, &class, hops, out);
            }
        }
    }

    fn queued(&self) -> Vec<LeaseId> {
        self.queues.values().flatten().copied().collect()
    }

    /// Tells the load if it is not what was told last. `drained` says that the draining flag just changed.
    fn tell(&mut self, drained: bool, out: &mut Vec<Effect>) {
        let queued = u32::try_from(self.queues.values().map(VecDeque::len).sum::<usize>()).unwrap_or(u32::MAX);
        if drained || queued != self.load.queued || *self.ledger.free() != self.load.available {
            self.load.version += 1;
            self.load.queued = queued;
            self.load.available = self.ledger.free().clone();
            out.push(Effect::LoadChanged(self.load.clone()));
        }
    }
}

impl Machine for Local {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        self.now = now;
        let was_draining = self.load.draining;
        match event {
            Event::View(view) => self.viewed(view, out),
            Event::Request { from, lease, class, hops } => self.request(from, lease, class, hops, out),
            Event::Return { lease } if !self.leases.contains_key(&lease) => self.bury(lease),
            Event::Return { lease } => {
                let waits = matches!(self.leases.get(&lease).map(|lease| lease.state), Some(State::Queued { .. }));
                if !(waits && crate::planted!("local-keeps-unwanted-requests")) && self.forget(lease) {
                    out.push(Effect::Ended { lease });
                }
            }
            Event::Blocked { lease } => {
                let keeps = crate::planted!("local-blocked-keeps-its-cpu");
                let granted = |entry: &&mut Lease| entry.state == State::Granted && !keeps;
                if let Some(entry) = self.leases.get_mut(&lease).filter(granted) {
                    entry.state = State::Blocked;
                    let (class, bundle) = (entry.class.clone(), entry.bundle);
                    self.release(lease, &class, bundle);
                }
            }
            Event::Unblocked { lease } => {
                if self.leases.get(&lease).is_some_and(|entry| entry.state == State::Blocked) {
                    self.hold(lease);
                }
            }
            Event::Reserve { from, bundle, resources } => self.reserve(from, bundle, resources, out),
            Event::Unreserve { bundle } => self.unreserve(bundle, out),
            Event::OwnerDied(owner) => self.owner_died(owner, out),
            Event::Drain => self.drain(out),
        }
        self.serve(out);
        self.tell(was_draining != self.load.draining, out);
    }

    fn check(&self) -> Result<(), Violation> {
        let granted = || self.leases.values().filter(|lease| lease.state == State::Granted);
        let own = granted().filter(|lease| lease.class.placement.group().is_none());
        let aside = self.bundles.values().map(|(resources, _)| resources);
        self.ledger.check(own.map(|lease| &lease.class.resources).chain(aside))?;
        self.check_bundles()?;
        let shares: Vec<(Line, u64)> = self
            .leases
            .iter()
            .map(|(id, lease)| {
                let holds = lease.state == State::Granted && lease.class.placement.group().is_none();
                let part = if holds { part(&self.member.total, &lease.class.resources) } else { 0 };
                (Line::of(*id, &lease.class), part)
            })
            .collect();
        self.shares.check(shares.iter().map(|(line, part)| (&*line.share, *part)))?;
        let waiting = |(id, lease): (&LeaseId, &Lease)| matches!(lease.state, State::Queued { .. }).then_some(*id);
        let waiting: BTreeSet<_> = self.leases.iter().filter_map(waiting).collect();
        let queued = self.queued();
        let agree = queued.len() == waiting.len() && queued.iter().all(|lease| waiting.contains(lease));
        Violation::unless(agree, "local-queues", || format!("queued {queued:?}, waiting {waiting:?}"))?;
        let starved = |lease: &&Lease| matches!(lease.state, State::Queued { passed: MAX_PASSED.., .. });
        let account = |lease: &Lease| lease.class.placement.group();
        let reserved: BTreeSet<Option<GroupId>> = self.leases.values().filter(starved).map(account).collect();
        let heads = self.queues.iter().filter(|(line, _)| !reserved.contains(&line.account()));
        let mut heads = heads.filter_map(|(_, queue)| queue.front());
        let idle = heads.find(|lease| self.has_room(&self.leases[lease].class));
        Violation::unless(idle.is_none(), "I36-work-conserving", || format!("{idle:?} waits and would fit"))?;
        let bounded = self.tombstone_order.len() <= MAX_TOMBSTONES && self.tombstones.len() <= MAX_TOMBSTONES;
        Violation::unless(bounded, "local-tombstones", || format!("{} tombstones", self.tombstone_order.len()))
    }
}
