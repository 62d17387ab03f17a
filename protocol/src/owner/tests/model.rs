//! Random programs on the toy cluster against a ground truth: who really holds what, and which copies really exist.

use super::*;
use proptest::prelude::*;

const SLOTS: usize = 3;

/// Numbers pick from whatever there is, modulo its length; nothing happens if there is nothing.
#[derive(Clone, Debug)]
enum Op {
    Put {
        big: bool,
        refs: Vec<usize>,
    },
    /// A put that takes time, and the end of one: with a value or without.
    PutBegun(Vec<usize>),
    PutEnded(usize, bool),
    /// Arguments by reference, or inside a value.
    Task {
        args: Vec<(usize, bool)>,
        returns: u32,
        small: bool,
    },
    AddRef(usize),
    DropRef(usize),
    Borrow(usize, usize),
    GiveBack(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize),
    /// The application waits for something it holds, or no longer does.
    Await(usize),
    Unawait(usize),
    /// Everything in the queue goes to this node.
    Assign(usize),
    Start(usize),
    Finish(usize),
    Raise(usize),
    Crash(usize),
    OutOfMemory(usize),
    /// So many seconds.
    Pass(u64),
    HandBack(usize),
    /// A node dies, and another incarnation takes its place.
    Kill(usize),
    Copy(usize, usize),
    Evict(usize),
    Spill(usize),
    Cancel(usize),
    FreeByHand(usize),
    /// The other owner says where its objects are: pending, inline or stored.
    Foreign(usize, u8),
    ForeignDies,
    /// Something the application holds is to be on so many nodes.
    Endure(usize, u32, bool),
    /// The nodes that were asked for copies fetch them; or one says that it cannot.
    FetchReplicas,
    /// What is to be written outside is; what is read back is here; something outside is damaged.
    Save,
    Load,
    Damage(usize),
    RefuseReplica(usize),
    /// A node drains, or no longer does.
    Drain(usize),
    /// From now on tasks return something else than before.
    Differ,
}

fn op() -> impl Strategy<Value = Op> {
    let (n, node) = (0..64usize, 0..SLOTS);
    let refs = prop::collection::vec(n.clone(), 0..3);
    let args = prop::collection::vec((n.clone(), prop::bool::weighted(0.3)), 0..4);
    prop_oneof![
        4 => (any::<bool>(), refs.clone()).prop_map(|(big, refs)| Op::Put { big, refs }),
        3 => refs.prop_map(Op::PutBegun),
        4 => (n.clone(), prop::bool::weighted(0.8)).prop_map(|(n, stored)| Op::PutEnded(n, stored)),
        10 => (args, 1..4u32, prop::bool::weighted(0.3))
            .prop_map(|(args, returns, small)| Op::Task { args, returns, small }),
        2 => n.clone().prop_map(Op::AddRef),
        10 => n.clone().prop_map(Op::DropRef),
        2 => (n.clone(), node.clone()).prop_map(|(n, at)| Op::Borrow(n, at)),
        2 => n.clone().prop_map(Op::GiveBack),
        6 => (n.clone(), node.clone()).prop_map(|(n, at)| Op::Subscribe(n, at)),
        2 => n.clone().prop_map(Op::Unsubscribe),
        6 => n.clone().prop_map(Op::Await),
        1 => n.clone().prop_map(Op::Unawait),
        12 => node.clone().prop_map(Op::Assign),
        2 => n.clone().prop_map(Op::Start),
        16 => n.clone().prop_map(Op::Finish),
        1 => n.clone().prop_map(Op::Raise),
        1 => n.clone().prop_map(Op::Crash),
        2 => n.clone().prop_map(Op::OutOfMemory),
        2 => (0..4u64).prop_map(Op::Pass),
        1 => n.clone().prop_map(Op::HandBack),
        3 => node.clone().prop_map(Op::Kill),
        3 => (n.clone(), node).prop_map(|(n, at)| Op::Copy(n, at)),
        5 => n.clone().prop_map(Op::Evict),
        4 => n.clone().prop_map(Op::Spill),
        1 => n.clone().prop_map(Op::Cancel),
        1 => n.clone().prop_map(Op::FreeByHand),
        3 => (n, 0..3u8).prop_map(|(n, what)| Op::Foreign(n, what)),
        1 => Just(Op::ForeignDies),
        3 => (0..64usize, 1..4u32, any::<bool>()).prop_map(|(n, copies, outside)| Op::Endure(n, copies, outside)),
        3 => Just(Op::Save),
        3 => Just(Op::Load),
        1 => (0..64usize).prop_map(Op::Damage),
        4 => Just(Op::FetchReplicas),
        1 => (0..64usize).prop_map(Op::RefuseReplica),
        1 => (0..SLOTS).prop_map(Op::Drain),
        1 => Just(Op::Differ),
    ]
}

struct Model {
    w: World,
    nodes: Vec<Incarnation>,
    draining: BTreeSet<Incarnation>,
    /// What the application holds, with repetition.
    held: Vec<ObjectId>,
    borrowed: Vec<(ObjectId, Incarnation)>,
    subscribed: Vec<(ObjectId, Incarnation)>,
    /// The references inside each value, once it exists.
    contents: BTreeMap<ObjectId, Vec<ObjectId>>,
    foreign_lives: bool,
}

fn pick<T: Clone>(from: &[T], n: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[n % from.len()].clone())
}

impl Model {
    fn new(retries: Retries) -> Self {
        let mut w = World { retries, ..World::new() };
        w.step(Event::Nodes([A, B, C].into()));
        Self {
            w,
            nodes: vec![A, B, C],
            draining: BTreeSet::new(),
            held: vec![],
            borrowed: vec![],
            subscribed: vec![],
            contents: BTreeMap::new(),
            foreign_lives: true,
        }
    }

    /// One of the objects the application can name: those it holds, and two foreign ones.
    fn name(&self, n: usize) -> ObjectId {
        let names = [&self.held[..], &[foreign(1), foreign(2)]].concat();
        names[n % names.len()]
    }

    fn running(&self, n: usize) -> Option<TaskId> {
        pick(&self.w.running, n).map(|run| run.spec.id)
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Put { big, refs } => {
                let refs: Vec<ObjectId> = refs.into_iter().map(|n| self.name(n)).collect();
                let object = if big { self.w.put_big(&refs) } else { self.w.put_small(&refs) };
                self.contents.insert(object, refs);
                self.held.push(object);
            }
            Op::PutBegun(refs) => {
                let refs: Vec<ObjectId> = refs.into_iter().map(|n| self.name(n)).collect();
                let object = self.w.begin_put(&refs);
                self.contents.insert(object, refs);
                self.held.push(object);
            }
            Op::PutEnded(n, stored) if !self.w.putting.is_empty() => {
                self.w.end_put(n % self.w.putting.len(), stored);
            }
            Op::Task { args, returns, small } => self.task(args, returns, small),
            Op::AddRef(n) => {
                if let Some(object) = pick(&self.held, n) {
                    self.held.push(object);
                    self.w.step(Event::RefAdded(object));
                }
            }
            Op::DropRef(n) if !self.held.is_empty() => {
                let object = self.held.swap_remove(n % self.held.len());
                self.w.drop(object);
            }
            Op::Borrow(n, at) => {
                if let Some(object) = pick(&self.held, n) {
                    self.borrowed.push((object, self.nodes[at]));
                    self.w.step(Event::Borrowed { object, by: self.nodes[at] });
                }
            }
            Op::GiveBack(n) if !self.borrowed.is_empty() => {
                let (object, by) = self.borrowed.swap_remove(n % self.borrowed.len());
                self.w.step(Event::Returned { object, by });
            }
            Op::Subscribe(n, at) => {
                if let Some(object) = pick(&self.held, n) {
                    self.subscribed.push((object, self.nodes[at]));
                    self.w.step(Event::Subscribe { object, by: self.nodes[at] });
                }
            }
            Op::Unsubscribe(n) if !self.subscribed.is_empty() => {
                let (object, by) = self.subscribed.swap_remove(n % self.subscribed.len());
                self.subscribed.retain(|entry| *entry != (object, by));
                self.w.step(Event::Unsubscribe { object, by });
            }
            Op::Await(n) => {
                if let Some(object) = pick(&self.held, n) {
                    self.w.await_value(object);
                }
            }
            Op::Unawait(n) => {
                let waits: Vec<(u64, ObjectId)> = self.w.awaited.clone().into_iter().collect();
                if let Some((wait, object)) = pick(&waits, n) {
                    self.w.awaited.remove(&wait);
                    self.w.step(Event::Unawait { object, token: Token { wait, position: 0 } });
                }
            }
            Op::Cancel(n) => self.held_step(n, |object| Event::Cancel { object, recursive: true }),
            Op::FreeByHand(n) => self.held_step(n, Event::Free),
            Op::Endure(n, replicas, persisted) => {
                let durability = Durability { replicas, persisted };
                self.held_step(n, |object| Event::Endure { object, durability });
            }
            Op::Save => self.w.save(),
            Op::Load => self.w.load(),
            Op::Damage(n) if !self.w.outside.is_empty() => {
                let damaged = self.w.outside.iter().nth(n % self.w.outside.len()).copied();
                self.w.outside.retain(|object| Some(*object) != damaged);
            }
            Op::FetchReplicas => self.w.fetch_replicas(),
            Op::RefuseReplica(n) if !self.w.fetching.is_empty() => {
                let (by, object) = self.w.fetching.swap_remove(n % self.w.fetching.len());
                self.w.step(Event::ReplicaRefused { object, by });
            }
            Op::Drain(at) => {
                if !self.draining.remove(&self.nodes[at]) {
                    self.draining.insert(self.nodes[at]);
                }
                self.nodes_changed();
            }
            Op::Copy(n, at) => self.copy(n, self.nodes[at]),
            Op::Evict(n) => {
                if let Some((object, at)) = pick(&self.copies(), n) {
                    self.w.evict(object, at);
                }
            }
            Op::Spill(n) => {
                if let Some((object, at)) = pick(&self.copies(), n) {
                    self.w.spill(object, at);
                }
            }
            other => self.apply_to_tasks(other),
        }
    }

    /// Every copy in a store.
    fn copies(&self) -> Vec<(ObjectId, Incarnation)> {
        self.w.stores.iter().flat_map(|(at, store)| store.iter().map(|object| (*object, *at))).collect()
    }

    fn apply_to_tasks(&mut self, op: Op) {
        let ended = |op: &Op| match op {
            Op::Raise(n) => Some((*n, raised())),
            Op::Crash(n) => Some((*n, crashed())),
            Op::OutOfMemory(n) => Some((*n, out_of_memory())),
            Op::HandBack(n) => Some((*n, TaskOutcome::HandedBack(None))),
            _ => None,
        };
        if let Some((task, outcome)) = ended(&op).and_then(|(n, outcome)| Some((self.running(n)?, outcome))) {
            return self.w.end(task, outcome);
        }
        match op {
            Op::Assign(at) => {
                self.w.home = self.nodes[at];
                self.w.assign();
            }
            Op::Start(n) => self.running(n).into_iter().for_each(|task| self.w.start(task)),
            Op::Finish(n) => self.running(n).into_iter().for_each(|task| self.w.finish(task)),
            Op::Kill(at) => self.kill(at),
            Op::Differ => self.w.salt += 1000,
            Op::Pass(seconds) => self.w.pass(Nanos::secs(seconds)),
            Op::Foreign(n, what) => self.word(foreign(1 + n as u64 % 2), what),
            Op::ForeignDies if self.foreign_lives => {
                self.foreign_lives = false;
                self.w.kill(F);
            }
            _ => {}
        }
    }

    fn held_step(&mut self, n: usize, event: impl FnOnce(ObjectId) -> Event) {
        if let Some(object) = pick(&self.held, n) {
            self.w.step(event(object));
        }
    }

    fn task(&mut self, args: Vec<(usize, bool)>, returns: u32, small: bool) {
        let args: Vec<Arg> = args
            .into_iter()
            .map(|(n, nested)| (self.name(n), nested))
            .map(|(object, nested)| if nested { value(&[object]) } else { Arg::Ref(object) })
            .collect();
        let refs: Vec<ObjectId> =
            args.iter().flat_map(|arg| if let Arg::Value(_, refs) = arg { refs.clone() } else { vec![] }).collect();
        let task = self.w.submit(if small { "small" } else { "big" }, args, returns);
        for object in (0..returns).map(|index| task.result(index)) {
            self.contents.insert(object, refs.clone());
            self.held.push(object);
        }
    }

    fn kill(&mut self, slot: usize) {
        let dead = self.nodes[slot];
        self.nodes[slot] = Incarnation::new(dead.node.0, dead.epoch.0 + 10);
        self.borrowed.retain(|(_, by)| *by != dead);
        self.subscribed.retain(|(_, by)| *by != dead);
        self.w.kill(dead);
        self.nodes_changed();
    }

    fn nodes_changed(&mut self) {
        let nodes = self.nodes.iter().filter(|at| !self.draining.contains(at));
        let nodes = nodes.copied().collect();
        self.w.step(Event::Nodes(nodes));
    }

    /// A node fetches what another one has; the word of it may be late.
    fn copy(&mut self, n: usize, at: Incarnation) {
        let stored: Vec<ObjectId> = self.w.stores.values().flatten().copied().collect();
        if let Some(object) = pick(&stored, n) {
            self.w.copy(object, at);
        }
    }

    fn word(&mut self, object: ObjectId, what: u8) {
        let located = match what {
            0 => Located::Pending,
            1 => Located::Inline(Bytes::from_static(b"f")),
            _ => Located::Stored { size: BIG, copies: vec![F] },
        };
        self.w.step(Event::ForeignLocated { object, located });
    }

    /// What somebody really refers to, directly or through a value that exists.
    fn live(&self) -> BTreeSet<ObjectId> {
        let mut work = self.held.clone();
        work.extend(self.borrowed.iter().map(|(object, _)| *object));
        let current = self.w.running.iter().filter(|run| !self.w.cancelled.contains(&(run.spec.id, run.attempt)));
        work.extend(current.flat_map(|run| run.spec.reachable()));
        let mut live = BTreeSet::new();
        while let Some(object) = work.pop() {
            if object.owner() == ME && live.insert(object) {
                let exists = matches!(self.w.owner.locate(object), Located::Inline(_) | Located::Stored { .. });
                work.extend(self.contents.get(&object).filter(|_| exists).into_iter().flatten());
            }
        }
        live
    }

    fn check(&self) {
        for object in self.live() {
            assert!(self.w.owner.objects.contains_key(&object), "{object} is referred to and forgotten (I26)");
            if matches!(self.w.owner.locate(object), Located::Failed(_)) {
                continue;
            }
            let copies: Vec<Incarnation> =
                self.w.stores.iter().filter(|(_, store)| store.contains(&object)).map(|(at, _)| *at).collect();
            assert_eq!(self.w.owner.directory.copies(object), copies, "{object}: listed, and really there (I19)");
        }
        let Retries { crashes, errors, losses, memory } = self.w.retries;
        for (task, ends) in &self.w.ends {
            let beyond = |count: u32, budget: Option<u32>| budget.map_or(0, |budget| count.saturating_sub(budget));
            let failed =
                beyond(ends.crashed + ends.died, crashes) + beyond(ends.raised, errors) + beyond(ends.killed, memory);
            // A run with an argument that was replaced by another version meanwhile is free of charge.
            let returned = if self.w.replay == Replay::Strict { ends.returned } else { 0 };
            // Every submission and every rebuild ends once, with results or with a failure beyond its budget.
            let right = losses.is_none_or(|losses| failed + returned <= 1 + losses);
            assert!(right, "{task} ended {ends:?}, its budgets are {:?} (I8)", self.w.retries);
        }
    }

    /// No more faults, and everything that can end does. Every subscriber has an answer then (I1).
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "never quiet: {:?}", self.w.owner.waits());
            let (home, lives) = (self.nodes[0], self.foreign_lives);
            self.w.home = home;
            let asked: Vec<ObjectId> =
                self.w.foreign.iter().filter(|(_, counts)| counts.1 > 0 && lives).map(|(object, _)| *object).collect();
            asked.iter().for_each(|object| self.word(*object, 2));
            while !self.w.putting.is_empty() {
                self.w.end_put(0, true);
            }
            self.w.pass(Nanos::secs(60));
            self.w.assign();
            for run in self.w.running.clone() {
                self.w.finish(run.spec.id);
            }
            self.w.save();
            self.w.load();
            self.w.fetch_replicas();
            if self.w.loading.is_empty() && self.w.owner.pending() == 0 && self.w.running.is_empty() {
                break;
            }
        }
        self.check();
        for (object, by) in &self.subscribed {
            assert_ne!(self.w.told[&(*by, *object)], Located::Pending, "{by} waits for {object}");
        }
        assert!(self.w.awaited.is_empty(), "nobody will answer {:?} (I1)", self.w.awaited);
    }

    fn drop_everything(&mut self) {
        for (object, by) in std::mem::take(&mut self.subscribed) {
            self.w.step(Event::Unsubscribe { object, by });
        }
        for (object, by) in std::mem::take(&mut self.borrowed) {
            self.w.step(Event::Returned { object, by });
        }
        for object in std::mem::take(&mut self.held) {
            self.w.drop(object);
            self.check();
        }
        self.w.assert_empty();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn random_programs_keep_the_truth(
        ops in prop::collection::vec(op(), 0..120),
        (crashes, errors, losses, memory) in (0..3u32, 0..2u32, 0..4u32, 0..3u32),
        accept in any::<bool>(),
        lineage in prop_oneof![Just(u64::MAX), 0..4000u64],
    ) {
        let [crashes, errors, losses, memory] = [crashes, errors, losses, memory].map(Some);
        let mut model = Model::new(Retries { crashes, errors, losses, memory });
        model.w.replay = if accept { Replay::Accept } else { Replay::Strict };
        model.w.owner = Owner::new(ME).with_lineage_limit(ByteSize(lineage));
        for op in ops {
            model.apply(op);
            model.check();
        }
        model.settle();
        model.drop_everything();
    }
}
