//! Random operations against an oracle that keeps everything in plain vectors and knows nothing of addresses.

use super::*;
use proptest::prelude::*;

const CAPACITY: u64 = 64 * 24;

#[derive(Clone, Debug)]
enum Op {
    Create { name: u64, len: u64, copy: CopyKind },
    Seal { region: usize },
    DropRegion { region: usize },
    Get { name: u64, hold: bool },
    DropView { view: usize },
    Pin { name: u64 },
    Unpin { name: u64 },
    Promote { name: u64 },
    Abort { name: u64 },
    Delete { name: u64 },
    Evict { name: u64, forced: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0_u64..8;
    let copy = prop_oneof![1 => Just(CopyKind::Primary), 3 => Just(CopyKind::Cached)];
    prop_oneof![
        8 => (name.clone(), prop_oneof![0_u64..700, 0_u64..CAPACITY + 100], copy)
            .prop_map(|(name, len, copy)| Op::Create { name, len, copy }),
        8 => (0_usize..4).prop_map(|region| Op::Seal { region }),
        1 => (0_usize..4).prop_map(|region| Op::DropRegion { region }),
        4 => (name.clone(), any::<bool>()).prop_map(|(name, hold)| Op::Get { name, hold }),
        4 => (0_usize..8).prop_map(|view| Op::DropView { view }),
        2 => name.clone().prop_map(|name| Op::Pin { name }),
        3 => name.clone().prop_map(|name| Op::Unpin { name }),
        1 => name.clone().prop_map(|name| Op::Promote { name }),
        1 => name.clone().prop_map(|name| Op::Abort { name }),
        2 => name.clone().prop_map(|name| Op::Delete { name }),
        2 => (name, any::<bool>()).prop_map(|(name, forced)| Op::Evict { name, forced }),
    ]
}

/// What the oracle knows of one creation. `life` tells the creations of one name apart.
#[derive(Clone, Debug, PartialEq)]
struct Object {
    name: u64,
    life: u64,
    len: u64,
    copy: CopyKind,
    sealed: bool,
    last_use: u64,
}

/// The system under test, everything that is held of it, and the oracle.
struct World {
    table: Table,
    regions: Vec<(Object, Region)>,
    views: Vec<(Object, View)>,
    /// The oracle: objects in the table, pins by name, and a clock of uses.
    objects: Vec<Object>,
    pins: [u32; 8],
    clock: u64,
}

fn charge(object: &Object) -> u64 {
    object.len.next_multiple_of(64)
}

fn content(object: &Object) -> impl Iterator<Item = u8> {
    let (life, len) = (object.life, object.len);
    (0..len).map(move |n| (n ^ life.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 13) as u8)
}

impl World {
    /// A clock that stands still now and then: the order of uses must not depend on it.
    fn now(&self) -> Nanos {
        Nanos(self.clock / 4)
    }

    fn find(&self, name: u64) -> Option<usize> {
        self.objects.iter().position(|o| o.name == name)
    }

    fn is_viewed(&self, object: &Object) -> bool {
        self.views.iter().any(|(of, _)| of.life == object.life)
    }

    /// Names that may be evicted, least recently used first.
    fn evictable(&self) -> Vec<Object> {
        let idle = |o: &&Object| {
            o.sealed && o.copy == CopyKind::Cached && self.pins[o.name as usize] == 0 && !self.is_viewed(o)
        };
        let mut order: Vec<Object> = self.objects.iter().filter(idle).cloned().collect();
        order.sort_by_key(|o| o.last_use);
        order
    }

    /// Bytes of everything that is in the table or held.
    fn in_use(&self) -> u64 {
        let mut lives: Vec<&Object> = self.objects.iter().collect();
        lives.extend(self.regions.iter().map(|(o, _)| o).chain(self.views.iter().map(|(o, _)| o)));
        lives.sort_by_key(|o| o.life);
        lives.dedup_by_key(|o| o.life);
        lives.into_iter().map(charge).sum()
    }

    fn create(&mut self, name: u64, len: u64, copy: CopyKind) -> Result<(), TestCaseError> {
        let object = Object { name, life: self.clock, len, copy, sealed: false, last_use: 0 };
        let evictable = self.evictable();
        let free: u64 = CAPACITY - self.in_use();
        let headroom = free + evictable.iter().map(charge).sum::<u64>();
        prop_assert_eq!(self.table.headroom().0, headroom);
        let result = self.table.create(self.now(), super::object(name), ByteSize(len), copy);
        if self.find(name).is_some() {
            prop_assert!(matches!(result, Err(StoreError::Duplicate { .. })), "{:?}", result);
            return Ok(());
        }
        let (evicted, fits) = match result {
            Ok(Created { mut region, evicted }) => {
                region.as_mut_slice().iter_mut().zip(content(&object)).for_each(|(to, from)| *to = from);
                self.regions.push((object.clone(), region));
                self.objects.push(object.clone());
                (evicted, true)
            }
            Err(StoreError::Full { evicted, needed, .. }) => {
                prop_assert_eq!(needed.0, charge(&object));
                (evicted, false)
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        let evicted = super::names(&evicted);
        let order: Vec<ObjectId> = evictable.iter().map(|o| super::object(o.name)).collect();
        prop_assert!(order.starts_with(&evicted), "evicted {:?} of {:?}", evicted, order);
        if charge(&object) > headroom {
            prop_assert!(!fits && evicted.is_empty(), "evicted in vain: {:?}", evicted);
        } else if !fits {
            prop_assert_eq!(evicted.len(), order.len(), "refused with copies left to evict");
            prop_assert!(headroom < CAPACITY, "an arena that can be emptied holds anything up to its capacity");
        }
        let gone: Vec<u64> = evictable.iter().take(evicted.len()).map(|o| o.life).collect();
        self.objects.retain(|o| !gone.contains(&o.life));
        Ok(())
    }

    fn seal(&mut self, region: usize) -> Result<(), TestCaseError> {
        let (object, region) = self.regions.remove(region % self.regions.len());
        let result = self.table.seal(self.now(), super::object(object.name), region);
        let current = self.objects.iter_mut().find(|o| o.name == object.name);
        match current {
            None => prop_assert!(matches!(result, Err(StoreError::Unknown { .. })), "{:?}", result),
            Some(other) if other.life != object.life && other.sealed => {
                prop_assert!(matches!(result, Err(StoreError::Sealed { .. })), "{:?}", result);
            }
            Some(other) if other.life != object.life => {
                prop_assert!(matches!(result, Err(StoreError::Stale { .. })), "{:?}", result)
            }
            Some(current) => {
                (current.sealed, current.last_use) = (true, self.clock);
                let view = result.map_err(|e| TestCaseError::fail(e.to_string()))?;
                self.views.push((object, view));
            }
        }
        Ok(())
    }

    fn get(&mut self, name: u64, hold: bool) -> Result<(), TestCaseError> {
        let found = self.table.get(self.now(), super::object(name));
        let object = self.objects.iter_mut().find(|o| o.name == name && o.sealed);
        prop_assert_eq!(found.is_some(), object.is_some());
        if let (Some(view), Some(object)) = (found, object) {
            object.last_use = self.clock;
            if hold {
                self.views.push((object.clone(), view));
            }
        }
        Ok(())
    }

    /// Operations that answer yes or no.
    fn toggle(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let (answer, expected) = match *op {
            Op::Pin { name } => {
                let expected = self.find(name).is_some();
                self.pins[name as usize] += u32::from(expected);
                (self.table.pin(super::object(name)).is_ok(), expected)
            }
            Op::Unpin { name } => {
                let pins = &mut self.pins[name as usize];
                let expected = *pins > 0;
                *pins = pins.saturating_sub(1);
                (self.table.unpin(super::object(name)).is_ok(), expected)
            }
            Op::Promote { name } => {
                let found = self.objects.iter_mut().find(|o| o.name == name);
                let expected = found.map(|o| o.copy = CopyKind::Primary).is_some();
                (self.table.promote(super::object(name)).is_ok(), expected)
            }
            Op::Abort { name } => {
                let place = self.objects.iter().position(|o| o.name == name && !o.sealed);
                (self.table.abort(super::object(name)).is_ok(), place.map(|n| self.objects.remove(n)).is_some())
            }
            Op::Delete { name } => {
                let expected = self.find(name).map(|n| self.objects.remove(n)).is_some();
                (self.table.delete(super::object(name)), expected)
            }
            Op::Evict { name, forced } => {
                let idle = self.evictable().iter().any(|o| o.name == name);
                let place = self.objects.iter().position(|o| o.name == name && o.sealed && (idle || forced));
                let now = self.now();
                let evicted = self.table.evict(now, super::object(name), forced).is_some();
                (evicted, place.map(|n| self.objects.remove(n)).is_some())
            }
            _ => unreachable!("handled by `apply`"),
        };
        prop_assert_eq!(answer, expected);
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        self.clock += 1;
        match *op {
            Op::Create { name, len, copy } => self.create(name, len, copy)?,
            Op::Seal { region } if !self.regions.is_empty() => self.seal(region)?,
            Op::DropRegion { region } if !self.regions.is_empty() => {
                let (object, _) = self.regions.remove(region % self.regions.len());
                self.objects.retain(|o| o.life != object.life);
            }
            Op::Get { name, hold } => self.get(name, hold)?,
            Op::DropView { view } if !self.views.is_empty() => {
                self.views.swap_remove(view % self.views.len());
            }
            Op::Seal { .. } | Op::DropRegion { .. } | Op::DropView { .. } => {}
            _ => self.toggle(op)?,
        }
        self.compare()
    }

    /// Everything that can be asked, compared with the oracle; and every byte that is held.
    fn compare(&self) -> Result<(), TestCaseError> {
        self.table.check().map_err(|v| TestCaseError::fail(v.to_string()))?;
        let usage = self.table.usage();
        prop_assert_eq!(usage.total().0, self.in_use());
        prop_assert_eq!(usage.pins, self.pins.iter().map(|n| u64::from(*n)).sum::<u64>());
        let sum = |pick: &dyn Fn(&Object) -> bool| self.objects.iter().filter(|o| pick(o)).map(charge).sum::<u64>();
        prop_assert_eq!(usage.creating.0, sum(&|o| !o.sealed));
        prop_assert_eq!(usage.sealed_primary.0, sum(&|o| o.sealed && o.copy == CopyKind::Primary));
        prop_assert_eq!(usage.sealed_cached.0, sum(&|o| o.sealed && o.copy == CopyKind::Cached));
        prop_assert_eq!(usage.pinned.0, sum(&|o| self.pins[o.name as usize] > 0));
        for info in self.table.objects() {
            let object = &self.objects[self.find(info.id.task.seq).expect("the oracle has it")];
            prop_assert_eq!(
                (info.size.0, info.copy, info.pins),
                (object.len, object.copy, self.pins[object.name as usize])
            );
            prop_assert_eq!(info.views, self.views.iter().filter(|(of, _)| of.life == object.life).count());
        }
        prop_assert_eq!(self.table.objects().count(), self.objects.len());
        for (object, view) in &self.views {
            prop_assert!(view.iter().copied().eq(content(object)), "a held view of {:?} changed", object);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_table_is_its_oracle(ops in prop::collection::vec(op(), 1..120)) {
        let table = super::table(CAPACITY);
        let (regions, views, objects) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = World { table, regions, views, objects, pins: [0; 8], clock: 0 };
        for op in &ops {
            world.apply(op)?;
        }
        // At quiescence nothing is left (I24).
        let World { mut table, regions, views, pins, .. } = world;
        drop((regions, views));
        for name in 0..8 {
            (0..pins[name as usize]).try_for_each(|_| table.unpin(super::object(name))).unwrap();
            table.delete(super::object(name));
        }
        let Usage { peak, departed, .. } = table.usage();
        prop_assert!(peak.0 <= CAPACITY);
        prop_assert_eq!(table.usage(), Usage { capacity: ByteSize(CAPACITY), peak, departed, ..Usage::default() });
        prop_assert_eq!(table.arena().used(), ByteSize::ZERO);
        table.check().unwrap();
    }
}
