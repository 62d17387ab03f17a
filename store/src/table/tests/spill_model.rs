//! Random operations on a table that spills, against an oracle that remembers what must still be readable: which objects
//! there are, what is in them, what is on which file, and who reads.

use super::*;
use crate::spill::{Batch, FileName, Place, SpillFailure, Work};
use proptest::prelude::*;
use std::collections::BTreeMap;

const UNITS: u64 = 12;
const NAMES: u64 = 6;
/// A file that could not be removed so often stays for the node's next life.
const REMOVALS: u32 = 5;

#[derive(Clone, Debug)]
enum Op {
    Store {
        name: u64,
        units: u64,
        copy: CopyKind,
    },
    /// As a task does that runs again.
    Anew {
        name: u64,
        units: u64,
    },
    /// A file of a dead node is this one's.
    Adopt {
        name: u64,
        units: u64,
        file: u64,
    },
    Read {
        name: u64,
        hold: bool,
    },
    DropReader {
        at: usize,
    },
    Pin {
        name: u64,
    },
    Unpin {
        name: u64,
    },
    Delete {
        name: u64,
    },
    Work,
    Written {
        at: usize,
        ok: bool,
    },
    Removed {
        at: usize,
        ok: bool,
    },
    Restore {
        name: u64,
    },
    Restored {
        at: usize,
        how: u8,
    },
    Promote {
        name: u64,
    },
    Shrink {
        units: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES;
    let copy = prop_oneof![
        3 => Just(CopyKind::Primary),
        1 => Just(CopyKind::Rebuildable),
        1 => Just(CopyKind::Cached),
    ];
    prop_oneof![
        8 => (name.clone(), 0..6_u64, copy).prop_map(|(name, units, copy)| Op::Store { name, units, copy }),
        3 => (name.clone(), 0..6_u64).prop_map(|(name, units)| Op::Anew { name, units }),
        2 => (name.clone(), 0..6_u64, 0..3_u64).prop_map(|(name, units, file)| Op::Adopt { name, units, file }),
        4 => (name.clone(), any::<bool>()).prop_map(|(name, hold)| Op::Read { name, hold }),
        4 => (0..8_usize).prop_map(|at| Op::DropReader { at }),
        2 => name.clone().prop_map(|name| Op::Pin { name }),
        3 => name.clone().prop_map(|name| Op::Unpin { name }),
        2 => name.clone().prop_map(|name| Op::Delete { name }),
        8 => Just(Op::Work),
        8 => (0..4_usize, prop::bool::weighted(0.8)).prop_map(|(at, ok)| Op::Written { at, ok }),
        3 => (0..4_usize, any::<bool>()).prop_map(|(at, ok)| Op::Removed { at, ok }),
        5 => name.clone().prop_map(|name| Op::Restore { name }),
        6 => (0..4_usize, 0..4_u8).prop_map(|(at, how)| Op::Restored { at, how }),
        1 => name.clone().prop_map(|name| Op::Promote { name }),
        1 => (4..=UNITS).prop_map(|units| Op::Shrink { units }),
    ]
}

/// What the oracle knows of an object that the table must still have.
#[derive(Clone, Copy, Debug)]
struct Object {
    life: u64,
    copy: CopyKind,
}

struct World {
    table: Table,
    policy: MemoryPolicy,
    /// What must be there: everything stored and not deleted, but for cached copies and what the policy may drop.
    objects: BTreeMap<u64, Object>,
    readers: Vec<(u64, View)>,
    pins: BTreeMap<u64, u32>,
    /// Files being written, those that exist, and those to be removed.
    writing: Vec<Batch>,
    disk: BTreeMap<FileName, BTreeMap<ObjectId, Vec<u8>>>,
    removing: Vec<FileName>,
    /// How often the removal of a file failed.
    stuck: BTreeMap<FileName, u32>,
    restoring: Vec<(u64, Place, Region)>,
    clock: u64,
}

/// The bytes of a life: all alike, so that a mix-up shows.
fn byte(life: u64) -> u8 {
    life as u8
}

impl World {
    fn new(policy: MemoryPolicy, directories: usize) -> Self {
        let capacity = ByteSize(64 * UNITS);
        let settings = SpillSettings { fuse: ByteSize(128), ..SpillSettings::for_store(capacity, policy, directories) };
        Self {
            table: Table::with(Arena::heap(capacity).unwrap(), settings),
            policy,
            objects: BTreeMap::new(),
            readers: Vec::new(),
            pins: BTreeMap::new(),
            writing: Vec::new(),
            disk: BTreeMap::new(),
            removing: Vec::new(),
            stuck: BTreeMap::new(),
            restoring: Vec::new(),
            clock: 0,
        }
    }

    fn now(&self) -> Nanos {
        Nanos::millis(100 * self.clock)
    }

    /// What went must have been allowed to go.
    fn departed(&mut self, gone: &[Departed]) -> Result<(), TestCaseError> {
        for Departed { id, why, .. } in gone {
            let name = id.task.seq;
            let object = self.objects[&name];
            prop_assert!(!self.pins.contains_key(&name), "pinned {} went", id);
            prop_assert!(!self.readers.iter().any(|(life, _)| *life == object.life), "{} went from its reader", id);
            match why {
                Departure::Spilled => prop_assert!(self.table.place(*id).is_some()),
                Departure::Evicted => prop_assert_eq!(object.copy, CopyKind::Cached),
                Departure::Rebuildable => {
                    prop_assert_eq!((object.copy, self.policy), (CopyKind::Rebuildable, MemoryPolicy::Evict));
                }
                Departure::Forced | Departure::Lost => prop_assert!(false, "nobody asked for that: {:?}", why),
            }
            if *why != Departure::Spilled {
                self.objects.remove(&name);
            }
        }
        Ok(())
    }

    fn store(&mut self, name: u64, units: u64, copy: CopyKind) -> Result<(), TestCaseError> {
        let (id, len) = (super::object(name), ByteSize(units * 64));
        match self.table.create(self.now(), id, len, copy) {
            Ok(Created { mut region, evicted }) => {
                self.departed(&evicted)?;
                prop_assert!(!self.objects.contains_key(&name), "{} was there", name);
                region.as_mut_slice().fill(byte(self.clock));
                drop(self.table.seal(self.now(), id, region).unwrap());
                self.objects.insert(name, Object { life: self.clock, copy });
            }
            Err(StoreError::Duplicate { .. }) => prop_assert!(self.objects.contains_key(&name)),
            Err(StoreError::Full { evicted, .. }) => self.departed(&evicted)?,
            Err(other) => prop_assert!(false, "{}", other),
        }
        Ok(())
    }

    fn anew(&mut self, name: u64, units: u64) -> Result<(), TestCaseError> {
        let (id, len) = (super::object(name), ByteSize(units * 64));
        let before = self.table.place(id);
        match self.table.create_anew(self.now(), id, len) {
            Ok(Created { mut region, evicted }) => {
                self.departed(&evicted)?;
                region.as_mut_slice().fill(byte(self.clock));
                drop(self.table.seal(self.now(), id, region).unwrap());
                self.objects.insert(name, Object { life: self.clock, copy: CopyKind::Primary });
            }
            Err(StoreError::Duplicate { .. }) => prop_assert!(self.table.contains(id)),
            Err(StoreError::Full { evicted, .. }) => {
                self.departed(&evicted)?;
                prop_assert_eq!(self.table.place(id), before, "the earlier one is where it was");
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
        Ok(())
    }

    fn adopt(&mut self, name: u64, units: u64, file: u64) {
        // Behind all directories of this table, as the files of other lives are.
        let (id, file) = (super::object(name), FileName { number: file, directory: 9 });
        let place = Place { file, offset: self.clock, len: ByteSize(units * 64) };
        let was_there = self.objects.contains_key(&name);
        let kept = self.disk.contains_key(&file) && self.removing.contains(&file);
        if kept || !self.table.adopt(self.now(), id, place) || self.table.place(id) != Some(place) {
            return;
        }
        let object = self.objects.entry(name).or_insert(Object { life: self.clock, copy: CopyKind::Primary });
        object.copy = CopyKind::Primary;
        let bytes = vec![byte(object.life); (units * 64) as usize];
        self.disk.entry(file).or_default().insert(id, bytes);
        debug_assert!(!was_there || self.table.contains(id), "what was on disk already is not adopted");
    }

    fn read(&mut self, name: u64, hold: bool) -> Result<(), TestCaseError> {
        let view = self.table.get(self.now(), super::object(name));
        let Some(object) = self.objects.get(&name) else {
            prop_assert!(view.is_none());
            return Ok(());
        };
        match view {
            Some(view) => {
                prop_assert!(view.iter().all(|b| *b == byte(object.life)), "wrong bytes of {}", name);
                if hold {
                    self.readers.push((object.life, view));
                }
            }
            None => {
                prop_assert!(self.table.place(super::object(name)).is_some(), "{} is nowhere", name);
            }
        }
        Ok(())
    }

    fn work(&mut self) -> Result<(), TestCaseError> {
        for work in self.table.work(self.now()) {
            match work {
                Work::Write(batch) => {
                    prop_assert_eq!(self.policy, MemoryPolicy::Spill);
                    prop_assert!(!self.disk.contains_key(&batch.file), "{} was used before", batch.file);
                    self.writing.push(batch);
                }
                Work::Remove(file) => self.removing.push(file),
            }
        }
        Ok(())
    }

    fn written(&mut self, at: usize, ok: bool) {
        if self.writing.is_empty() {
            return;
        }
        let Batch { file, objects } = self.writing.remove(at % self.writing.len());
        let content = objects.iter().map(|(id, view)| (*id, view.to_vec())).collect();
        drop(objects);
        self.disk.insert(file, content);
        let result = if ok { Ok(()) } else { Err(SpillFailure::Io("broken".into())) };
        self.table.written(self.now(), file, result);
    }

    fn restored(&mut self, at: usize, how: u8) -> Result<(), TestCaseError> {
        if self.restoring.is_empty() {
            return Ok(());
        }
        let (name, place, mut region) = self.restoring.remove(at % self.restoring.len());
        let id = super::object(name);
        match how {
            0 => drop(region),
            1 => {
                let lost = self.table.lose_spilled(self.now(), id, place);
                if lost.is_some() {
                    self.objects.remove(&name);
                }
                prop_assert!(self.table.seal(self.now(), id, region).is_err());
            }
            _ => {
                // The file may be gone if the object was deleted; then there is nothing to seal either.
                match self.disk.get(&place.file).and_then(|file| file.get(&id)) {
                    Some(bytes) => region.as_mut_slice().copy_from_slice(bytes),
                    None => prop_assert!(self.table.place(id) != Some(place), "the file of {} is gone", name),
                }
                drop(self.table.seal(self.now(), id, region));
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        self.clock += 1;
        match *op {
            Op::Store { name, units, copy } => self.store(name, units, copy)?,
            Op::Anew { name, units } => self.anew(name, units)?,
            Op::Adopt { name, units, file } => self.adopt(name, units, file),
            Op::Read { name, hold } => self.read(name, hold)?,
            Op::DropReader { at } if !self.readers.is_empty() => {
                self.readers.swap_remove(at % self.readers.len());
            }
            Op::Pin { name } => {
                if self.table.pin(super::object(name)).is_ok() {
                    *self.pins.entry(name).or_default() += 1;
                }
            }
            Op::Unpin { name } => {
                let done = self.table.unpin(super::object(name)).is_ok();
                prop_assert_eq!(done, self.pins.contains_key(&name));
                if let Some(pins) = self.pins.get_mut(&name) {
                    *pins -= 1;
                    self.pins.retain(|_, pins| *pins > 0);
                }
            }
            Op::Delete { name } => {
                prop_assert_eq!(self.table.delete(super::object(name)), self.objects.remove(&name).is_some());
            }
            Op::Work => self.work()?,
            Op::Written { at, ok } => self.written(at, ok),
            Op::Removed { at, ok } if !self.removing.is_empty() => {
                let file = self.removing.remove(at % self.removing.len());
                if ok {
                    self.disk.remove(&file);
                } else {
                    *self.stuck.entry(file).or_default() += 1;
                }
                self.table.removed(file, ok);
            }
            Op::Restore { name } => {
                let id = super::object(name);
                match self.table.restore(self.now(), id) {
                    Ok(Restore { place, region, evicted }) => {
                        self.departed(&evicted)?;
                        self.restoring.push((name, place, region));
                    }
                    Err(StoreError::Full { evicted, .. }) => self.departed(&evicted)?,
                    Err(_) => prop_assert!(
                        self.table.contains(id)
                            || !self.objects.contains_key(&name)
                            || self.restoring.iter().any(|(other, ..)| *other == name)
                    ),
                }
            }
            Op::Restored { at, how } => self.restored(at, how)?,
            Op::Promote { name } => {
                if self.table.promote(super::object(name)).is_ok()
                    && let Some(object) = self.objects.get_mut(&name)
                    && object.copy == CopyKind::Cached
                {
                    object.copy = CopyKind::Primary;
                }
            }
            Op::Shrink { units } => {
                let gone = self.table.shrink(self.now(), ByteSize(64 * units));
                self.departed(&gone)?;
            }
            Op::DropReader { .. } | Op::Removed { .. } => {}
        }
        self.table.check().map_err(|why| TestCaseError::fail(why.to_string()))?;
        // Nothing is lost, and nothing comes back.
        let there: Vec<u64> = self.table.objects().map(|info| info.id.task.seq).collect();
        prop_assert_eq!(there, self.objects.keys().copied().collect::<Vec<_>>());
        Ok(())
    }

    /// Reads back everything: what is not in memory must be on disk, in a file that exists.
    fn read_all(&mut self) -> Result<(), TestCaseError> {
        for (name, object) in &self.objects {
            let id = super::object(*name);
            let bytes = match self.table.get(Nanos::ZERO, id) {
                Some(view) => view.to_vec(),
                None => self.disk[&self.table.place(id).unwrap().file][&id].clone(),
            };
            prop_assert!(bytes.iter().all(|b| *b == byte(object.life)), "wrong bytes of {}", name);
        }
        Ok(())
    }

    /// At rest nothing is left (I24).
    fn finish(mut self) -> Result<(), TestCaseError> {
        self.readers.clear();
        self.restoring.clear();
        self.read_all()?;
        while !self.writing.is_empty() {
            self.written(0, true);
        }
        for name in 0..NAMES {
            while self.table.unpin(super::object(name)).is_ok() {}
            self.table.delete(super::object(name));
        }
        self.work()?;
        for file in std::mem::take(&mut self.removing) {
            prop_assert!(self.disk.remove(&file).is_some());
            self.table.removed(file, true);
        }
        let Usage { capacity, peak, departed, .. } = self.table.usage();
        prop_assert_eq!(self.table.usage(), Usage { capacity, peak, departed, ..Usage::default() });
        prop_assert_eq!(self.table.arena().used(), ByteSize::ZERO);
        // What is left is what could not be removed, and nothing else.
        let given_up = self.stuck.iter().filter(|(_, times)| **times >= REMOVALS).map(|(file, _)| file);
        prop_assert_eq!(self.disk.keys().collect::<Vec<_>>(), given_up.collect::<Vec<_>>());
        self.table.check().map_err(|why| TestCaseError::fail(why.to_string()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_table_that_spills_loses_nothing(
        ops in prop::collection::vec(op(), 1..150),
        directories in 1_usize..3,
        evict in prop::bool::weighted(0.2),
    ) {
        let policy = if evict { MemoryPolicy::Evict } else { MemoryPolicy::Spill };
        let mut world = World::new(policy, directories);
        for op in &ops {
            world.apply(op)?;
        }
        world.finish()?;
    }

    /// However the disk behaves, a queued creation ends: granted or refused.
    #[test]
    fn every_queued_creation_ends(
        sizes in prop::collection::vec(1_u64..=UNITS, 1..12),
        fates in prop::collection::vec(any::<bool>(), 200),
        held in 0_u64..=UNITS,
    ) {
        let mut world = World::new(MemoryPolicy::Spill, 1);
        super::store(&mut world.table, super::object(1000), held * 64, CopyKind::Primary);
        let held = world.table.get(T, super::object(1000));
        let mut fates = fates.into_iter().cycle();
        let mut waiting: Vec<(Ticket, u64, u64)> = Vec::new();
        for (name, units) in sizes.iter().enumerate() {
            waiting.push((world.table.enqueue(Nanos::ZERO, ByteSize(units * 64)), name as u64, *units));
        }
        let mut now = Nanos::ZERO;
        for _ in 0..2_000 {
            let Some((ticket, name, units)) = waiting.first().copied() else { break };
            let what = (super::object(name), ByteSize(units * 64));
            match world.table.admit(now, ticket, what, Nanos::secs(1)) {
                Admission::Granted(Created { region, .. }) => {
                    drop(world.table.seal(now, super::object(name), region).unwrap());
                    waiting.remove(0);
                }
                Admission::Refused(_) => drop(waiting.remove(0)),
                Admission::Wait(until, _) => {
                    prop_assert!(until > now, "it would spin");
                    now = until;
                }
            }
            for work in world.table.work(now) {
                let Work::Write(Batch { file, objects }) = work else { continue };
                drop(objects);
                let ok = fates.next().unwrap_or(true);
                world.table.written(now, file, if ok { Ok(()) } else { Err(SpillFailure::Io("broken".into())) });
            }
            world.table.check().map_err(|why| TestCaseError::fail(why.to_string()))?;
        }
        prop_assert!(waiting.is_empty(), "{} creations still wait at {}", waiting.len(), now);
        drop(held);
    }
}
