//! A broadcast in a small random world: nodes that ask, relay, die, lose power and stand still, with a network that
//! delays, delivers late what nobody wants any more, and breaks. Knows nothing of the machines' insides.

use super::*;
use crate::{ByteSize, Machine, Nanos, TaskId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CHUNK: u64 = 100;
const SIZE: u64 = RELAYED.0;
const STEPS: u64 = SIZE.div_ceil(CHUNK);
/// Never dies: an object without a holder is not the transfer's business.
const ROOT: usize = 0;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Connections close.
    Kill(usize),
    /// Silence.
    PowerOff(usize),
    /// Stands still for so many milliseconds.
    Pause(usize, u64),
    /// Two nodes do not hear each other for so many milliseconds.
    Cut(usize, usize, u64),
    /// The stream by which the node receives breaks.
    Break(usize),
}

#[derive(Clone, Debug)]
struct Plan {
    nodes: usize,
    /// When each node begins to want the object, in milliseconds.
    starts: Vec<u64>,
    faults: Vec<(u64, Fault)>,
    seed: u64,
}

fn plan() -> impl Strategy<Value = Plan> {
    (2..9usize).prop_flat_map(|nodes| {
        let node = 1..nodes;
        let fault = prop_oneof![
            2 => node.clone().prop_map(Fault::Kill),
            2 => node.clone().prop_map(Fault::PowerOff),
            2 => (node.clone(), 1..8000u64).prop_map(|(n, t)| Fault::Pause(n, t)),
            2 => (0..nodes, node.clone(), 1..8000u64).prop_map(|(a, b, t)| Fault::Cut(a, b, t)),
            2 => node.prop_map(Fault::Break),
        ];
        let starts = prop_oneof![Just(vec![0; nodes]), prop::collection::vec(0..2 * STEPS / 100, nodes)];
        let faults = prop::collection::vec((0..STEPS / 50, fault), 0..6);
        (Just(nodes), starts, faults, any::<u64>()).prop_map(|(nodes, starts, faults, seed)| Plan {
            nodes,
            starts,
            faults,
            seed,
        })
    })
}

fn name(n: usize) -> Incarnation {
    Incarnation::new(n as u32 + 1, 1)
}

fn number(who: Incarnation) -> usize {
    who.node.0 as usize - 1
}

/// The byte at this place of the object.
fn content(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

#[derive(Clone, Debug)]
enum Frame {
    Chunk { ticket: Ticket, offset: u64, bytes: Vec<u8> },
    Waiting { ticket: Ticket },
    Redirect { ticket: Ticket, to: Incarnation },
    Broken { ticket: Ticket },
}

impl Frame {
    fn ticket(&self) -> Ticket {
        match self {
            Frame::Chunk { ticket, .. } | Frame::Waiting { ticket } => *ticket,
            Frame::Redirect { ticket, .. } | Frame::Broken { ticket } => *ticket,
        }
    }
}

/// One stream at its source.
struct Outgoing {
    to: usize,
    ticket: Ticket,
    offset: u64,
    /// The size of the chunk it waits to send.
    asked: Option<u64>,
    said: u64,
}

struct Node {
    buffer: Vec<u8>,
    receive: Option<Receive>,
    serve: Serve,
    outgoing: BTreeMap<StreamId, Outgoing>,
    streams: u64,
    alive: bool,
    paused_until: u64,
    sent: u64,
    inbox: BTreeMap<(u64, u64), (usize, Frame)>,
}

struct World {
    now: u64,
    nodes: Vec<Node>,
    /// Who is not heard by whom until when.
    cuts: BTreeMap<(usize, usize), u64>,
    holders: BTreeSet<usize>,
    /// What is still to be told to everybody, and when.
    news: BTreeSet<(u64, usize)>,
    seed: u64,
    frames: u64,
    /// When the last frame of each stream arrives.
    last: BTreeMap<(usize, Ticket), u64>,
    refused: u64,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let node = |n| Node {
            buffer: if n == ROOT { (0..SIZE).map(content).collect() } else { Vec::new() },
            receive: None,
            serve: Serve::new(name(n), ByteSize(3 * CHUNK), RELAYED),
            outgoing: BTreeMap::new(),
            streams: 0,
            alive: true,
            paused_until: 0,
            sent: 0,
            inbox: BTreeMap::new(),
        };
        let nodes = (0..plan.nodes).map(node).collect();
        let holders = BTreeSet::from([ROOT]);
        let news = BTreeSet::new();
        let (cuts, last, seed) = (BTreeMap::new(), BTreeMap::new(), plan.seed);
        Self { now: 0, nodes, cuts, holders, news, seed, frames: 0, last, refused: 0 }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn hears(&self, a: usize, b: usize) -> bool {
        self.cuts.get(&(a.min(b), a.max(b))).is_none_or(|until| *until <= self.now)
    }

    /// Puts a frame on its way. What cannot be delivered is lost, like the connection it was on.
    fn deliver(&mut self, from: usize, to: usize, frame: Frame) {
        let late = if self.draw(50) == 0 { self.draw(300) } else { 0 };
        // A connection keeps its order: what comes after a late frame is late too.
        let last = self.last.entry((to, frame.ticket())).or_default();
        let at = (self.now + 1 + late).max(*last);
        *last = at;
        self.frames += 1;
        if self.hears(from, to) {
            self.nodes[to].inbox.insert((at, self.frames), (from, frame));
        }
    }

    fn tell(&mut self, n: usize, event: ReceiveEvent) {
        let now = Nanos::millis(self.now);
        let Some(receive) = &mut self.nodes[n].receive else { return };
        let mut out = vec![];
        receive.step(now, event, &mut out);
        receive.check().unwrap();
        for effect in out {
            match effect {
                ReceiveEffect::Open { ticket, from, offset, blamed, direct } => {
                    self.open(n, number(from), ticket, offset, blamed, direct);
                }
                ReceiveEffect::Close { ticket } => self.close(n, ticket),
                ReceiveEffect::Done => {
                    self.nodes[n].receive = None;
                    self.holders.insert(n);
                    self.everybody_hears_of(n);
                }
            }
        }
    }

    fn everybody_hears_of(&mut self, n: usize) {
        let delay = self.draw(20);
        self.news.insert((self.now + 1 + delay, n));
    }

    fn open(&mut self, n: usize, from: usize, t: Ticket, offset: u64, blamed: Option<Incarnation>, direct: bool) {
        assert_ne!(n, from);
        assert_eq!(offset, self.nodes[n].buffer.len() as u64, "it goes on where it was");
        let source = &mut self.nodes[from];
        let here = from == ROOT || !source.buffer.is_empty() || source.receive.is_some();
        if !source.alive || !here {
            return self.deliver(from, n, Frame::Broken { ticket: t });
        }
        if !self.hears(n, from) {
            return;
        }
        let source = &mut self.nodes[from];
        source.streams += 1;
        let stream = StreamId(source.streams);
        source.outgoing.insert(stream, Outgoing { to: n, ticket: t, offset, asked: None, said: self.now });
        let object = TaskId { owner: name(ROOT), seq: 1 }.result(0);
        let whole = source.buffer.len() as u64 == SIZE;
        let request = Request { object, size: ByteSize(SIZE), by: name(n), blamed, direct, whole };
        self.serve(from, ServeEvent::Asked { stream, request });
    }

    /// The receiver hangs up; the source notices.
    fn close(&mut self, n: usize, ticket: Ticket) {
        for from in 0..self.nodes.len() {
            let found = self.nodes[from].outgoing.iter().find(|(_, out)| out.to == n && out.ticket == ticket);
            if let Some(stream) = found.map(|(stream, _)| *stream) {
                self.end(from, stream, false);
            }
        }
    }

    fn end(&mut self, from: usize, stream: StreamId, whole: bool) {
        self.nodes[from].outgoing.remove(&stream);
        self.serve(from, ServeEvent::Ended { stream, whole });
    }

    fn serve(&mut self, from: usize, event: ServeEvent) {
        let mut out = vec![];
        self.nodes[from].serve.step(Nanos::millis(self.now), event, &mut out);
        self.nodes[from].serve.check().unwrap();
        for effect in out {
            match effect {
                ServeEffect::Accept { .. } => {}
                ServeEffect::Redirect { stream, to } => {
                    let out = self.nodes[from].outgoing.remove(&stream).expect("it asked");
                    assert!(to != name(out.to) && to != name(from), "sent to itself or back");
                    self.deliver(from, out.to, Frame::Redirect { ticket: out.ticket, to });
                }
                ServeEffect::Send { stream } => {
                    let node = &mut self.nodes[from];
                    let out = node.outgoing.get_mut(&stream).expect("it is served");
                    let bytes = out.asked.take().expect("it had something");
                    let (to, ticket, offset) = (out.to, out.ticket, out.offset);
                    out.offset += bytes;
                    node.sent += bytes;
                    let bytes = node.buffer[offset as usize..(offset + bytes) as usize].to_vec();
                    self.deliver(from, to, Frame::Chunk { ticket, offset, bytes });
                }
            }
        }
    }

    /// What a node does in one millisecond: a large part of the object moves, so that runs stay short.
    fn turn(&mut self, n: usize) {
        let due: Vec<(u64, u64)> = self.nodes[n].inbox.range(..=(self.now, u64::MAX)).map(|(key, _)| *key).collect();
        for key in due {
            let Some((_, frame)) = self.nodes[n].inbox.remove(&key) else { continue };
            self.hear(n, frame);
        }
        let streams: Vec<StreamId> = self.nodes[n].outgoing.keys().copied().collect();
        for stream in streams {
            self.offer(n, stream);
        }
        let now = Nanos::millis(self.now);
        let due = |receive: &Receive| receive.next_deadline().is_some_and(|at| at <= now);
        if self.nodes[n].receive.as_ref().is_some_and(due) {
            self.tell(n, ReceiveEvent::Tick);
        }
    }

    fn offer(&mut self, n: usize, stream: StreamId) {
        self.serve(n, ServeEvent::Sent { stream });
        let node = &mut self.nodes[n];
        let Some(out) = node.outgoing.get_mut(&stream).filter(|out| out.asked.is_none()) else { return };
        let bytes = (node.buffer.len() as u64 - out.offset.min(node.buffer.len() as u64)).min(CHUNK * 200);
        let (to, ticket) = (out.to, out.ticket);
        if bytes > 0 {
            out.asked = Some(bytes);
            self.serve(n, ServeEvent::Ready { stream, bytes: ByteSize(bytes) });
        } else if out.offset == SIZE {
            self.end(n, stream, true);
        } else if self.now - out.said >= 200 {
            out.said = self.now;
            self.deliver(n, to, Frame::Waiting { ticket });
        }
    }

    fn hear(&mut self, n: usize, frame: Frame) {
        let Some(receive) = &self.nodes[n].receive else { return };
        let event = match frame {
            Frame::Chunk { ticket, offset, bytes } => {
                if !receive.accepts(ticket, offset, bytes.len() as u64) {
                    self.refused += 1;
                    // A lost frame left a gap: the connection is no longer good.
                    return self.tell(n, ReceiveEvent::Broken { ticket });
                }
                assert_eq!(offset, self.nodes[n].buffer.len() as u64);
                self.nodes[n].buffer.extend(&bytes);
                ReceiveEvent::Arrived { ticket, bytes: bytes.len() as u64 }
            }
            Frame::Waiting { ticket } => ReceiveEvent::Waiting { ticket },
            Frame::Redirect { ticket, to } => ReceiveEvent::Redirected { ticket, to },
            Frame::Broken { ticket } => ReceiveEvent::Broken { ticket },
        };
        self.tell(n, event);
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(n) | Fault::PowerOff(n) if self.nodes[n].alive => {
                self.nodes[n].alive = false;
                self.nodes[n].receive = None;
                self.nodes[n].inbox.clear();
                self.holders.remove(&n);
                for (_, out) in std::mem::take(&mut self.nodes[n].outgoing) {
                    if matches!(fault, Fault::Kill(_)) {
                        self.deliver(n, out.to, Frame::Broken { ticket: out.ticket });
                    }
                }
                self.everybody_hears_of(n);
            }
            Fault::Pause(n, time) if n != ROOT => self.nodes[n].paused_until = self.now + time,
            Fault::Cut(a, b, time) if a != b => drop(self.cuts.insert((a.min(b), a.max(b)), self.now + time)),
            Fault::Break(n) => {
                let from = self.nodes[n].receive.as_ref().and_then(Receive::source);
                let streams = from.map(|from| {
                    let outgoing = &self.nodes[number(from)].outgoing;
                    outgoing.values().filter(|out| out.to == n).map(|out| out.ticket).collect::<Vec<_>>()
                });
                for ticket in streams.into_iter().flatten() {
                    self.tell(n, ReceiveEvent::Broken { ticket });
                }
            }
            _ => {}
        }
    }

    fn hear_news(&mut self) {
        let due: Vec<(u64, usize)> = self.news.range(..=(self.now, usize::MAX)).copied().collect();
        for (at, of) in due {
            self.news.remove(&(at, of));
            let holders: Vec<Incarnation> = self.holders.iter().map(|n| name(*n)).collect();
            for n in 0..self.nodes.len() {
                if !self.nodes[of].alive {
                    self.tell(n, ReceiveEvent::Died(name(of)));
                }
                self.tell(n, ReceiveEvent::Holders(holders.clone()));
            }
        }
    }

    /// Plays the plan until every living node has the object, and says how long that took.
    fn play(&mut self, plan: &Plan) -> u64 {
        loop {
            let now = self.now;
            for (n, _) in plan.starts.iter().enumerate().filter(|(n, at)| *n != ROOT && **at == now) {
                if self.nodes[n].alive {
                    let object = TaskId { owner: name(ROOT), seq: 1 }.result(0);
                    self.nodes[n].receive = Some(Receive::new(name(n), object, Attempt(1), ByteSize(SIZE)));
                    let holders = self.holders.iter().map(|n| name(*n)).collect();
                    self.tell(n, ReceiveEvent::Holders(holders));
                }
            }
            for (_, fault) in plan.faults.iter().filter(|(at, _)| *at == now) {
                self.fault(*fault);
            }
            self.hear_news();
            for n in 0..self.nodes.len() {
                if self.nodes[n].alive && self.nodes[n].paused_until <= self.now {
                    self.turn(n);
                }
            }
            let started = plan.starts.iter().all(|at| *at <= self.now);
            if started && self.nodes.iter().all(|node| !node.alive || node.buffer.len() as u64 == SIZE) {
                return self.now;
            }
            self.now += 1;
            assert!(self.now < 100_000, "never done: {:?}", self.nodes.iter().map(|n| &n.receive).collect::<Vec<_>>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn everybody_who_lives_gets_the_right_bytes_and_the_root_sends_few(plan in plan()) {
        let mut world = World::new(&plan);
        world.play(&plan);
        for node in world.nodes.iter().filter(|node| node.alive) {
            prop_assert!(node.buffer.iter().enumerate().all(|(at, byte)| *byte == content(at as u64)));
        }
        let (receivers, faults) = (plan.nodes as u64 - 1, plan.faults.len() as u64);
        // Of those who start together one reads from the root, and after a fault one more. Who starts late may find
        // nobody else with room.
        let simultaneous = plan.starts.iter().all(|at| *at == 0);
        let most = if simultaneous { SIZE * (1 + faults) } else { SIZE * (receivers + faults) };
        prop_assert!(world.nodes[ROOT].sent <= most, "{} sent", world.nodes[ROOT].sent);
    }
}

#[test]
fn each_death_in_the_chain_costs_the_root_no_more_than_one_transfer() {
    let plan = Plan {
        nodes: 20,
        starts: vec![0; 20],
        faults: (0..5).map(|n| (20 + 5 * n, Fault::Kill(2 + 3 * n as usize))).collect(),
        seed: 3,
    };
    let mut world = World::new(&plan);
    world.play(&plan);
    assert!(world.nodes[ROOT].sent <= 2 * SIZE, "{} of {SIZE}", world.nodes[ROOT].sent);
    let most = world.nodes.iter().map(|node| node.sent).max();
    assert!(most <= Some(3 * SIZE), "{most:?}");
}

#[test]
fn late_chunks_do_turn_up_in_this_world() {
    let plan =
        Plan { nodes: 4, starts: vec![0; 4], faults: (10..40).map(|at| (at, Fault::Break(2))).collect(), seed: 5 };
    let mut world = World::new(&plan);
    world.play(&plan);
    assert!(world.refused > 0);
}
