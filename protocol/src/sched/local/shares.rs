//! Who has had how much of a node: weighted fair shares between groups of tasks.

use crate::{Amount, Nanos, Resources, Share, Violation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the groups have had, as resource time over weight: the group with the least is served next, so over time each
/// gets its weight's part of what there is (weighted fair queueing; dominant resource fairness, NSDI'11, for several
/// resources).
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    groups: BTreeMap<Arc<str>, Group>,
    /// What the group served last had had by then. A group that comes back begins here: time that nobody asked for is
    /// not saved up.
    floor: u128,
}

#[derive(Clone, Debug, Default)]
struct Group {
    weight: u32,
    /// Requests that wait or hold. A group without is forgotten.
    members: usize,
    /// Parts of the node held at the moment, in ten-thousandths of its scarcest resource.
    held: u64,
    /// Part times nanoseconds over weight, until `at`.
    had: u128,
    at: Nanos,
}

impl Group {
    fn settle(&mut self, now: Nanos) {
        let time = u128::from(now.saturating_sub(self.at).0);
        self.had += time * u128::from(self.held) / u128::from(self.weight.max(1));
        self.at = now;
    }
}

impl Shares {
    /// A request of this group came.
    pub(super) fn joined(&mut self, now: Nanos, share: &Share) {
        let floor = self.floor;
        let fresh = || Group { had: floor, at: now, ..Group::default() };
        let group = self.groups.entry(share.group.clone()).or_insert_with(fresh);
        group.settle(now);
        group.weight = share.weight;
        group.members += 1;
    }

    /// One is gone.
    pub(super) fn left(&mut self, share: &Share) {
        if let Some(group) = self.groups.get_mut(&share.group) {
            group.members -= 1;
            if group.members == 0 {
                self.groups.remove(&share.group);
            }
        }
    }

    /// A request of the group holds `part` of the node from now on.
    pub(super) fn hold(&mut self, now: Nanos, share: &Share, part: u64) {
        if let Some(group) = self.groups.get_mut(&share.group) {
            group.settle(now);
            group.held += part;
            self.floor = self.floor.max(group.had);
        }
    }

    /// It holds it no longer.
    pub(super) fn release(&mut self, now: Nanos, share: &Share, part: u64) {
        if let Some(group) = self.groups.get_mut(&share.group) {
            group.settle(now);
            group.held -= part;
        }
    }

    /// What the group will have had by `now`.
    pub(super) fn had(&self, now: Nanos, share: &Share) -> u128 {
        let mut group = self.groups.get(&share.group).cloned().unwrap_or_default();
        group.settle(now);
        group.had
    }

    /// Against the requests that are really there: the group of each, and the part it holds.
    pub(super) fn check<'a>(&self, requests: impl Iterator<Item = (&'a Share, u64)>) -> Result<(), Violation> {
        let mut sums: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
        for (share, part) in requests {
            let sum = sums.entry(&share.group).or_default();
            *sum = (sum.0 + 1, sum.1 + part);
        }
        let known: BTreeMap<&str, (usize, u64)> =
            self.groups.iter().map(|(name, group)| (&**name, (group.members, group.held))).collect();
        Violation::unless(known == sums, "local-shares", || format!("known {known:?}, there are {sums:?}"))
    }
}

/// The part of `total` that `request` takes of its scarcest resource, in ten-thousandths; at least one, so that work
/// without resources has its turn too.
pub(super) fn part(total: &Resources, request: &Resources) -> u64 {
    let part =
        |(name, want): (&str, Amount)| (want.0.saturating_mul(10_000)).checked_div(total.get(name).0).unwrap_or(0);
    request.iter().map(part).max().unwrap_or(0).max(1)
}
