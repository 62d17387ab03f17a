//! From creation to death.

use super::*;

impl Registry {
    pub(super) fn create(&mut self, from: Incarnation, spec: Arc<ActorSpec>, out: &mut Out) {
        let id = spec.id();
        if let Some(name) = &spec.options.name {
            let taken = self.names.get(name).and_then(|other| Some((*other, self.actors.get(other)?)));
            let error = |other| ActorDeath::NameTaken.error(format!("{other} is already named {name}"));
            let result = match taken {
                None => Ok((id, Box::new(spec.options.clone()))),
                Some((other, actor)) if spec.options.get_if_exists => Ok((other, Box::new(actor.spec.options.clone()))),
                Some((other, _)) => Err(error(other)),
            };
            let taken = taken.map(|(other, _)| error(other));
            out.push(Effect::Say { to: from, word: Word::Created { actor: id, result } });
            if let Some(error) = taken {
                out.extend(spec.task.reachable().map(Effect::GiveBack));
                let word = Word::Status { actor: id, place: Place::Dead(error.clone()) };
                let early = self.early.remove(&id).unwrap_or_default();
                out.extend(early.into_iter().map(|to| Effect::Say { to, word: word.clone() }));
                return self.bury(id, error);
            }
            self.names.insert(name.clone(), id);
        }
        let actor = Actor {
            stage: Stage::Queued,
            incarnation: 0,
            restarts_left: spec.options.max_restarts,
            failed_starts: 0,
            doom: None,
            checkpoint: None,
            watchers: self.early.remove(&id).unwrap_or_default(),
            spec,
        };
        self.actors.insert(id, actor);
        self.publish(id, out);
        self.prepare(id, out);
    }

    /// Sets out to start an incarnation: first its arguments must exist.
    pub(super) fn prepare(&mut self, id: ActorId, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.stage = Stage::Unready;
        let mut refs: Vec<ObjectId> = actor.spec.task.refs().collect();
        refs.sort_unstable();
        refs.dedup();
        for object in refs {
            let new = !self.followed.contains_key(&object);
            let followed = self.followed.entry(object).or_default();
            followed.by.insert(id);
            if new && self.dead.contains(&object.owner()) {
                followed.last = Some(orphaned(object));
            } else if new {
                out.push(Effect::Locate(object));
            }
        }
        self.proceed(id, out);
    }

    pub(super) fn located(&mut self, object: ObjectId, located: Located, out: &mut Out) {
        let Some(followed) = self.followed.get_mut(&object) else { return };
        followed.last = Some(located);
        for id in followed.by.clone() {
            self.proceed(id, out);
        }
    }

    /// Queues an unready actor whose arguments all exist; ends one with an argument that never will.
    fn proceed(&mut self, id: ActorId, out: &mut Out) {
        let Some(actor) = self.actors.get(&id).filter(|actor| actor.stage == Stage::Unready) else { return };
        let task = actor.spec.task.clone();
        let mut near: BTreeMap<NodeId, ByteSize> = BTreeMap::new();
        for object in task.refs() {
            match self.followed.get(&object).and_then(|followed| followed.last.as_ref()) {
                None | Some(Located::Pending) => return,
                Some(Located::Inline(_)) => {}
                Some(Located::Stored { size, copies }) => {
                    copies.iter().for_each(|at| *near.entry(at.node).or_default() += *size);
                }
                Some(Located::Failed(cause)) => {
                    let message = format!("{} ({id}) needs {object} to be constructed", task.label);
                    let error = ActorDeath::Init.error(message).because(cause.clone());
                    return self.die(id, error, out);
                }
            }
        }
        self.unfollow(id, out);
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.stage = Stage::Queued;
        }
        let near = near.into_iter().collect();
        out.push(Effect::Enqueue { task: task.id, class: task.class.clone(), near });
    }

    fn unfollow(&mut self, id: ActorId, out: &mut Out) {
        let Some(actor) = self.actors.get(&id) else { return };
        for object in actor.spec.task.refs() {
            let Some(followed) = self.followed.get_mut(&object) else { continue };
            followed.by.remove(&id);
            if followed.by.is_empty() {
                self.followed.remove(&object);
                if !self.dead.contains(&object.owner()) {
                    out.push(Effect::Unlocate(object));
                }
            }
        }
    }

    pub(super) fn assigned(&mut self, task: TaskId, lease: LeaseId, to: Incarnation, out: &mut Out) {
        let id = ActorId(task);
        let waiting = self.actors.get_mut(&id).filter(|actor| actor.stage == Stage::Queued);
        let Some(actor) = waiting.filter(|_| !self.dead.contains(&to)) else {
            out.push(Effect::Release { task, lease });
            if self.actors.get(&id).is_some_and(|actor| actor.stage == Stage::Queued) {
                self.prepare(id, out);
            }
            return;
        };
        actor.stage = Stage::Starting(lease);
        actor.incarnation += 1;
        let (spec, incarnation, checkpoint) = (actor.spec.clone(), actor.incarnation, actor.checkpoint.clone());
        self.leases.insert(lease, Held { actor: id, at: to, stop_by: None });
        for arg in &spec.task.args {
            let crate::Arg::Value(_, refs) = arg else { continue };
            let foreign = refs.iter().filter(|object| object.owner() != to);
            out.extend(foreign.map(|object| Effect::Lend { object: *object, to }));
        }
        out.push(Effect::Say { to, word: Word::Start { lease, spec, incarnation, checkpoint } });
    }

    pub(super) fn started(&mut self, lease: LeaseId, out: &mut Out) {
        let Some(held) = self.leases.get(&lease) else { return };
        let id = held.actor;
        if let Some(actor) = self.actors.get_mut(&id).filter(|actor| actor.stage == Stage::Starting(lease)) {
            actor.stage = Stage::Alive(lease);
            actor.failed_starts = 0;
            self.publish(id, out);
        }
    }

    pub(super) fn ended(&mut self, now: Nanos, from: Incarnation, lease: LeaseId, end: End, out: &mut Out) {
        if self.leases.get(&lease).is_none_or(|held| held.at != from) {
            return;
        }
        if let Some(held) = self.leases.remove(&lease) {
            out.push(Effect::Release { task: held.actor.0, lease });
            let cause = match end {
                End::HandedBack(_) => None,
                End::Stopped => Some(ActorDeath::Killed.error("its worker was stopped")),
                End::Evicted => {
                    let Some(actor) = self.actors.get(&held.actor) else { return };
                    let error = actor.doom.clone().unwrap_or_else(|| without_group(&actor.spec));
                    return self.die(held.actor, error, out);
                }
                End::Crashed(why) => Some(ActorDeath::Crashed.error(why)),
                End::Failed(error) => {
                    let kind = if matches!(error.kind, TaskErrorKind::ActorDied(_)) {
                        error.clone()
                    } else {
                        ActorDeath::Init.error("its constructor failed").because(error)
                    };
                    return self.die(held.actor, kind, out);
                }
            };
            self.over(now, held.actor, cause, out);
        }
    }

    /// The incarnation is over; `cause` is none if it never began.
    fn over(&mut self, now: Nanos, id: ActorId, cause: Option<TaskError>, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if let Some(doom) = actor.doom.take() {
            return self.die(id, doom, out);
        }
        let was_alive = matches!(actor.stage, Stage::Alive(_));
        if let Some(mut cause) = cause {
            let preempted = cause.kind == TaskErrorKind::ActorDied(ActorDeath::Preempted);
            let free = preempted && actor.spec.options.max_restarts != Some(0);
            if !free && !crate::owner::spend(&mut actor.restarts_left) {
                let most = actor.spec.options.max_restarts.unwrap_or_default();
                cause.message = format!("{} ({id}), after {most} restarts: {}", actor.spec.task.label, cause.message);
                return self.die(id, cause, out);
            }
            actor.failed_starts = if was_alive { 0 } else { actor.failed_starts + 1 };
        }
        let failed = actor.failed_starts;
        if was_alive {
            // From here on it is nowhere.
            actor.stage = Stage::Unready;
            self.publish(id, out);
        }
        if failed == 0 {
            return self.prepare(id, out);
        }
        let pause = Nanos(REST_FIRST.0 << (failed - 1).min(10)).min(REST_LAST);
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.stage = Stage::Resting(now + pause);
            self.timers.insert((now + pause, id));
        }
    }

    pub(super) fn kill(&mut self, now: Nanos, id: ActorId, force: bool, restart: bool, out: &mut Out) {
        let Some(actor) = self.actors.get(&id) else { return };
        let error = ActorDeath::Killed.error(format!("{} ({id}) was killed", actor.spec.task.label));
        match (restart, force) {
            (false, _) => self.doom(now, id, error, force, out),
            (true, _) => {
                if let Stage::Starting(lease) | Stage::Alive(lease) = actor.stage
                    && let Some(held) = self.leases.get(&lease)
                {
                    out.push(Effect::Say { to: held.at, word: Word::Stop { lease, force, last: false } });
                }
            }
        }
    }

    pub(super) fn out_of_scope(&mut self, now: Nanos, id: ActorId, out: &mut Out) {
        let Some(actor) = self.actors.get(&id).filter(|actor| !actor.spec.options.detached) else { return };
        let message = format!("nobody had a handle to {} ({id}) any more", actor.spec.task.label);
        self.doom(now, id, ActorDeath::OutOfScope.error(message), false, out);
    }

    pub(super) fn group_removed(&mut self, now: Nanos, group: GroupId, out: &mut Out) {
        self.doom_inside(now, |inside| inside == group, out);
    }

    /// Ends all actors in such placement groups.
    fn doom_inside(&mut self, now: Nanos, such: impl Fn(GroupId) -> bool, out: &mut Out) {
        let inside = |actor: &Actor| actor.spec.task.class.placement.group().is_some_and(&such);
        let inside: Vec<_> = self.actors.iter().filter(|(_, actor)| inside(actor)).collect();
        let inside: Vec<_> = inside.into_iter().map(|(id, actor)| (*id, without_group(&actor.spec))).collect();
        inside.into_iter().for_each(|(id, error)| self.doom(now, id, error, true, out));
    }

    /// Sees to it that the actor ends and does not come back.
    fn doom(&mut self, now: Nanos, id: ActorId, error: TaskError, force: bool, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let (Stage::Starting(lease) | Stage::Alive(lease)) = actor.stage else { return self.die(id, error, out) };
        actor.doom.get_or_insert(error);
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let to = held.at;
        if force {
            return self.force(id, lease, to, out);
        }
        if held.stop_by.is_none() {
            held.stop_by = Some(now + GRACE);
            self.timers.insert((now + GRACE, id));
            out.push(Effect::Say { to, word: Word::Stop { lease, force, last: true } });
        }
    }

    /// Ends an incarnation by force. A doomed actor is dead at once, though its lease may take a while.
    pub(super) fn force(&mut self, id: ActorId, lease: LeaseId, to: Incarnation, out: &mut Out) {
        if let Some(held) = self.leases.get_mut(&lease) {
            held.stop_by = None;
        }
        out.push(Effect::Say { to, word: Word::Stop { lease, force: true, last: true } });
        if let Some(doom) = self.actors.get_mut(&id).and_then(|actor| actor.doom.take()) {
            self.die(id, doom, out);
        }
    }

    /// The end: callers are told, arguments and the name are given back. A lease is released by its host's word.
    pub(super) fn die(&mut self, id: ActorId, error: TaskError, out: &mut Out) {
        self.unfollow(id, out);
        let Some(actor) = self.actors.remove(&id) else { return };
        if actor.stage == Stage::Queued {
            out.push(Effect::Dequeue(id.0));
        }
        if let Some(name) = &actor.spec.options.name {
            self.names.remove(name);
        }
        let word = Word::Status { actor: id, place: Place::Dead(error.clone()) };
        out.extend(actor.watchers.iter().map(|to| Effect::Say { to: *to, word: word.clone() }));
        let living = actor.spec.task.reachable().filter(|object| !self.dead.contains(&object.owner()));
        out.extend(living.map(Effect::GiveBack));
        self.bury(id, error);
    }

    fn bury(&mut self, id: ActorId, error: TaskError) {
        self.graves.insert(id, error);
        self.grave_order.push_back(id);
        if self.grave_order.len() > GRAVES
            && let Some(oldest) = self.grave_order.pop_front()
        {
            self.graves.remove(&oldest);
            if !self.dead.contains(&oldest.owner()) {
                self.gone.insert(oldest);
            }
        }
    }

    pub(super) fn node_died(&mut self, now: Nanos, dead: Incarnation, out: &mut Out) {
        self.dead.insert(dead);
        let preempted = self.draining.remove(&dead);
        let theirs = |id: &ActorId| id.owner() == dead;
        self.gone.retain(|id| !theirs(id));
        for (id, watchers) in self.early.extract_if(.., |id, _| id.owner() == dead) {
            let error = ActorDeath::OwnerDied.error(format!("{id}: its creator, {dead}, died"));
            let word = Word::Status { actor: id, place: Place::Dead(error) };
            out.extend(watchers.into_iter().map(|to| Effect::Say { to, word: word.clone() }));
        }
        self.actors.values_mut().for_each(|actor| {
            actor.watchers.remove(&dead);
        });
        // Creators before hosts: what ran there under a dead creator must not be started again.
        let orphans = self.actors.iter().filter(|(id, actor)| theirs(id) && !actor.spec.options.detached);
        for id in orphans.map(|(id, _)| *id).collect::<Vec<_>>() {
            let error = ActorDeath::OwnerDied.error(format!("{id}: its creator, {dead}, died"));
            self.doom(now, id, error, true, out);
        }
        self.doom_inside(now, |group| group.owner == dead, out);
        for (lease, held) in self.leases.extract_if(.., |_, held| held.at == dead).collect::<Vec<_>>() {
            // The dispatcher forgets the leases of a dead node by itself.
            let error = match preempted {
                true => ActorDeath::Preempted.error(format!("its node, {dead}, was draining and is gone")),
                false => ActorDeath::NodeDied.error(format!("its node, {dead}, died under lease {lease}")),
            };
            self.over(now, held.actor, Some(error), out);
        }
        let lost: Vec<ObjectId> = self.followed.keys().filter(|object| object.owner() == dead).copied().collect();
        for object in lost {
            self.located(object, orphaned(object), out);
        }
    }
}

/// The death of an actor whose placement group is gone.
pub(super) fn without_group(spec: &ActorSpec) -> TaskError {
    let (label, id) = (&spec.task.label, spec.id());
    let group = spec.task.class.placement.group().map_or_else(String::new, |group| format!(" {group}"));
    ActorDeath::GroupRemoved.error(format!("{label} ({id}): its placement group{group} was removed, or its maker died"))
}

fn orphaned(object: ObjectId) -> Located {
    let message = format!("{object}: its owner, {}, died", object.owner());
    Located::Failed(TaskError::new(TaskErrorKind::OwnerDied, message))
}
