//! One head and processes that come, report, fall silent and leave, over a network that loses, repeats and reorders.
//! The oracle replays the head's own log: every view must be exactly a prefix of it.

use super::{head, load, ms, request};
use crate::member::{JoinError, Joined, Member, MemberEvent, MemberSettings, Roster, View, roster, view};
use crate::{Incarnation, Machine, Message, NodeId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 3] = ["a", "b", "c"];
const PERIOD: u64 = 250;
const TIMEOUT: u64 = 2_000;

/// What the test may do. Numbers pick a process, or a packet of those in the air, modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    /// A new process wants this name.
    Spawn(usize),
    /// A process asks to join once more.
    AskAgain(usize),
    Heartbeat(usize),
    Leave(usize),
    Arrive(usize),
    Duplicate(usize),
    Lose(usize),
    /// Time passes and the head gets every tick it asks for.
    Wait(u64),
    /// Time passes and the head is away.
    Sleep(u64),
}

#[derive(Clone, Debug)]
enum Packet {
    ToHead(roster::Event),
    Answer(u64, Result<Box<Joined>, JoinError>),
    News(Incarnation, Message),
}

/// A process. The first one is the head's own node; the nonce is its place in the list.
struct Process {
    name: &'static str,
    view: View,
    reports: u64,
    /// Who ever died in its view.
    dead: BTreeSet<Incarnation>,
}

struct World {
    now: u64,
    roster: Roster,
    processes: Vec<Process>,
    air: Vec<Packet>,
    /// When the head last heard of each life.
    heard: BTreeMap<Incarnation, u64>,
    /// Which life each process was promised.
    promised: BTreeMap<u64, Incarnation>,
}

impl World {
    fn new() -> Self {
        let settings = MemberSettings { health_period: ms(PERIOD), health_timeout: ms(TIMEOUT) };
        let roster = Roster::new(settings, head());
        let welcome = Box::new(roster.welcome_head());
        let (air, heard, promised) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut world = Self { now: 0, roster, processes: Vec::new(), air, heard, promised };
        world.spawn("head");
        world.see(0, view::Event::Joined(welcome));
        world
    }

    fn spawn(&mut self, name: &'static str) {
        self.processes.push(Process { name, view: View::new(), reports: 0, dead: BTreeSet::new() });
    }

    fn ask(&mut self, i: usize) {
        if i > 0 {
            let request = request(self.processes[i].name, i as u64);
            self.air.push(Packet::ToHead(roster::Event::Join(request)));
        }
    }

    /// Who process `i` is, if it knows.
    fn who(&self, i: usize) -> Option<Incarnation> {
        self.processes[i].view.me()
    }

    fn step_head(&mut self, event: roster::Event) {
        if let roster::Event::Heartbeat { from, .. } = event {
            self.heard.insert(from, self.now);
        }
        let mut out = Vec::new();
        self.roster.step(ms(self.now), event, &mut out);
        self.roster.check().expect("the head's invariants");
        for effect in out {
            match effect {
                roster::Effect::Send { to, message } => self.air.push(Packet::News(to, message)),
                roster::Effect::Declared { incarnation, why, .. } => {
                    let heard = self.heard.get(&incarnation).copied().unwrap_or(0);
                    let silent = self.now - heard >= TIMEOUT;
                    assert!(silent || why == "it left", "{incarnation} declared dead: {why}");
                }
                roster::Effect::Answer { nonce, result } => {
                    if let Ok(joined) = &result {
                        let life = *self.promised.entry(nonce).or_insert(joined.incarnation);
                        assert_eq!(life, joined.incarnation, "one request, one life");
                        self.heard.entry(life).or_insert(self.now);
                    }
                    self.air.push(Packet::Answer(nonce, result));
                }
            }
        }
    }

    fn see(&mut self, i: usize, event: view::Event) {
        let mut out = Vec::new();
        let process = &mut self.processes[i];
        let before = process.view.snapshot();
        process.view.step(ms(self.now), event, &mut out);
        process.view.check().expect("the view's invariants");
        let after = process.view.snapshot();
        let new = after.nodes.iter().filter(|node| before.member(node.member.incarnation).is_none());
        assert!(after.newcomers(&before).eq(new.map(|node| &**node)), "{before:?} became {after:?}");
        for effect in out {
            match effect {
                view::Effect::NodeJoined(member) => {
                    assert!(!process.dead.contains(&member.incarnation), "{} came back", member.incarnation);
                }
                view::Effect::NodeDied { incarnation, .. } => {
                    assert!(process.dead.insert(incarnation), "{incarnation} died twice");
                }
                view::Effect::Resync(have) => {
                    let from = process.view.me().expect("only members ask");
                    self.air.push(Packet::ToHead(roster::Event::Resync { from, have }));
                }
                view::Effect::Fenced { .. } => {}
            }
        }
        self.compare(i);
    }

    /// The view is the log up to its position, no more and no less.
    fn compare(&self, i: usize) {
        let view = &self.processes[i].view;
        let Some(log) = self.roster.log().get(..view.seq() as usize) else {
            panic!("a view of entry {} in a log of {}", view.seq(), self.roster.seq());
        };
        let mut alive: BTreeMap<Incarnation, &Member> = BTreeMap::new();
        let mut dead = BTreeSet::new();
        for entry in log {
            match entry {
                MemberEvent::Joined(member) => drop(alive.insert(member.incarnation, member)),
                MemberEvent::Died { incarnation, .. } => {
                    alive.remove(incarnation);
                    dead.insert(*incarnation);
                }
            }
        }
        assert!(view.alive().eq(alive.values().copied()), "process {i} at entry {}", view.seq());
        assert!(dead.iter().all(|who| !view.is_alive(*who)));
        for (who, member) in alive {
            assert_eq!((view.member(who), view.snapshot().member(who)), (Some(member), Some(member)));
            let load = view.load(who.node).expect("the living have a load");
            assert!(load.version == 0 || load.queued == who.epoch.0, "{who} shown with another life's {load:?}");
        }
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::ToHead(event) => self.step_head(event),
            Packet::Answer(nonce, Ok(joined)) => self.see(nonce as usize, view::Event::Joined(joined)),
            Packet::Answer(..) => {}
            Packet::News(to, message) => {
                let event = view::Event::from_message(message).expect("the head only sends news");
                if let Some(i) = (0..self.processes.len()).find(|i| self.who(*i) == Some(to)) {
                    self.see(i, event);
                }
            }
        }
    }

    fn wait(&mut self, span: u64) {
        for _ in 0..span {
            self.now += 1;
            if self.roster.next_deadline().is_some_and(|at| at <= ms(self.now)) {
                self.step_head(roster::Event::Tick);
            }
        }
    }

    fn heartbeat(&mut self, i: usize) {
        let Some(from) = self.who(i) else { return };
        self.processes[i].reports += 1;
        let load = load(from, self.processes[i].reports / 2);
        self.air.push(Packet::ToHead(roster::Event::Heartbeat { from, load }));
    }

    fn apply(&mut self, op: &Op) {
        let process = |k: usize| k % self.processes.len();
        let packet = |k: usize| (!self.air.is_empty()).then(|| k % self.air.len());
        match *op {
            Op::Spawn(name) => {
                self.spawn(NAMES[name]);
                self.ask(self.processes.len() - 1);
            }
            Op::AskAgain(k) => self.ask(process(k)),
            Op::Heartbeat(k) => self.heartbeat(process(k)),
            Op::Leave(k) => {
                if let Some(from) = self.who(process(k)) {
                    self.air.push(Packet::ToHead(roster::Event::Leave { from }));
                }
            }
            Op::Arrive(k) => {
                if let Some(k) = packet(k) {
                    let packet = self.air.remove(k);
                    self.arrive(packet);
                }
            }
            Op::Duplicate(k) => {
                if let Some(k) = packet(k) {
                    self.air.push(self.air[k].clone());
                }
            }
            Op::Lose(k) => {
                if let Some(k) = packet(k) {
                    self.air.remove(k);
                }
            }
            Op::Wait(span) => self.wait(span),
            Op::Sleep(span) => self.now += span,
        }
    }

    /// From now on the network is kind: every living view catches up, and then silence ends every life.
    fn settle(&mut self) {
        self.drain();
        for i in 0..self.processes.len() {
            if let Some(from) = self.who(i) {
                let have = self.processes[i].view.seq();
                self.air.push(Packet::ToHead(roster::Event::Resync { from, have }));
            }
        }
        self.drain();
        for process in &self.processes {
            if process.view.me().is_some_and(|me| self.roster.members().any(|member| member.incarnation == me)) {
                assert_eq!(process.view.seq(), self.roster.seq(), "the living have seen everything");
                let loads: Vec<_> = process.view.snapshot().nodes.iter().map(|node| node.load.clone()).collect();
                let head = self.processes[0].view.snapshot().nodes;
                let head: Vec<_> = head.iter().map(|node| node.load.clone()).collect();
                assert_eq!(loads, head, "everybody sees the same loads");
            }
        }
        self.wait(2 * TIMEOUT + 2 * PERIOD);
        let left: Vec<NodeId> = self.roster.members().map(|member| member.incarnation.node).collect();
        assert_eq!((left, self.roster.next_deadline()), (vec![NodeId::HEAD], None), "the silent are dead");
    }

    fn drain(&mut self) {
        while !self.air.is_empty() {
            let packet = self.air.remove(0);
            self.arrive(packet);
        }
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let k = any::<usize>;
    let op = prop_oneof![
        2 => (0..NAMES.len()).prop_map(Op::Spawn),
        1 => k().prop_map(Op::AskAgain),
        6 => k().prop_map(Op::Heartbeat),
        1 => k().prop_map(Op::Leave),
        14 => k().prop_map(Op::Arrive),
        2 => k().prop_map(Op::Duplicate),
        2 => k().prop_map(Op::Lose),
        3 => (1..600_u64).prop_map(Op::Wait),
        1 => (1..5_000_u64).prop_map(Op::Sleep),
    ];
    proptest::collection::vec(op, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn views_are_prefixes_of_the_log(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        world.settle();
    }
}
