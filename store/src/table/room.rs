//! Making room: what goes for a creation, and the queue of those that found none.
//!
//! Creations of primary copies queue when there is no room: the first is tried again whenever bytes may have become free,
//! and nothing overtakes it, so that a large object is not starved by small ones. It is refused only when it has waited
//! for the grace time *since it came first or since something was last written to disk*, and nothing is being written:
//! a slow disk is no reason to fail, a store full of what cannot go is. Each written batch makes unwritten copies fewer
//! and none are added while the queue stands, so every creation ends. (Ray's create queue fails 2 s after the last
//! spill and otherwise exceeds its budget on disk, `create_request_queue.h`; the budget here is hard.)
//!
//! Fetched and restored copies do not queue: somebody who runs waits for them, and the pull machine tries again.

use super::{Created, Departed, Departure, Order, Table};
use crate::arena;
use crate::spill::{MemoryPolicy, SpillFailure};
use crate::{Region, StoreError};
use mobula_protocol::{ByteSize, Nanos, ObjectId};
use std::collections::BTreeMap;

/// How long until the first of the queue is tried again although nothing was reported: views end silently.
const POLL: Nanos = Nanos::millis(20);
/// The same for those behind it, which only need to notice that they came first.
const POLL_BEHIND: Nanos = Nanos::millis(200);

/// A place in the queue of creations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What became of a queued creation.
#[derive(Debug)]
pub enum Admission {
    /// It found room and left the queue.
    Granted(Created),
    /// Ask again when bytes may have become free, at this time at the latest.
    Wait(Nanos, Vec<Departed>),
    /// It is over and left the queue.
    Refused(StoreError),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Those that wait, with their size.
    waiting: BTreeMap<Ticket, ByteSize>,
    last: u64,
    /// When the present first came first, or something was last written.
    progressed: Nanos,
}

impl Table {
    /// A place at the end of the queue, for an object of `len` bytes. To be given up by [`Table::leave`], unless
    /// [`Table::admit`] says that it was left.
    pub fn enqueue(&mut self, now: Nanos, len: ByteSize) -> Ticket {
        let queue = &mut self.queue;
        queue.last += 1;
        if queue.waiting.is_empty() {
            queue.progressed = now;
        }
        queue.waiting.insert(Ticket(queue.last), ByteSize(arena::charge(len.0)));
        Ticket(queue.last)
    }

    /// Whether creations wait: then a new one queues behind them.
    pub fn is_queueing(&self) -> bool {
        !self.queue.waiting.is_empty()
    }

    /// Gives up a place in the queue.
    pub fn leave(&mut self, now: Nanos, ticket: Ticket) {
        let was_first = self.queue.waiting.first_key_value().is_some_and(|(first, _)| *first == ticket);
        self.queue.waiting.remove(&ticket);
        if was_first {
            self.queue.progressed = now;
        }
    }

    /// Something was written to disk: hope for whoever waits.
    pub(super) fn progressed(&mut self, now: Nanos) {
        self.queue.progressed = now;
    }

    /// Tries to create a queued object [anew](Table::create_anew), which waits at most for `grace` without progress.
    pub fn admit(&mut self, now: Nanos, ticket: Ticket, (id, len): (ObjectId, ByteSize), grace: Nanos) -> Admission {
        if self.queue.waiting.first_key_value().is_some_and(|(first, _)| *first != ticket) {
            return Admission::Wait(now + POLL_BEHIND, Vec::new());
        }
        let why = match self.create_anew(now, id, len) {
            Ok(created) => {
                self.leave(now, ticket);
                return Admission::Granted(created);
            }
            Err(why) => why,
        };
        let deadline = self.queue.progressed + grace;
        let hopeless = now >= deadline && self.directories.busy() == 0;
        if !why.may_pass() || hopeless {
            self.leave(now, ticket);
            return Admission::Refused(self.verdict(why));
        }
        let evicted = match why {
            StoreError::Full { evicted, .. } => evicted,
            _ => Vec::new(),
        };
        let last = if now < deadline { deadline } else { now + POLL };
        Admission::Wait(last.min(now + POLL), evicted)
    }

    /// Says of a creation that waited in vain what it waited for.
    fn verdict(&self, why: StoreError) -> StoreError {
        let unwritten = self.orders.of(Order::Dirty).bytes() > ByteSize::ZERO;
        match (why, self.directories.complaint().filter(|_| unwritten)) {
            (StoreError::Full { needed, capacity, evicted, .. }, Some(complaint)) => {
                let full = matches!(complaint, SpillFailure::DiskFull(_));
                StoreError::OutOfDisk { needed, capacity, full, why: complaint.to_string(), evicted }
            }
            (why, _) => why,
        }
    }

    /// A region of `len` bytes, and what had to go for it.
    pub(super) fn make_room(&mut self, now: Nanos, len: ByteSize) -> Result<(Region, Vec<Departed>), StoreError> {
        if let Some(region) = self.allocate(len) {
            return Ok((region, Vec::new()));
        }
        let mut evicted = Vec::new();
        let needed = ByteSize(arena::charge(len.0));
        if needed <= self.headroom() {
            let victims: Vec<ObjectId> = self.evictable().map(|(id, _)| id).collect();
            for victim in victims {
                let why = self.why_it_goes(victim);
                evicted.push(self.depart(now, victim, why));
                if let Some(region) = self.allocate(len) {
                    return Ok((region, evicted));
                }
            }
        }
        let capacity = self.budget;
        if needed <= capacity {
            self.unmet = Some(needed.max(self.unmet.unwrap_or(ByteSize::ZERO)));
        }
        let in_use = capacity.saturating_sub(self.headroom());
        Err(StoreError::Full { needed, capacity, in_use, largest_free: self.arena.largest_free(), evicted })
    }

    fn why_it_goes(&self, id: ObjectId) -> Departure {
        let on_disk = self.entries.get(&id).is_some_and(|entry| entry.disk.is_some());
        match self.entries.get(&id).and_then(|entry| entry.listed) {
            _ if on_disk => Departure::Spilled,
            Some(Order::Clean) => Departure::Rebuildable,
            _ => Departure::Evicted,
        }
    }

    fn allocate(&mut self, len: ByteSize) -> Option<Region> {
        if self.arena.used() + ByteSize(arena::charge(len.0)) > self.budget {
            return None;
        }
        let region = self.arena.allocate(len)?;
        self.peak = self.peak.max(self.arena.used());
        Some(region)
    }

    /// Changes the budget to `budget` bytes, at most the arena's capacity. What is in use beyond it goes as soon as it
    /// can: until then [`Table::usage`] shows more in use than the capacity.
    pub fn shrink(&mut self, now: Nanos, budget: ByteSize) -> Vec<Departed> {
        self.budget = budget.min(self.arena.capacity());
        let victims: Vec<ObjectId> = self.evictable().map(|(id, _)| id).collect();
        let mut evicted = Vec::new();
        for victim in victims {
            if self.arena.used() <= self.budget {
                break;
            }
            let why = self.why_it_goes(victim);
            evicted.push(self.depart(now, victim, why));
        }
        evicted
    }

    /// How many bytes creations could take right now in the best case: free ones, and those of copies that can go now.
    /// Reads every such copy.
    pub fn headroom(&self) -> ByteSize {
        let evictable = self.evictable().map(|(_, charge)| charge).sum();
        self.budget.saturating_sub(self.arena.used().saturating_sub(evictable))
    }

    /// How many bytes creations could take soon: free ones, those of copies that can go, and those of copies that can be
    /// written to disk, less what waits in the queue. Takes constant time; copies that are being read count as if they
    /// were not, so it may promise too much, and then a creation waits.
    pub fn room(&self) -> ByteSize {
        let spillable = if self.can_spill() { self.orders.of(Order::Dirty).bytes() } else { ByteSize::ZERO };
        let soon = self.orders.of(Order::Cached).bytes() + self.orders.of(Order::Clean).bytes() + spillable;
        let claimed: ByteSize = self.queue.waiting.values().copied().sum();
        self.budget.saturating_sub(self.arena.used().saturating_sub(soon)).saturating_sub(claimed)
    }

    /// Whether unwritten copies will leave memory if they must.
    pub(super) fn can_spill(&self) -> bool {
        self.settings.policy == MemoryPolicy::Spill && self.directories.is_healthy()
    }

    /// What can go now, and the bytes it would free, in that order. A copy without readers cannot get one behind the
    /// table's back, since readers are made from readers.
    pub(super) fn evictable(&self) -> impl Iterator<Item = (ObjectId, ByteSize)> {
        let order = self.orders.of(Order::Cached).iter().chain(self.orders.of(Order::Clean).iter());
        order.filter_map(|id| {
            let entry = self.entries.get(&id)?;
            (entry.sealed()?.readers() == 0).then(|| (id, entry.charge()))
        })
    }
}
