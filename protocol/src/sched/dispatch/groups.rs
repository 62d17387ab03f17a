//! Classes that belong into placement groups: they ask where the bundles are.

use super::{Dispatch, Out};
use crate::member::ClusterView;
use crate::sched::group::Placed;
use crate::sched::policy::{Decision, cluster_slots, mix, slots as slots_in};
use crate::{GroupId, Incarnation, Nanos, Placement, SchedulingClass};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How many leases of a class there can be at once.
pub(super) fn slots(groups: &BTreeMap<GroupId, Vec<Placed>>, view: &ClusterView, class: &SchedulingClass) -> u64 {
    match class.placement.group() {
        Some(group) => allowed(groups.get(&group), class).map(|(_, _, total)| slots_in(total, &class.resources)).sum(),
        None => cluster_slots(view, class),
    }
}

/// The usable bundles that a class may use and fits into.
fn allowed<'a>(bundles: Option<&'a Vec<Placed>>, class: &'a SchedulingClass) -> impl Iterator<Item = &'a Placed> {
    let index = match class.placement {
        Placement::Group { index, .. } => index,
        _ => None,
    };
    let fits = move |(bundle, _, total): &&Placed| index.is_none_or(|i| i == *bundle) && total.fits(&class.resources);
    bundles.into_iter().flatten().filter(fits)
}

impl Dispatch {
    /// The node whose bundles have most slots for class `ix` beyond the leases that it has and asked for there.
    pub(super) fn pick_bundle(&self, ix: usize, group: GroupId, seq: u64) -> Decision {
        let Some(bundles) = self.groups.get(&group) else { return Decision::GroupRemoved(group) };
        let class = &self.classes[ix];
        let mut slots: BTreeMap<Incarnation, i64> = BTreeMap::new();
        for (_, at, total) in allowed(Some(bundles), &class.spec).filter(|(_, at, _)| !class.avoid.contains(&at.node)) {
            let here = i64::try_from(slots_in(total, &class.spec.resources)).unwrap_or(i64::MAX);
            let sum = slots.entry(*at).or_default();
            *sum = sum.saturating_add(here);
        }
        for lease in self.leases.values().filter(|lease| lease.class == ix) {
            if let Some(slots) = slots.get_mut(&lease.at) {
                *slots -= 1;
            }
        }
        let tie = |at: &Incarnation| mix(self.seed ^ seq, u64::from(at.node.0));
        match slots.into_iter().min_by_key(|(at, slots)| (Reverse(*slots), tie(at))) {
            Some((at, _)) => Decision::Node(at),
            None => Decision::Infeasible(format!("waits for a bundle of {group} with {}", class.spec.resources)),
        }
    }

    /// The group of a class that asks in all bundles at once.
    pub(super) fn everywhere(&self, ix: usize) -> Option<GroupId> {
        self.classes[ix].spec.placement.group().filter(|_| self.settings.lasting)
    }

    /// Sees to it that there is a request at every node with a bundle for class `ix`.
    pub(super) fn ask_everywhere(&mut self, ix: usize, group: GroupId, out: &mut Out) {
        if self.classes[ix].queue.live() == 0 {
            return;
        }
        let Some(bundles) = self.groups.get(&group) else { return self.without_group(ix, group, out) };
        let class = &mut self.classes[ix];
        let nodes = allowed(Some(bundles), &class.spec).map(|(_, at, _)| *at);
        let mut nodes: BTreeSet<Incarnation> = nodes.filter(|at| !class.avoid.contains(&at.node)).collect();
        class.asked.iter().filter_map(|seq| self.leases.get(seq)).for_each(|lease| {
            nodes.remove(&lease.at);
        });
        let why = || format!("waits for a bundle of {group} with {}", class.spec.resources);
        class.stuck = (nodes.is_empty() && class.asked.is_empty()).then(|| class.refusal.clone().unwrap_or_else(why));
        for at in nodes {
            self.next_lease += 1;
            self.send(ix, self.next_lease, at, false, out);
        }
    }

    /// The usable bundles of a group are others now.
    pub(super) fn group_changed(&mut self, now: Nanos, group: GroupId, bundles: Option<Vec<Placed>>, out: &mut Out) {
        let gone = bundles.is_none();
        match bundles {
            Some(mut bundles) => {
                bundles.retain(|(_, at, _)| !self.is_dead(*at));
                self.groups.insert(group, bundles);
            }
            None => drop(self.groups.remove(&group)),
        }
        let of_group = self.classes.iter().enumerate().filter(|(_, class)| class.spec.placement.group() == Some(group));
        let touched: Vec<usize> = of_group.map(|(ix, _)| ix).collect();
        for ix in touched {
            if gone {
                // The nodes end whatever runs in the bundles, without a report.
                let leases = self.leases.iter().filter(|(_, lease)| lease.class == ix);
                let leases: Vec<u64> = leases.map(|(seq, _)| *seq).collect();
                leases.into_iter().for_each(|seq| self.give_back(seq, out));
            }
            self.classes[ix].forgive();
            self.classes[ix].slots = None;
            self.drive(now, ix, out);
        }
    }
}
