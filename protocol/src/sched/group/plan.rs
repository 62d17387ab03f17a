//! Where the bundles of a group go: a pure function of what is free.

use super::Strategy;
use crate::member::ClusterView;
use crate::{Incarnation, Resources};
use std::collections::BTreeMap;

/// A node and what could be taken there.
#[derive(Clone, Debug)]
struct Room {
    at: Incarnation,
    free: Resources,
    /// Bundles of this group there.
    bundles: usize,
}

/// What can be done for bundles that have no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// A node for each of them, in their order.
    Now(Vec<Incarnation>),
    /// There is no room at the moment, or never will be; in words.
    Wait(String),
}

/// Finds nodes for the `missing` bundles beside those that are `placed` already.
pub(super) fn plan(view: &ClusterView, strategy: Strategy, missing: &[&Resources], placed: &[Incarnation]) -> Plan {
    let rooms = |of: fn(&crate::member::NodeView) -> Resources| -> Vec<Room> {
        let open = view.nodes.iter().filter(|node| !node.load.draining);
        open.map(|node| Room {
            at: node.member.incarnation,
            free: of(node),
            bundles: placed.iter().filter(|at| **at == node.member.incarnation).count(),
        })
        .collect()
    };
    if let Some(nodes) = fit(rooms(|node| node.load.available.clone()), strategy, missing, placed) {
        return Plan::Now(nodes);
    }
    // Bundles of the group that are placed count as free here: near enough for words.
    let ever = fit(rooms(|node| node.member.total.clone()), strategy, missing, placed).is_some();
    let what: Vec<String> = missing.iter().map(|bundle| format!("[{bundle}]")).collect();
    let (what, how) = (what.join(" "), strategy.name());
    Plan::Wait(match ever {
        true => format!("waits for room for {what}, {how}"),
        false => format!("is infeasible: the cluster, were it empty, has no room for {what}, {how}"),
    })
}

fn fit(
    rooms: Vec<Room>,
    strategy: Strategy,
    missing: &[&Resources],
    placed: &[Incarnation],
) -> Option<Vec<Incarnation>> {
    match strategy {
        Strategy::StrictPack => together(&rooms, missing, placed),
        Strategy::StrictSpread => distinct(&rooms, missing),
        Strategy::Spread => distinct(&rooms, missing).or_else(|| greedy(rooms, missing, |room| room.bundles)),
        Strategy::Pack => {
            together(&rooms, missing, placed).or_else(|| greedy(rooms, missing, |room| usize::MAX - room.bundles))
        }
    }
}

/// One node for all, where those placed already are.
fn together(rooms: &[Room], missing: &[&Resources], placed: &[Incarnation]) -> Option<Vec<Incarnation>> {
    let mut sum = Resources::none();
    missing.iter().for_each(|bundle| sum.give(bundle));
    let allowed = |room: &&Room| placed.iter().all(|at| *at == room.at);
    let room = rooms.iter().filter(allowed).find(|room| room.free.fits(&sum))?;
    Some(vec![room.at; missing.len()])
}

/// A node of its own for each bundle, away from those placed already: a matching by augmenting paths (Kuhn), so one is
/// found if there is one. Costs O(bundles^2 * nodes).
fn distinct(rooms: &[Room], missing: &[&Resources]) -> Option<Vec<Incarnation>> {
    let fits = |bundle: usize, room: usize| rooms[room].bundles == 0 && rooms[room].free.fits(missing[bundle]);
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    for bundle in 0..missing.len() {
        let mut seen = vec![false; rooms.len()];
        if !augment(bundle, rooms.len(), &fits, &mut taken, &mut seen) {
            return None;
        }
    }
    let mut nodes = vec![None; missing.len()];
    taken.into_iter().for_each(|(room, bundle)| nodes[bundle] = Some(rooms[room].at));
    nodes.into_iter().collect()
}

/// Gives `bundle` a room, moving others if need be.
fn augment(
    bundle: usize,
    rooms: usize,
    fits: &impl Fn(usize, usize) -> bool,
    taken: &mut BTreeMap<usize, usize>,
    seen: &mut [bool],
) -> bool {
    for room in 0..rooms {
        if seen[room] || !fits(bundle, room) {
            continue;
        }
        seen[room] = true;
        let free = match taken.get(&room).copied() {
            None => true,
            Some(other) => augment(other, rooms, fits, taken, seen),
        };
        if free {
            taken.insert(room, bundle);
            return true;
        }
    }
    false
}

/// Largest bundles first, each to the node with room that `key` puts first. May miss a packing that exists: then the
/// group waits for more room.
fn greedy(mut rooms: Vec<Room>, missing: &[&Resources], key: impl Fn(&Room) -> usize) -> Option<Vec<Incarnation>> {
    let size = |bundle: &Resources| bundle.iter().map(|(_, amount)| amount.0).max().unwrap_or(0);
    let mut order: Vec<usize> = (0..missing.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(size(missing[*index])));
    let mut nodes = vec![None; missing.len()];
    for index in order {
        let with_room = rooms.iter_mut().filter(|room| room.free.fits(missing[index]));
        let room = with_room.min_by_key(|room| (key(room), room.at))?;
        room.free.take(missing[index]);
        room.bundles += 1;
        nodes[index] = Some(room.at);
    }
    nodes.into_iter().collect()
}
