//! A node's side of membership: what it knows of the others, always as of one position of the head's log.

use super::{ClusterView, Joined, Member, MemberEvent, NodeLoad, NodeView};
use crate::{Incarnation, Machine, Message, Nanos, NodeId, Violation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happened, at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The head's welcome. Only the first one counts.
    Joined(Box<Joined>),
    /// The head's news: the fields of [`Message::View`]. Before the welcome it changes nothing.
    Update {
        /// Number of the first entry, or of the next one to come if there is none.
        first: u64,
        /// Log entries.
        entries: Vec<MemberEvent>,
        /// Loads as of the log position before the next entry to come.
        loads: Vec<(NodeId, NodeLoad)>,
    },
}

impl Event {
    /// The news in a [`Message::View`].
    ///
    /// # Errors
    /// The message itself, if it is another one.
    pub fn from_message(message: Message) -> Result<Self, Message> {
        match message {
            Message::View { first, entries, loads } => Ok(Self::Update { first, entries, loads }),
            other => Err(other),
        }
    }
}

/// What the node's shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A node lives, this one included: tell the [`crate::link::Link`] and whoever places work.
    NodeJoined(Member),
    /// A node is dead, for ever: tell the link, the owners and the directories.
    NodeDied {
        /// Which life.
        incarnation: Incarnation,
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// Log entries are missing: send the head [`Message::ResyncView`] with this number, the last entry that is here.
    Resync(u64),
    /// This very process was declared dead: it must stop acting.
    Fenced {
        /// Why.
        why: String,
    },
}

/// Who is in the cluster as far as this node knows; see the module's documentation.
#[derive(Debug, Serialize, Deserialize)]
pub struct View {
    me: Option<Incarnation>,
    fenced: bool,
    seq: u64,
    version: u64,
    /// The living by number; ids and epochs are both unique among them.
    nodes: BTreeMap<NodeId, Known>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    node: Arc<NodeView>,
    /// The log position from which on its number means this life.
    since: u64,
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// A view of nothing, until the welcome comes.
    pub fn new() -> Self {
        Self { me: None, fenced: false, seq: 0, version: 0, nodes: BTreeMap::new() }
    }

    /// Who this node is, once it is welcomed.
    pub fn me(&self) -> Option<Incarnation> {
        self.me
    }

    /// How many log entries it includes.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Counts the changes, loads included: a snapshot of the same version is still good.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many live.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it knows of nobody, as before the welcome.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The living, in id order.
    pub fn alive(&self) -> impl Iterator<Item = &Member> {
        self.nodes.values().map(|known| &known.node.member)
    }

    /// This life, if it lives.
    pub fn member(&self, who: Incarnation) -> Option<&Member> {
        let member = &self.nodes.get(&who.node)?.node.member;
        (member.incarnation == who).then_some(member)
    }

    /// The living node of this name.
    pub fn by_name(&self, name: &str) -> Option<&Member> {
        self.alive().find(|member| member.name == name)
    }

    /// Whether this life lives.
    pub fn is_alive(&self, who: Incarnation) -> bool {
        self.member(who).is_some()
    }

    /// The load of a living node.
    pub fn load(&self, node: NodeId) -> Option<&NodeLoad> {
        Some(&self.nodes.get(&node)?.node.load)
    }

    /// The cluster as it is now, to be shared by all who decide until [`View::version`] moves on. Takes a counter for each
    /// node, and copies none.
    pub fn snapshot(&self) -> ClusterView {
        let nodes = self.nodes.values().map(|known| known.node.clone()).collect();
        ClusterView { nodes, seq: self.seq, version: self.version }
    }

    fn welcome(&mut self, joined: Joined, out: &mut Vec<Effect>) {
        if self.me.is_some() {
            return;
        }
        self.me = Some(joined.incarnation);
        self.seq = joined.seq + u64::from(crate::planted!("view-misses-first-news"));
        joined.members.into_iter().for_each(|member| self.add(member, out));
        self.apply_loads(self.seq, joined.loads);
        self.version += 1;
    }

    fn add(&mut self, member: Member, out: &mut Vec<Effect>) {
        let (id, load) = (member.incarnation, NodeLoad::idle(&member));
        self.nodes
            .insert(id.node, Known { node: Arc::new(NodeView { member: member.clone(), load }), since: self.seq });
        out.push(Effect::NodeJoined(member));
    }

    fn remove(&mut self, incarnation: Incarnation, why: String, out: &mut Vec<Effect>) {
        if !self.is_alive(incarnation) {
            return;
        }
        let name = self.nodes.remove(&incarnation.node).map(|known| known.node.member.name.clone());
        if self.me == Some(incarnation) {
            self.fenced = true;
            out.push(Effect::Fenced { why });
        } else if let Some(name) = name {
            out.push(Effect::NodeDied { incarnation, name, why });
        }
    }

    fn update(&mut self, first: u64, entries: Vec<MemberEvent>, loads: Vec<(NodeId, NodeLoad)>, out: &mut Vec<Effect>) {
        if first > self.seq + 1 {
            out.push(Effect::Resync(self.seq));
            return;
        }
        let end = first.saturating_sub(1) + entries.len() as u64;
        let known = self.seq + 1 - first;
        for entry in entries.into_iter().skip(known as usize) {
            self.seq += 1;
            self.version += 1;
            match entry {
                MemberEvent::Joined(member) => self.add(member, out),
                MemberEvent::Died { incarnation, why } => self.remove(incarnation, why, out),
            }
        }
        self.apply_loads(end, loads);
    }

    /// Takes loads as of log position `at`. A number may mean another life by now: then its load is not taken.
    fn apply_loads(&mut self, at: u64, loads: Vec<(NodeId, NodeLoad)>) {
        for (node, load) in loads {
            let Some(known) = self.nodes.get_mut(&node) else { continue };
            if known.since <= at && load.version > known.node.load.version {
                Arc::make_mut(&mut known.node).load = load;
                self.version += 1;
            }
        }
    }
}

impl Machine for View {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, _now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Joined(joined) => self.welcome(*joined, out),
            Event::Update { first, entries, loads } if self.me.is_some() && !self.fenced => {
                self.update(first, entries, loads, out);
            }
            Event::Update { .. } => {}
        }
    }

    fn check(&self) -> Result<(), Violation> {
        for (node, known) in &self.nodes {
            let member = &known.node.member;
            let consistent = member.incarnation.node == *node && known.since <= self.seq;
            Violation::unless(consistent, "view_entry", || {
                format!("{node} is {} since {}, at {}", member.incarnation, known.since, self.seq)
            })?;
        }
        let names: BTreeSet<&str> = self.alive().map(|member| member.name.as_str()).collect();
        Violation::unless(names.len() == self.nodes.len(), "view_names", || format!("{names:?}"))?;
        let sane = self.fenced != self.me.is_none_or(|me| self.is_alive(me));
        Violation::unless(sane, "view_fenced_iff_dead", || format!("{:?} fenced {}", self.me, self.fenced))
    }
}
