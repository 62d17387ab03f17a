//! The link itself: one per process, with an [`Outgoing`] and an [`Incoming`] half for each peer.

use super::incoming::{Arrival, Incoming};
use super::outgoing::Outgoing;
use super::{Ack, Counters, Effect, Envelope, Event, LinkSettings};
use crate::{ByteSize, Epoch, Incarnation, Machine, Message, Nanos, NodeId, Violation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

/// Exactly-once, in-order messages between this process and every other; see the module's documentation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Link {
    settings: LinkSettings,
    /// Who this process is, once it knows.
    me: Option<Incarnation>,
    /// Whether the cluster has declared this process dead.
    fenced: bool,
    /// The newest life of each node that membership has spoken of. That life and all before it are dead unless they are
    /// in `peers`; lives after it are unknown. One entry a name, so the dead cost nothing.
    heard_of: BTreeMap<NodeId, Epoch>,
    /// The living, and the unknown ones that messages wait for.
    peers: BTreeMap<Incarnation, Peer>,
    /// Living peers with something to say and room in the window.
    ready: BTreeSet<Incarnation>,
    /// Every resting envelope: until when, to whom, which.
    resting: BTreeSet<(Nanos, Incarnation, u64)>,
    counters: Counters,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Peer {
    outgoing: Outgoing,
    incoming: Incoming,
}

/// What membership says of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unknown,
    Living,
    Dead,
}

impl Link {
    /// A link that knows the head and nobody else. A window or batch of zero counts as one.
    pub fn new(settings: LinkSettings) -> Self {
        let head = Incarnation::HEAD;
        let settings = LinkSettings {
            window: settings.window.max(1),
            batch: settings.batch.max(1),
            window_bytes: settings.window_bytes.max(settings.batch_bytes),
            ..settings
        };
        Self {
            settings,
            me: None,
            fenced: false,
            heard_of: BTreeMap::from([(head.node, head.epoch)]),
            peers: BTreeMap::from([(head, Peer::default())]),
            ready: BTreeSet::new(),
            resting: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Invariant of whoever drives it, at the end of each turn: nothing waits for a [`Event::Flush`]. What is left over then
    /// would lie here until something else happens.
    ///
    /// # Errors
    /// There is something to flush.
    pub fn check_flushed(&self) -> Result<(), Violation> {
        Violation::unless(self.ready.is_empty(), "link_flushed", || format!("unsent: {:?}", self.ready))
    }

    /// Messages accepted but not confirmed by their receivers yet.
    pub fn backlog(&self) -> usize {
        self.peers.values().map(|peer| peer.outgoing.backlog()).sum()
    }

    /// Whether the cluster has declared this process dead.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    fn standing(&self, who: Incarnation) -> Standing {
        match self.heard_of.get(&who.node) {
            Some(newest) if who.epoch <= *newest && self.peers.contains_key(&who) => Standing::Living,
            Some(newest) if who.epoch <= *newest => Standing::Dead,
            _ => Standing::Unknown,
        }
    }

    fn start(&mut self, me: Incarnation) {
        if self.me.is_none() {
            self.me = Some(me);
            self.peers.remove(&me);
            self.heard_of.insert(me.node, me.epoch);
        }
    }

    fn send(&mut self, to: Incarnation, message: Message, out: &mut Vec<Effect>) {
        assert!(self.me.is_some_and(|me| me != to), "{} to {to} sent by {:?}", message.name(), self.me);
        self.counters.sent += 1;
        if self.fenced || self.standing(to) == Standing::Dead {
            self.counters.dropped += 1;
            return;
        }
        if message.weight() as u64 > self.settings.message_bytes.0 {
            self.counters.undelivered += 1;
            return out.push(Effect::Undelivered { to, message });
        }
        self.peers.entry(to).or_default().outgoing.push(message);
        self.note_ready(to);
    }

    /// Puts a peer among the ready if it is one of them.
    fn note_ready(&mut self, to: Incarnation) {
        let may_send = self.standing(to) == Standing::Living;
        if may_send && self.peers.get(&to).is_some_and(|peer| peer.outgoing.is_ready(&self.settings)) {
            self.ready.insert(to);
        }
    }

    /// Fills the window of one ready peer.
    fn pump(&mut self, to: Incarnation, out: &mut Vec<Effect>) {
        let (Some(me), Some(peer)) = (self.me, self.peers.get_mut(&to)) else { return };
        while let Some((envelope, load)) = peer.outgoing.seal(&self.settings, me, to) {
            self.counters.envelopes += 1;
            out.push(Effect::Transmit { envelope, load });
        }
        self.ready.remove(&to);
    }

    fn acked(&mut self, now: Nanos, to: Incarnation, seq: u64, ack: Ack, out: &mut Vec<Effect>) {
        match ack {
            Ack::Taken => {
                let Some(peer) = self.peers.get_mut(&to) else { return };
                if let Some(until) = peer.outgoing.confirm(seq) {
                    self.resting.remove(&(until, to, seq));
                }
                self.pump(to, out);
            }
            Ack::StaleSender => self.fence(to, out),
            Ack::WrongReceiver | Ack::NotYetKnown => self.lost(now, to, seq),
        }
    }

    fn lost(&mut self, now: Nanos, to: Incarnation, seq: u64) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        if crate::planted!("link-does-not-retry") {
            return;
        }
        if let Some(until) = peer.outgoing.rest(now, seq, &self.settings) {
            self.resting.insert((until, to, seq));
        }
    }

    /// Gives the messages back, and sends their number without them: the receiver takes envelopes in order.
    fn refused(&mut self, to: Incarnation, seq: u64, out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let Some((messages, envelope)) = peer.outgoing.empty(seq) else { return };
        self.counters.undelivered += messages.len() as u64;
        out.extend(messages.into_iter().map(|message| Effect::Undelivered { to, message }));
        out.push(Effect::Transmit { envelope, load: ByteSize::ZERO });
        self.note_ready(to);
    }

    fn retry_rested(&mut self, now: Nanos, out: &mut Vec<Effect>) {
        while let Some(&(until, to, seq)) = self.resting.first().filter(|(until, ..)| *until <= now) {
            self.resting.remove(&(until, to, seq));
            if let Some((envelope, load)) = self.peers.get_mut(&to).and_then(|peer| peer.outgoing.retry(seq)) {
                self.counters.retransmitted += 1;
                out.push(Effect::Transmit { envelope, load });
            }
        }
    }

    fn received(&mut self, envelope: Envelope, out: &mut Vec<Effect>) {
        let (from, seq) = (envelope.from, envelope.seq);
        let ack = self.judge(envelope, out);
        out.push(Effect::Reply { from, seq, ack });
    }

    /// Compares both epochs before it looks inside; the sender's first, so that a zombie learns of its death soonest.
    fn judge(&mut self, envelope: Envelope, out: &mut Vec<Effect>) -> Ack {
        let from = envelope.from;
        if !self.fenced && self.standing(from) == Standing::Dead && !crate::planted!("link-hears-the-dead") {
            self.counters.refused_stale += 1;
            return Ack::StaleSender;
        }
        let mine = self.me.is_none_or(|me| me == envelope.to) || crate::planted!("link-hears-for-others");
        if self.fenced || !mine {
            self.counters.refused_wrong_receiver += 1;
            return Ack::WrongReceiver;
        }
        let known = self.me.is_some() && self.standing(from) == Standing::Living;
        if crate::planted!("link-hears-the-dead") && self.standing(from) == Standing::Dead {
            out.extend(envelope.messages.into_iter().map(|message| Effect::Deliver { from, message }));
            return Ack::Taken;
        }
        let Some(peer) = self.peers.get_mut(&from).filter(|_| known) else {
            self.counters.put_off += 1;
            return Ack::NotYetKnown;
        };
        let delivered = &mut self.counters.delivered;
        if envelope.seq == Envelope::PULSE {
            for message in envelope.messages.into_iter().filter(Message::is_pulse) {
                *delivered += 1;
                out.push(Effect::Deliver { from, message });
            }
            return Ack::Taken;
        }
        let arrival = peer.incoming.take(envelope, &self.settings, |message| {
            *delivered += 1;
            out.push(Effect::Deliver { from, message });
        });
        match arrival {
            Arrival::Fresh => Ack::Taken,
            Arrival::Duplicate => {
                self.counters.duplicates += 1;
                Ack::Taken
            }
            Arrival::BeyondWindow => {
                self.counters.put_off += 1;
                Ack::NotYetKnown
            }
        }
    }

    fn peer_known(&mut self, who: Incarnation) {
        if self.me == Some(who) || self.standing(who) != Standing::Unknown {
            return;
        }
        self.bury(first_life(who)..who);
        self.heard_of.insert(who.node, who.epoch);
        self.peers.entry(who).or_default();
        self.note_ready(who);
    }

    fn peer_died(&mut self, who: Incarnation, out: &mut Vec<Effect>) {
        if self.me == Some(who) {
            return self.fence(who, out);
        }
        self.bury(first_life(who)..=who);
        let newest = self.heard_of.entry(who.node).or_insert(who.epoch);
        *newest = who.epoch.max(*newest);
    }

    /// Drops all that concerns these lives of a node.
    fn bury(&mut self, lives: impl RangeBounds<Incarnation>) {
        let lives: Vec<Incarnation> = self.peers.range(lives).map(|(who, _)| *who).collect();
        for who in lives {
            let Some(peer) = self.peers.remove(&who) else { continue };
            self.counters.dropped += peer.outgoing.backlog() as u64;
            self.ready.remove(&who);
            for (until, seq) in peer.outgoing.resting() {
                self.resting.remove(&(until, who, seq));
            }
        }
    }

    fn fence(&mut self, by: Incarnation, out: &mut Vec<Effect>) {
        if !self.fenced {
            self.fenced = true;
            self.counters.dropped += self.backlog() as u64;
            self.peers.clear();
            self.ready.clear();
            self.resting.clear();
            out.push(Effect::Fenced { by });
        }
    }
}

/// Before or at every life of this node.
fn first_life(who: Incarnation) -> Incarnation {
    Incarnation { epoch: Epoch(0), ..who }
}

impl Machine for Link {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Received(envelope) => self.received(envelope, out),
            Event::Send { to, message } => self.send(to, message, out),
            _ if self.fenced => {}
            Event::Started(me) => self.start(me),
            Event::Flush => {
                while let Some(to) = self.ready.first().copied() {
                    self.pump(to, out);
                }
            }
            Event::Acked { to, seq, ack } => self.acked(now, to, seq, ack, out),
            Event::Lost { to, seq } => self.lost(now, to, seq),
            Event::Refused { to, seq } => self.refused(to, seq, out),
            Event::PeerKnown(who) => self.peer_known(who),
            Event::PeerDied(who) => self.peer_died(who, out),
            Event::Tick => self.retry_rested(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.resting.first().map(|(until, ..)| *until)
    }

    fn check(&self) -> Result<(), Violation> {
        let empty = self.peers.is_empty() && self.ready.is_empty() && self.resting.is_empty();
        Violation::unless(!self.fenced || empty, "link_fenced_silent", || "a fenced link still has peers".into())?;
        let mut resting = BTreeSet::new();
        for (&who, peer) in &self.peers {
            peer.outgoing.check(&self.settings)?;
            peer.incoming.check(&self.settings)?;
            let is_ready = self.standing(who) == Standing::Living && peer.outgoing.is_ready(&self.settings);
            Violation::unless(is_ready == self.ready.contains(&who), "link_ready", || {
                format!("{who}: ready is {is_ready}, the index says otherwise")
            })?;
            Violation::unless(self.me != Some(who), "link_not_to_self", || format!("{who} is its own peer"))?;
            resting.extend(peer.outgoing.resting().map(|(until, seq)| (until, who, seq)));
        }
        Violation::unless(resting == self.resting, "link_resting", || {
            format!("peers rest {resting:?}, the index has {:?}", self.resting)
        })
    }
}
