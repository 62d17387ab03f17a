//! One object: what is known of it, whether it is fetched, and what follows from that.

use super::types::Rank;
use super::{Effect, FetchFailure, Pull};
use crate::{Attempt, ByteSize, Incarnation, Located, Nanos, ObjectId, TaskError, TaskErrorKind};
use std::collections::{BTreeMap, BTreeSet};

/// How long to wait before an attempt that failed is repeated.
pub const BACKOFF_FIRST: Nanos = Nanos::millis(50);
/// The longest such wait.
pub const BACKOFF_LAST: Nanos = Nanos::secs(5);

/// A node that answers so often with wrong bytes has a damaged copy. Not at the first time: a connection may have damaged
/// them, and then another attempt is cheaper than making the value again.
pub const CORRUPT_LAST: u32 = 3;

/// What an object means for the admission of a bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Class {
    #[default]
    Unknown,
    Fetchable,
    Here,
    Failed,
}

/// An object that some bundle wants or holds.
#[derive(Debug, Default)]
pub(super) struct Object {
    /// Bundles that are not ready.
    pub wanting: BTreeSet<Rank>,
    /// How many of those are active.
    pub active: u32,
    /// How many bundles beyond those are ready with it.
    pub ready: u32,
    /// How many of both are of task arguments.
    pub args: u32,
    /// The owner's last answer since the subscription.
    pub known: Option<Located>,
    pub subscribed: bool,
    pub pinned: bool,
    /// Its share of `Pull::held`.
    pub charged: ByteSize,
    /// Its share of `Pull::held_args`.
    pub charged_args: ByteSize,
    pub class: Class,
    pub fetch: Option<Fetch>,
    /// How often the wait was served.
    pub rounds: u32,
    pub retry_at: Option<Nanos>,
    /// Whether it waits because this node's store had no memory.
    pub starved: bool,
    /// Who sent wrong bytes of it, and how often.
    pub corrupt: BTreeMap<Incarnation, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    pub attempt: Attempt,
    pub size: ByteSize,
    /// What the transfer was told last.
    pub holders: Vec<Incarnation>,
}

impl Object {
    /// Who has a copy by the owner's word.
    pub fn copies(&self) -> &[Incarnation] {
        match &self.known {
            Some(Located::Stored { copies, .. }) => copies,
            _ => &[],
        }
    }

    pub fn is_inline(&self) -> bool {
        matches!(self.known, Some(Located::Inline(_)))
    }
}

impl Pull {
    /// The living holders of `object` other than this node, by its owner's word, in id order.
    fn holders(&self, object: ObjectId) -> Vec<Incarnation> {
        let copies = self.objects.get(&object).map_or(&[] as &[_], Object::copies);
        copies.iter().copied().filter(|at| self.is_holder(*at)).collect()
    }

    /// Whether `object` can be restored from this node's disk: its owner still counts on a copy of a known size.
    fn is_restorable(&self, object: ObjectId) -> bool {
        let known = self.objects.get(&object).is_some_and(|entry| matches!(entry.known, Some(Located::Stored { .. })));
        known && self.spilled.contains(&object)
    }

    fn is_holder(&self, at: Incarnation) -> bool {
        at.node != self.own.node && !self.dead_nodes.contains(at)
    }

    /// Bytes of this node's store that `object` takes or will take, as far as is known.
    pub(super) fn bytes(&self, object: ObjectId) -> ByteSize {
        let known = self.objects.get(&object).and_then(|entry| entry.known.as_ref());
        match (known, self.local.get(&object)) {
            (Some(Located::Inline(_)), _) => ByteSize::ZERO,
            (_, Some(size)) => *size,
            (Some(Located::Stored { size, .. }), None) => *size,
            _ => ByteSize::ZERO,
        }
    }

    /// Makes everything that follows from an object's state so: its class and its bundles' tallies, subscription,
    /// pin, share of the held bytes, fetch. Called after each change to what is known of the object or to who wants
    /// it. Idempotent.
    pub(super) fn reconcile(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        let Some(entry) = self.objects.get_mut(&object) else { return };
        // Nobody asked the owner, so nothing but a value is worth remembering.
        if entry.wanting.is_empty() && !entry.is_inline() {
            entry.known = None;
        }
        self.reclassify(object);
        self.recharge(object);
        let local = self.is_local(object);
        let Some(entry) = self.objects.get_mut(&object) else { return };
        let held = entry.active + entry.ready > 0;

        let subscribed = !entry.wanting.is_empty() && matches!(entry.class, Class::Unknown | Class::Fetchable);
        if subscribed != entry.subscribed {
            entry.subscribed = subscribed;
            out.push(if subscribed { Effect::Subscribe(object) } else { Effect::Unsubscribe(object) });
        }
        // It is here: the owner's answer would grow stale unseen.
        if !subscribed && matches!(entry.known, Some(Located::Stored { .. } | Located::Pending)) {
            entry.known = None;
        }
        let pinned = held && local && !entry.is_inline();
        if pinned != entry.pinned {
            entry.pinned = pinned;
            out.push(if pinned { Effect::Pin(object) } else { Effect::Unpin(object) });
        }
        let unwanted = entry.wanting.is_empty() && !held;
        self.pursue(object, out);
        if unwanted {
            self.objects.remove(&object);
        }
    }

    fn reclassify(&mut self, object: ObjectId) {
        let local = self.is_local(object);
        let copies = self.objects.get(&object).map_or(&[] as &[_], Object::copies);
        let fetchable = copies.iter().any(|at| self.is_holder(*at)) || self.is_restorable(object);
        let orphan = !local && self.dead_owners.contains(object.owner());
        let Some(entry) = self.objects.get_mut(&object) else { return };
        if orphan && !matches!(entry.known, Some(Located::Inline(_) | Located::Failed(_))) {
            let message = format!("the owner {} of {object} died, and with it what was known of it", object.owner());
            entry.known = Some(Located::Failed(TaskError::new(TaskErrorKind::OwnerDied, message)));
        }
        let class = match entry.known {
            Some(Located::Inline(_)) => Class::Here,
            _ if local => Class::Here,
            Some(Located::Failed(_)) => Class::Failed,
            Some(Located::Stored { .. }) if fetchable => Class::Fetchable,
            _ => Class::Unknown,
        };
        if class == entry.class {
            return;
        }
        for rank in &entry.wanting {
            if let Some(bundle) = self.bundles.get_mut(&rank.bundle) {
                bundle.tally.change(entry.class, class);
                self.touched.insert(*rank);
            }
        }
        entry.class = class;
    }

    fn recharge(&mut self, object: ObjectId) {
        let bytes = self.bytes(object);
        let Some(entry) = self.objects.get_mut(&object) else { return };
        let charge = |holders: u32| if holders > 0 { bytes } else { ByteSize::ZERO };
        let (all, args) = (charge(entry.active + entry.ready), charge(entry.args));
        self.held = self.held - entry.charged + all;
        self.held_args = self.held_args - entry.charged_args + args;
        (entry.charged, entry.charged_args) = (all, args);
    }

    /// Starts, keeps, replaces or ends the object's fetch, whichever its state asks for.
    fn pursue(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        let restore = self.is_restorable(object);
        let holders = if restore { Vec::new() } else { self.holders(object) };
        let Some(entry) = self.objects.get_mut(&object) else { return };
        let size = match entry.known {
            Some(Located::Stored { size, .. }) if entry.active > 0 && entry.class == Class::Fetchable => Some(size),
            _ => None,
        };
        match &mut entry.fetch {
            Some(fetch) if size == Some(fetch.size) && fetch.holders.is_empty() == restore => {
                let attempt = fetch.attempt;
                if fetch.holders != holders {
                    fetch.holders.clone_from(&holders);
                    out.push(Effect::Holders { object, attempt, holders });
                }
                return;
            }
            Some(Fetch { attempt, .. }) => {
                out.push(Effect::AbortFetch { object, attempt: *attempt });
                entry.fetch = None;
            }
            None => {}
        }
        let Some(size) = size else {
            (entry.rounds, entry.starved) = (0, false);
            self.wait_until(object, None);
            return;
        };
        if entry.retry_at.is_some() {
            return;
        }
        self.attempts = self.attempts.wrapping_add(1);
        let attempt = Attempt(self.attempts);
        entry.fetch = Some(Fetch { attempt, size, holders: holders.clone() });
        out.push(match restore {
            true => Effect::Restore { object, attempt },
            false => Effect::Fetch { object, attempt, size, holders },
        });
    }

    fn back_off(&mut self, now: Nanos, object: ObjectId) {
        let Some(entry) = self.objects.get_mut(&object) else { return };
        let wait = Nanos(BACKOFF_FIRST.0 << entry.rounds.min(32)).min(BACKOFF_LAST);
        entry.rounds += 1;
        self.wait_until(object, Some(now + wait));
    }

    fn wait_until(&mut self, object: ObjectId, at: Option<Nanos>) {
        let Some(entry) = self.objects.get_mut(&object) else { return };
        if let Some(before) = std::mem::replace(&mut entry.retry_at, at) {
            self.retries.remove(&(before, object));
        }
        self.retries.extend(at.map(|at| (at, object)));
    }

    pub(super) fn fetched(&mut self, object: ObjectId, attempt: Attempt, out: &mut Vec<Effect>) {
        let Some(fetch) = self.current(object, attempt) else { return };
        self.local.insert(object, fetch.size);
        self.spilled.remove(&object);
        self.reconcile(object, out);
    }

    pub(super) fn fetch_failed(
        &mut self,
        now: Nanos,
        object: ObjectId,
        attempt: Attempt,
        why: FetchFailure,
        out: &mut Vec<Effect>,
    ) {
        if self.current(object, attempt).is_none() {
            return;
        }
        if let Some(entry) = self.objects.get_mut(&object) {
            entry.starved = why == FetchFailure::NoMemory;
            if let FetchFailure::Corrupt(Some(at)) = why {
                let times = entry.corrupt.entry(at).or_default();
                *times += 1;
                if *times == CORRUPT_LAST {
                    entry.corrupt.remove(&at);
                    out.push(Effect::Damaged { object, at });
                }
            }
        }
        if crate::planted!("pull-gives-up") {
            return;
        }
        self.back_off(now, object);
        self.reconcile(object, out);
    }

    /// Takes the fetch out if `attempt` is the current one.
    fn current(&mut self, object: ObjectId, attempt: Attempt) -> Option<Fetch> {
        self.objects.get_mut(&object)?.fetch.take_if(|fetch| fetch.attempt == attempt)
    }

    pub(super) fn retry_due(&mut self, now: Nanos, out: &mut Vec<Effect>) {
        while let Some((_, object)) = self.retries.first().copied().filter(|(at, _)| *at <= now) {
            self.retry(object, out);
        }
    }

    /// Fetches that found no memory are tried again as soon as there is more of it.
    pub(super) fn room_changed(&mut self, room: ByteSize, out: &mut Vec<Effect>) {
        let more = room > self.room;
        self.room = room;
        if more {
            let starved = |object: &ObjectId| self.objects.get(object).is_some_and(|entry| entry.starved);
            let again: Vec<ObjectId> = self.retries.iter().map(|(_, object)| *object).filter(starved).collect();
            for object in again {
                self.retry(object, out);
            }
        }
    }

    fn retry(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        self.wait_until(object, None);
        if let Some(entry) = self.objects.get_mut(&object) {
            entry.starved = false;
        }
        self.reconcile(object, out);
    }
}
