//! Everything one node sends: who is served, who is sent elsewhere, and whose turn it is.

use crate::{ByteSize, Incarnation, Machine, Nanos, ObjectId, Violation};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many receivers of one object a holder serves at a time, and how many it puts below a relay. With one, a
/// broadcast is a chain: every node sends the object at most once while it is under way, so that none is slowed down
/// by a second receiver. The pipe fills in one chunk's time a hop.
pub const FAN_OUT: usize = 1;
/// Unless told otherwise, smaller objects are sent to everybody who asks, without relays.
pub const RELAYED: ByteSize = ByteSize(1 << 20);

/// A stream that this node serves, named by the caller; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// What a receiver asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which object.
    pub object: ObjectId,
    /// Its size.
    pub size: ByteSize,
    /// Who asks.
    pub by: Incarnation,
    /// A source that let it down.
    pub blamed: Option<Incarnation>,
    /// Whether it will not be sent to a relay.
    pub direct: bool,
    /// Whether this node has all of the object. Else it is a relay.
    pub whole: bool,
}

/// What happened to what this node sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServeEvent {
    /// A receiver asks for an object that is here, at least in part.
    Asked {
        /// The name of the stream if it becomes one.
        stream: StreamId,
        /// What it asks for.
        request: Request,
    },
    /// The next chunk of a stream could go out.
    Ready {
        /// Which.
        stream: StreamId,
        /// The size of the chunk.
        bytes: ByteSize,
    },
    /// The chunk has gone out.
    Sent {
        /// Of which stream.
        stream: StreamId,
    },
    /// The stream is over.
    Ended {
        /// Which.
        stream: StreamId,
        /// Whether the receiver has got everything.
        whole: bool,
    },
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServeEffect {
    /// Serve this stream.
    Accept {
        /// Which.
        stream: StreamId,
    },
    /// Tell the receiver to ask that relay. There is no such stream any more.
    Redirect {
        /// Which.
        stream: StreamId,
        /// The relay.
        to: Incarnation,
    },
    /// It is this stream's turn: send its chunk.
    Send {
        /// Which.
        stream: StreamId,
    },
}

/// The sending side of one node. See the [module](super) for its rules.
#[derive(Debug)]
pub struct Serve {
    own: Incarnation,
    limit: ByteSize,
    relayed: ByteSize,
    in_flight: ByteSize,
    streams: BTreeMap<StreamId, Stream>,
    /// Receivers with a chunk that waits, next one first.
    turns: VecDeque<Incarnation>,
    /// The streams with a chunk that waits, by receiver.
    waiting: BTreeMap<Incarnation, VecDeque<StreamId>>,
    /// For objects that are being sent from here: who else receives them.
    trees: BTreeMap<ObjectId, Tree>,
}

#[derive(Debug)]
struct Stream {
    object: ObjectId,
    by: Incarnation,
    /// The chunk that waits or is going out.
    chunk: ByteSize,
    going_out: bool,
    /// Whether it is in a tree.
    planted: bool,
}

/// The receivers of one object that a holder knows of.
#[derive(Debug, Default)]
struct Tree {
    /// The streams from here. The tree goes with the last one.
    streams: BTreeSet<StreamId>,
    /// Who may have receivers below it, newest last.
    placed: Vec<Placed>,
}

#[derive(Debug)]
struct Placed {
    receiver: Incarnation,
    /// This node or a relay; none if the receiver has everything.
    above: Option<Incarnation>,
}

impl Tree {
    fn remove(&mut self, who: Incarnation) {
        self.placed.retain(|placed| placed.receiver != who);
    }

    /// Whether `who` could serve `by`, not counting what it may be sending there already.
    fn is_free(&self, who: Incarnation, by: Incarnation) -> bool {
        let others = self.placed.iter().filter(|placed| placed.above == Some(who) && placed.receiver != by);
        others.count() < FAN_OUT
    }

    /// Whether `who` is `above` or below it, by what is known here.
    fn is_under(&self, who: Incarnation, above: Incarnation) -> bool {
        let up = |who: &Incarnation| self.placed.iter().find(|placed| placed.receiver == *who)?.above;
        // Nobody is put below itself, so this ends; the bound holds whatever happens.
        std::iter::successors(Some(who), up).take(self.placed.len() + 1).any(|who| who == above)
    }

    /// Finds a place for a receiver: below a relay, or below this node.
    fn place(&mut self, own: Incarnation, request: &Request) -> Incarnation {
        let by = request.by;
        if let Some(blamed) = request.blamed {
            self.remove(blamed);
        }
        let newest_first = self.placed.iter().rev().map(|placed| placed.receiver);
        let mut relays = newest_first.filter(|relay| self.is_free(*relay, by) && !self.is_under(*relay, by));
        let above = match relays.next() {
            Some(relay) if !request.direct && !self.is_free(own, by) => relay,
            _ => own,
        };
        self.remove(by);
        self.placed.push(Placed { receiver: by, above: Some(above) });
        above
    }
}

impl Serve {
    /// The sending side of `own`, with at most `limit` bytes of chunks going out at once. Objects of `relayed` bytes
    /// and more are sent through relays.
    pub fn new(own: Incarnation, limit: ByteSize, relayed: ByteSize) -> Self {
        Self {
            own,
            limit,
            relayed,
            in_flight: ByteSize::ZERO,
            streams: BTreeMap::new(),
            turns: VecDeque::new(),
            waiting: BTreeMap::new(),
            trees: BTreeMap::new(),
        }
    }

    /// Bytes of chunks going out.
    pub fn in_flight(&self) -> ByteSize {
        self.in_flight
    }

    /// Streams being served.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    fn asked(&mut self, id: StreamId, request: &Request, out: &mut Vec<ServeEffect>) {
        let planted = request.whole && request.size >= self.relayed;
        if planted {
            let tree = self.trees.entry(request.object).or_default();
            let above = tree.place(self.own, request);
            if above != self.own {
                out.push(ServeEffect::Redirect { stream: id, to: above });
                return;
            }
            tree.streams.insert(id);
        }
        let (object, by) = (request.object, request.by);
        self.streams.insert(id, Stream { object, by, chunk: ByteSize::ZERO, going_out: false, planted });
        out.push(ServeEffect::Accept { stream: id });
    }

    fn ready(&mut self, id: StreamId, bytes: ByteSize) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.chunk == ByteSize::ZERO) else { return };
        stream.chunk = bytes;
        let line = self.waiting.entry(stream.by).or_default();
        if line.is_empty() {
            self.turns.push_back(stream.by);
        }
        line.push_back(id);
    }

    /// Lets chunks go out while there is room for them.
    fn admit(&mut self, out: &mut Vec<ServeEffect>) {
        while let Some(by) = self.turns.front().copied() {
            let Some(line) = self.waiting.get_mut(&by) else { return };
            let Some(id) = line.front().copied() else { return };
            let Some(stream) = self.streams.get_mut(&id) else { return };
            // A chunk beyond the limit goes out alone, or it would never.
            if self.in_flight > ByteSize::ZERO && self.in_flight + stream.chunk > self.limit {
                return;
            }
            line.pop_front();
            self.turns.pop_front();
            if line.is_empty() {
                self.waiting.remove(&by);
            } else {
                self.turns.push_back(by);
            }
            stream.going_out = true;
            self.in_flight += stream.chunk;
            out.push(ServeEffect::Send { stream: id });
        }
    }

    fn sent(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.going_out) {
            self.in_flight -= std::mem::replace(&mut stream.chunk, ByteSize::ZERO);
            stream.going_out = false;
        }
    }

    fn ended(&mut self, id: StreamId, whole: bool) {
        self.sent(id);
        let Some(stream) = self.streams.remove(&id) else { return };
        if stream.chunk > ByteSize::ZERO {
            self.leave_line(id, stream.by);
        }
        let Some(tree) = self.trees.get_mut(&stream.object).filter(|_| stream.planted) else { return };
        tree.streams.remove(&id);
        let again = tree.streams.iter().any(|id| self.streams.get(id).is_some_and(|other| other.by == stream.by));
        if whole {
            let placed = tree.placed.iter_mut().filter(|placed| placed.receiver == stream.by);
            placed.for_each(|placed| placed.above = None);
        } else if !again && tree.placed.iter().any(|p| p.receiver == stream.by && p.above == Some(self.own)) {
            tree.remove(stream.by);
        }
        if tree.streams.is_empty() {
            self.trees.remove(&stream.object);
        }
    }

    fn leave_line(&mut self, id: StreamId, by: Incarnation) {
        let Some(line) = self.waiting.get_mut(&by) else { return };
        line.retain(|waiting| *waiting != id);
        if line.is_empty() {
            self.waiting.remove(&by);
            self.turns.retain(|waiting| *waiting != by);
        }
    }
}

impl Machine for Serve {
    type Event = ServeEvent;
    type Effect = ServeEffect;

    fn step(&mut self, _now: Nanos, event: ServeEvent, out: &mut Vec<ServeEffect>) {
        match event {
            ServeEvent::Asked { stream, request } => self.asked(stream, &request, out),
            ServeEvent::Ready { stream, bytes } => self.ready(stream, bytes),
            ServeEvent::Sent { stream } => self.sent(stream),
            ServeEvent::Ended { stream, whole } => self.ended(stream, whole),
        }
        self.admit(out);
    }

    fn check(&self) -> Result<(), Violation> {
        let going_out: Vec<ByteSize> = self.streams.values().filter(|s| s.going_out).map(|s| s.chunk).collect();
        let bounded = self.in_flight <= self.limit || going_out.len() == 1;
        Violation::unless(bounded, "transfer outbound", || format!("{} of {}", self.in_flight, self.limit))?;
        let waits = self.streams.values().filter(|s| s.chunk > ByteSize::ZERO && !s.going_out).count();
        let fine = going_out.into_iter().sum::<ByteSize>() == self.in_flight
            && self.waiting.values().map(VecDeque::len).sum::<usize>() == waits
            && self.waiting.len() == self.turns.len()
            && self.waiting.keys().all(|by| self.turns.contains(by))
            && (waits == 0 || self.in_flight > ByteSize::ZERO)
            && self.trees.values().all(|tree| !tree.streams.is_empty())
            && self.trees.values().flat_map(|tree| &tree.streams).all(|id| self.streams.contains_key(id));
        Violation::unless(fine, "transfer serve", || format!("{self:?}"))
    }
}
