//! The calls of one incarnation: lanes, slots, and what becomes of each.

use super::*;
use std::collections::{BTreeSet, VecDeque};

/// Values of reference arguments, by argument position.
type Inline = Vec<(u32, Bytes)>;

/// What a caller pushed.
pub(super) struct Push {
    pub spec: Arc<TaskSpec>,
    pub inline: Inline,
    pub handle: u64,
    pub settled: u64,
}

#[derive(Debug)]
pub(super) struct Call {
    pub from: Incarnation,
    pub started: bool,
    lane: Lane,
    arrival: u64,
    ready: bool,
    /// Present until it starts.
    spec: Option<(Arc<TaskSpec>, Inline)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Handle(Incarnation, u64),
    Own(Key),
}

/// Calls in lanes. Started calls are in no lane.
#[derive(Debug)]
pub(super) struct Calls {
    limit: usize,
    ordered: bool,
    calls: BTreeMap<Key, Call>,
    lanes: BTreeMap<Lane, VecDeque<Key>>,
    /// Fronts of lanes that are ready, by arrival.
    eligible: BTreeSet<(u64, Key)>,
    started: usize,
    arrivals: u64,
}

impl Calls {
    pub(super) fn new(limit: usize, ordered: bool) -> Self {
        Self {
            limit,
            ordered,
            calls: BTreeMap::new(),
            lanes: BTreeMap::new(),
            eligible: BTreeSet::new(),
            started: 0,
            arrivals: 0,
        }
    }

    /// Twice as many at a time.
    pub(super) fn widen(&mut self) {
        self.limit = (self.limit * 2).min(BATCH);
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Call> {
        self.calls.get(&key)
    }

    fn add(&mut self, from: Incarnation, key: Key, push: Push, ready: bool) {
        let lane = match push.handle {
            0 => Lane::Own(key),
            _ if !self.ordered => Lane::Own(key),
            handle => Lane::Handle(from, handle),
        };
        self.arrivals += 1;
        let spec = Some((push.spec, push.inline));
        let call = Call { from, started: false, lane, arrival: self.arrivals, ready, spec };
        self.calls.insert(key, call);
        self.lanes.entry(lane).or_default().push_back(key);
        self.front(lane);
    }

    /// Makes the front of a lane eligible if it is ready.
    fn front(&mut self, lane: Lane) {
        let front = self.lanes.get(&lane).and_then(VecDeque::front).copied();
        if let Some((key, call)) = front.and_then(|key| Some((key, self.calls.get(&key)?)))
            && call.ready
        {
            self.eligible.insert((call.arrival, key));
        }
    }

    pub(super) fn ready(&mut self, key: Key) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.ready = true;
        let lane = call.lane;
        self.front(lane);
    }

    /// The next call to start, if there is one and a slot for it.
    fn next(&mut self) -> Option<(Key, Arc<TaskSpec>, Inline)> {
        if self.started >= self.limit {
            return None;
        }
        let (_, key) = self.eligible.pop_first()?;
        let call = self.calls.get_mut(&key)?;
        let (spec, inline) = call.spec.take()?;
        call.started = true;
        self.started += 1;
        let lane = call.lane;
        self.leave(lane, key);
        Some((key, spec, inline))
    }

    fn leave(&mut self, lane: Lane, key: Key) {
        if let Some(queue) = self.lanes.get_mut(&lane) {
            if queue.front() == Some(&key) {
                queue.pop_front();
            } else {
                queue.retain(|other| *other != key);
            }
            if queue.is_empty() {
                self.lanes.remove(&lane);
            }
        }
        self.front(lane);
    }

    /// Forgets a call, started or not.
    pub(super) fn remove(&mut self, key: Key) -> Option<Call> {
        let call = self.calls.remove(&key)?;
        if call.started {
            self.started -= 1;
        } else {
            self.eligible.remove(&(call.arrival, key));
            self.leave(call.lane, key);
        }
        Some(call)
    }

    /// All calls, in order of arrival.
    pub(super) fn arrivals(&self) -> Vec<Key> {
        let mut all: Vec<_> = self.calls.iter().map(|(key, call)| (call.arrival, *key)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, key)| key).collect()
    }

    /// Calls that have not started.
    pub(super) fn waiting(&self) -> usize {
        self.calls.len() - self.started
    }

    pub(super) fn check(&self, lease: LeaseId) -> Result<(), Violation> {
        let started = self.calls.values().filter(|call| call.started).count();
        let within = started == self.started && started <= self.limit;
        Violation::unless(within, "I13-concurrency", || format!("{lease}: {started} of {}", self.limit))?;
        let queued: usize = self.lanes.values().map(VecDeque::len).sum();
        let agree = queued + started == self.calls.len();
        Violation::unless(agree, "host-lanes", || format!("{lease}: {queued} + {started} of {}", self.calls.len()))?;
        let idle = self.started < self.limit && !self.eligible.is_empty();
        Violation::unless(!idle, "host-work-conserving", || format!("{lease}: {:?}", self.eligible))
    }
}

impl Host {
    pub(super) fn call(&mut self, from: Incarnation, lease: LeaseId, attempt: Attempt, push: Push, out: &mut Out) {
        let key = (push.spec.id, attempt);
        let alive = |actor: &&mut Actor| matches!(actor.stage, Stage::Alive) && !actor.stopping;
        let Some(actor) = self.actors.get_mut(&lease).filter(alive) else {
            return out.push(done(from, lease, key, TaskOutcome::HandedBack(None), Nanos::ZERO));
        };
        actor.saving.settle(from, push.settled);
        if let Some(reply) = actor.saving.cached(key) {
            return out.extend(reply.map(|outcome| done(from, lease, key, outcome, Nanos::ZERO)));
        }
        let sent: BTreeSet<u32> = push.inline.iter().map(|(position, _)| *position).collect();
        let mut objects: Vec<ObjectId> = (0..)
            .zip(&push.spec.args)
            .filter_map(|(position, arg)| match arg {
                crate::Arg::Ref(object) if !sent.contains(&position) => Some(*object),
                crate::Arg::Ref(_) | crate::Arg::Value(..) => None,
            })
            .collect();
        objects.sort_unstable();
        objects.dedup();
        self.keys.insert(key, lease);
        actor.calls.add(from, key, push, objects.is_empty());
        if objects.is_empty() {
            self.fill(lease, out);
        } else {
            out.push(Effect::Want(key, objects));
        }
    }

    /// Starts what can start.
    pub(super) fn fill(&mut self, lease: LeaseId, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease).filter(|actor| matches!(actor.stage, Stage::Alive)) else {
            return;
        };
        while let Some((key, spec, inline)) = actor.calls.next() {
            out.push(Effect::Run { lease, attempt: key.1, spec, inline });
        }
    }

    pub(super) fn finished(&mut self, key: Key, outcome: TaskOutcome, spent: Nanos, out: &mut Out) {
        let Some(lease) = self.keys.get(&key).copied() else { return };
        let ending = self.actors.get(&lease).is_some_and(|actor| matches!(actor.stage, Stage::Ending(_)));
        if let TaskOutcome::Crashed(why) = &outcome
            && !ending
        {
            let why = why.clone();
            return self.wind_up(lease, End::Crashed(why.clone()), &why, Begun::Only(key), out);
        }
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        let Some(call) = actor.calls.remove(key) else { return };
        self.keys.remove(&key);
        if let TaskOutcome::Crashed(_) = outcome {
            // Interrupted in an incarnation that ends: its effect, if it had one, is gone where that is promised.
            let undone = actor.spec.options.exactly_once;
            let outcome = if undone { TaskOutcome::HandedBack(None) } else { outcome };
            return out.push(done(call.from, lease, key, outcome, spent));
        }
        if let Some(Withheld { to, key, outcome, spent }) =
            actor.saving.finished(Withheld { to: call.from, key, outcome, spent })
        {
            out.push(done(to, lease, key, outcome, spent));
        }
        if matches!(actor.stage, Stage::Alive) && actor.saving.begin() {
            out.push(Effect::SaveState(lease));
        }
        self.fill(lease, out);
        self.rest(lease, out);
    }

    pub(super) fn cancel(&mut self, key: Key, out: &mut Out) {
        let Some(lease) = self.keys.get(&key).copied() else { return };
        let call = self.actors.get(&lease).and_then(|actor| actor.calls.get(key));
        match call.map(|call| call.started) {
            Some(true) => out.push(Effect::Skip(lease, key)),
            Some(false) => self.dropped(key, out),
            None => {}
        }
    }

    /// A call that will not run.
    pub(super) fn dropped(&mut self, key: Key, out: &mut Out) {
        let Some(lease) = self.keys.get(&key).copied() else { return };
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        let Some(call) = actor.calls.remove(key) else { return };
        self.keys.remove(&key);
        out.push(done(call.from, lease, key, TaskOutcome::HandedBack(None), Nanos::ZERO));
        self.fill(lease, out);
        self.rest(lease, out);
    }

    /// Calls of a dead caller that have not started are dropped; nobody needs the others' replies.
    pub(super) fn owner_died(&mut self, dead: Incarnation, out: &mut Out) {
        for actor in self.actors.values_mut() {
            actor.saving.forget(dead);
        }
        let theirs: Vec<Key> = self.keys.keys().filter(|(task, _)| task.owner == dead).copied().collect();
        for key in theirs {
            let constructor = self.keys.get(&key).and_then(|lease| self.actors.get(lease)).map(|actor| actor.key);
            if constructor != Some(key) {
                self.cancel(key, out);
            }
        }
    }
}
