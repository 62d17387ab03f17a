//! Asking for leases, and what becomes of them.

use super::super::policy::mix;
use super::super::{Decision, Request};
use super::*;
use crate::TaskErrorKind;
use std::collections::VecDeque;

/// A lease that is asked for or held.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) class: usize,
    /// The node that was asked last, or that granted it.
    pub(super) at: Incarnation,
    pub(super) hops: u8,
    pub(super) state: State,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum State {
    Asked,
    Held(Held),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Held {
    /// In flight, in the order they were assigned.
    pub(super) tasks: VecDeque<TaskId>,
    /// When it was granted.
    pub(super) since: Nanos,
    /// Since when nothing is in flight.
    pub(super) idle_since: Option<Nanos>,
    /// Takes no more tasks.
    pub(super) closing: bool,
    /// Takes one task at a time.
    pub(super) single: bool,
}

impl Held {
    pub(super) fn takes_more(&self) -> bool {
        !self.closing && (!self.single || self.tasks.is_empty())
    }
}

impl Lease {
    pub(super) fn held(&self) -> Option<&Held> {
        match &self.state {
            State::Held(held) => Some(held),
            State::Asked => None,
        }
    }

    pub(super) fn held_mut(&mut self) -> Option<&mut Held> {
        match &mut self.state {
            State::Held(held) => Some(held),
            State::Asked => None,
        }
    }
}

impl Dispatch {
    /// Asks for leases until the class has as many requests out as it may.
    pub(super) fn ask(&mut self, now: Nanos, ix: usize, out: &mut Out) {
        if let Some(group) = self.everywhere(ix) {
            return self.ask_everywhere(ix, group, out);
        }
        while self.classes[ix].stuck.is_none() && self.classes[ix].asked.len() < self.wanted(now, ix) {
            self.next_lease += 1;
            let seq = self.next_lease;
            match self.pick(ix, seq) {
                Decision::Node(to) => self.send(ix, seq, to, false, out),
                Decision::Busy(to) => self.send(ix, seq, to, true, out),
                Decision::Infeasible(why) => {
                    let class = &mut self.classes[ix];
                    class.stuck = Some(class.refusal.clone().unwrap_or(why));
                }
                Decision::NoSuchNode(name) => self.missing(now, ix, name, out),
                Decision::Leaving(name) => {
                    let why = format!("node {name}, the only one this task may run on, is draining");
                    self.give_up(ix, TaskErrorKind::Unschedulable, &why, out);
                }
                Decision::GroupRemoved(group) => {
                    self.without_group(ix, group, out);
                }
            }
        }
    }

    /// The tasks of a class of a placement group that is gone.
    pub(super) fn without_group(&mut self, ix: usize, group: GroupId, out: &mut Out) {
        self.give_up(ix, TaskErrorKind::GroupRemoved, &format!("placement group {group} was removed"), out);
    }

    /// Requests that no task of the class needs.
    pub(super) fn surplus(&self, ix: usize) -> usize {
        let class = &self.classes[ix];
        match (class.queue.live(), self.everywhere(ix)) {
            (1.., Some(_)) => 0,
            (live, _) => class.asked.len().saturating_sub(live),
        }
    }

    /// Requests the class may have out now.
    fn wanted(&mut self, now: Nanos, ix: usize) -> usize {
        let class = &mut self.classes[ix];
        let live = class.queue.live();
        if live == 0 || (self.settings.lasting && class.spec.resources.is_empty()) {
            return live;
        }
        let (groups, view) = (&self.groups, &self.view);
        let count = || usize::try_from(groups::slots(groups, view, &class.spec)).unwrap_or(usize::MAX);
        let slots = *class.slots.get_or_insert_with(count);
        let left = slots.saturating_sub(class.held);
        if left > 0 || !class.asked.is_empty() {
            return live.min(left);
        }
        if class.spec.resources.is_empty() && slots > 0 {
            if now < class.extra_at {
                self.timers.insert((class.extra_at, Timer::Extra(ix)));
                return 0;
            }
            class.extra_at = now + EXTRA_PERIOD;
        }
        1
    }

    fn pick(&self, ix: usize, seq: u64) -> Decision {
        let class = &self.classes[ix];
        if let Some(group) = class.spec.placement.group() {
            return self.pick_bundle(ix, group, seq);
        }
        self.policy.pick(&Request {
            view: &self.view,
            class: &class.spec,
            pending: &self.pending,
            near: class.queue.near(class.asked.len(), &self.index),
            home: Some(self.owner.node),
            exclude: &class.avoid,
            tie: mix(self.seed ^ u64::from(self.owner.epoch.0), seq),
        })
    }

    pub(super) fn send(&mut self, ix: usize, seq: u64, to: Incarnation, crowded: bool, out: &mut Out) {
        let class = &mut self.classes[ix];
        class.asked.insert(seq);
        class.crowded = crowded;
        class.missing_since = None;
        self.leases.insert(seq, Lease { class: ix, at: to, hops: 0, state: State::Asked });
        self.request(seq, out);
        if crowded {
            self.free_the_idle(ix, out);
        }
    }

    /// Sends the request of an asked lease to where it is asked now.
    fn request(&mut self, seq: u64, out: &mut Out) {
        let Some(lease) = self.leases.get(&seq) else { return };
        let class = self.classes[lease.class].spec.clone();
        self.pending.entry(lease.at.node).or_default().give(&class.resources);
        let id = LeaseId { owner: self.owner, seq };
        out.push(Effect::Request { to: lease.at, lease: id, class, hops: lease.hops });
    }

    /// The cluster is full for this class: leases of other classes that do nothing go back.
    fn free_the_idle(&mut self, ix: usize, out: &mut Out) {
        let idle = |lease: &Lease| lease.class != ix && lease.held().is_some_and(|held| held.idle_since.is_some());
        let idle: Vec<_> = self.leases.iter().filter(|(_, lease)| idle(lease)).map(|(seq, _)| *seq).collect();
        idle.into_iter().for_each(|seq| self.give_back(seq, out));
    }

    /// The node a class is bound to is not in the view.
    fn missing(&mut self, now: Nanos, ix: usize, name: String, out: &mut Out) {
        let class = &mut self.classes[ix];
        let since = *class.missing_since.get_or_insert(now);
        let end = since + self.settings.grace;
        let message = match self.names.contains(&name) {
            true => format!("node {name}, the only one this task may run on, is dead"),
            false if now >= end => format!("there is no node {name}, the only one this task may run on"),
            false => {
                class.stuck = Some(format!("waits for node {name}, which has not joined yet"));
                self.timers.insert((end, Timer::Missing(ix)));
                return;
            }
        };
        class.missing_since = None;
        self.give_up(ix, TaskErrorKind::Unschedulable, &message, out);
    }

    /// The tasks of a class can never run.
    fn give_up(&mut self, ix: usize, kind: TaskErrorKind, why: &str, out: &mut Out) {
        while let Some(task) = self.classes[ix].queue.take(self.owner.node, &mut self.index) {
            let error = TaskError::new(kind, why);
            out.push(Effect::Unschedulable { task, error });
        }
    }

    pub(super) fn granted(&mut self, now: Nanos, lease: LeaseId, by: Incarnation, out: &mut Out) {
        let Some(ix) = self.asked_at(lease, Some(by)) else { return };
        let Some(entry) = self.leases.get_mut(&lease.seq) else { return };
        let (tasks, idle_since) = (VecDeque::new(), None);
        entry.state = State::Held(Held { tasks, since: now, idle_since, closing: false, single: false });
        let class = &mut self.classes[ix];
        class.asked.remove(&lease.seq);
        class.open.insert((0, lease.seq));
        class.held += 1;
        self.unseen.entry(by.node).or_default().give(&class.spec.resources);
        if self.must_leave(lease.seq) {
            self.close(lease.seq, out);
        }
        self.drive(now, ix, out);
        self.rest(now, lease.seq, out);
    }

    pub(super) fn spilled(&mut self, now: Nanos, lease: LeaseId, to: Incarnation, out: &mut Out) {
        let Some(ix) = self.asked_at(lease, None) else { return };
        self.unpend(lease.seq);
        let class = &mut self.classes[ix];
        if class.asked.len() > class.queue.live() {
            class.asked.remove(&lease.seq);
            self.leases.remove(&lease.seq);
            return self.note(now, ix);
        }
        let dead = self.is_dead(to);
        if let Some(entry) = self.leases.get_mut(&lease.seq) {
            entry.hops = if dead { MAX_HOPS } else { entry.hops.saturating_add(1) };
            entry.at = if dead { entry.at } else { to };
        }
        self.request(lease.seq, out);
    }

    pub(super) fn refused(&mut self, now: Nanos, lease: LeaseId, why: Refusal, by: Incarnation, out: &mut Out) {
        let Some(ix) = self.asked_at(lease, Some(by)) else { return };
        self.unpend(lease.seq);
        self.leases.remove(&lease.seq);
        let class = &mut self.classes[ix];
        class.asked.remove(&lease.seq);
        class.avoid.insert(by.node);
        class.refusal = Some(match why {
            Refusal::Infeasible(why) => why,
            Refusal::Draining => format!("node {by} is draining"),
            Refusal::OwnerDead => format!("node {by} takes this owner, {}, for dead", self.owner),
        });
        self.timers.insert((now + RETRY, Timer::Retry(ix)));
        self.drive(now, ix, out);
    }

    pub(super) fn node_died(&mut self, now: Nanos, node: Incarnation, out: &mut Out) {
        let dead = self.dead.entry(node.node).or_insert(node.epoch);
        *dead = node.epoch.max(*dead);
        let gone =
            self.leases.iter().filter(|(_, lease)| lease.at == node && !crate::planted!("dispatch-keeps-dead-leases"));
        let gone: Vec<_> = gone.map(|(seq, _)| *seq).collect();
        let mut touched = BTreeSet::new();
        for seq in gone {
            if self.leases.get(&seq).is_some_and(|lease| lease.held().is_none()) {
                self.unpend(seq);
            }
            touched.extend(self.forget(seq));
        }
        // The groups say the same a moment later: nothing may ask there in between.
        for bundles in self.groups.values_mut() {
            bundles.retain(|(_, at, _)| !is_dead(&self.dead, *at));
        }
        let orphaned: Vec<GroupId> = self.groups.keys().filter(|group| group.owner == node).copied().collect();
        orphaned.into_iter().for_each(|group| self.group_changed(now, group, None, out));
        let view = self.view.clone();
        self.viewed(now, view, out);
        touched.into_iter().for_each(|ix| self.drive(now, ix, out));
    }

    pub(super) fn viewed(&mut self, now: Nanos, view: Arc<ClusterView>, out: &mut Out) {
        let old = std::mem::replace(&mut self.view, view);
        if self.view.nodes.iter().any(|node| is_dead(&self.dead, node.member.incarnation)) {
            let view = Arc::make_mut(&mut self.view);
            view.nodes.retain(|node| !is_dead(&self.dead, node.member.incarnation));
        }
        self.names.extend(self.view.newcomers(&old).map(|node| node.member.name.clone()));
        self.see_loads(&old);
        let draining: Vec<_> = self.leases.keys().copied().filter(|seq| self.must_leave(*seq)).collect();
        draining.into_iter().for_each(|seq| self.close(seq, out));
        for class in self.classes.iter_mut() {
            class.forgive();
            class.slots = None;
        }
        let hungry: Vec<_> = self.hungry.iter().copied().collect();
        hungry.into_iter().for_each(|ix| self.drive(now, ix, out));
    }

    /// What was granted on nodes that have told a new load is in that load now.
    fn see_loads(&mut self, old: &ClusterView) {
        let version = |view: &ClusterView, id: NodeId| {
            let found = view.nodes.binary_search_by_key(&id, |node| node.member.incarnation.node);
            found.ok().map(|index| (view.nodes[index].member.incarnation, view.nodes[index].load.version))
        };
        let (new, pending) = (&self.view, &mut self.pending);
        self.unseen.retain(|id, granted| {
            let same = version(new, *id).is_some() && version(new, *id) == version(old, *id);
            if !same && let Some(pending) = pending.get_mut(id) {
                pending.take(granted);
            }
            same
        });
        pending.retain(|_, pending| !pending.is_empty());
    }

    /// After its last task: an idle lease goes back at once if another class waits for a full cluster, else it rests.
    pub(super) fn rest(&mut self, now: Nanos, seq: u64, out: &mut Out) {
        let Some(lease) = self.leases.get_mut(&seq) else { return };
        let ix = lease.class;
        let Some(held) = lease.held_mut().filter(|held| held.tasks.is_empty() && held.idle_since.is_none()) else {
            return;
        };
        held.idle_since = Some(now);
        self.timers.insert((now + self.settings.idle, Timer::Idle(seq)));
        let waits = |class: &Class| class.crowded && !class.asked.is_empty();
        if self.hungry.iter().any(|other| *other != ix && waits(&self.classes[*other])) {
            self.give_back(seq, out);
        }
    }

    /// No more tasks for this lease; it goes back with its last one.
    pub(super) fn close(&mut self, seq: u64, out: &mut Out) {
        let Some(lease) = self.leases.get_mut(&seq) else { return };
        let ix = lease.class;
        let Some(held) = lease.held_mut().filter(|held| !held.closing) else { return };
        held.closing = true;
        let class = &mut self.classes[ix];
        class.held -= 1;
        class.open.remove(&(held.tasks.len(), seq));
        if held.tasks.is_empty() {
            self.give_back(seq, out);
        }
    }

    /// Returns a lease to its node.
    pub(super) fn give_back(&mut self, seq: u64, out: &mut Out) {
        let Some(lease) = self.leases.get(&seq) else { return };
        let (to, asked) = (lease.at, lease.held().is_none());
        if asked {
            self.unpend(seq);
        }
        self.forget(seq);
        if crate::planted!("dispatch-never-returns") {
            return;
        }
        out.push(Effect::Return { to, lease: LeaseId { owner: self.owner, seq } });
    }

    /// Returns the newest requests that no task needs any more.
    pub(super) fn cancel_surplus(&mut self, ix: usize, out: &mut Out) {
        let surplus = self.surplus(ix);
        let class = &mut self.classes[ix];
        class.surplus_since = None;
        let newest: Vec<_> = class.asked.iter().rev().take(surplus).copied().collect();
        newest.into_iter().for_each(|seq| self.give_back(seq, out));
    }

    /// Removes a lease and every trace of it; gives its class.
    fn forget(&mut self, seq: u64) -> Option<usize> {
        let lease = self.leases.remove(&seq)?;
        let class = &mut self.classes[lease.class];
        match lease.state {
            State::Asked => {
                class.asked.remove(&seq);
            }
            State::Held(held) => {
                class.held -= usize::from(!held.closing);
                class.open.remove(&(held.tasks.len(), seq));
                if let Some(since) = held.idle_since {
                    self.timers.remove(&(since + self.settings.idle, Timer::Idle(seq)));
                }
            }
        }
        Some(lease.class)
    }

    /// The class of a lease of ours that is asked for, at `by` if that is given.
    fn asked_at(&self, lease: LeaseId, by: Option<Incarnation>) -> Option<usize> {
        let entry = self.leases.get(&lease.seq).filter(|_| lease.owner == self.owner)?;
        (entry.held().is_none() && by.is_none_or(|by| by == entry.at)).then_some(entry.class)
    }

    /// A request is out no longer where it was.
    fn unpend(&mut self, seq: u64) {
        let Some(lease) = self.leases.get(&seq) else { return };
        let resources = &self.classes[lease.class].spec.resources;
        if let Some(pending) = self.pending.get_mut(&lease.at.node) {
            pending.take(resources);
        }
    }

    pub(super) fn is_dead(&self, node: Incarnation) -> bool {
        is_dead(&self.dead, node)
    }

    /// Whether a lease is held on a node that drains, and is not in a bundle, which stays usable there.
    fn must_leave(&self, seq: u64) -> bool {
        let Some(lease) = self.leases.get(&seq).filter(|lease| lease.held().is_some()) else { return false };
        let found = self.view.nodes.binary_search_by_key(&lease.at.node, |view| view.member.incarnation.node);
        let draining = found.is_ok_and(|index| self.view.nodes[index].load.draining);
        draining && self.classes[lease.class].spec.placement.group().is_none()
    }
}

fn is_dead(dead: &BTreeMap<NodeId, Epoch>, node: Incarnation) -> bool {
    dead.get(&node.node).is_some_and(|epoch| node.epoch <= *epoch)
}
