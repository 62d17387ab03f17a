//! The folder outside the cluster in which persisted values lie: one file each, in the format of the store, whose
//! hashes say whether all of it is as it was written.

use crate::objects::Objects;
use bytes::Bytes;
use mobula_env::Env;
use mobula_protocol::{ByteSize, Nanos, ObjectId};
use mobula_store::codec;

/// Between two tries.
const RETRY: Nanos = Nanos::secs(1);

/// Writes, reads and removes persisted values.
#[derive(Clone)]
pub(crate) struct PersistFolder {
    env: Env,
    folder: Option<String>,
}

impl PersistFolder {
    /// This folder, which other machines know by the same path; with none, nothing can be persisted.
    pub fn new(env: &Env, folder: Option<String>) -> Self {
        Self { env: env.clone(), folder }
    }

    /// Whether there is a folder.
    pub fn is_set(&self) -> bool {
        self.folder.is_some()
    }

    fn path(&self, object: ObjectId) -> Option<String> {
        self.folder.as_ref().map(|folder| format!("{folder}/{object}"))
    }

    /// Writes the value of the copy here, and tries again until it succeeds; gives its size. `None` if there is no
    /// folder, or no copy any more.
    pub async fn save(&self, objects: &Objects, object: ObjectId) -> Option<ByteSize> {
        let path = self.path(object)?;
        loop {
            let value = self.value(objects, object).await?;
            let (size, files, path) = (ByteSize(value.len() as u64), self.env.files(), path.clone());
            match self.env.compute(move || files.write_atomic(&path, &value)).await {
                Ok(()) => return Some(size),
                Err(why) => self.env.emit("persist failed", format_args!("{object}: {why}")),
            }
            self.env.sleep(RETRY).await;
        }
    }

    /// The value of the copy here, in memory or on disk.
    async fn value(&self, objects: &Objects, object: ObjectId) -> Option<Bytes> {
        if let Some(bytes) = objects.bytes(self.env.now(), object) {
            return Some(bytes);
        }
        let spilled = objects.spilled(object).await?;
        spilled.read(0, spilled.len()).await.ok()
    }

    /// Reads a value back into the store as the primary copy, as soon as there is room. False if it is not there as it
    /// was written, or is larger than the store.
    pub async fn load(&self, objects: &Objects, object: ObjectId, size: ByteSize) -> bool {
        if objects.table().arena().capacity() < size {
            return false;
        }
        while let Some(value) = self.read(object, size).await {
            match objects.readmit(&self.env, object, &value).await {
                Ok(()) => return true,
                Err(why) if why.kind.is_retryable() => self.env.sleep(RETRY).await,
                Err(_) => return false,
            }
        }
        false
    }

    async fn read(&self, object: ObjectId, size: ByteSize) -> Option<Bytes> {
        let (path, files) = (self.path(object)?, self.env.files());
        let read = move || {
            // One byte more would be seen.
            let value = files.read_range(&path, 0, size.0 + 1).ok()?;
            (value.len() as u64 == size.0 && codec::verify(&value).is_ok()).then_some(value)
        };
        self.env.compute(read).await
    }

    /// Removes what may be there of an object.
    pub async fn erase(&self, object: ObjectId) {
        let Some(path) = self.path(object) else { return };
        let files = self.env.files();
        if let Err(why) = self.env.compute(move || files.remove(&path)).await {
            self.env.emit("erase failed", format_args!("{object}: {why}"));
        }
    }
}
