//! Three links over a network that refuses, loses, repeats, delays and reorders requests and replies, while membership news
//! comes late and processes die, known or not. The oracle is a list of what was sent for each ordered pair.

use crate::link::{Ack, Effect, Envelope, Event, Link, LinkSettings};
use crate::member::NodeLoad;
use crate::{Incarnation, Machine, Message, Nanos};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const N: usize = 3;
const NAMES: [Incarnation; N] = [Incarnation::HEAD, Incarnation::new(1, 2), Incarnation::new(2, 3)];

/// What the test may do. Numbers pick a process, or a packet of those in the air, modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    Send {
        from: usize,
        to: usize,
        count: u64,
    },
    /// `0` tells `1` that it lives.
    Pulse(usize, usize),
    Flush(usize),
    Arrive(usize),
    Duplicate(usize),
    Lose(usize),
    Wait(u64),
    /// `0` hears that `1` lives.
    Learn(usize, usize),
    /// The log declares a process dead. It does not stop: it is a zombie.
    Declare(usize),
    /// The process stops. Nobody knows until it is declared.
    Crash(usize),
    /// `0` hears that `1` was declared dead, if it was.
    HearOfDeath(usize, usize),
}

#[derive(Clone, Debug)]
enum Packet {
    Request(Envelope),
    /// To the sender of the request.
    Outcome(usize, Event),
}

struct World {
    now: u64,
    links: Vec<Link>,
    air: Vec<Packet>,
    running: [bool; N],
    declared: [bool; N],
    /// `(who, whom)`: who was told of whose death.
    told: BTreeSet<(usize, usize)>,
    fenced: [bool; N],
    /// What was sent and not given back.
    sent: BTreeMap<(usize, usize), Vec<u64>>,
    /// How many messages were sent.
    count: BTreeMap<(usize, usize), u64>,
    delivered: BTreeMap<(usize, usize), Vec<u64>>,
}

fn index(who: Incarnation) -> usize {
    NAMES.iter().position(|name| *name == who).expect("one of the three")
}

/// Some messages the transport refuses, however often they are tried.
fn is_too_large(envelope: &Envelope) -> bool {
    envelope.messages.iter().any(|message| matches!(message, Message::ResyncView(n) if n % 11 == 7))
}

impl World {
    fn new() -> Self {
        let settings = LinkSettings {
            window: 3,
            batch: 4,
            retry_first: Nanos(10),
            retry_max: Nanos(80),
            ..LinkSettings::default()
        };
        let mut world = Self {
            now: 0,
            links: (0..N).map(|_| Link::new(settings)).collect(),
            air: Vec::new(),
            running: [true; N],
            declared: [false; N],
            told: BTreeSet::new(),
            fenced: [false; N],
            sent: BTreeMap::new(),
            count: BTreeMap::new(),
            delivered: BTreeMap::new(),
        };
        for (i, name) in NAMES.into_iter().enumerate() {
            world.step(i, Event::Started(name));
        }
        world
    }

    /// Steps one link and puts what it transmits into the air. Returns its replies.
    fn step(&mut self, i: usize, event: Event) -> Vec<Ack> {
        let (mut out, mut acks) = (Vec::new(), Vec::new());
        if self.running[i] {
            self.links[i].step(Nanos(self.now), event, &mut out);
            self.links[i].check().expect("invariants");
        }
        for effect in out {
            match effect {
                Effect::Undelivered { to, message: Message::ResyncView(n) } => {
                    let sent = self.sent.entry((i, index(to))).or_default();
                    sent.retain(|sent| *sent != n);
                }
                Effect::Undelivered { message, .. } => panic!("nobody sent {message:?}"),
                Effect::Transmit { envelope, .. } => {
                    assert!(!self.fenced[i], "the fenced are silent");
                    assert!(!self.told.contains(&(i, index(envelope.to))), "nothing goes to the dead");
                    self.air.push(Packet::Request((*envelope).clone()));
                }
                Effect::Deliver { from, message: Message::ResyncView(n) } => self.deliver(index(from), i, n),
                Effect::Deliver { from, message: Message::Heartbeat(_) } => {
                    assert!(!self.told.contains(&(i, index(from))), "{i} takes a sign of life from the dead {from}");
                }
                Effect::Deliver { message, .. } => panic!("nobody sent {message:?}"),
                Effect::Reply { ack, .. } => acks.push(ack),
                Effect::Fenced { .. } => {
                    assert!(self.declared[i], "the living are never fenced");
                    assert!(!self.fenced[i], "fenced once");
                    self.fenced[i] = true;
                }
            }
        }
        acks
    }

    fn deliver(&mut self, from: usize, to: usize, n: u64) {
        assert!(!self.told.contains(&(to, from)), "{to} acts on a message from the dead {from}");
        let delivered = self.delivered.entry((from, to)).or_default();
        delivered.push(n);
        let sent = self.sent.get(&(from, to)).map_or(&[][..], |sent| sent);
        assert!(sent.starts_with(delivered), "from {from} to {to}: sent {sent:?}, delivered {delivered:?}");
    }

    fn send(&mut self, from: usize, to: usize, count: u64) {
        for _ in 0..count {
            if self.may_send(from, to) {
                let count = self.count.entry((from, to)).or_default();
                let n = std::mem::replace(count, *count + 1);
                self.sent.entry((from, to)).or_default().push(n);
                self.step(from, Event::Send { to: NAMES[to], message: Message::ResyncView(n) });
            }
        }
    }

    fn may_send(&self, from: usize, to: usize) -> bool {
        from != to && self.running[from] && !self.fenced[from] && !self.told.contains(&(from, to))
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Outcome(i, event) => drop(self.step(i, event)),
            Packet::Request(envelope) if is_too_large(&envelope) => {
                let refused = Event::Refused { to: envelope.to, seq: envelope.seq };
                self.air.push(Packet::Outcome(index(envelope.from), refused));
            }
            Packet::Request(envelope) => {
                let (from, to, seq) = (index(envelope.from), index(envelope.to), envelope.seq);
                let acks = self.step(to, Event::Received(envelope));
                assert_eq!(acks.len(), usize::from(self.running[to]), "one reply per request");
                let event = match acks.first() {
                    Some(ack) => Event::Acked { to: NAMES[to], seq, ack: *ack },
                    None => Event::Lost { to: NAMES[to], seq },
                };
                self.air.push(Packet::Outcome(from, event));
            }
        }
    }

    /// The request, or its reply, never arrives; the sender's shell runs out of time.
    fn lose(&mut self, packet: Packet) {
        let (from, to, seq) = match packet {
            Packet::Request(envelope) => (index(envelope.from), envelope.to, envelope.seq),
            Packet::Outcome(i, Event::Acked { to, seq, .. } | Event::Lost { to, seq } | Event::Refused { to, seq }) => {
                (i, to, seq)
            }
            Packet::Outcome(_, event) => panic!("no such outcome: {event:?}"),
        };
        self.air.push(Packet::Outcome(from, Event::Lost { to, seq }));
    }

    fn hear_of_death(&mut self, i: usize, dead: usize) {
        if self.declared[dead] {
            if self.running[i] {
                self.told.insert((i, dead));
            }
            self.step(i, Event::PeerDied(NAMES[dead]));
        }
    }

    fn apply(&mut self, op: &Op) {
        let pick = |k: usize, air: &Vec<Packet>| (!air.is_empty()).then(|| k % air.len());
        match *op {
            Op::Send { from, to, count } => self.send(from, to, count),
            Op::Pulse(from, to) => {
                if self.may_send(from, to) {
                    self.step(from, Event::Send { to: NAMES[to], message: Message::Heartbeat(NodeLoad::default()) });
                }
            }
            Op::Flush(i) => drop(self.step(i, Event::Flush)),
            Op::Arrive(k) => {
                if let Some(k) = pick(k, &self.air) {
                    let packet = self.air.remove(k);
                    self.arrive(packet);
                }
            }
            Op::Duplicate(k) => {
                if let Some(k) = pick(k, &self.air) {
                    self.air.push(self.air[k].clone());
                }
            }
            Op::Lose(k) => {
                if let Some(k) = pick(k, &self.air) {
                    let packet = self.air.remove(k);
                    self.lose(packet);
                }
            }
            Op::Wait(span) => {
                self.now += span;
                (0..N).for_each(|i| drop(self.step(i, Event::Tick)));
            }
            Op::Learn(i, other) => drop(self.step(i, Event::PeerKnown(NAMES[other]))),
            Op::Declare(i) => self.declared[i] |= i != 0,
            Op::Crash(i) => self.running[i] &= i == 0,
            Op::HearOfDeath(i, dead) => self.hear_of_death(i, dead),
        }
    }

    /// From now on the network is kind and membership news gets through: nothing may be left to do.
    fn settle(&mut self) {
        for i in 0..N {
            self.declared[i] |= !self.running[i];
        }
        for (i, other) in (0..N).flat_map(|i| (0..N).map(move |other| (i, other))) {
            self.step(i, Event::PeerKnown(NAMES[other]));
            self.hear_of_death(i, other);
        }
        for _ in 0..200 {
            (0..N).for_each(|i| drop(self.step(i, Event::Flush)));
            while let Some(packet) = self.air.pop() {
                self.arrive(packet);
            }
            let Some(next) =
                self.links.iter().zip(self.running).filter_map(|(l, up)| l.next_deadline().filter(|_| up)).min()
            else {
                return self.compare();
            };
            self.apply(&Op::Wait(next.0.saturating_sub(self.now)));
        }
        panic!("still busy after 200 rounds");
    }

    fn compare(&self) {
        for (pair @ (from, to), sent) in &self.sent {
            if !self.declared[*from] && !self.declared[*to] {
                let delivered = self.delivered.get(pair).map_or(&[][..], |delivered| delivered);
                assert_eq!(sent, delivered, "from {from} to {to}");
            }
        }
        let backlogs = self.links.iter().zip(self.running).map(|(link, up)| if up { link.backlog() } else { 0 });
        assert_eq!(backlogs.sum::<usize>(), 0, "the confirmed and the dead cost nothing");
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let who = 0..N;
    let op = prop_oneof![
        6 => (who.clone(), who.clone(), 1..9_u64).prop_map(|(from, to, count)| Op::Send { from, to, count }),
        2 => (who.clone(), who.clone()).prop_map(|(from, to)| Op::Pulse(from, to)),
        6 => who.clone().prop_map(Op::Flush),
        12 => any::<usize>().prop_map(Op::Arrive),
        3 => any::<usize>().prop_map(Op::Duplicate),
        4 => any::<usize>().prop_map(Op::Lose),
        5 => (1..60_u64).prop_map(Op::Wait),
        3 => (who.clone(), who.clone()).prop_map(|(i, other)| Op::Learn(i, other)),
        1 => (who.clone(), any::<bool>()).prop_map(|(i, crash)| if crash { Op::Crash(i) } else { Op::Declare(i) }),
        2 => (who.clone(), who).prop_map(|(i, dead)| Op::HearOfDeath(i, dead)),
    ];
    proptest::collection::vec(op, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn delivers_exactly_what_was_sent_in_order(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        world.settle();
    }
}
