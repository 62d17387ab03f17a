//! The node's object table, shared between the loop that decides and the threads that write values.

use crate::Error;
use crate::api::{Placed, gone, value_hash};
use crate::node::Input;
use crate::persist::PersistFolder;
use crate::settings::NodeSettings;
use crate::spill::{SpillDisk, SpilledObject};
use crate::warm::Warming;
use bytes::Bytes;
use mobula_env::{Env, WorldKind};
use mobula_protocol::{ByteSize, Nanos, ObjectId, ResultPlace, TaskErrorKind};
use mobula_store::codec::Encoded;
use mobula_store::spill::{Place, SpillFailure};
use mobula_store::table::{Admission, Restore, Ticket};
use mobula_store::{Arena, CopyKind, Departed, Region, SpillSettings, StoreError, Table};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};

#[cfg(all(test, not(madsim)))]
mod tests;

/// The object table behind a lock. It is held for table operations only, never while bytes are copied.
#[derive(Clone)]
pub struct Objects {
    table: Arc<Mutex<Table>>,
    /// Rung when bytes may have become free.
    room: Arc<Notify>,
    inbox: mpsc::UnboundedSender<Input>,
    grace: Nanos,
    warming: Warming,
    /// Where what does not fit goes.
    pub(crate) spill: SpillDisk,
    /// Where what is to outlive all nodes goes.
    pub(crate) persist: PersistFolder,
}

impl Objects {
    /// A table as large as the settings say: a memory mapping in the real world, plain memory in simulation.
    ///
    /// # Errors
    /// A capacity that the machine does not have.
    pub(crate) fn new(
        env: &Env,
        settings: &NodeSettings,
        inbox: mpsc::UnboundedSender<Input>,
    ) -> Result<Self, StoreError> {
        let arena = match env.world() {
            WorldKind::Real => Arena::memfd(settings.store)?,
            WorldKind::Turmoil | WorldKind::Madsim => Arena::heap(settings.store)?,
        };
        let spill = SpillSettings::for_store(settings.store, settings.memory_policy, settings.spill.len());
        let warming = Warming::start(env, &arena);
        Ok(Self {
            table: Arc::new(Mutex::new(Table::with(arena, spill))),
            room: Arc::new(Notify::new()),
            inbox,
            grace: settings.store_grace,
            warming,
            spill: SpillDisk::new(env, &settings.spill),
            persist: PersistFolder::new(env, settings.persist.clone()),
        })
    }

    /// The table. A poisoned lock is taken over: its holder panicked, which ends the run elsewhere.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says that bytes may have become free.
    pub(crate) fn freed(&self) {
        self.room.notify_waiters();
    }

    /// Makes room for an object and reports what had to go for it.
    ///
    /// # Errors
    /// No room now (see [`StoreError::may_pass`]), or never; or the object is here already.
    pub(crate) fn create(
        &self,
        now: Nanos,
        object: ObjectId,
        size: ByteSize,
        kind: CopyKind,
    ) -> Result<Region, StoreError> {
        let mut table = self.table();
        let created = match kind {
            CopyKind::Cached => table.create(now, object, size, kind),
            CopyKind::Primary | CopyKind::Rebuildable => table.create_anew(now, object, size),
        };
        self.warming.look(table.arena());
        drop(table);
        match created {
            Ok(created) => {
                self.report(created.evicted);
                Ok(created.region)
            }
            Err(why) => {
                self.starved(&why);
                Err(why)
            }
        }
    }

    /// Makes room for a spilled object.
    ///
    /// # Errors
    /// As [`Objects::create`], and it is not on disk.
    pub(crate) fn restore(&self, now: Nanos, object: ObjectId) -> Result<(Place, Region), StoreError> {
        let restore = self.table().restore(now, object);
        match restore {
            Ok(Restore { place, region, evicted }) => {
                self.report(evicted);
                Ok((place, region))
            }
            Err(why) => {
                self.starved(&why);
                Err(why)
            }
        }
    }

    /// Tells the loop what left memory, so that it tells the owners.
    fn report(&self, departed: Vec<Departed>) {
        if !departed.is_empty() {
            // If the loop is gone, so is the node.
            let _ = self.inbox.send(Input::Departed(departed));
        }
    }

    /// A creation found no room: copies may have gone in vain, and the loop is to look for something to spill.
    fn starved(&self, why: &StoreError) {
        if let StoreError::Full { evicted, .. } | StoreError::OutOfDisk { evicted, .. } = why {
            self.report(evicted.clone());
            let _ = self.inbox.send(Input::Tick);
        }
    }

    /// Puts a result or a put where it belongs: inline if it is small, else into the store as the primary copy. Waits for
    /// room while something is being spilled, and else up to the grace time.
    ///
    /// # Errors
    /// `StoreFull` when there was none; `OutOfDisk` when nothing could be spilled because of the disk; `Disconnected` when
    /// the node has stopped, so that nothing will ever make room.
    pub(crate) async fn place(
        &self,
        env: &Env,
        object: ObjectId,
        value: &Encoded,
        inline: ByteSize,
    ) -> Result<Placed, Error> {
        if value.len() as u64 <= inline.0 {
            let bytes = value.to_bytes();
            let hash = value_hash(&bytes);
            return Ok(Placed { place: ResultPlace::Inline(bytes), hash, stored: false });
        }
        let size = ByteSize(value.len() as u64);
        let mut region = loop {
            if let Some(region) = self.reserve(env, object, size).await? {
                break region;
            }
            // The value is here from an earlier attempt; a deterministic task made the same one again. It may have left
            // since: then there is room for this one.
            if let Some(hash) = self.hash_of(env.now(), object) {
                return Ok(Placed { place: ResultPlace::Stored(size), hash, stored: false });
            }
        };
        // The one copy on the way in.
        value.write_into(region.as_mut_slice()).map_err(|why| Error::new(TaskErrorKind::WrongType, why.to_string()))?;
        let view = self.table().seal(env.now(), object, region);
        let view = view.map_err(|why| Error::new(TaskErrorKind::StoreFull, why.to_string()))?;
        let _ = self.inbox.send(Input::Sealed { object, size });
        Ok(Placed { place: ResultPlace::Stored(size), hash: value_hash(&view), stored: true })
    }

    /// Puts the bytes of a value that was made before into the store as the primary copy. Nothing if it is there.
    ///
    /// # Errors
    /// As [`Objects::place`].
    pub(crate) async fn readmit(&self, env: &Env, object: ObjectId, bytes: &[u8]) -> Result<(), Error> {
        let size = ByteSize(bytes.len() as u64);
        let Some(mut region) = self.reserve(env, object, size).await? else { return Ok(()) };
        region.as_mut_slice().copy_from_slice(bytes);
        let sealed = self.table().seal(env.now(), object, region);
        sealed.map_err(|why| Error::new(TaskErrorKind::StoreFull, why.to_string()))?;
        let _ = self.inbox.send(Input::Sealed { object, size });
        Ok(())
    }

    fn hash_of(&self, now: Nanos, object: ObjectId) -> Option<u64> {
        self.table().get(now, object).map(|view| value_hash(&view))
    }

    /// Deletes what was stored and will not be reported.
    pub(crate) fn discard(&self, objects: Vec<ObjectId>) {
        let mut table = self.table();
        for object in &objects {
            table.delete(*object);
        }
        drop(table);
        self.freed();
        // If the loop is gone, so is the node.
        let _ = self.inbox.send(Input::Discarded(objects));
    }

    /// Room for a primary copy; none is needed if the same task has made it before, and that can be read.
    async fn reserve(&self, env: &Env, object: ObjectId, size: ByteSize) -> Result<Option<Region>, Error> {
        let now = env.now();
        let mut why = None;
        if !self.table().is_queueing() {
            match self.create(now, object, size, CopyKind::Primary) {
                Ok(region) => return Ok(Some(region)),
                Err(StoreError::Duplicate { .. }) => return Ok(None),
                Err(error) if !error.may_pass() => why = Some(error),
                Err(_) => {}
            }
        }
        match why {
            Some(why) => Err(store_error(object, &why)),
            None => self.queue(env, object, size).await,
        }
    }

    async fn queue(&self, env: &Env, object: ObjectId, size: ByteSize) -> Result<Option<Region>, Error> {
        let ticket = self.table().enqueue(env.now(), size);
        let mut queued = Queued { env, objects: self, ticket: Some(ticket) };
        loop {
            // Nobody spills, frees or counts for a node that has stopped.
            if self.inbox.is_closed() {
                return Err(gone());
            }
            // Registered before the attempt, so that room made in between is not missed.
            let room = self.room.notified();
            let admission = self.table().admit(env.now(), ticket, (object, size), self.grace);
            match admission {
                Admission::Granted(created) => {
                    queued.ticket = None;
                    self.freed();
                    self.report(created.evicted);
                    return Ok(Some(created.region));
                }
                Admission::Refused(StoreError::Duplicate { .. }) => {
                    queued.ticket = None;
                    self.freed();
                    return Ok(None);
                }
                Admission::Refused(why) => {
                    queued.ticket = None;
                    self.freed();
                    self.starved(&why);
                    return Err(store_error(object, &why));
                }
                Admission::Wait(until, departed) => {
                    self.report(departed);
                    let _ = self.inbox.send(Input::Tick);
                    let wait = until.saturating_sub(env.now());
                    // Woken or not, it is tried again.
                    let _ = env.timeout(wait, room).await;
                }
            }
        }
    }

    /// Whether all of these are on this node, in memory or on disk.
    pub(crate) fn are_here(&self, objects: &[ObjectId]) -> bool {
        let table = self.table();
        objects.iter().all(|object| table.contains(*object) || table.place(*object).is_some())
    }

    /// The bytes of a sealed object, as a view that keeps them where they are.
    pub(crate) fn bytes(&self, now: Nanos, object: ObjectId) -> Option<Bytes> {
        self.table().get(now, object).map(|view| view.bytes())
    }

    /// An object on this node's disk, for other nodes. `None` if it is not there, or not readable any more: then the loop
    /// was told.
    pub(crate) async fn spilled(&self, object: ObjectId) -> Option<SpilledObject> {
        let place = self.table().place(object)?;
        let opened = self.spill.open(object, place).await;
        opened.inspect_err(|why| self.unreadable(object, place, why)).ok()
    }

    /// A spilled copy that cannot be read is none.
    pub(crate) fn unreadable(&self, object: ObjectId, place: Place, why: &SpillFailure) {
        let _ = self.inbox.send(Input::SpillLost { object, place, why: why.clone() });
    }
}

/// A place in the table's queue; given up when it is dropped.
struct Queued<'a> {
    env: &'a Env,
    objects: &'a Objects,
    ticket: Option<Ticket>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.objects.table().leave(self.env.now(), ticket);
            self.objects.freed();
        }
    }
}

fn store_error(object: ObjectId, why: &StoreError) -> Error {
    let kind = match why {
        StoreError::OutOfDisk { .. } => TaskErrorKind::OutOfDisk,
        _ => TaskErrorKind::StoreFull,
    };
    Error::new(kind, format!("{object}: {why}"))
}
