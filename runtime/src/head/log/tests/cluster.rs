//! A head with a log on paper, and nodes that are little more than links.

use super::{Paper, recovered};
use crate::head::core::{Core, Event, Output, Turn};
use crate::head::log::{Commit, snapshot};
use bytes::Bytes;
use mobula_protocol::actor::{ActorId, ActorOptions, ActorSpec, End, Place, Word};
use mobula_protocol::link::{self, Ack, Envelope, Link, LinkSettings};
use mobula_protocol::member::view::{Effect as ViewEffect, Event as ViewEvent};
use mobula_protocol::member::{JoinRequest, Joined, MemberSettings, NodeLoad, PROTOCOL_VERSION, View};
use mobula_protocol::sched::SharedPolicy;
use mobula_protocol::{
    ClusterId, GroupId, Incarnation, Labels, LeaseId, Machine, Message, Nanos, Placement, Replay, Resources, Retries,
    SchedulingClass, TaskId, TaskSpec,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Something that happens to the cluster.
#[derive(Clone, Debug)]
pub(in crate::head::log) enum Op {
    /// A process asks to join, and asks again until it is answered.
    Join,
    /// A node creates an actor.
    Create(usize),
    /// A node wants to know where an actor is.
    Watch(usize),
    /// A node kills an actor.
    Kill(usize),
    /// Milliseconds pass.
    Pass(u64),
    /// The disk has taken what there is.
    Commit,
    /// What the head sends arrives, but for those whose bit is set.
    Deliver(u8),
    /// A snapshot is begun.
    Snapshot,
    /// The power goes when so many bytes of the commit are on the disk; the head starts again.
    Crash(usize),
    /// A node dies in silence.
    NodeDies(usize),
}

/// A node.
pub(in crate::head::log) struct Node {
    me: Incarnation,
    link: Link,
    view: View,
    load: u64,
    alive: bool,
    /// Where the actors are that it asked for.
    places: BTreeMap<ActorId, Option<Place>>,
    created: u64,
}

pub(in crate::head::log) struct Cluster {
    pub core: Core,
    pub paper: Paper,
    /// The state after each turn since a while ago.
    pub states: Vec<(u64, Bytes)>,
    /// The last turn of each commit.
    pub commits: Vec<u64>,
    pub held: Vec<Output>,
    pub nodes: Vec<Node>,
    commit: Commit,
    now: Nanos,
    /// Processes that ask to join, by nonce.
    joining: Vec<JoinRequest>,
    /// What the head sends.
    sent: VecDeque<Arc<Envelope>>,
    /// Requests of nodes that the head has not answered.
    asked: Vec<(Incarnation, u64)>,
    events: Vec<Event>,
    actors: Vec<ActorId>,
}

impl Cluster {
    pub fn new() -> Self {
        let core = Core::new(ClusterId(7), MemberSettings::default(), SharedPolicy::default(), "head:1".to_owned(), 1);
        let mut cluster = Self {
            paper: Paper::default(),
            states: vec![(0, snapshot(&core))],
            commits: vec![0],
            core,
            held: Vec::new(),
            nodes: Vec::new(),
            commit: Commit::default(),
            now: Nanos::ZERO,
            joining: Vec::new(),
            sent: VecDeque::new(),
            asked: Vec::new(),
            events: Vec::new(),
            actors: Vec::new(),
        };
        cluster.paper.begin(&cluster.core);
        cluster
    }

    pub fn run(&mut self, op: Op) {
        match op {
            Op::Join if self.nodes.len() + self.joining.len() < 4 => {
                let number = self.nodes.len() + self.joining.len();
                self.joining.push(request(number as u64));
                self.ask_to_join();
            }
            Op::Join => {}
            Op::Create(by) => self.create(by),
            Op::Watch(by) => {
                if let (Some(actor), Some(node)) = (self.actors.get(by).copied(), self.some_node(by)) {
                    node.places.entry(actor).or_insert(None);
                    node.say(Message::Actor(Word::Watch(actor)));
                }
            }
            Op::Kill(by) => {
                if let (Some(actor), Some(node)) = (self.actors.get(by).copied(), self.some_node(by)) {
                    node.say(Message::Actor(Word::Kill { actor, force: true, restart: by % 2 == 0 }));
                }
            }
            Op::Pass(millis) => self.pass(millis),
            Op::Commit => self.commit(),
            Op::Deliver(lost) => self.deliver(lost),
            Op::Snapshot => {
                self.commit();
                self.paper.begin(&self.core);
            }
            Op::Crash(written) => self.crash(written),
            Op::NodeDies(which) => {
                if let Some(node) = self.some_node(which) {
                    node.alive = false;
                }
            }
        }
        self.listen();
        self.turn();
    }

    /// No more faults: everybody gets what he asked for.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            self.ask_to_join();
            [Op::Pass(50), Op::Commit, Op::Deliver(0), Op::Commit].into_iter().for_each(|op| self.run(op));
        }
        assert_eq!(self.joining.len(), 0, "everybody has joined");
        for node in self.nodes.iter().filter(|node| node.alive) {
            let (here, there) = (node.view.alive().map(|m| &m.name), self.nodes.iter().filter(|node| node.alive));
            assert_eq!(here.count(), there.count() + 1, "{} sees the living", node.me);
            assert_eq!(node.link.backlog(), 0, "{} has nothing left to say", node.me);
            for (actor, place) in &node.places {
                let settled = matches!(place, Some(Place::Alive { .. } | Place::Dead(_)));
                assert!(settled, "{} waits for {actor}: {place:?}", node.me);
            }
        }
    }

    fn some_node(&mut self, which: usize) -> Option<&mut Node> {
        let mut living = self.nodes.iter_mut().filter(|node| node.alive);
        living.nth(which % 4)
    }

    fn ask_to_join(&mut self) {
        self.events.extend(self.joining.iter().cloned().map(Event::Join));
    }

    fn create(&mut self, by: usize) {
        let Some(node) = self.some_node(by) else { return };
        node.created += 1;
        // Every third one lives in a bundle on its creator's own node; now and then that is given back.
        let group = GroupId { owner: node.me, seq: 1 };
        let placement = match node.created % 3 {
            0 => Placement::Group { group, index: None },
            _ => Placement::Any,
        };
        let bundles = vec![(0, node.me, Resources::cpus(1))];
        match node.created {
            3 => node.say(Message::GroupPlaced { group, bundles: Some(bundles) }),
            7 => node.say(Message::GroupPlaced { group, bundles: None }),
            _ => {}
        }
        let spec = spec(TaskId { owner: node.me, seq: node.created }, placement);
        let actor = spec.id();
        node.places.insert(actor, None);
        node.say(Message::Actor(Word::Create(Arc::new(spec))));
        node.say(Message::Actor(Word::Watch(actor)));
        self.actors.push(actor);
    }

    fn pass(&mut self, millis: u64) {
        self.now += Nanos::millis(millis);
        for node in self.nodes.iter_mut().filter(|node| node.alive) {
            node.load += 1;
            let load = NodeLoad { version: node.load, available: Resources::cpus(1), ..NodeLoad::default() };
            node.say(Message::Heartbeat(load));
        }
    }

    /// What the nodes say reaches the head at once; its answers wait for the commit.
    fn listen(&mut self) {
        let now = self.now;
        for node in self.nodes.iter_mut().filter(|node| node.alive) {
            let mut effects = Vec::new();
            if node.link.next_deadline().is_some_and(|deadline| deadline <= now) {
                node.link.step(now, link::Event::Tick, &mut effects);
            }
            node.link.step(now, link::Event::Flush, &mut effects);
            for effect in effects {
                if let link::Effect::Transmit { envelope, .. } = effect
                    && envelope.to == Incarnation::HEAD
                {
                    self.asked.push((envelope.from, envelope.seq));
                    self.events.push(Event::Received(Envelope::clone(&envelope)));
                }
            }
        }
    }

    fn turn(&mut self) {
        let due = self.core.next_deadline().is_some_and(|deadline| deadline <= self.now);
        if self.events.is_empty() && !due {
            return;
        }
        let turn = Turn { at: self.now, events: std::mem::take(&mut self.events) };
        self.commit.push(self.core.turns() + 1, &turn);
        self.core.take(turn, &mut self.held);
        self.commit.said(self.core.said());
        self.core.check().unwrap();
        self.states.push((self.core.turns(), snapshot(&self.core)));
    }

    fn commit(&mut self) {
        self.turn();
        if !self.commit.is_empty() {
            self.paper.append(&std::mem::take(&mut self.commit), usize::MAX);
            self.commits.push(self.core.turns());
        }
        for output in std::mem::take(&mut self.held) {
            self.execute(output);
        }
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::Answer { nonce, result } => {
                let Some(at) = self.joining.iter().position(|request| request.nonce == nonce) else { return };
                match *result {
                    Ok((_, joined)) => {
                        self.joining.remove(at);
                        self.nodes.push(Node::new(self.now, joined));
                    }
                    // It took so long that the head gave it up; it asks as another life.
                    Err(_) => self.joining[at].nonce += 1000,
                }
            }
            Output::Reply { from, seq, ack } => {
                self.asked.retain(|asked| *asked != (from, seq));
                let now = self.now;
                if let Some(node) = self.nodes.iter_mut().find(|node| node.me == from && node.alive) {
                    let mut effects = Vec::new();
                    node.link.step(now, link::Event::Acked { to: Incarnation::HEAD, seq, ack }, &mut effects);
                    node.alive &= !node.link.is_fenced();
                }
            }
            Output::Transmit { envelope, .. } => self.sent.push_back(envelope),
            Output::Log { .. } | Output::Living(_) => {}
        }
    }

    fn deliver(&mut self, lost: u8) {
        for (i, envelope) in std::mem::take(&mut self.sent).into_iter().enumerate() {
            let (to, seq, now) = (envelope.to, envelope.seq, self.now);
            let lost = i < 8 && lost >> i & 1 == 1;
            let node = self.nodes.iter_mut().find(|node| node.me == to && node.alive && !lost);
            self.events.push(match node.and_then(|node| node.hear(now, Envelope::clone(&envelope))) {
                Some(ack) => Event::Acked { to, seq, ack },
                None => Event::Lost { to, seq },
            });
        }
    }

    /// The process ends in the middle of a commit. Its peers see their requests fail; the next life goes on.
    fn crash(&mut self, written: usize) {
        let commit = std::mem::take(&mut self.commit);
        let durable = self.core.turns() - commit.turns;
        if !commit.is_empty() {
            self.paper.append(&commit, written);
        }
        self.held.clear();
        self.sent.clear();
        self.events.clear();
        let core = recovered(&self.paper.files);
        assert!(core.turns() >= durable, "turn {durable} was committed, found {}", core.turns());
        let (_, state) = self.states.iter().rev().find(|(turn, _)| *turn == core.turns()).expect("a known state");
        assert_eq!(snapshot(&core), *state, "as it was after turn {}", core.turns());
        self.core = core;
        self.core.take(Turn { at: self.core.now(), events: vec![Event::Resumed] }, &mut self.held);
        self.states = vec![(self.core.turns(), snapshot(&self.core))];
        self.paper.begin(&self.core);
        for output in std::mem::take(&mut self.held) {
            self.execute(output);
        }
        for (from, seq) in std::mem::take(&mut self.asked) {
            let now = self.now;
            if let Some(node) = self.nodes.iter_mut().find(|node| node.me == from && node.alive) {
                node.link.step(now, link::Event::Lost { to: Incarnation::HEAD, seq }, &mut Vec::new());
            }
        }
        self.ask_to_join();
    }
}

impl Node {
    fn new(now: Nanos, joined: Joined) -> Self {
        let me = joined.incarnation;
        let (mut link, mut view) = (Link::new(LinkSettings::default()), View::new());
        link.step(now, link::Event::Started(me), &mut Vec::new());
        view.step(now, ViewEvent::Joined(Box::new(joined)), &mut Vec::new());
        Self { me, link, view, load: 0, alive: true, places: BTreeMap::new(), created: 0 }
    }

    fn say(&mut self, message: Message) {
        self.link.step(Nanos::ZERO, link::Event::Send { to: Incarnation::HEAD, message }, &mut Vec::new());
    }

    /// What it answers, and does, on an envelope of the head's.
    fn hear(&mut self, now: Nanos, envelope: Envelope) -> Option<Ack> {
        let mut effects = Vec::new();
        self.link.step(now, link::Event::Received(envelope), &mut effects);
        let mut answer = None;
        for effect in effects {
            match effect {
                link::Effect::Reply { ack, .. } => answer = Some(ack),
                link::Effect::Deliver { message, .. } => self.act(now, message),
                link::Effect::Transmit { .. } | link::Effect::Undelivered { .. } => {}
                link::Effect::Fenced { .. } => self.alive = false,
            }
        }
        answer
    }

    fn act(&mut self, now: Nanos, message: Message) {
        match message {
            Message::LeaseRequest { lease, .. } => self.say(Message::LeaseGranted(lease)),
            Message::Actor(Word::Start { lease, incarnation, .. }) => self.start(lease, incarnation),
            Message::Actor(Word::Stop { lease, .. }) => {
                self.say(Message::Actor(Word::Ended { lease, end: End::Stopped }));
            }
            Message::Actor(Word::Status { actor, place }) => {
                self.places.insert(actor, Some(place));
            }
            other => {
                let Ok(news) = ViewEvent::from_message(other) else { return };
                let mut effects = Vec::new();
                self.view.step(now, news, &mut effects);
                for effect in effects {
                    match effect {
                        ViewEffect::Fenced { .. } => self.alive = false,
                        // The head's link repeats and restores order; there is nothing to ask for again.
                        ViewEffect::Resync(have) => panic!("{} misses what follows {have}", self.me),
                        ViewEffect::NodeJoined(_) | ViewEffect::NodeDied { .. } => {}
                    }
                }
            }
        }
    }

    /// Every third incarnation crashes.
    fn start(&mut self, lease: LeaseId, incarnation: u32) {
        if lease.seq.is_multiple_of(3) && incarnation < 3 {
            return self.say(Message::Actor(Word::Ended { lease, end: End::Crashed("it had to".to_owned()) }));
        }
        self.say(Message::Actor(Word::Started(lease)));
    }
}

fn request(number: u64) -> JoinRequest {
    JoinRequest {
        nonce: 100 + number,
        name: format!("n{number}"),
        rpc: format!("n{number}:1"),
        bulk: format!("n{number}:2"),
        total: Resources::cpus(1),
        labels: Labels::new(),
        protocol_version: PROTOCOL_VERSION,
    }
}

fn spec(id: TaskId, placement: Placement) -> ActorSpec {
    let class = SchedulingClass { function: "counter".into(), resources: Resources::none(), placement, share: None };
    let task = TaskSpec {
        id,
        label: "counter".into(),
        class: Arc::new(class),
        args: Vec::new(),
        returns: 1,
        retries: Retries::default(),
        replay: Replay::Accept,
        durability: mobula_protocol::Durability::default(),
        stream: None,
        job: id.owner,
    };
    let options = ActorOptions { max_restarts: Some(2), ..ActorOptions::default() };
    ActorSpec { task: Arc::new(task), options }
}
