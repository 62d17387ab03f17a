//! The head's side of membership: it admits, watches and declares dead, and keeps the log of it.

use super::join::check_name;
use super::{JoinError, JoinRequest, Joined, Member, MemberEvent, MemberSettings, NodeLoad, PROTOCOL_VERSION};
use crate::{Epoch, Incarnation, Machine, Message, Nanos, NodeId, Violation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What happened, at the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process asks to become a node. Exactly one [`Effect::Answer`] follows in the same step.
    Join(JoinRequest),
    /// A node says that it lives, and how loaded it is.
    Heartbeat {
        /// Who.
        from: Incarnation,
        /// Its load. Replaces an older version only.
        load: NodeLoad,
    },
    /// Anything else came from a node: proof of life as good as a heartbeat. Optional.
    Heard(Incarnation),
    /// A node says goodbye.
    Leave {
        /// Who.
        from: Incarnation,
    },
    /// A node has seen a gap in the log.
    Resync {
        /// Who.
        from: Incarnation,
        /// The last entry it has.
        have: u64,
    },
    /// The head goes on after its process was restarted: it heard nothing meanwhile for reasons of its own.
    Resumed,
    /// The deadline of [`Machine::next_deadline`] has come.
    Tick,
}

/// What the head's shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer the join request with this nonce.
    Answer {
        /// Which request.
        nonce: u64,
        /// The answer. Boxed because welcomes are large and rare.
        result: Result<Box<Joined>, JoinError>,
    },
    /// Tell a living node, over its link. To [`Incarnation::HEAD`]: hand it to the head's own [`super::View`].
    Send {
        /// Whom.
        to: Incarnation,
        /// What; always a [`Message::View`].
        message: Message,
    },
    /// A verdict was entered in the log. For people and traces; machines read it in their view.
    Declared {
        /// Who is dead.
        incarnation: Incarnation,
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
}

/// Who is in the cluster; see the module's documentation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Roster {
    settings: MemberSettings,
    /// Entry `n` is `log[n - 1]`. Kept whole: a few hundred bytes for each life there ever was.
    log: Vec<MemberEvent>,
    living: BTreeMap<Incarnation, Living>,
    /// Every name there ever was, and its number.
    names: BTreeMap<String, NodeId>,
    /// Every `(name, nonce)` that was ever admitted, and the life it named.
    admitted: BTreeMap<(String, u64), Incarnation>,
    last_epoch: Epoch,
    /// Living nodes with a load that the others have not been told.
    changed: BTreeSet<Incarnation>,
    /// When to look next at who is silent and what changed.
    next_beat: Option<Nanos>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Living {
    member: Member,
    load: NodeLoad,
    /// When it last gave a sign of life.
    heard: Nanos,
    /// Whether this silence was already forgiven once because the head itself was away.
    excused: bool,
}

impl Roster {
    /// A cluster of the head alone, entered in the log as the first member. The head is never declared dead by itself.
    ///
    /// # Panics
    /// If the head's incarnation is not [`Incarnation::HEAD`], or the settings do not [`MemberSettings::validate`].
    pub fn new(settings: MemberSettings, head: Member) -> Self {
        assert_eq!(head.incarnation, Incarnation::HEAD, "the head's own name");
        assert_eq!(settings.validate(), Ok(()), "validated settings");
        let mut roster = Self {
            settings,
            log: Vec::new(),
            living: BTreeMap::new(),
            names: BTreeMap::new(),
            admitted: BTreeMap::new(),
            last_epoch: Incarnation::HEAD.epoch,
            changed: BTreeSet::new(),
            next_beat: None,
        };
        roster.names.insert(head.name.clone(), NodeId::HEAD);
        roster.enter(Nanos::ZERO, head);
        roster
    }

    /// How the cluster is watched.
    pub fn settings(&self) -> MemberSettings {
        self.settings
    }

    /// How many entries the log has.
    pub fn seq(&self) -> u64 {
        self.log.len() as u64
    }

    /// The log; entry `n` is at `n - 1`.
    pub fn log(&self) -> &[MemberEvent] {
        &self.log
    }

    /// The living, in id order.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.living.values().map(|living| &living.member)
    }

    /// A life, if it lives.
    pub fn member(&self, who: Incarnation) -> Option<&Member> {
        self.living.get(&who).map(|living| &living.member)
    }

    /// What the head's own [`super::View`] starts from.
    pub fn welcome_head(&self) -> Joined {
        self.welcome(Incarnation::HEAD)
    }

    fn enter(&mut self, now: Nanos, member: Member) {
        let load = NodeLoad::idle(&member);
        self.log.push(MemberEvent::Joined(member.clone()));
        self.living.insert(member.incarnation, Living { member, load, heard: now, excused: false });
    }

    fn welcome(&self, incarnation: Incarnation) -> Joined {
        let members = self.members().cloned().collect();
        let (head, settings) = (Incarnation::HEAD, self.settings);
        Joined { incarnation, head, members, loads: self.loads(), seq: self.seq(), settings }
    }

    /// The loads of all who ever reported one.
    fn loads(&self) -> Vec<(NodeId, NodeLoad)> {
        let reported = self.living.iter().filter(|(_, living)| living.load.version > 0);
        reported.map(|(who, living)| (who.node, living.load.clone())).collect()
    }

    fn join(&mut self, now: Nanos, request: JoinRequest, out: &mut Vec<Effect>) {
        let nonce = request.nonce;
        let before = self.seq();
        let result = self.admit(now, request).map(|who| Box::new(self.welcome(who)));
        let newcomer = result.as_ref().ok().map(|joined| joined.incarnation).filter(|_| self.seq() > before);
        out.push(Effect::Answer { nonce, result });
        if let Some(newcomer) = newcomer {
            self.next_beat.get_or_insert(now + self.settings.health_period);
            self.publish_last(newcomer, out);
        }
    }

    /// Which life this request names: the one it named before, or a new one.
    fn admit(&mut self, now: Nanos, request: JoinRequest) -> Result<Incarnation, JoinError> {
        if request.protocol_version != PROTOCOL_VERSION {
            return Err(JoinError::Version { yours: request.protocol_version, mine: PROTOCOL_VERSION });
        }
        check_name(&request.name)?;
        let id = (request.name.clone(), request.nonce);
        if let Some(&life) = self.admitted.get(&id) {
            return if self.living.contains_key(&life) { Ok(life) } else { Err(JoinError::LifeOver { life }) };
        }
        if let Some(member) = self.members().find(|member| member.name == request.name) {
            return Err(JoinError::NameTaken { name: request.name, by: member.incarnation });
        }
        let unused = NodeId(self.names.len() as u32);
        let node = *self.names.entry(request.name.clone()).or_insert(unused);
        self.last_epoch = Epoch(self.last_epoch.0 + 1);
        let incarnation = Incarnation { node, epoch: self.last_epoch };
        let JoinRequest { name, rpc, bulk, total, labels, .. } = request;
        self.admitted.insert(id, incarnation);
        self.enter(now, Member { incarnation, name, rpc, bulk, total, labels });
        Ok(incarnation)
    }

    /// Tells the newest log entry to every living node but the one that knows it anyway.
    fn publish_last(&self, except: Incarnation, out: &mut Vec<Effect>) {
        let message = Message::View {
            first: self.seq(),
            entries: self.log.last().cloned().into_iter().collect(),
            loads: Vec::new(),
        };
        let to = self.living.keys().filter(|who| **who != except);
        out.extend(to.map(|to| Effect::Send { to: *to, message: message.clone() }));
    }

    fn heard(&mut self, now: Nanos, from: Incarnation) -> Option<&mut Living> {
        let living = self.living.get_mut(&from).filter(|_| !crate::planted!("roster-ignores-heartbeats"))?;
        living.heard = now;
        living.excused = false;
        Some(living)
    }

    fn heartbeat(&mut self, now: Nanos, from: Incarnation, load: NodeLoad) {
        let Some(living) = self.heard(now, from) else { return };
        if load.version > living.load.version {
            living.load = load;
            self.changed.insert(from);
            self.next_beat.get_or_insert(now + self.settings.health_period);
        }
    }

    fn declare(&mut self, incarnation: Incarnation, why: String, out: &mut Vec<Effect>) {
        let Some(living) = self.living.remove(&incarnation) else { return };
        self.changed.remove(&incarnation);
        self.log.push(MemberEvent::Died { incarnation, why: why.clone() });
        out.push(Effect::Declared { incarnation, name: living.member.name, why });
        if crate::planted!("roster-keeps-deaths-secret") {
            return;
        }
        self.publish_last(incarnation, out);
    }

    fn resync(&self, from: Incarnation, have: u64, out: &mut Vec<Effect>) {
        if !self.living.contains_key(&from) {
            return;
        }
        let have = have.min(self.seq());
        let entries = self.log[have as usize..].to_vec();
        let message = Message::View { first: have + 1, entries, loads: self.loads() };
        out.push(Effect::Send { to: from, message });
    }

    fn tick(&mut self, now: Nanos, out: &mut Vec<Effect>) {
        let Some(beat) = self.next_beat.filter(|beat| *beat <= now) else { return };
        let slept = now - beat;
        if slept > self.settings.health_period {
            self.excuse_all(now);
        }
        self.declare_silent(now, out);
        self.pass_on_loads(out);
        let watching = self.living.len() > 1;
        self.next_beat = watching.then(|| now + self.settings.health_period);
    }

    /// A restart is no fault of the others: each of them has the whole timeout from now on, as after its join.
    fn resume(&mut self, now: Nanos) {
        for living in self.living.values_mut() {
            living.heard = now;
            living.excused = false;
        }
        self.next_beat = self.next_beat.map(|_| now + self.settings.health_period);
    }

    /// The head missed its own beat: what it did not hear meanwhile says nothing about the others.
    fn excuse_all(&mut self, now: Nanos) {
        for living in self.living.values_mut().filter(|living| !living.excused) {
            living.heard = now;
            living.excused = true;
        }
    }

    fn declare_silent(&mut self, now: Nanos, out: &mut Vec<Effect>) {
        let timeout = self.settings.health_timeout;
        let silence = |living: &Living| now.saturating_sub(living.heard);
        let others = self.living.iter().filter(|(who, _)| **who != Incarnation::HEAD);
        let silent: Vec<(Incarnation, Nanos)> =
            others.map(|(who, living)| (*who, silence(living))).filter(|(_, silence)| *silence >= timeout).collect();
        for (who, silence) in silent {
            self.declare(who, format!("nothing heard for {silence}, the limit is {timeout}"), out);
        }
    }

    fn pass_on_loads(&mut self, out: &mut Vec<Effect>) {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return;
        }
        let load = |who: Incarnation| Some((who.node, self.living.get(&who)?.load.clone()));
        let loads = changed.into_iter().filter_map(load).collect();
        let message = Message::View { first: self.seq() + 1, entries: Vec::new(), loads };
        out.extend(self.living.keys().map(|to| Effect::Send { to: *to, message: message.clone() }));
    }

    /// Compares the tables with what the log says.
    fn check_against_log(&self) -> Result<(), Violation> {
        let mut alive = BTreeSet::new();
        let mut last_epoch = Epoch(0);
        for entry in &self.log {
            match entry {
                MemberEvent::Joined(member) => {
                    let who = member.incarnation;
                    Violation::unless(who.epoch > last_epoch, "roster_epochs_rise", || format!("{who} in the log"))?;
                    let number = self.names.get(&member.name);
                    Violation::unless(number == Some(&who.node), "roster_names_keep_numbers", || {
                        format!("`{}` is {number:?}, the log says {who}", member.name)
                    })?;
                    last_epoch = who.epoch;
                    alive.insert(who);
                }
                MemberEvent::Died { incarnation, .. } => {
                    Violation::unless(alive.remove(incarnation), "roster_dies_once", || format!("{incarnation}"))?;
                }
            }
        }
        Violation::unless(alive.iter().eq(self.living.keys()), "roster_is_its_log", || {
            format!("the log leaves {alive:?}, the table has {:?}", self.living.keys())
        })
    }
}

impl Machine for Roster {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Join(request) => self.join(now, request, out),
            Event::Heartbeat { from, load } => self.heartbeat(now, from, load),
            Event::Heard(from) => {
                self.heard(now, from);
            }
            Event::Leave { from } if from != Incarnation::HEAD => self.declare(from, "it left".into(), out),
            Event::Leave { .. } => {}
            Event::Resync { from, have } => self.resync(from, have, out),
            Event::Resumed => self.resume(now),
            Event::Tick => self.tick(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.next_beat
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_against_log()?;
        let numbers: BTreeSet<NodeId> = self.living.keys().map(|who| who.node).collect();
        Violation::unless(numbers.len() == self.living.len(), "roster_one_life_per_node", || {
            format!("{:?}", self.living.keys())
        })?;
        let known = self.changed.iter().all(|who| self.living.contains_key(who));
        Violation::unless(known, "roster_changed_are_living", || format!("{:?}", self.changed))?;
        let watched = self.next_beat.is_some() || (self.living.len() == 1 && self.changed.is_empty());
        Violation::unless(watched, "roster_watches", || "nodes live, or loads changed, and no beat is due".into())
    }
}
