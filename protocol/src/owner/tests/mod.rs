//! The owner on a toy cluster: a dispatcher that sends every queued task to one place, and nodes that answer pushes.

mod account;
mod attempts;
mod cancel;
mod foreign;
mod lineage;
mod memory;
mod model;
mod persisted;
mod reconstruction;
mod references;
mod replicas;
mod scale;
mod streams;

use super::{Counters, Effect, Event, Holding, Owner, Token, tasks};
use crate::{
    Arg, Attempt, ByteSize, Credit, Incarnation, LeaseId, Located, Machine, Nanos, ObjectId, Resources, ResultPlace,
};
use crate::{
    Durability, Placement, Replay, Retries, SchedulingClass, SharedPlace, TaskError, TaskErrorKind, TaskId,
    TaskOutcome, TaskResult, TaskSpec,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ME: Incarnation = Incarnation::new(1, 1);
const A: Incarnation = Incarnation::new(2, 2);
const B: Incarnation = Incarnation::new(3, 3);
const C: Incarnation = Incarnation::new(4, 4);
/// The driver on whose account the tasks run.
const JOB: Incarnation = Incarnation::new(8, 8);
/// Another owner.
const F: Incarnation = Incarnation::new(9, 9);
const BIG: ByteSize = ByteSize(10_000_000);

/// An attempt on a node.
#[derive(Clone, Debug)]
struct Running {
    at: Incarnation,
    attempt: Attempt,
    spec: Arc<TaskSpec>,
    inline: BTreeSet<u32>,
    started: bool,
}

/// How often the attempts of a task ended in each way.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    returned: u32,
    raised: u32,
    crashed: u32,
    /// Because its node ran out of memory.
    killed: u32,
    /// With its node.
    died: u32,
}

/// The owner under test, and everything around it.
struct World {
    owner: Owner,
    now: Nanos,
    /// Where the dispatcher sends tasks.
    home: Incarnation,
    retries: Retries,
    replay: Replay,
    /// Of the results of tasks.
    durability: Durability,
    /// What the hash of a result depends on besides its task; a test changes it to make tasks return something else.
    salt: u64,
    /// Whether `check()` runs after every step; the tests of scale do without.
    checked: bool,
    queued: Vec<TaskId>,
    running: Vec<Running>,
    /// Puts that have begun and not ended.
    putting: Vec<ObjectId>,
    /// Copies that nodes were asked to fetch, and have not.
    fetching: Vec<(Incarnation, ObjectId)>,
    /// Values that nodes were asked to write outside, and have not; those that are there; those being read back.
    saving: Vec<(Incarnation, ObjectId)>,
    outside: BTreeSet<ObjectId>,
    /// Those that ever were.
    written: BTreeSet<ObjectId>,
    loading: Vec<(Incarnation, ObjectId)>,
    /// Who was told to keep its copy.
    kept: BTreeSet<(Incarnation, ObjectId)>,
    /// Of those, who may drop it all the same when its store is full.
    droppable: BTreeSet<(Incarnation, ObjectId)>,
    /// Attempts that nodes were told not to start.
    cancelled: Vec<(TaskId, Attempt)>,
    /// What lies in the nodes' stores, by what the owner and the nodes did.
    stores: BTreeMap<Incarnation, BTreeSet<ObjectId>>,
    /// What nodes wrote to shared storage, and the place's root, which names the node.
    shared: BTreeSet<(ObjectId, String)>,
    /// The last that each subscriber was told.
    told: BTreeMap<(Incarnation, ObjectId), Located>,
    /// Holds of foreign objects that are not given back: (held, located).
    foreign: BTreeMap<ObjectId, (i64, i64)>,
    lent: Vec<(ObjectId, Incarnation)>,
    /// What the application waits for, by the number of the wait.
    awaited: BTreeMap<u64, ObjectId>,
    /// How each task's attempts ended, those apart that were handed back.
    ends: BTreeMap<TaskId, Ends>,
    next_id: u64,
    /// How far each attempt of a generator may go.
    credits: BTreeMap<(TaskId, Attempt), Credit>,
    /// What the consumers of generators were told.
    next: Vec<(TaskId, Result<Option<ObjectId>, TaskError>)>,
}

impl World {
    fn new() -> Self {
        Self {
            owner: Owner::new(ME),
            now: Nanos::ZERO,
            home: A,
            retries: Retries::default(),
            replay: Replay::Strict,
            durability: Durability::default(),
            salt: 0,
            checked: true,
            queued: vec![],
            running: vec![],
            putting: vec![],
            fetching: vec![],
            saving: vec![],
            outside: BTreeSet::new(),
            written: BTreeSet::new(),
            loading: vec![],
            kept: BTreeSet::new(),
            droppable: BTreeSet::new(),
            cancelled: vec![],
            stores: BTreeMap::new(),
            shared: BTreeSet::new(),
            told: BTreeMap::new(),
            foreign: BTreeMap::new(),
            lent: vec![],
            awaited: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_id: 0,
            credits: BTreeMap::new(),
            next: vec![],
        }
    }

    fn step(&mut self, event: Event) {
        let mut out = vec![];
        let what = format!("{event:?}");
        // Who has a copy under that name, whatever it is, has what it was asked for.
        let stores = &self.stores;
        self.fetching.retain(|(at, object)| !stores.get(at).is_some_and(|store| store.contains(object)));
        self.owner.step(self.now, event, &mut out);
        for effect in out {
            self.apply(effect);
        }
        if self.checked {
            self.owner.check().unwrap_or_else(|violation| panic!("{violation}, after {what}"));
        }
    }

    /// Time passes.
    fn pass(&mut self, time: Nanos) {
        self.now += time;
        self.step(Event::Tick);
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Enqueue { task, .. } => {
                assert!(!self.queued.contains(&task), "{task} is queued twice");
                self.queued.push(task);
            }
            Effect::Dequeue(task) => self.queued.retain(|queued| *queued != task),
            Effect::Unassign { .. } => {}
            Effect::Push { to, attempt, spec, inline, .. } => {
                let inline = inline.into_iter().map(|(position, _)| position).collect();
                self.running.push(Running { at: to, attempt, spec, inline, started: false });
            }
            Effect::CancelAttempt { task, attempt, .. } => self.cancelled.push((task, attempt)),
            Effect::Notify { to, object, located } => {
                self.told.insert((to, object), located);
            }
            Effect::Promote { at, object, rebuildable } => {
                let has = self.stores.entry(at).or_default().contains(&object);
                assert!(has, "{object} is promoted at {at}, which has no copy (I19)");
                self.kept.insert((at, object));
                match rebuildable {
                    true => self.droppable.insert((at, object)),
                    false => self.droppable.remove(&(at, object)),
                };
            }
            Effect::Replicate { to, object } => {
                assert!(!self.fetching.contains(&(to, object)), "{to} is asked for {object} twice");
                self.fetching.push((to, object));
            }
            Effect::Save { at, object } => {
                assert!(self.has(at, object), "{at} is to write {object}, which it has not");
                self.saving.push((at, object));
            }
            Effect::Load { at, object, .. } => {
                assert!(self.written.contains(&object), "{object} is read before it is there");
                assert!(self.loading.iter().all(|(_, other)| *other != object), "{object} is read twice");
                self.loading.push((at, object));
            }
            Effect::Erase(object) => {
                self.outside.remove(&object);
            }
            Effect::Free { at, objects } => {
                for object in objects {
                    self.kept.remove(&(at, object));
                    let had = self.stores.entry(at).or_default().remove(&object);
                    assert!(had, "{object} is freed at {at}, which has no copy (I30)");
                }
            }
            Effect::TakeOver { object, place, .. } => {
                let spilled = self.shared.contains(&(object, place.root.to_string()));
                assert!(spilled, "{object} is taken over from {place}, where it is not");
                self.stores.entry(ME).or_default().insert(object);
            }
            Effect::Credit { task, attempt, credit, .. } => drop(self.credits.insert((task, attempt), credit)),
            Effect::Next { task, item } => self.next.push((task, item)),
            Effect::Locate(object) => self.foreign.entry(object).or_default().1 += 1,
            Effect::Unlocate(object) => self.foreign.entry(object).or_default().1 -= 1,
            Effect::Hold(object) | Effect::Inherit(object) => self.foreign.entry(object).or_default().0 += 1,
            Effect::Unhold(object) => self.foreign.entry(object).or_default().0 -= 1,
            Effect::Lend { object, to } => self.lent.push((object, to)),
            // Only calls of actors and watched objects have these: see the tests of actors.
            Effect::CallOver(_) | Effect::OutOfScope(_) => {}
            Effect::Exists { token, located } => {
                assert_ne!(located, Located::Pending);
                assert!(self.awaited.remove(&token.wait).is_some(), "{token:?} is told twice, or nobody waits");
            }
        }
    }

    fn fresh(&mut self) -> TaskId {
        self.next_id += 1;
        TaskId { owner: ME, seq: self.next_id }
    }

    /// The application waits for `object` to exist.
    fn await_value(&mut self, object: ObjectId) {
        self.next_id += 1;
        self.awaited.insert(self.next_id, object);
        self.step(Event::Await { object, token: Token { wait: self.next_id, position: 0 } });
    }

    /// Submits `label`; results are big unless the label starts with `small`.
    fn submit(&mut self, label: &str, args: Vec<Arg>, returns: u32) -> TaskId {
        let id = self.fresh();
        let class = SchedulingClass {
            function: label.into(),
            resources: Resources::default(),
            placement: Placement::Any,
            share: None,
        };
        let spec = TaskSpec {
            id,
            label: label.into(),
            class: class.into(),
            args,
            returns,
            retries: self.retries,
            replay: self.replay,
            durability: self.durability,
            stream: None,
            job: JOB,
        };
        self.step(Event::Submit(spec.into()));
        id
    }

    /// One result, from these arguments by reference.
    fn task(&mut self, label: &str, args: &[ObjectId]) -> ObjectId {
        self.submit(label, args.iter().map(|object| Arg::Ref(*object)).collect(), 1).result(0)
    }

    fn put_big(&mut self, refs: &[ObjectId]) -> ObjectId {
        let object = self.fresh().result(0);
        self.stores.entry(ME).or_default().insert(object);
        self.step(Event::Put { object, place: ResultPlace::Stored(BIG), refs: refs.to_vec() });
        object
    }

    fn put_small(&mut self, refs: &[ObjectId]) -> ObjectId {
        let object = self.fresh().result(0);
        let place = ResultPlace::Inline(Bytes::from_static(b"small"));
        self.step(Event::Put { object, place, refs: refs.to_vec() });
        object
    }

    fn begin_put(&mut self, refs: &[ObjectId]) -> ObjectId {
        let object = self.fresh().result(0);
        self.putting.push(object);
        self.step(Event::PutBegun { object, refs: refs.to_vec() });
        object
    }

    /// The put at this place of the list ends: with a big value, or because the store is full.
    fn end_put(&mut self, place: usize, stored: bool) {
        let object = self.putting.remove(place);
        let result = if stored {
            self.stores.entry(ME).or_default().insert(object);
            Ok(ResultPlace::Stored(BIG))
        } else {
            Err(TaskError::new(TaskErrorKind::StoreFull, "no room"))
        };
        self.step(Event::PutEnded { object, result });
    }

    fn drop(&mut self, object: ObjectId) {
        self.step(Event::RefDropped(object));
    }

    /// Sends everything that is queued to `home`.
    fn assign(&mut self) {
        for task in std::mem::take(&mut self.queued) {
            self.next_id += 1;
            let lease = LeaseId { owner: ME, seq: self.next_id };
            self.step(Event::Assigned { task, lease, to: self.home });
        }
    }

    fn start(&mut self, task: TaskId) {
        let run = self.running.iter_mut().rev().find(|run| run.spec.id == task).expect("running");
        run.started = true;
        let attempt = run.attempt;
        self.step(Event::Started { task, attempt });
    }

    /// The task's oldest attempt that is under way ends.
    fn end(&mut self, task: TaskId, outcome: TaskOutcome) {
        let place = self.running.iter().position(|run| run.spec.id == task).expect("running");
        let run = self.running.remove(place);
        let ends = self.ends.entry(task).or_default();
        match outcome {
            TaskOutcome::Returned(_) => ends.returned += 1,
            TaskOutcome::Raised(_) => ends.raised += 1,
            TaskOutcome::Crashed(_) => ends.crashed += 1,
            TaskOutcome::OutOfMemory(_) => ends.killed += 1,
            TaskOutcome::HandedBack(_) => {}
        }
        self.step(Event::Done { from: run.at, task, attempt: run.attempt, outcome });
        self.give_back(&run);
    }

    /// A node is done with the references that were lent with the task.
    fn give_back(&mut self, run: &Running) {
        for object in nested(&run.spec).filter(|object| object.owner() == ME && run.at != ME) {
            self.step(Event::Returned { object, by: run.at });
        }
    }

    /// What the node makes of the task: its results if its arguments are to be had, else it hands it back.
    fn outcome(&mut self, run: &Running) -> TaskOutcome {
        for (position, arg) in (0..).zip(&run.spec.args) {
            let Arg::Ref(object) = arg else { continue };
            let here = object.owner() != ME || self.stores.values().any(|store| store.contains(object));
            if !here && !run.inline.contains(&position) {
                return TaskOutcome::HandedBack(Some(*object));
            }
        }
        let refs: Vec<ObjectId> = nested(&run.spec).collect();
        let results = (0..run.spec.returns).map(|index| {
            let small = run.spec.label.starts_with("small");
            if !small {
                self.stores.entry(run.at).or_default().insert(run.spec.id.result(index));
            }
            let place = if small { ResultPlace::Inline(Bytes::from_static(b"r")) } else { ResultPlace::Stored(BIG) };
            TaskResult { place, refs: refs.clone(), hash: run.spec.id.seq + self.salt }
        });
        TaskOutcome::Returned(results.collect())
    }

    fn finish(&mut self, task: TaskId) {
        let run = self.running.iter().find(|run| run.spec.id == task).expect("running").clone();
        let outcome = self.outcome(&run);
        self.end(task, outcome);
    }

    /// Until nothing is queued and nothing runs.
    fn run(&mut self) {
        while !self.queued.is_empty() || !self.running.is_empty() {
            self.assign();
            for run in self.running.clone() {
                self.finish(run.spec.id);
            }
        }
    }

    /// Subscribes, lets the cluster work, and says what the subscriber was told last.
    fn get(&mut self, object: ObjectId) -> Located {
        self.step(Event::Subscribe { object, by: ME });
        self.run();
        self.step(Event::Unsubscribe { object, by: ME });
        self.told.remove(&(ME, object)).expect("a subscriber is told at once")
    }

    fn get_error(&mut self, object: ObjectId) -> TaskError {
        match self.get(object) {
            Located::Failed(error) => error,
            other => panic!("{object} is {other:?}"),
        }
    }

    fn kill(&mut self, node: Incarnation) {
        self.stores.remove(&node);
        self.fetching.retain(|(at, _)| *at != node);
        self.saving.retain(|(at, _)| *at != node);
        self.loading.retain(|(at, _)| *at != node);
        self.kept.retain(|(at, _)| *at != node);
        for run in self.running.iter().filter(|run| run.at == node) {
            self.ends.entry(run.spec.id).or_default().died += 1;
        }
        self.running.retain(|run| run.at != node);
        self.step(Event::NodeDied(node));
    }

    /// A node fetched a copy.
    fn copy(&mut self, object: ObjectId, at: Incarnation) {
        self.stores.entry(at).or_default().insert(object);
        self.step(Event::CopyAdded { object, at, size: BIG });
    }

    /// A node wrote its copy to shared storage.
    fn spill(&mut self, object: ObjectId, at: Incarnation) {
        let root = at.to_string();
        self.shared.insert((object, root.clone()));
        let place = SharedPlace { root: root.into(), life: "life".into(), file: 1, offset: 0 };
        self.step(Event::CopySpilled { object, at, place });
    }

    fn evict(&mut self, object: ObjectId, at: Incarnation) {
        self.stores.entry(at).or_default().remove(&object);
        self.kept.remove(&(at, object));
        self.step(Event::CopyRemoved { object, at });
    }

    /// Nodes fetch what they were asked to keep, as far as it exists; who waits for what does not exist goes on
    /// waiting.
    fn fetch_replicas(&mut self) {
        for (at, object) in std::mem::take(&mut self.fetching) {
            match self.owner.locate(object) {
                Located::Stored { .. } => self.copy(object, at),
                Located::Pending => self.fetching.push((at, object)),
                Located::Inline(_) | Located::Failed(_) => {}
            }
        }
    }

    /// Nodes write what they were asked to, if they still have it.
    fn save(&mut self) {
        for (by, object) in std::mem::take(&mut self.saving) {
            if self.has(by, object) {
                self.outside.insert(object);
                self.written.insert(object);
                self.step(Event::Saved { object, by, size: BIG });
            } else {
                self.step(Event::NotSaved { object, by });
            }
        }
    }

    /// What is being read back is here, or cannot be read.
    fn load(&mut self) {
        for (by, object) in std::mem::take(&mut self.loading) {
            if self.outside.contains(&object) {
                self.copy(object, by);
            } else {
                self.step(Event::NotLoaded { object, by });
            }
        }
    }

    fn has(&self, at: Incarnation, object: ObjectId) -> bool {
        self.stores.get(&at).is_some_and(|store| store.contains(&object))
    }

    /// How often the task of an object came to an end that its node reported.
    fn ran(&self, object: ObjectId) -> u32 {
        self.ends.get(&object.task).map_or(0, |ends| ends.returned + ends.raised + ends.crashed)
    }

    fn counters(&self, label: &str) -> Counters {
        self.owner.counters().iter().find(|(of, _)| &**of == label).expect("a label in use").1
    }

    /// Every reference is gone and every task over: so is everything else (I24, I27, I31).
    fn assert_empty(&self) {
        assert_eq!((self.owner.objects(), self.owner.tasks(), self.owner.pending()), (0, 0, 0));
        assert!(self.owner.replicas.is_empty(), "replicas are wanted of what is gone");
        assert!(self.outside.is_empty() || !self.saving.is_empty(), "what is gone stays outside: {:?}", self.outside);
        assert!(self.owner.directory.is_empty() && self.owner.waiting.is_empty() && self.owner.foreign.is_empty());
        assert!(self.stores.values().all(BTreeSet::is_empty), "copies stay: {:?}", self.stores);
        assert!(self.foreign.values().all(|counts| *counts == (0, 0)), "unbalanced: {:?}", self.foreign);
    }
}

fn nested(spec: &TaskSpec) -> impl Iterator<Item = ObjectId> {
    spec.args.iter().flat_map(|arg| if let Arg::Value(_, refs) = arg { refs.clone() } else { vec![] })
}

fn value(refs: &[ObjectId]) -> Arg {
    Arg::Value(Bytes::from_static(b"value"), refs.to_vec())
}

fn foreign(seq: u64) -> ObjectId {
    TaskId { owner: F, seq }.result(0)
}

fn is_stored(located: &Located) -> bool {
    matches!(located, Located::Stored { .. })
}

fn raised() -> TaskOutcome {
    TaskOutcome::Raised(TaskError::new(TaskErrorKind::TaskFailed, "raised"))
}

fn crashed() -> TaskOutcome {
    TaskOutcome::Crashed("killed".to_owned())
}

fn out_of_memory() -> TaskOutcome {
    TaskOutcome::OutOfMemory("node A is full".to_owned())
}
