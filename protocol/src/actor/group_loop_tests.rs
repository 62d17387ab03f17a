//! Actors in a placement group, in a closed loop: the maker's groups, the head's registry and dispatcher, the accounts
//! and hosts of several nodes, and every order of messages that links allow (exactly once, in order between two
//! incarnations, any order between pairs). Nodes and workers die, the group is removed, its maker dies.
//!
//! The oracle is where the maker says the bundles are. At rest every living actor is in a usable bundle that it may be
//! in, and none waits for one that is empty; when the group is gone every actor is dead and says so, and nothing is held.

use super::types::End as ActorEnd;
use super::*;
use crate::member::{ClusterView, Member, NodeView};
use crate::sched::group::{self, Groups, Placed};
use crate::sched::{Dispatch, DispatchSettings, Hybrid, Local, Strategy as GroupStrategy, dispatch, local};
use crate::{FunctionId, GroupId, Incarnation, LeaseId, Machine, Message, Nanos, Placement, Replay, Resources};
use crate::{Retries, SchedulingClass, TaskErrorKind, TaskId, TaskSpec};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const MAKER: Incarnation = Incarnation::new(100, 100);
/// Asks where the actors are, and outlives everybody.
const WATCHER: Incarnation = Incarnation::new(200, 200);
const GROUP: GroupId = GroupId { owner: MAKER, seq: 1 };

enum Mail {
    Said(Message),
    /// The head's verdict.
    Died(Incarnation),
}

struct Node {
    member: Member,
    local: Local,
    host: Host,
    /// What its workers have to do.
    work: VecDeque<Work>,
}

#[derive(Clone, Copy)]
enum Work {
    Construct(LeaseId),
    Stop(LeaseId),
}

struct Loop {
    now: Nanos,
    /// None once the maker is dead.
    groups: Option<Groups>,
    usable: Option<Vec<Placed>>,
    registry: Registry,
    dispatch: Dispatch,
    nodes: BTreeMap<Incarnation, Node>,
    links: BTreeMap<(Incarnation, Incarnation), VecDeque<Mail>>,
    actors: BTreeMap<ActorId, (Option<u32>, bool)>,
    places: BTreeMap<ActorId, Place>,
    /// Those whose creation the head has heard of; a word under way dies with its sender.
    known: BTreeSet<ActorId>,
    joined: u32,
}

fn actor(seq: u64, index: Option<u32>, detached: bool) -> ActorSpec {
    let placement = Placement::Group { group: GROUP, index };
    let (function, resources) = (FunctionId::from("f"), Resources::cpus(1));
    let class = Arc::new(SchedulingClass { function, resources, placement, share: None });
    let (id, label) = (TaskId { owner: MAKER, seq }, "f".into());
    let (retries, replay, durability) = (Retries::default(), Replay::Accept, crate::Durability::default());
    let args = Vec::new();
    let task = TaskSpec { id, label, class, args, returns: 0, retries, replay, durability, stream: None, job: MAKER };
    let options = ActorOptions { max_restarts: None, detached, ..ActorOptions::default() };
    ActorSpec { task: Arc::new(task), options }
}

impl Loop {
    fn new(nodes: u32) -> Self {
        let policy = Arc::new(Hybrid);
        let settings = DispatchSettings { lasting: true, ..DispatchSettings::default() };
        let mut all = Self {
            now: Nanos::ZERO,
            groups: Some(Groups::default()),
            usable: None,
            registry: Registry::default(),
            dispatch: Dispatch::new(Incarnation::HEAD, policy, settings, 7),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            actors: BTreeMap::new(),
            places: BTreeMap::new(),
            known: BTreeSet::new(),
            joined: 0,
        };
        (0..nodes).for_each(|_| all.join());
        all.view();
        let bundles = vec![Resources::cpus(1), Resources::cpus(1)];
        all.groups(group::Event::Create { group: GROUP, bundles, strategy: GroupStrategy::StrictSpread });
        all
    }

    fn join(&mut self) {
        self.joined += 1;
        let member = Member {
            incarnation: Incarnation::new(self.joined, self.joined),
            name: format!("N{}", self.joined),
            rpc: String::new(),
            bulk: String::new(),
            total: Resources::cpus(1),
            labels: Default::default(),
        };
        let local = Local::new(member.clone(), Arc::new(Hybrid), 7);
        self.nodes.insert(member.incarnation, Node { member, local, host: Host::new(), work: VecDeque::new() });
    }

    /// The head and the maker hear of all members and loads.
    fn view(&mut self) {
        let of = |node: &Node| Arc::new(NodeView { member: node.member.clone(), load: node.local.load().clone() });
        let view = Arc::new(ClusterView { nodes: self.nodes.values().map(of).collect(), ..Default::default() });
        self.dispatch(dispatch::Event::View(view.clone()));
        self.groups(group::Event::View(view));
    }

    fn send(&mut self, from: Incarnation, to: Incarnation, message: Message) {
        let dead = |at: Incarnation| match at {
            Incarnation::HEAD | WATCHER => false,
            MAKER => self.groups.is_none(),
            node => !self.nodes.contains_key(&node),
        };
        if !dead(from) && !dead(to) {
            self.links.entry((from, to)).or_default().push_back(Mail::Said(message));
        }
    }

    fn groups(&mut self, event: group::Event) {
        let Some(groups) = &mut self.groups else { return };
        let mut out = Vec::new();
        groups.step(self.now, event, &mut out);
        groups.check().expect("groups");
        for effect in out {
            match effect {
                group::Effect::Reserve { to, bundle, resources } => {
                    self.send(MAKER, to, Message::BundleReserve { bundle, resources });
                }
                group::Effect::Return { to, bundle } => self.send(MAKER, to, Message::BundleReturn(bundle)),
                group::Effect::Usable { bundles, .. } => self.usable = bundles,
                group::Effect::Publish { group, bundles } => {
                    self.send(MAKER, Incarnation::HEAD, Message::GroupPlaced { group, bundles });
                }
            }
        }
    }

    fn create(&mut self, index: Option<u32>, detached: bool) {
        if self.groups.is_none() {
            return;
        }
        let actor = Arc::new(actor(2 + self.actors.len() as u64, index, detached));
        let id = actor.id();
        self.actors.insert(id, (index, detached));
        self.groups(group::Event::Publish(GROUP));
        self.send(MAKER, Incarnation::HEAD, Message::Actor(Word::Create(actor)));
        self.send(WATCHER, Incarnation::HEAD, Message::Actor(Word::Watch(id)));
    }

    fn registry(&mut self, event: RegistryEvent) {
        let mut out = Vec::new();
        self.registry.step(self.now, event, &mut out);
        self.registry.check().expect("registry");
        for effect in out {
            match effect {
                RegistryEffect::Say { to, word } => self.send(Incarnation::HEAD, to, Message::Actor(word)),
                RegistryEffect::Enqueue { task, class, near } => {
                    self.dispatch(dispatch::Event::Enqueue { task, class, near, again: false });
                }
                RegistryEffect::Dequeue(task) => self.dispatch(dispatch::Event::Dequeue { task }),
                RegistryEffect::Release { task, lease } => {
                    let (spent, started) = (Nanos::ZERO, false);
                    self.dispatch(dispatch::Event::Finished { lease, task, spent, started });
                }
                other => panic!("actors without arguments need no {other:?}"),
            }
        }
    }

    fn dispatch(&mut self, event: dispatch::Event) {
        let mut out = Vec::new();
        self.dispatch.step(self.now, event, &mut out);
        self.dispatch.check().expect("dispatch");
        for effect in out {
            match effect {
                dispatch::Effect::Request { to, lease, class, hops } => {
                    self.send(Incarnation::HEAD, to, Message::LeaseRequest { lease, class, hops });
                }
                dispatch::Effect::Return { to, lease } => {
                    self.send(Incarnation::HEAD, to, Message::LeaseReturn(lease));
                }
                dispatch::Effect::Assign { task, lease, to } => {
                    self.registry(RegistryEvent::Assigned { task, lease, to });
                }
                dispatch::Effect::Unschedulable { task, error } => {
                    self.registry(RegistryEvent::Unschedulable { task, error });
                }
            }
        }
    }

    fn local(&mut self, at: Incarnation, event: local::Event) {
        let Some(node) = self.nodes.get_mut(&at) else { return };
        let mut out = Vec::new();
        node.local.step(self.now, event, &mut out);
        node.local.check().expect("local");
        for effect in out {
            match effect {
                local::Effect::Grant { to, lease } => {
                    self.host(at, HostEvent::Leased(lease));
                    self.send(at, to, Message::LeaseGranted(lease));
                }
                local::Effect::Refuse { to, lease, why } => {
                    self.send(at, to, Message::LeaseRefused { lease, why });
                }
                local::Effect::Reserved { to, bundle } => self.send(at, to, Message::BundleReserved(bundle)),
                local::Effect::Unreserved { to, bundle } => self.send(at, to, Message::BundleRefused(bundle)),
                local::Effect::Ended { lease } => self.host(at, HostEvent::LeaseEnded(lease)),
                local::Effect::LoadChanged(_) => {}
                local::Effect::Spillback { .. } => panic!("what is bound to a bundle is not sent elsewhere"),
            }
        }
    }

    fn host(&mut self, at: Incarnation, event: HostEvent) {
        let Some(node) = self.nodes.get_mut(&at) else { return };
        let mut out = Vec::new();
        node.host.step(self.now, event, &mut out);
        node.host.check().expect("host");
        for effect in out {
            match effect {
                HostEffect::Construct { lease, .. } => self.work_at(at, Work::Construct(lease)),
                HostEffect::StopWorker(lease) => self.work_at(at, Work::Stop(lease)),
                HostEffect::Report(to, message) => self.send(at, to, message),
                HostEffect::Release(_) => {}
                other => panic!("actors without calls need no {other:?}"),
            }
        }
    }

    fn work_at(&mut self, at: Incarnation, work: Work) {
        self.nodes.get_mut(&at).expect("a node").work.push_back(work);
    }

    fn work(&mut self, at: Incarnation) {
        match self.nodes.get_mut(&at).and_then(|node| node.work.pop_front()) {
            Some(Work::Construct(lease)) => self.host(at, HostEvent::Constructed { lease, result: Ok(()) }),
            Some(Work::Stop(lease)) => self.host(at, HostEvent::WorkerStopped(lease)),
            None => {}
        }
    }

    fn deliver(&mut self, from: Incarnation, to: Incarnation) {
        let mail = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front);
        let message = match mail {
            Some(Mail::Said(message)) => message,
            Some(Mail::Died(dead)) if to == MAKER => return self.groups(group::Event::NodeDied(dead)),
            Some(Mail::Died(dead)) => {
                self.local(to, local::Event::OwnerDied(dead));
                return self.host(to, HostEvent::OwnerDied(dead));
            }
            None => return,
        };
        match to {
            Incarnation::HEAD => self.head_hears(from, message),
            MAKER => match message {
                Message::BundleReserved(bundle) => self.groups(group::Event::Reserved { bundle, by: from }),
                Message::BundleRefused(bundle) => self.groups(group::Event::Refused { bundle, by: from }),
                _ => {}
            },
            WATCHER => {
                if let Message::Actor(Word::Status { actor, place }) = message {
                    self.places.insert(actor, place);
                }
            }
            node => self.node_hears(node, from, message),
        }
    }

    fn head_hears(&mut self, from: Incarnation, message: Message) {
        match message {
            Message::Actor(word) => {
                if let Word::Create(spec) = &word {
                    self.known.insert(spec.id());
                }
                self.registry(RegistryEvent::Said { from, word });
            }
            Message::LeaseGranted(lease) => self.dispatch(dispatch::Event::Granted { lease, by: from }),
            Message::LeaseRefused { lease, why } => {
                self.dispatch(dispatch::Event::Refused { lease, why, by: from });
            }
            Message::GroupPlaced { group, bundles } => {
                if bundles.is_none() {
                    self.registry(RegistryEvent::GroupRemoved(group));
                }
                self.dispatch(dispatch::Event::Group { group, bundles });
            }
            other => panic!("not for the head: {other:?}"),
        }
    }

    fn node_hears(&mut self, at: Incarnation, from: Incarnation, message: Message) {
        match message {
            Message::LeaseRequest { lease, class, hops } => {
                self.local(at, local::Event::Request { from, lease, class, hops });
            }
            Message::LeaseReturn(lease) => self.local(at, local::Event::Return { lease }),
            Message::BundleReserve { bundle, resources } => {
                self.local(at, local::Event::Reserve { from, bundle, resources });
            }
            Message::BundleReturn(bundle) => self.local(at, local::Event::Unreserve { bundle }),
            Message::Actor(Word::Start { lease, spec, incarnation, checkpoint }) => {
                self.host(at, HostEvent::Start { lease, spec, incarnation, checkpoint });
            }
            Message::Actor(Word::Stop { lease, force, last }) => {
                self.host(at, HostEvent::Stop { lease, force, last });
            }
            other => panic!("not for a node: {other:?}"),
        }
    }

    /// A node or the maker dies, by the head's verdict; the others hear of it in their own time.
    fn kill(&mut self, dead: Incarnation) {
        match dead {
            MAKER => self.groups = None,
            node => drop(self.nodes.remove(&node)),
        }
        self.links.retain(|(from, to), _| *from != dead && *to != dead);
        self.dispatch(dispatch::Event::NodeDied(dead));
        self.registry(RegistryEvent::NodeDied(dead));
        let others: Vec<Incarnation> = match dead {
            MAKER => self.nodes.keys().copied().collect(),
            _ => self.groups.iter().map(|_| MAKER).collect(),
        };
        for to in others {
            self.links.entry((Incarnation::HEAD, to)).or_default().push_back(Mail::Died(dead));
        }
    }

    /// An actor's worker ends by itself.
    fn crash(&mut self, choice: usize) {
        let alive = |place: &Place| match place {
            Place::Alive { lease, at, .. } => Some((*at, *lease)),
            Place::Pending | Place::Dead(_) => None,
        };
        let alive: Vec<_> = self.places.values().filter_map(alive).collect();
        if let Some((at, lease)) = alive.get(choice % alive.len().max(1)) {
            self.host(*at, HostEvent::WorkerStopped(*lease));
        }
    }

    /// Does the `choice`-th of what can happen next without a fault. False if nothing can.
    fn go_on(&mut self, choice: usize) -> bool {
        let links: Vec<_> = self.links.iter().filter(|(_, link)| !link.is_empty()).map(|(pair, _)| *pair).collect();
        let busy: Vec<_> = self.nodes.iter().filter(|(_, node)| !node.work.is_empty()).map(|(at, _)| *at).collect();
        match choice % (links.len() + busy.len()).max(1) {
            n if n < links.len() => self.deliver(links[n].0, links[n].1),
            n if n - links.len() < busy.len() => self.work(busy[n - links.len()]),
            _ => return false,
        }
        true
    }

    fn tick(&mut self, now: Nanos) {
        self.now = now;
        self.groups(group::Event::Tick);
        self.dispatch(dispatch::Event::Tick);
        self.registry(RegistryEvent::Tick);
    }

    fn rest(&mut self) {
        for step in 0..100_000_usize {
            if self.go_on(step.wrapping_mul(7)) {
                continue;
            }
            self.view();
            let groups = self.groups.as_ref().and_then(Groups::next_deadline);
            let deadlines = [groups, self.dispatch.next_deadline(), self.registry.next_deadline()];
            match deadlines.into_iter().flatten().min() {
                Some(deadline) => self.tick(deadline.max(self.now)),
                None if self.links.values().all(VecDeque::is_empty) => return,
                None => {}
            }
        }
        panic!("it never comes to rest");
    }

    fn judge(&self) {
        match self.usable.as_ref().filter(|_| self.groups.is_some()) {
            Some(usable) => self.judge_living(usable),
            None => self.judge_dead(),
        }
    }

    fn judge_living(&self, usable: &[Placed]) {
        let may = |index: Option<u32>, bundle: u32| index.is_none_or(|index| index == bundle);
        let mut taken = BTreeMap::new();
        for (id, (index, _)) in &self.actors {
            let Place::Alive { at, .. } = &self.places[id] else { continue };
            // Strictly spread: the node says which bundle.
            let found = usable.iter().find(|(bundle, node, _)| node == at && may(*index, *bundle));
            let (bundle, ..) = found.unwrap_or_else(|| panic!("{id} is at {at}, not in {usable:?}"));
            assert!(taken.insert(*bundle, *id).is_none(), "two actors in bundle {bundle}");
        }
        for (id, (index, _)) in &self.actors {
            match &self.places[id] {
                Place::Alive { .. } => {}
                Place::Dead(error) => panic!("{id} has no reason to be dead: {error}"),
                Place::Pending => {
                    let empty = usable.iter().find(|(bundle, ..)| may(*index, *bundle) && !taken.contains_key(bundle));
                    assert!(empty.is_none(), "{id} waits and {empty:?} is empty");
                }
            }
        }
    }

    fn judge_dead(&self) {
        for (id, (_, detached)) in &self.actors {
            let Some(Place::Dead(error)) = self.places.get(id) else { panic!("{id}: {:?}", self.places.get(id)) };
            let orphaned = self.groups.is_none() && !(*detached && self.known.contains(id));
            let by_maker = orphaned && error.kind == died(ActorDeath::OwnerDied);
            assert!(by_maker || error.kind == died(ActorDeath::GroupRemoved), "{id}: {error}");
            assert!(by_maker || error.message.contains(&GROUP.to_string()), "{error}");
        }
        assert_eq!((self.registry.living(), self.registry.leases(), self.dispatch.queued()), (0, 0, 0));
        assert_eq!(self.dispatch.leases().count(), 0);
        for node in self.nodes.values() {
            let name = &node.member.name;
            assert_eq!((node.local.leases().count(), node.host.actors()), (0, 0), "{name} holds nothing");
            assert_eq!(node.local.used(), Resources::none(), "{name} has given everything back (I33)");
        }
    }
}

fn died(death: ActorDeath) -> TaskErrorKind {
    TaskErrorKind::ActorDied(death)
}

/// Of 24 steps 3 create actors and about 2 are faults.
fn play(script: &[u16]) -> Loop {
    let mut all = Loop::new(3);
    for step in script {
        let (what, choice) = (step % 24, usize::from(step / 24));
        let nodes: Vec<Incarnation> = all.nodes.keys().copied().collect();
        match what {
            0..=2 if all.actors.len() < 6 => {
                all.create([None, Some(0), Some(1)][choice % 3], choice.is_multiple_of(2));
            }
            3 if nodes.len() > 1 && choice.is_multiple_of(4) => all.kill(nodes[choice / 4 % nodes.len()]),
            4 if nodes.len() < 4 => all.join(),
            5 => all.crash(choice),
            6 if choice.is_multiple_of(16) => all.groups(group::Event::Remove(GROUP)),
            7 if choice.is_multiple_of(16) && all.groups.is_some() => all.kill(MAKER),
            8 => all.view(),
            9 => all.tick(all.now + Nanos::millis(20)),
            _ => drop(all.go_on(choice)),
        }
    }
    all.rest();
    all.judge();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn actors_are_where_their_bundles_are_and_end_with_the_group(script in prop::collection::vec(any::<u16>(), 1..200)) {
        let mut all = play(&script);
        all.groups(group::Event::Remove(GROUP));
        all.rest();
        all.judge();
    }
}

/// One actor lives in bundle 0; gives its node.
fn one_that_lives(all: &mut Loop) -> Incarnation {
    all.create(Some(0), false);
    all.rest();
    let place = all.places.values().next().expect("an actor");
    let Place::Alive { at, .. } = place else { panic!("{place:?}") };
    *at
}

#[test]
fn a_restart_waits_for_the_bundle_and_goes_where_it_went() {
    let mut all = Loop::new(2);
    let before = one_that_lives(&mut all);
    all.kill(before);
    all.rest();
    assert_eq!(all.places.values().next(), Some(&Place::Pending), "the other node holds the other bundle");
    all.join();
    all.rest();
    let Some(Place::Alive { at, incarnation: 2, .. }) = all.places.values().next() else { panic!("{:?}", all.places) };
    assert_eq!(at.node.0, 3);
    all.judge();
}

/// The bundle goes before the head has heard why, and while its word to start an incarnation is under way.
#[test]
fn a_host_that_lost_the_bundle_says_so_before_the_maker_does() {
    for start in [false, true] {
        let mut all = Loop::new(2);
        let at = if start {
            all.rest();
            all.create(Some(0), false);
            // Until the head has told the node to start it.
            let started = |all: &Loop, node: &Incarnation| {
                let link = all.links.get(&(Incarnation::HEAD, *node));
                link.is_some_and(|link| {
                    link.iter().any(|mail| matches!(mail, Mail::Said(Message::Actor(Word::Start { .. }))))
                })
            };
            loop {
                let nodes: Vec<Incarnation> = all.nodes.keys().copied().collect();
                if let Some(at) = nodes.into_iter().find(|node| started(&all, node)) {
                    break at;
                }
                assert!(all.go_on(0), "the head never starts it");
            }
        } else {
            one_that_lives(&mut all)
        };
        all.groups(group::Event::Remove(GROUP));
        while all.links.get(&(MAKER, at)).is_some_and(|link| !link.is_empty()) {
            all.deliver(MAKER, at);
        }
        while all.links.get(&(Incarnation::HEAD, at)).is_some_and(|link| !link.is_empty()) {
            all.deliver(Incarnation::HEAD, at);
        }
        (0..4).for_each(|_| all.work(at));
        let evicted =
            |mail: &Mail| matches!(mail, Mail::Said(Message::Actor(Word::Ended { end: ActorEnd::Evicted, .. })));
        assert!(all.links[&(at, Incarnation::HEAD)].iter().any(evicted), "start {start}");
        while all.links.get(&(at, Incarnation::HEAD)).is_some_and(|link| !link.is_empty()) {
            all.deliver(at, Incarnation::HEAD);
        }
        assert_eq!(all.registry.living(), 0, "the host's word is enough");
        all.rest();
        all.judge();
    }
}

#[test]
fn an_actor_that_comes_after_the_end_of_its_group_is_dead_on_arrival() {
    let mut all = Loop::new(2);
    all.rest();
    all.groups(group::Event::Remove(GROUP));
    all.create(None, true);
    all.rest();
    all.judge();
    assert_eq!(all.actors.len(), 1);
}
