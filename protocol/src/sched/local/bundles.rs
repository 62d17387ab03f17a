//! What is set aside on this node for placement groups, and the leases inside.

use super::ledger::Ledger;
use super::{Effect, Lease, Local, State};
use crate::{Bundle, GroupId, LeaseId, OwnerId, Placement, Resources, SchedulingClass, Violation};

impl Local {
    /// What is set aside here for placement groups.
    pub fn reserved(&self) -> impl Iterator<Item = (Bundle, &Resources)> {
        self.bundles.iter().map(|(bundle, (resources, _))| (*bundle, resources))
    }

    /// The bundles here that a class may use.
    fn bundles_for(&self, class: &SchedulingClass) -> impl Iterator<Item = (Bundle, &Resources, &Ledger)> {
        let range = match &class.placement {
            Placement::Group { group, index } => {
                let (first, last) = index.map_or((0, u32::MAX), |index| (index, index));
                Some(Bundle { group: *group, index: first }..=Bundle { group: *group, index: last })
            }
            _ => None,
        };
        let bundles = range.into_iter().flat_map(|range| self.bundles.range(range));
        bundles.map(|(bundle, (total, ledger))| (*bundle, total, ledger))
    }

    fn bundle_with_room(&self, class: &SchedulingClass) -> Option<Bundle> {
        let mut bundles = self.bundles_for(class).filter(|(_, _, ledger)| ledger.fits(&class.resources));
        bundles.next().map(|(bundle, ..)| bundle)
    }

    /// Whether a request of this class could be granted now.
    pub(super) fn has_room(&self, class: &SchedulingClass) -> bool {
        match class.placement.group() {
            Some(_) => self.bundle_with_room(class).is_some(),
            None => self.ledger.fits(&class.resources),
        }
    }

    /// What is free for this class, in all bundles it may use if it belongs into a group.
    pub(super) fn free_for(&self, class: &SchedulingClass) -> Resources {
        if class.placement.group().is_none() {
            return self.ledger.free().clone();
        }
        let mut free = Resources::none();
        self.bundles_for(class).for_each(|(_, _, ledger)| free.give(ledger.free()));
        free
    }

    /// Why no bundle here can ever hold this class; none if one can.
    pub(super) fn no_bundle(&self, group: GroupId, class: &SchedulingClass) -> Option<String> {
        let fits = self.bundles_for(class).any(|(_, total, _)| total.fits(&class.resources));
        (!fits)
            .then(|| format!("needs {} in a bundle of {group}; there is none on {}", class.resources, self.member.name))
    }

    /// A lease inside a group takes its resources from the bundle it is in, or else from one with room.
    pub(super) fn hold_inside(&mut self, lease: LeaseId, class: &SchedulingClass) {
        let held_in = self.leases.get(&lease).and_then(|entry| entry.bundle);
        let bundle = held_in.or_else(|| self.bundle_with_room(class));
        if let Some(entry) = self.leases.get_mut(&lease) {
            entry.bundle = bundle;
        }
        if let Some((_, ledger)) = bundle.and_then(|bundle| self.bundles.get_mut(&bundle)) {
            ledger.hold(&class.resources);
        }
    }

    pub(super) fn release_inside(&mut self, class: &SchedulingClass, bundle: Option<Bundle>) {
        // A bundle that is being returned is gone already.
        if let Some((_, ledger)) = bundle.and_then(|bundle| self.bundles.get_mut(&bundle)) {
            ledger.release(&class.resources);
        }
    }

    /// Sets a bundle aside, or says that there is no room. Asked twice it says the same again.
    pub(super) fn reserve(&mut self, from: OwnerId, bundle: Bundle, resources: Resources, out: &mut Vec<Effect>) {
        let dead = self.dead.get(&from.node).is_some_and(|epoch| from.epoch <= *epoch);
        let known = self.bundles.contains_key(&bundle);
        let refused = dead || self.load.draining || bundle.group.owner != from || !self.ledger.fits(&resources);
        if !known && refused {
            return out.push(Effect::Unreserved { to: from, bundle });
        }
        if !known {
            self.ledger.hold(&resources);
            self.bundles.insert(bundle, (resources.clone(), Ledger::new(resources)));
        }
        out.push(Effect::Reserved { to: from, bundle });
    }

    /// A bundle goes, and with it the leases inside; requests that no other bundle here can hold are refused.
    pub(super) fn unreserve(&mut self, bundle: Bundle, out: &mut Vec<Effect>) {
        let Some((resources, _)) = self.bundles.remove(&bundle) else { return };
        let inside = |lease: &Lease| lease.bundle == Some(bundle);
        let inside: Vec<LeaseId> = self.leases.iter().filter(|(_, l)| inside(l)).map(|(id, _)| *id).collect();
        for lease in inside {
            self.forget(lease);
            out.push(Effect::Ended { lease });
        }
        for lease in self.queued() {
            let Some(entry) = self.leases.get(&lease) else { continue };
            let class = entry.class.clone();
            if class.placement.group() == Some(bundle.group)
                && let Some(why) = self.refusal(lease.owner, lease, &class)
            {
                self.forget(lease);
                out.push(Effect::Refuse { to: lease.owner, lease, why });
            }
        }
        self.ledger.release(&resources);
    }

    pub(super) fn return_bundles_of(&mut self, owner: OwnerId, out: &mut Vec<Effect>) {
        let theirs = self.bundles.keys().filter(|bundle| bundle.group.owner == owner);
        let theirs: Vec<Bundle> = theirs.copied().collect();
        theirs.into_iter().for_each(|bundle| self.unreserve(bundle, out));
    }

    pub(super) fn check_bundles(&self) -> Result<(), Violation> {
        let granted = || self.leases.values().filter(|lease| lease.state == State::Granted);
        for (bundle, (_, ledger)) in &self.bundles {
            let inside = granted().filter(|lease| lease.bundle == Some(*bundle));
            ledger.check(inside.map(|lease| &lease.class.resources))?;
        }
        let placed = |lease: &Lease| match lease.class.placement.group() {
            Some(group) => lease.bundle.is_some_and(|at| at.group == group && self.bundles.contains_key(&at)),
            None => lease.bundle.is_none(),
        };
        let homeless = granted().find(|lease| !placed(lease));
        Violation::unless(homeless.is_none(), "I35-group-tasks-run-in-bundles", || format!("{homeless:?}"))
    }
}
