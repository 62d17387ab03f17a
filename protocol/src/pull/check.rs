//! The machine's own invariants.

use super::fetch::Class;
use super::types::{Bundle, State, Tally};
use super::{Priority, Pull};
use crate::{ByteSize, Violation};

impl Pull {
    pub(super) fn check_all(&self) -> Result<(), Violation> {
        self.check_admission()?;
        self.check_bundles()?;
        self.check_objects()
    }

    fn check_admission(&self) -> Result<(), Violation> {
        Violation::unless(self.held <= self.room || self.active.len() <= 1, "pull within room (I22)", || {
            format!("{} held, {} of room, active: {:?}", self.held, self.room, self.active)
        })?;
        let holds_args = |bundle: &&Bundle| {
            let holds = bundle.distinct.iter().any(|object| self.bytes(*object) > ByteSize::ZERO);
            bundle.rank.priority == Priority::Args && bundle.state != State::Waiting && holds
        };
        let shared = self.held_args <= self.share_of_args() || self.bundles.values().filter(holds_args).count() <= 1;
        Violation::unless(shared, "arguments leave room for results", || {
            format!("{} held by arguments, {} at most", self.held_args, self.share_of_args())
        })?;
        let Some(next) = self.candidates.first().copied() else { return Ok(()) };
        let stuck = !self.fits(next) && !self.must_admit(next);
        Violation::unless(stuck, "one always active (I22)", || format!("{next:?} could be admitted"))?;
        Violation::unless(self.last_below(next.priority).is_none(), "gets before arguments (I22)", || {
            format!("{next:?} waits behind {:?} and {:?}", self.active, self.queued)
        })
    }

    fn check_bundles(&self) -> Result<(), Violation> {
        let mut ready_args = 0;
        for bundle in self.bundles.values() {
            let rank = bundle.rank;
            let ready = bundle.state == State::Ready;
            let mut tally = Tally::default();
            bundle.distinct.iter().for_each(|object| tally.add(self.class_of(*object)));
            let whole = tally.count(Class::Here) == bundle.distinct.len();
            let unknown = tally.count(Class::Unknown);
            ready_args += usize::from(ready && rank.priority == Priority::Args);
            let fine = match bundle.state {
                State::Ready => true,
                State::Active => tally == bundle.tally && !whole && unknown == 0,
                State::Waiting => tally == bundle.tally && (unknown == 0) == self.candidates.contains(&rank),
            };
            let fine = fine
                && tally.count(Class::Failed) * usize::from(!ready) == 0
                && (bundle.state == State::Active) == self.active.contains(&rank)
                && (ready || !self.queued.contains(&rank));
            Violation::unless(fine, "pull bundle", || format!("{bundle:?}, by its objects {tally:?}"))?;
        }
        let listed = self.candidates.iter().chain(&self.active).chain(&self.queued);
        let fine = self.touched.is_empty()
            && ready_args == self.ready_args
            && listed.into_iter().all(|rank| self.bundles.contains_key(&rank.bundle));
        Violation::unless(fine, "pull bundles", || format!("{self:?}"))
    }

    fn check_objects(&self) -> Result<(), Violation> {
        let (mut held, mut held_args) = (ByteSize::ZERO, ByteSize::ZERO);
        for (object, entry) in &self.objects {
            held += entry.charged;
            held_args += entry.charged_args;
            let state = |rank: &super::Rank| self.bundles.get(&rank.bundle).map(|bundle| bundle.state);
            let active = entry.wanting.iter().filter(|rank| state(rank) == Some(State::Active)).count();
            let holding = entry.active + entry.ready > 0;
            let local = self.is_local(*object) && !entry.is_inline();
            let pursued = active > 0 && entry.class == Class::Fetchable;
            let wait = entry.retry_at.map(|at| (at, *object));
            let fine = active == entry.active as usize
                && (holding || !entry.wanting.is_empty())
                && entry.pinned == (holding && local)
                && entry.subscribed
                    == (!entry.wanting.is_empty() && matches!(entry.class, Class::Unknown | Class::Fetchable))
                && pursued == (entry.fetch.is_some() != entry.retry_at.is_some())
                && wait.is_none_or(|wait| self.retries.contains(&wait))
                && entry.args <= entry.active + entry.ready
                && entry.charged == if holding { self.bytes(*object) } else { ByteSize::ZERO }
                && entry.charged_args == if entry.args > 0 { entry.charged } else { ByteSize::ZERO };
            Violation::unless(fine, "pull object", || format!("{object}: {entry:?}, local: {local}"))?;
        }
        let waits = self.objects.values().filter(|entry| entry.retry_at.is_some()).count();
        let fine = held == self.held && held_args == self.held_args && waits == self.retries.len();
        Violation::unless(fine, "pull totals", || format!("{held} charged, {} held, {waits} waits", self.held))
    }
}
