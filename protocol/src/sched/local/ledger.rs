//! What is free, what is held, and what is held above the total.

use crate::{Amount, Resources, Violation};

/// Exact accounts of one node's resources: for each, free + used = total + debt, and free or debt is zero.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    total: Resources,
    free: Resources,
    debt: Resources,
}

impl Ledger {
    pub(super) fn new(total: Resources) -> Self {
        Self { free: total.clone(), total, debt: Resources::none() }
    }

    pub(super) fn free(&self) -> &Resources {
        &self.free
    }

    /// Whether `request` can be held without debt. While a resource is in debt none of it is free.
    pub(super) fn fits(&self, request: &Resources) -> bool {
        self.free.fits(request)
    }

    /// Takes `request`, from what is free first and on credit beyond that.
    pub(super) fn hold(&mut self, request: &Resources) {
        for (name, want) in request.iter() {
            let (free, debt) = (self.free.get(name).0, self.debt.get(name).0);
            let paid = want.0.min(free);
            set(&mut self.free, name, free - paid);
            set(&mut self.debt, name, debt + want.0 - paid);
        }
    }

    /// Gives `request` back: pays the debt first.
    pub(super) fn release(&mut self, request: &Resources) {
        for (name, back) in request.iter() {
            let (free, debt) = (self.free.get(name).0, self.debt.get(name).0);
            let paid = back.0.min(debt);
            set(&mut self.debt, name, debt - paid);
            set(&mut self.free, name, free + back.0 - paid);
        }
    }

    /// total + debt - free.
    pub(super) fn used(&self) -> Resources {
        let mut used = self.total.clone();
        used.give(&self.debt);
        for (name, free) in self.free.iter() {
            let left = used.get(name).0.saturating_sub(free.0);
            set(&mut used, name, left);
        }
        used
    }

    /// The accounts against the requests that are held at the moment.
    pub(super) fn check<'a>(&self, held: impl Iterator<Item = &'a Resources>) -> Result<(), Violation> {
        let mut sum = Resources::none();
        held.for_each(|request| sum.give(request));
        let detail = || format!("total {}, free {}, debt {}, held {sum}", self.total, self.free, self.debt);
        let (mut left, mut right) = (self.free.clone(), self.total.clone());
        left.give(&sum);
        right.give(&self.debt);
        Violation::unless(left == right, "I32-capacity", detail)?;
        let both = self.debt.iter().any(|(name, _)| self.free.get(name) > Amount(0));
        Violation::unless(!both, "I32-free-beside-debt", detail)
    }
}

fn set(resources: &mut Resources, name: &str, amount: u64) {
    *resources = std::mem::take(resources).with(name, Amount(amount));
}
