//! Placement groups: reservations on one or several nodes, made together or not at all.
//!
//! A *bundle* is an amount of resources set aside on one node. A *group* is several bundles that are reserved by one
//! strategy; tasks that name the group run inside its bundles and use what was set aside, not what is free. The process
//! that makes a group owns it: this machine lives beside its [`Dispatch`](super::Dispatch). Leases for actors are the
//! head's, so a group that an actor names is *published*: the head hears of its usable bundles too.
//!
//! # States of a bundle
//! ```text
//!   unplaced --Reserve--> asked --Reserved--> held, usable once all bundles of the round are
//!      ^                    |                   |
//!      +------Refused-------+                   |
//!      +--------------------+---NodeDied--------+
//! ```
//! # Rules
//! - **Together.** A round asks for all bundles without a place at once. If every node says yes they are usable. If one
//!   says no, or dies before the round is over, all of that round are given back, and another round follows after a
//!   pause that grows from [`PAUSE`] to [`LONGEST_PAUSE`]. A round begins only when every answer to the last one is
//!   here, so answers are never taken for those of another round; and with the cluster as the owner knows it then.
//! - **Strategy (I35).** Strict forms hold at all times; the others are preferences. See `plan.rs`.
//! - **Published (P6).** From [`Event::Publish`] on, the head is told what the dispatcher is told, in the same order:
//!   what is usable at that moment, each change, and the end. Who publishes before he sends the head an actor can rely
//!   on the head knowing the group by then, because links keep order. The head's word of a death may be older or newer
//!   than the maker's: bundles on nodes that the head knows as dead are none. The maker's own death needs no message.
//! - **Loss.** Bundles on a node that died are reserved anew; the others stay usable meanwhile.
//! - **Nothing is left behind.** A reservation lives as long as its owner, by membership's verdict, and a return is a
//!   message on a link that repeats it until the node has heard it or is dead: the obligation to clean up has no retry
//!   budget and no timer (ray#64696). It is read after the request it takes back, because links keep order.
//! - **No silent wait.** A group that is not placed says what it waits for ([`Groups::state`]).
//!
//! # Where we differ from Ray
//! Ray's control store makes groups, one at a time, in two phases with a commit message and a persisted record, because
//! a group may outlive its creator; actors in it end with it, as here. Here the creator reserves and uses: the first phase is [`Effect::Reserve`], and
//! what makes it final is the first lease, so there is nothing to commit and nothing to persist. Bundles are accounts
//! of their own at the node, not renamed resources (Ray's `CPU_group_0_...`).

mod plan;
#[cfg(test)]
mod tests;

use crate::member::ClusterView;
use crate::{Bundle, GroupId, Incarnation, Machine, Nanos, Resources, Violation};
use plan::{Plan, plan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Between two rounds of a group, at first.
pub const PAUSE: Nanos = Nanos::millis(100);
/// Between two rounds of a group, at most.
pub const LONGEST_PAUSE: Nanos = Nanos::secs(1);

/// How the bundles of a group lie to each other (the names are Ray's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// On as few nodes as they fit.
    #[default]
    Pack,
    /// On as many nodes as there are.
    Spread,
    /// All on one node.
    StrictPack,
    /// Each on a node of its own.
    StrictSpread,
}

impl Strategy {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Pack, Self::Spread, Self::StrictPack, Self::StrictSpread];

    /// The word scenario files use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Spread => "spread",
            Self::StrictPack => "strict_pack",
            Self::StrictSpread => "strict_spread",
        }
    }
}

/// A usable bundle: its number, its node, and what was set aside.
pub type Placed = (u32, Incarnation, Resources);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The application wants a group.
    Create {
        /// Its name.
        group: GroupId,
        /// What to set aside, in order. Never empty.
        bundles: Vec<Resources>,
        /// How.
        strategy: Strategy,
    },
    /// An actor names it: the head must know where its bundles are, from now on.
    Publish(GroupId),
    /// It no longer does.
    Remove(GroupId),
    /// The cluster changed.
    View(Arc<ClusterView>),
    /// A node set a bundle aside.
    Reserved {
        /// Which.
        bundle: Bundle,
        /// Who.
        by: Incarnation,
    },
    /// A node could not.
    Refused {
        /// Which.
        bundle: Bundle,
        /// Who.
        by: Incarnation,
    },
    /// Membership declared this node dead.
    NodeDied(Incarnation),
    /// The deadline has come.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask a node to set a bundle aside.
    Reserve {
        /// The node.
        to: Incarnation,
        /// The bundle.
        bundle: Bundle,
        /// How much.
        resources: Resources,
    },
    /// Give a bundle back.
    Return {
        /// The node.
        to: Incarnation,
        /// The bundle.
        bundle: Bundle,
    },
    /// These bundles of a group are usable now, and no others; `None`: the group is gone.
    Usable {
        /// The group.
        group: GroupId,
        /// In their order.
        bundles: Option<Vec<Placed>>,
    },
    /// Tell the head the same of a published group.
    Publish {
        /// The group.
        group: GroupId,
        /// In their order.
        bundles: Option<Vec<Placed>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unplaced,
    Asked(Incarnation),
    /// `usable` once its round was complete.
    Held {
        at: Incarnation,
        usable: bool,
    },
}

#[derive(Debug)]
struct Group {
    strategy: Strategy,
    bundles: Vec<(Resources, State)>,
    /// Whether a node said no in this round.
    refused: bool,
    pause: Nanos,
    /// When the next round may begin, after one that failed.
    retry_at: Option<Nanos>,
    /// What it waits for, if it does.
    why: Option<String>,
    /// Whether the head is told of it.
    published: bool,
}

impl Group {
    fn usable(&self) -> Vec<Placed> {
        let place = |(index, (resources, state)): (u32, &(Resources, State))| {
            usable_at(*state).map(|at| (index, at, resources.clone()))
        };
        (0..).zip(&self.bundles).filter_map(place).collect()
    }
}

/// The placement groups of one owner. See the module's documentation.
#[derive(Debug, Default)]
pub struct Groups {
    groups: BTreeMap<GroupId, Group>,
    view: Arc<ClusterView>,
}

impl Groups {
    /// The nodes of the bundles of a group, in order, if all are usable; else what it waits for; none if there is no
    /// such group.
    pub fn state(&self, group: GroupId) -> Option<Result<Vec<Incarnation>, String>> {
        let group = self.groups.get(&group)?;
        let nodes: Option<Vec<Incarnation>> = group.bundles.iter().map(|(_, state)| usable_at(*state)).collect();
        Some(nodes.ok_or_else(|| group.why.clone().unwrap_or_else(|| "waits for the answers of nodes".to_owned())))
    }

    /// What each group that is not placed waits for, for people.
    pub fn waits(&self) -> Vec<String> {
        let waits = |group: &GroupId| Some(format!("placement group {group} {}", self.state(*group)?.err()?));
        self.groups.keys().filter_map(waits).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Begins a round if one can begin.
    fn place(&mut self, id: GroupId, out: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.retry_at.is_some() || group.bundles.iter().any(|(_, state)| matches!(state, State::Asked(_))) {
            return;
        }
        let missing: Vec<usize> =
            (0..group.bundles.len()).filter(|index| group.bundles[*index].1 == State::Unplaced).collect();
        if missing.is_empty() {
            return;
        }
        let placed: Vec<Incarnation> = group.bundles.iter().filter_map(|(_, state)| at(*state)).collect();
        let wanted: Vec<&Resources> = missing.iter().map(|index| &group.bundles[*index].0).collect();
        match plan(&self.view, group.strategy, &wanted, &placed) {
            Plan::Wait(why) => group.why = Some(why),
            Plan::Now(nodes) => {
                group.why = None;
                group.refused = false;
                for (index, to) in missing.into_iter().zip(nodes) {
                    let (resources, state) = &mut group.bundles[index];
                    *state = State::Asked(to);
                    let bundle = Bundle { group: id, index: index as u32 };
                    out.push(Effect::Reserve { to, bundle, resources: resources.clone() });
                }
            }
        }
    }

    fn answered(&mut self, now: Nanos, bundle: Bundle, by: Incarnation, yes: bool, out: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(&bundle.group) else { return };
        let Some((_, state)) = group.bundles.get_mut(bundle.index as usize) else { return };
        if *state != State::Asked(by) {
            return;
        }
        *state = if yes { State::Held { at: by, usable: false } } else { State::Unplaced };
        group.refused |= !yes;
        self.end_round(now, bundle.group, out);
    }

    /// With the last answer of a round: it counts, or all of it is given back.
    fn end_round(&mut self, now: Nanos, id: GroupId, out: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.bundles.iter().any(|(_, state)| matches!(state, State::Asked(_))) {
            return;
        }
        if !group.refused {
            for (_, state) in &mut group.bundles {
                if let State::Held { usable, .. } = state {
                    *usable = true;
                }
            }
            group.pause = PAUSE;
            self.tell(id, out);
            // Bundles that were lost meanwhile.
            return self.place(id, out);
        }
        for (index, (_, state)) in group.bundles.iter_mut().enumerate() {
            if let State::Held { at, usable: false } = *state {
                out.push(Effect::Return { to: at, bundle: Bundle { group: id, index: index as u32 } });
                *state = State::Unplaced;
            }
        }
        group.why = Some("a node that seemed to have room had none; asks again soon".to_owned());
        group.retry_at = Some(now + group.pause);
        group.pause = LONGEST_PAUSE.min(Nanos(group.pause.0 * 3 / 2));
    }

    fn tell(&self, id: GroupId, out: &mut Vec<Effect>) {
        let Some(group) = self.groups.get(&id) else { return };
        out.push(Effect::Usable { group: id, bundles: Some(group.usable()) });
        if group.published {
            out.push(Effect::Publish { group: id, bundles: Some(group.usable()) });
        }
    }

    fn publish(&mut self, id: GroupId, out: &mut Vec<Effect>) {
        if let Some(group) = self.groups.get_mut(&id).filter(|group| !group.published) {
            group.published = true;
            out.push(Effect::Publish { group: id, bundles: Some(group.usable()) });
        }
    }

    fn remove(&mut self, id: GroupId, out: &mut Vec<Effect>) {
        let Some(group) = self.groups.remove(&id) else { return };
        out.push(Effect::Usable { group: id, bundles: None });
        if group.published {
            out.push(Effect::Publish { group: id, bundles: None });
        }
        for (index, (_, state)) in (0..).zip(group.bundles) {
            // A node that was asked answers first and reads the return then.
            out.extend(at(state).map(|to| Effect::Return { to, bundle: Bundle { group: id, index } }));
        }
    }

    fn node_died(&mut self, now: Nanos, dead: Incarnation, out: &mut Vec<Effect>) {
        if self.view.nodes.iter().any(|node| node.member.incarnation == dead) {
            Arc::make_mut(&mut self.view).nodes.retain(|node| node.member.incarnation != dead);
        }
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let (mut broken, mut lost) = (false, false);
            for (_, state) in group.bundles.iter_mut().filter(|(_, state)| at(*state) == Some(dead)) {
                // What this round has there already is part of it, as is what it still waits for.
                broken |= usable_at(*state).is_none();
                lost |= usable_at(*state).is_some();
                *state = State::Unplaced;
            }
            if lost {
                self.tell(id, out);
            }
            if broken && let Some(group) = self.groups.get_mut(&id) {
                group.refused = true;
                self.end_round(now, id, out);
            }
            self.place(id, out);
        }
    }

    fn place_all(&mut self, out: &mut Vec<Effect>) {
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        ids.into_iter().for_each(|id| self.place(id, out));
    }
}

impl Machine for Groups {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Create { group, bundles, strategy } => {
                let bundles = bundles.into_iter().map(|resources| (resources, State::Unplaced)).collect();
                let (refused, retry_at, why, published) = (false, None, None, false);
                self.groups.insert(group, Group { strategy, bundles, refused, pause: PAUSE, retry_at, why, published });
                self.tell(group, out);
                self.place(group, out);
            }
            Event::Publish(group) => self.publish(group, out),
            Event::Remove(group) => self.remove(group, out),
            Event::View(view) => {
                self.view = view;
                self.place_all(out);
            }
            Event::Reserved { bundle, by } => self.answered(now, bundle, by, true, out),
            Event::Refused { bundle, by } => self.answered(now, bundle, by, false, out),
            Event::NodeDied(dead) => self.node_died(now, dead, out),
            Event::Tick => {
                for group in self.groups.values_mut() {
                    if group.retry_at.is_some_and(|at| at <= now) {
                        group.retry_at = None;
                    }
                }
                self.place_all(out);
            }
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.groups.values().filter_map(|group| group.retry_at).min()
    }

    fn check(&self) -> Result<(), Violation> {
        for (id, group) in &self.groups {
            let mut nodes: Vec<Incarnation> = group.bundles.iter().filter_map(|(_, state)| at(*state)).collect();
            let bundles = nodes.len();
            nodes.sort_unstable();
            nodes.dedup();
            let strict = match group.strategy {
                Strategy::StrictPack => nodes.len() <= 1,
                Strategy::StrictSpread => nodes.len() == bundles,
                Strategy::Pack | Strategy::Spread => true,
            };
            Violation::unless(strict, "I35-strict-groups", || format!("{id}: {:?}", group.bundles))?;
            let whole = bundles == group.bundles.len() || group.why.is_some() || group.retry_at.is_some();
            let answers = group.bundles.iter().any(|(_, state)| matches!(state, State::Asked(_)));
            Violation::unless(whole || answers, "group-silent-wait", || format!("{id}: {group:?}"))?;
        }
        Ok(())
    }
}

/// Where a bundle is, or may be soon.
fn at(state: State) -> Option<Incarnation> {
    match state {
        State::Unplaced => None,
        State::Asked(at) | State::Held { at, .. } => Some(at),
    }
}

fn usable_at(state: State) -> Option<Incarnation> {
    match state {
        State::Held { at, usable: true } => Some(at),
        _ => None,
    }
}
