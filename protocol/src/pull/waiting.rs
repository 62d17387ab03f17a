//! What every unfinished bundle waits for (no wait is silent).

use super::fetch::{Class, Object};
use super::types::{Bundle, State};
use super::{BundleId, Pull};
use crate::{Attempt, Located, Nanos, ObjectId};

/// One object that one bundle still misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Who waits.
    pub bundle: BundleId,
    /// For which object.
    pub object: ObjectId,
    /// Since when the bundle has been wanted.
    pub since: Nanos,
    /// For what to happen.
    pub on: WaitingFor,
}

/// What must happen next, and thereby who will end the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingFor {
    /// The owner to answer.
    Owner,
    /// The object to be created, or rebuilt; the owner will tell.
    Creation,
    /// The owner to name a holder that lives: those it named are dead.
    Source,
    /// Other objects of the bundle, which are unknown yet.
    Others,
    /// Room: other bundles to be dropped, or memory to be freed.
    Room,
    /// The transfer to end.
    Transfer {
        /// The current attempt.
        attempt: Attempt,
    },
    /// The time to try again after the store had no memory, or the bytes were wrong.
    Retry {
        /// When.
        at: Nanos,
    },
}

impl Pull {
    /// What is missing, for each bundle that is not ready, in order of the bundles' names. A bundle of task arguments
    /// whose objects are all here but not admitted yet is listed with each of them, waiting for room.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.bundles.values().filter(|bundle| bundle.state != State::Ready).flat_map(move |bundle| {
            bundle.distinct.iter().filter_map(move |object| {
                let on = self.waiting_for(bundle, self.objects.get(object)?)?;
                Some(Waiting { bundle: bundle.rank.bundle, object: *object, since: bundle.since, on })
            })
        })
    }

    fn waiting_for(&self, bundle: &Bundle, entry: &Object) -> Option<WaitingFor> {
        let candidate = self.candidates.contains(&bundle.rank);
        match entry.class {
            Class::Unknown => Some(match entry.known {
                None => WaitingFor::Owner,
                Some(Located::Stored { .. }) => WaitingFor::Source,
                Some(_) => WaitingFor::Creation,
            }),
            Class::Fetchable | Class::Here if candidate => Some(WaitingFor::Room),
            Class::Here | Class::Failed => None,
            Class::Fetchable if bundle.state == State::Waiting => Some(WaitingFor::Others),
            Class::Fetchable => match (&entry.fetch, entry.retry_at) {
                (Some(fetch), _) => Some(WaitingFor::Transfer { attempt: fetch.attempt }),
                (None, at) => at.map(|at| WaitingFor::Retry { at }),
            },
        }
    }
}
