//! The node's object table, shared between the loop that decides and the threads that write values.

use crate::Error;
use crate::api::{Placed, value_hash};
use crate::node::Input;
use crate::warm::Warming;
use bytes::Bytes;
use mobula_env::{Env, WorldKind};
use mobula_protocol::{ByteSize, Nanos, ObjectId, ResultPlace, TaskErrorKind};
use mobula_store::codec::Encoded;
use mobula_store::{Arena, CopyKind, Region, StoreError, Table};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};

/// The object table behind a lock. It is held for table operations only, never while bytes are copied.
#[derive(Clone)]
pub struct Objects {
    table: Arc<Mutex<Table>>,
    /// Rung when bytes may have become free.
    room: Arc<Notify>,
    inbox: mpsc::UnboundedSender<Input>,
    grace: Nanos,
    warming: Warming,
}

impl Objects {
    /// A table of `capacity` bytes: a memory mapping in the real world, plain memory in simulation.
    ///
    /// # Errors
    /// A capacity that the machine does not have.
    pub(crate) fn new(
        env: &Env,
        capacity: ByteSize,
        grace: Nanos,
        inbox: mpsc::UnboundedSender<Input>,
    ) -> Result<Self, StoreError> {
        let arena = match env.world() {
            WorldKind::Real => Arena::memfd(capacity)?,
            WorldKind::Turmoil | WorldKind::Madsim => Arena::heap(capacity)?,
        };
        let warming = Warming::start(env, &arena);
        let table = Arc::new(Mutex::new(Table::new(arena)));
        Ok(Self { table, room: Arc::new(Notify::new()), inbox, grace, warming })
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
        let created = table.create(now, object, size, kind);
        self.warming.look(table.arena());
        drop(table);
        let (result, evicted) = match created {
            Ok(created) => (Ok(created.region), created.evicted),
            // Copies may have gone for it in vain.
            Err(StoreError::Full { needed, capacity, in_use, largest_free, evicted }) => {
                let evicted_now = evicted.clone();
                (Err(StoreError::Full { needed, capacity, in_use, largest_free, evicted }), evicted_now)
            }
            Err(why) => (Err(why), Vec::new()),
        };
        if !evicted.is_empty() {
            // The loop tells the owners. If it is gone, so is the node.
            let _ = self.inbox.send(Input::Evicted(evicted));
        }
        result
    }

    /// Puts a result or a put where it belongs: inline if it is small, else into the store as the primary copy. Waits for
    /// room up to the grace time.
    ///
    /// # Errors
    /// `StoreFull` when there was none.
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
            return Ok((ResultPlace::Inline(bytes), hash));
        }
        let size = ByteSize(value.len() as u64);
        let mut region = match self.reserve(env, object, size).await? {
            Some(region) => region,
            // The value is here from an earlier attempt; a deterministic task made the same one again.
            None => return Ok((ResultPlace::Stored(size), self.hash_of(env.now(), object))),
        };
        // The one copy on the way in.
        value.write_into(region.as_mut_slice()).map_err(|why| Error::new(TaskErrorKind::WrongType, why.to_string()))?;
        let view = self.table().seal(env.now(), object, region);
        let view = view.map_err(|why| Error::new(TaskErrorKind::StoreFull, why.to_string()))?;
        let _ = self.inbox.send(Input::Sealed { object, size });
        Ok((ResultPlace::Stored(size), value_hash(&view)))
    }

    fn hash_of(&self, now: Nanos, object: ObjectId) -> u64 {
        self.table().get(now, object).map_or(0, |view| value_hash(&view))
    }

    async fn reserve(&self, env: &Env, object: ObjectId, size: ByteSize) -> Result<Option<Region>, Error> {
        let deadline = env.now() + self.grace;
        loop {
            // Registered before the attempt, so that room made in between is not missed.
            let room = self.room.notified();
            let why = match self.create(env.now(), object, size, CopyKind::Primary) {
                Ok(region) => return Ok(Some(region)),
                Err(StoreError::Duplicate { .. }) => return Ok(None),
                Err(why) => why,
            };
            let left = deadline.saturating_sub(env.now());
            if !why.may_pass() || left == Nanos::ZERO || env.timeout(left, room).await.is_err() {
                return Err(Error::new(TaskErrorKind::StoreFull, format!("{object}: {why}")));
            }
        }
    }

    /// The bytes of a sealed object, as a view that keeps them where they are.
    pub(crate) fn bytes(&self, now: Nanos, object: ObjectId) -> Option<Bytes> {
        self.table().get(now, object).map(|view| view.bytes())
    }
}
