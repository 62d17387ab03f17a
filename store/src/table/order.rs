//! Who goes first when memory is needed: objects by time of last use, in three lists.

use mobula_protocol::{ByteSize, ObjectId};
use std::collections::BTreeMap;

/// What may become of an object that nobody uses at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A cached copy: goes first.
    Cached,
    /// Also on disk, or one that its task can make again under the policy that evicts: goes when no cached copy is left.
    Clean,
    /// The only copy: goes after it was written to disk.
    Dirty,
}

/// One list, and the bytes of all in it.
#[derive(Debug, Default)]
pub(super) struct ByUse {
    objects: BTreeMap<u64, (ObjectId, ByteSize)>,
    bytes: ByteSize,
}

/// The three lists. An object is in at most one of them, under the stamp of its last use.
#[derive(Debug, Default)]
pub(super) struct Orders {
    cached: ByUse,
    clean: ByUse,
    dirty: ByUse,
}

impl ByUse {
    /// Least recently used first.
    pub fn iter(&self) -> impl Iterator<Item = ObjectId> {
        self.objects.values().map(|(id, _)| *id)
    }

    /// The bytes of all in it, readers or not.
    pub fn bytes(&self) -> ByteSize {
        self.bytes
    }
}

impl Orders {
    pub fn of(&self, order: Order) -> &ByUse {
        match order {
            Order::Cached => &self.cached,
            Order::Clean => &self.clean,
            Order::Dirty => &self.dirty,
        }
    }

    fn of_mut(&mut self, order: Order) -> &mut ByUse {
        match order {
            Order::Cached => &mut self.cached,
            Order::Clean => &mut self.clean,
            Order::Dirty => &mut self.dirty,
        }
    }

    pub fn insert(&mut self, order: Order, stamp: u64, id: ObjectId, charge: ByteSize) {
        let list = self.of_mut(order);
        list.objects.insert(stamp, (id, charge));
        list.bytes += charge;
    }

    pub fn remove(&mut self, order: Order, stamp: u64) {
        let list = self.of_mut(order);
        if let Some((_, charge)) = list.objects.remove(&stamp) {
            list.bytes -= charge;
        }
    }

    /// Which lists name `id` under `stamp`, for the checker.
    pub fn lists(&self, stamp: u64, id: ObjectId) -> Vec<Order> {
        let all = [Order::Cached, Order::Clean, Order::Dirty];
        all.into_iter().filter(|order| self.of(*order).objects.get(&stamp).is_some_and(|(at, _)| *at == id)).collect()
    }

    /// How many objects are listed.
    pub fn len(&self) -> usize {
        self.cached.objects.len() + self.clean.objects.len() + self.dirty.objects.len()
    }
}
