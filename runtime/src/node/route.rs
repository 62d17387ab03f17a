//! From machine to machine: every effect has one place to go.

use super::core::{Core, Running, Wish};
use super::follow::{Followed, Follower};
use super::words::Output;
use bytes::Bytes;
use mobula_protocol::actor::{ActorId, CallersEvent, HostEvent, Word};
use mobula_protocol::link;
use mobula_protocol::member::view::Effect as ViewEffect;
use mobula_protocol::pull::{self, BundleId, FetchFailure, Priority, Value};
use mobula_protocol::sched::{dispatch, executor, group, local};
use mobula_protocol::{
    Arg, Attempt, ByteSize, Incarnation, Located, Machine, Message, Nanos, NodeId, ObjectId, Placement, ResultPlace,
    TaskError, TaskErrorKind, TaskOutcome,
};
use mobula_protocol::{TaskId, TaskSpec, owner};
use mobula_store::{CopyKind, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Routes the effects of one machine; says whether there were any. The two lists of a machine change places, so that
/// routing allocates nothing.
macro_rules! route_all {
    ($core:ident, $machine:ident, $route:ident) => {{
        let moved = !$core.wires.$machine.is_empty();
        if moved {
            let mut effects = std::mem::take(&mut $core.spare.$machine);
            std::mem::swap(&mut effects, &mut $core.wires.$machine);
            effects.drain(..).for_each(|effect| $core.$route(effect));
            $core.spare.$machine = effects;
        }
        moved
    }};
}

impl Core {
    /// Routes effects until none is left.
    pub(super) fn route(&mut self) {
        loop {
            let mut moved = route_all!(self, owner, owner_effect);
            moved |= route_all!(self, dispatch, dispatch_effect);
            moved |= route_all!(self, groups, groups_effect);
            moved |= route_all!(self, local, local_effect);
            moved |= route_all!(self, executor, executor_effect);
            moved |= route_all!(self, pull, pull_effect);
            moved |= route_all!(self, monitor, monitor_effect);
            moved |= route_all!(self, view, view_effect);
            moved |= route_all!(self, link, link_effect);
            moved |= self.route_actors();
            while let Some(message) = self.loopback.pop_front() {
                moved = true;
                self.deliver(self.me, message);
            }
            if !moved {
                return;
            }
        }
    }

    pub(super) fn tell_owner(&mut self, event: owner::Event) {
        if self.logging {
            self.coverage.note("owner", self.owner.tasks(), &event);
        }
        self.owner.step(self.now, event, &mut self.wires.owner);
    }

    pub(super) fn tell_dispatch(&mut self, event: dispatch::Event) {
        if self.logging {
            self.coverage.note("dispatch", self.dispatch.queued(), &event);
        }
        self.dispatch.step(self.now, event, &mut self.wires.dispatch);
    }

    pub(super) fn tell_local(&mut self, event: local::Event) {
        if self.logging {
            self.coverage.note("local", self.local.leases().count(), &event);
        }
        self.local.step(self.now, event, &mut self.wires.local);
    }

    pub(super) fn tell_executor(&mut self, event: executor::Event) {
        if self.logging {
            self.coverage.note("executor", self.executor.len(), &event);
        }
        self.executor.step(self.now, event, &mut self.wires.executor);
    }

    pub(super) fn tell_pull(&mut self, event: pull::Event) {
        if self.logging {
            self.coverage.note("pull", self.wishes.len(), &event);
        }
        self.pull.step(self.now, event, &mut self.wires.pull);
    }

    fn owner_effect(&mut self, effect: owner::Effect) {
        use owner::Effect;
        match effect {
            Effect::Enqueue { task, class, near, again } => match class.placement {
                Placement::Actor(actor) => self.tell_callers(CallersEvent::Ready { task, actor }),
                _ => self.tell_dispatch(dispatch::Event::Enqueue { task, class, near, again }),
            },
            // A call leaves the callers when it is over.
            Effect::Dequeue(task) => self.tell_dispatch(dispatch::Event::Dequeue { task }),
            Effect::Unassign { task, lease } if lease.owner == Incarnation::HEAD => {
                self.tell_callers(CallersEvent::Unready(task));
            }
            Effect::Unassign { task, lease } => {
                let event = dispatch::Event::Finished { lease, task, spent: Nanos::ZERO, started: false };
                self.tell_dispatch(event);
            }
            Effect::Push { to, lease, attempt, spec, inline } if lease.owner == Incarnation::HEAD => {
                let (handle, settled) = self.actors.callers.ticket(spec.id);
                self.send(to, Message::Actor(Word::Call { lease, attempt, spec, inline, handle, settled }));
            }
            Effect::Push { to, lease, attempt, spec, inline } => {
                self.send(to, Message::PushTask { lease, attempt, spec, inline });
            }
            Effect::CancelAttempt { to, task, attempt, recursive } => {
                self.send(to, Message::CancelTask { task, attempt, recursive });
            }
            Effect::Exists { token, located } => self.exists(token, located),
            Effect::Credit { to, task, attempt, credit } => {
                self.send(to, Message::StreamCredit { task, attempt, credit });
            }
            Effect::Next { task, item } => {
                if let Some(reply) = self.consumers.remove(&task) {
                    reply(item);
                }
            }
            Effect::Notify { to, object, located } => self.send(to, Message::Located { object, located }),
            Effect::Promote { at, object, rebuildable } => {
                self.send(at, Message::Promote { object, rebuildable });
            }
            Effect::Save { at, object } => self.send(at, Message::Save(object)),
            Effect::Load { at, object, size } => {
                self.log("load", format_args!("{object} {size}"));
                self.send(at, Message::Load { object, size });
            }
            Effect::Erase(object) => self.out.push(Output::Erase(object)),
            Effect::Replicate { to, object } => self.send(to, Message::Replicate(object)),
            Effect::TakeOver { object, size, place } => self.take_over(object, size, &place),
            Effect::Free { at, objects } => {
                for object in &objects {
                    // Copies also go when there are others; the object only when nobody refers to it.
                    let what = if self.owner.knows(*object) { "free-copy" } else { "gone" };
                    self.log(what, format_args!("{object}"));
                }
                self.send(at, Message::Free(objects));
            }
            Effect::Locate(object) => self.follow(object, Follower::Owner),
            Effect::Unlocate(object) => self.unfollow(object, Follower::Owner),
            Effect::Hold(object) => self.hold(object),
            Effect::Inherit(object) => self.holds.inherit(object),
            Effect::Unhold(object) => self.unhold(object),
            Effect::Lend { object, to } => self.send(object.owner(), Message::BorrowAdd { object, by: to }),
            Effect::CallOver(task) => self.tell_callers(CallersEvent::Over(task)),
            Effect::OutOfScope(life) => {
                self.send(Incarnation::HEAD, Message::Actor(Word::OutOfScope(ActorId(life.task))));
            }
        }
    }

    fn dispatch_effect(&mut self, effect: dispatch::Effect) {
        use dispatch::Effect;
        match effect {
            Effect::Request { to, lease, class, hops } => self.send(to, Message::LeaseRequest { lease, class, hops }),
            Effect::Return { to, lease } => self.send(to, Message::LeaseReturn(lease)),
            Effect::Assign { task, lease, to } => self.tell_owner(owner::Event::Assigned { task, lease, to }),
            Effect::Unschedulable { task, error } => self.tell_owner(owner::Event::Unschedulable { task, error }),
        }
    }

    fn local_effect(&mut self, effect: local::Effect) {
        use local::Effect;
        match effect {
            Effect::Grant { to, lease } => {
                self.log("grant", format_args!("{lease}"));
                match lease.owner {
                    Incarnation::HEAD => self.tell_host(HostEvent::Leased(lease)),
                    _ => self.tell_executor(executor::Event::Leased { lease }),
                }
                self.send(to, Message::LeaseGranted(lease));
            }
            Effect::Spillback { to, lease, target } => {
                self.log("spillback", format_args!("{lease} to {target}"));
                self.send(to, Message::LeaseSpillback { lease, to: target });
            }
            Effect::Reserved { to, bundle } => {
                self.log("set-aside", format_args!("{bundle}"));
                self.send(to, Message::BundleReserved(bundle));
            }
            Effect::Unreserved { to, bundle } => {
                self.log("no-room", format_args!("{bundle}"));
                self.send(to, Message::BundleRefused(bundle));
            }
            Effect::Refuse { to, lease, why } => self.send(to, Message::LeaseRefused { lease, why }),
            Effect::Ended { lease } => {
                self.log("lease-end", format_args!("{lease}"));
                match lease.owner {
                    Incarnation::HEAD => self.tell_host(HostEvent::LeaseEnded(lease)),
                    _ => self.tell_executor(executor::Event::LeaseEnded { lease }),
                }
            }
            Effect::LoadChanged(load) => self.load = load,
        }
    }

    fn executor_effect(&mut self, effect: executor::Effect) {
        use executor::Effect;
        match effect {
            Effect::Want { task, attempt, objects } => self.want_args(task, attempt, objects),
            Effect::Unwant { task, attempt } => self.drop_args(task, attempt),
            Effect::Start { lease, attempt, spec, inline } => self.start(lease, attempt, spec, inline),
            Effect::Skip { lease, task, attempt } => self.out.push(Output::Skip { lease, task, attempt }),
            Effect::StopWorker { lease } => self.out.push(Output::StopWorker(lease)),
            Effect::Report { to, message } => {
                if let Message::TaskDone { task, attempt, .. } = &message {
                    self.attempt_over(*task, *attempt);
                }
                self.report(to, message);
            }
        }
    }

    /// A number for a bundle that the application has not asked for.
    pub(super) fn internal_bundle(&mut self) -> BundleId {
        let bundle = BundleId(self.next_args);
        self.next_args -= 1;
        bundle
    }

    /// Makes the arguments of an attempt local.
    pub(super) fn want_args(&mut self, task: TaskId, attempt: Attempt, objects: Vec<ObjectId>) {
        let bundle = self.internal_bundle();
        self.wishes.insert(bundle, Wish::Args(task, attempt));
        if let Some(running) = self.attempts.get_mut(&(task, attempt)) {
            running.wanted = Some((bundle, objects.clone()));
        }
        self.tell_pull(pull::Event::Want { bundle, objects, priority: Priority::Args });
    }

    /// Gathers an attempt's argument values and hands it to its worker.
    fn start(
        &mut self,
        lease: mobula_protocol::LeaseId,
        attempt: Attempt,
        spec: Arc<TaskSpec>,
        inline: Vec<(u32, Bytes)>,
    ) {
        let args = self.gather(&spec, attempt, inline);
        self.log("start", format_args!("{} {} attempt {} under {lease}", spec.label, spec.id, attempt.0));
        self.out.push(Output::Start { lease, attempt, spec, args });
    }

    /// The values of an attempt's arguments, in order.
    pub(super) fn gather(&mut self, spec: &TaskSpec, attempt: Attempt, inline: Vec<(u32, Bytes)>) -> Vec<Bytes> {
        let mut inline: BTreeMap<u32, Bytes> = inline.into_iter().collect();
        let values = self.attempts.get_mut(&(spec.id, attempt)).map(|running| std::mem::take(&mut running.values));
        let values = values.unwrap_or_default();
        let mut args = Vec::with_capacity(spec.args.len());
        for (position, arg) in spec.args.iter().enumerate() {
            let value = match arg {
                Arg::Value(bytes, _) => Some(bytes.clone()),
                Arg::Ref(object) => inline.remove(&(position as u32)).or_else(|| values.get(object).cloned()),
            };
            // The executor starts an attempt only once every value is here (I9), so none is missing.
            args.extend(value);
        }
        debug_assert_eq!(args.len(), spec.args.len(), "{} started without all of its arguments", spec.id);
        args
    }

    /// An attempt's arguments are no longer needed here.
    pub(super) fn drop_args(&mut self, task: TaskId, attempt: Attempt) {
        let wanted = self.attempts.get_mut(&(task, attempt)).and_then(|running| running.wanted.take());
        if let Some((bundle, _)) = wanted {
            self.wishes.remove(&bundle);
            self.tell_pull(pull::Event::Drop { bundle });
        }
    }

    /// An attempt ended here, one way or another: unpin its arguments, give back the references that came with it.
    pub(super) fn attempt_over(&mut self, task: TaskId, attempt: Attempt) {
        self.drop_args(task, attempt);
        if let Some(running) = self.attempts.remove(&(task, attempt)) {
            let kept = mobula_protocol::planted!("node-keeps-loans");
            running.lent.into_iter().filter(|_| !kept).for_each(|object| self.unhold(object));
        }
        self.attempt_forgotten(task, attempt);
        self.credit_forgotten(task, attempt);
    }

    /// The references inside value arguments of a pushed task, which its submitter registered this node for.
    pub(super) fn lent(&self, spec: &TaskSpec) -> Vec<ObjectId> {
        if spec.id.owner == self.me {
            return Vec::new();
        }
        let nested = spec.args.iter().filter_map(|arg| match arg {
            Arg::Value(_, refs) => Some(refs),
            Arg::Ref(_) => None,
        });
        nested.flatten().copied().filter(|object| object.owner() != self.me).collect()
    }

    fn pull_effect(&mut self, effect: pull::Effect) {
        use pull::Effect;
        match effect {
            Effect::Subscribe(object) => self.follow(object, Follower::Pull),
            Effect::Unsubscribe(object) => self.unfollow(object, Follower::Pull),
            Effect::Pin(object) => {
                let pinned = self.objects.table().pin(object);
                if pinned.is_err() {
                    self.absent(object);
                }
            }
            Effect::Unpin(object) if mobula_protocol::planted!("pull-leaks-pins") => {
                self.log("planted", format_args!("{object} stays pinned"));
            }
            Effect::Unpin(object) => {
                // A pin that came too late is none.
                let _ = self.objects.table().unpin(object);
            }
            Effect::Fetch { object, attempt, size, holders } => self.fetch(object, attempt, size, holders),
            Effect::Restore { object, attempt } => self.restore(object, attempt),
            Effect::Holders { object, attempt, holders } => {
                self.out.push(Output::Holders { object, attempt, holders });
            }
            Effect::AbortFetch { object, attempt } => {
                // The region is dropped by whoever fills it; an error means that it already was.
                let _ = self.objects.table().abort_fetch(object);
                self.out.push(Output::AbortFetch { object, attempt });
            }
            Effect::Damaged { object, at } => {
                self.log("damaged", format_args!("{object} at {at}"));
                self.send(object.owner(), Message::CopyDamaged { object, at });
            }
            Effect::Ready { bundle, values } => self.bundle_ready(bundle, values),
            // Never announced as queued, so never recalled.
            Effect::Recalled { .. } => {}
            Effect::Failed { bundle, object, error } => self.bundle_failed(bundle, object, error),
            Effect::Unavailable { bundle, object } => {
                if let Some(Wish::Args(task, attempt)) = self.wishes.get(&bundle) {
                    let (task, attempt) = (*task, *attempt);
                    if self.actors.host.knows((task, attempt)) {
                        return self.tell_host(HostEvent::ArgUnavailable((task, attempt), object));
                    }
                    self.tell_executor(executor::Event::ArgUnavailable { task, attempt, object });
                }
            }
        }
    }

    fn fetch(&mut self, object: ObjectId, attempt: Attempt, size: ByteSize, holders: Vec<Incarnation>) {
        match self.objects.create(self.now, object, size, CopyKind::Cached) {
            Ok(region) => {
                self.log("fetch", format_args!("{object} {size}"));
                self.out.push(Output::Fetch { object, attempt, holders, region });
            }
            Err(StoreError::Duplicate { state, .. }) => self.is_here(object, attempt, size, state),
            Err(_) => self.tell_pull(pull::Event::FetchFailed { object, attempt, why: FetchFailure::NoMemory }),
        }
    }

    fn bundle_ready(&mut self, bundle: BundleId, values: Vec<Value>) {
        match self.wishes.get_mut(&bundle) {
            None | Some(Wish::Answered | Wish::Await(_)) => {}
            Some(Wish::Replica) => self.replica_ready(bundle),
            Some(Wish::Args(task, attempt)) => {
                let key = (*task, *attempt);
                self.args_ready(bundle, key, values);
            }
            Some(wish) => {
                let Wish::Get(objects, reply) = std::mem::replace(wish, Wish::Answered) else { return };
                match self.values(&objects, values) {
                    Ok(values) => {
                        self.log_got(&objects, &values);
                        // The receiver is gone if the get was given up; a `Drop` follows.
                        let _ = reply.send(Ok(values));
                    }
                    Err(missing) => {
                        self.wishes.insert(bundle, Wish::Get(objects, reply));
                        self.missed(bundle, missing);
                    }
                }
            }
        }
    }

    fn args_ready(&mut self, bundle: BundleId, key: (TaskId, Attempt), values: Vec<Value>) {
        let Some(Running { wanted: Some((_, objects)), .. }) = self.attempts.get(&key) else { return };
        let values = match self.values(objects, values) {
            Ok(values) => objects.iter().copied().zip(values).collect(),
            Err(missing) => return self.missed(bundle, missing),
        };
        if let Some(running) = self.attempts.get_mut(&key) {
            running.values = values;
        }
        if self.actors.host.knows(key) {
            return self.tell_host(HostEvent::ArgsReady(key));
        }
        self.tell_executor(executor::Event::ArgsReady { task: key.0, attempt: key.1 });
    }

    /// The bytes behind a ready bundle; as an error, an object that left before it was pinned.
    fn values(&self, objects: &[ObjectId], values: Vec<Value>) -> Result<Vec<Bytes>, ObjectId> {
        let bytes = |(object, value): (&ObjectId, Value)| match value {
            Value::Inline(bytes) => Ok(bytes),
            Value::Local => self.objects.bytes(self.now, *object).ok_or(*object),
        };
        objects.iter().zip(values).map(bytes).collect()
    }

    /// A worker, or a fetch in this very step, evicted an object of a ready bundle before it was pinned: it is wanted
    /// again. Whether it still exists only its owner can say.
    fn missed(&mut self, bundle: BundleId, object: ObjectId) {
        self.log("missed", format_args!("{object} left before it was pinned"));
        self.absent(object);
        self.tell_pull(pull::Event::Missed { bundle });
    }

    fn bundle_failed(&mut self, bundle: BundleId, object: ObjectId, error: TaskError) {
        match self.wishes.remove(&bundle) {
            Some(Wish::Args(task, attempt)) => {
                if let Some(running) = self.attempts.get_mut(&(task, attempt)) {
                    running.wanted = None;
                }
                if self.actors.host.knows((task, attempt)) {
                    return self.tell_host(HostEvent::ArgFailed((task, attempt), object));
                }
                self.tell_executor(executor::Event::ArgUnavailable { task, attempt, object });
            }
            Some(Wish::Get(_, reply)) => {
                self.log("get-failed", format_args!("{object} {:?}", error.kind));
                let _ = reply.send(Err(error));
            }
            Some(Wish::Replica) => self.replica_failed(object, &error),
            Some(Wish::Answered | Wish::Await(_)) | None => {}
        }
    }

    fn view_effect(&mut self, effect: ViewEffect) {
        match effect {
            ViewEffect::NodeJoined(member) => {
                if member.incarnation != self.me {
                    self.link.step(self.now, link::Event::PeerKnown(member.incarnation), &mut self.wires.link);
                    self.log("joined", format_args!("{} as {}", member.name, member.incarnation));
                }
                self.members_changed = true;
            }
            ViewEffect::NodeDied { incarnation, name, why } => {
                self.log("died", format_args!("{name} ({incarnation}): {why}"));
                self.members_changed = true;
                self.member_died = true;
                self.node_died(incarnation);
            }
            ViewEffect::Resync(have) => self.send(Incarnation::HEAD, Message::ResyncView(have)),
            ViewEffect::Fenced { why } => self.out.push(Output::Stop(why)),
        }
    }

    /// Tells the shell who lives, once a turn.
    pub(super) fn tell_members(&mut self) {
        if std::mem::take(&mut self.members_changed) {
            // Before the transfers that this turn begins: their sources are to be found.
            self.out.insert(0, Output::Members(self.members.clone()));
        }
        if std::mem::take(&mut self.member_died) {
            self.out.push(Output::Living(self.view.alive().map(|member| member.rpc.clone()).collect()));
        }
    }

    pub(super) fn cluster_changed(&mut self) {
        let mut view = self.view.snapshot();
        // The head holds no objects and runs no tasks, whatever they ask for.
        view.nodes.retain(|node| node.member.incarnation.node != NodeId::HEAD);
        let view = Arc::new(view);
        self.members = view.clone();
        self.tell_local(local::Event::View(view.clone()));
        self.tell_groups(group::Event::View(view.clone()));
        self.takers_changed(&view);
        self.tell_dispatch(dispatch::Event::View(view));
    }

    fn node_died(&mut self, dead: Incarnation) {
        self.link.step(self.now, link::Event::PeerDied(dead), &mut self.wires.link);
        self.tell_local(local::Event::OwnerDied(dead));
        self.tell_executor(executor::Event::OwnerDied(dead));
        self.tell_host(HostEvent::OwnerDied(dead));
        // What is left of a dead caller's calls, and a detached actor's constructor, end with their actor's word.
        let theirs = |key: &&(TaskId, Attempt)| key.0.owner == dead && !self.actors.host.knows(**key);
        let orphaned: Vec<_> = self.attempts.keys().filter(theirs).copied().collect();
        for (task, attempt) in orphaned {
            self.attempt_over(task, attempt);
        }
        self.tell_pull(pull::Event::NodeDied(dead));
        self.tell_pull(pull::Event::OwnerDied(dead));
        let error = TaskError::new(TaskErrorKind::OwnerDied, format!("{dead}, which owned the object, died"));
        for object in self.follows.owned_by(dead) {
            self.located(object, Located::Failed(error.clone()));
        }
        // Attempts first: what ran there is pending again before new slots are looked for.
        self.tell_owner(owner::Event::NodeDied(dead));
        self.holds.owner_died(dead);
        self.holds_settled();
        self.tell_callers(CallersEvent::NodeDied(dead));
        self.tell_dispatch(dispatch::Event::NodeDied(dead));
        self.tell_groups(group::Event::NodeDied(dead));
        self.cluster_changed();
        self.free_orphans(dead);
    }

    /// Copies of objects whose owner is dead have nobody left who could free them.
    fn free_orphans(&mut self, dead: Incarnation) {
        if mobula_protocol::planted!("node-keeps-orphans") {
            return;
        }
        let orphans: Vec<ObjectId> =
            self.objects.table().objects().filter(|info| info.id.owner() == dead).map(|info| info.id).collect();
        for object in orphans {
            self.drop_copy(object);
        }
    }

    pub(super) fn drop_copy(&mut self, object: ObjectId) {
        let deleted = self.objects.table().delete(object);
        if deleted {
            self.tell_pull(pull::Event::Gone { object });
        }
    }

    fn link_effect(&mut self, effect: link::Effect) {
        use link::Effect;
        match effect {
            Effect::Transmit { envelope, load } => match self.rpc_address(envelope.to) {
                Some(address) => {
                    self.log("send", format_args!("{} #{} {}", envelope.to, envelope.seq, envelope.summary()));
                    self.out.push(Output::Transmit { address, envelope, load });
                }
                None => {
                    let (to, seq) = (envelope.to, envelope.seq);
                    self.link.step(self.now, link::Event::Lost { to, seq }, &mut self.wires.link);
                }
            },
            Effect::Undelivered { to, message } => self.undelivered(to, message),
            Effect::Deliver { from, message } => self.deliver(from, message),
            Effect::Reply { from, seq, ack } => self.reply(from, seq, ack),
            Effect::Fenced { by } => {
                let why = format!("{} says that this node was declared dead", self.name_of(by));
                self.out.push(Output::Stop(why));
            }
        }
    }

    /// A message is too large to be sent. Results are replaced by the error. Nothing else grows so far, because
    /// submissions are limited ([`TaskSpec::LIMIT`]); without it the peers would disagree for ever, so this node ends.
    fn undelivered(&mut self, to: Incarnation, message: Message) {
        let (name, bytes) = (message.name(), ByteSize(message.weight() as u64));
        let why = format!("a {name} of {bytes} for {} is too large to be sent", self.name_of(to));
        self.log("undelivered", format_args!("{why}"));
        let Message::TaskDone { lease, task, attempt, outcome: TaskOutcome::Returned(results), spent } = message else {
            return self.out.push(Output::Stop(why));
        };
        for (index, result) in (0..).zip(&results) {
            if matches!(result.place, ResultPlace::Stored(_)) {
                self.drop_copy(task.result(index));
            }
        }
        let outcome = TaskOutcome::Raised(TaskError::new(TaskErrorKind::TooLarge, why));
        self.send(to, Message::TaskDone { lease, task, attempt, outcome, spent });
    }

    fn follow(&mut self, object: ObjectId, who: Follower) {
        match self.follows.follow(object, who) {
            Followed::Ask => self.send(object.owner(), Message::Locate(object)),
            Followed::Asked => {}
            Followed::Known(located) => match who {
                Follower::Pull => self.tell_pull(pull::Event::Located { object, located }),
                Follower::Owner => self.tell_owner(owner::Event::ForeignLocated { object, located }),
            },
        }
    }

    fn unfollow(&mut self, object: ObjectId, who: Follower) {
        if self.follows.unfollow(object, who) {
            self.send(object.owner(), Message::Unlocate(object));
        }
    }

    pub(super) fn located(&mut self, object: ObjectId, located: Located) {
        let (pull, owner) = self.follows.located(object, &located);
        if owner {
            self.tell_owner(owner::Event::ForeignLocated { object, located: located.clone() });
        }
        if pull {
            self.tell_pull(pull::Event::Located { object, located });
        }
    }
}
