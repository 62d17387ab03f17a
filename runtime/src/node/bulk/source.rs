//! Where the bytes of an object can be read at this node: in a sealed copy, or in a region that is still being filled.

use super::lock;
use crate::objects::Objects;
use crate::spill::SpilledObject;
use bytes::Bytes;
use mobula_protocol::{Attempt, Nanos, ObjectId};
use mobula_store::View;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// The objects on their way to this node, as far as they have come.
#[derive(Clone, Default)]
pub(super) struct Arriving(Arc<Mutex<BTreeMap<ObjectId, Begun>>>);

struct Begun {
    attempt: Attempt,
    size: u64,
    part: watch::Receiver<View>,
}

/// The filled part of one of them. While it lives, others can read along.
pub(in crate::node) struct Filled {
    arriving: Arriving,
    object: ObjectId,
    attempt: Attempt,
    part: watch::Sender<View>,
}

/// The bytes of an object.
pub(super) enum Source {
    /// All of them.
    Whole(Bytes),
    /// All of them, on disk: read and compared part by part, without taking memory of the store (as Ray does, O16).
    Disk(Objects, SpilledObject),
    /// Those that have arrived so far, of so many.
    Partial(watch::Receiver<View>, u64),
}

impl Source {
    /// Looks an object of `size` bytes up: the one place that knows where objects can be read.
    pub async fn find(objects: &Objects, arriving: &Arriving, now: Nanos, object: ObjectId, size: u64) -> Option<Self> {
        if let Some(bytes) = objects.bytes(now, object) {
            return (bytes.len() as u64 == size).then_some(Self::Whole(bytes));
        }
        if let Some(spilled) = objects.spilled(object).await {
            return (spilled.len() as u64 == size).then(|| Self::Disk(objects.clone(), spilled));
        }
        let arriving = lock(&arriving.0);
        let begun = arriving.get(&object).filter(|begun| begun.size == size)?;
        Some(Self::Partial(begun.part.clone(), size))
    }

    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::Disk(..))
    }

    /// The next bytes from `offset` on, at most `most`: waits until there are some. None if there never will be, because
    /// the transfer to this node was given up or the file is damaged.
    pub async fn read(&mut self, offset: u64, most: usize) -> Option<Bytes> {
        match self {
            Self::Whole(bytes) => {
                let offset = usize::try_from(offset).ok().filter(|offset| *offset < bytes.len())?;
                Some(bytes.slice(offset..bytes.len().min(offset + most)))
            }
            Self::Disk(objects, spilled) => {
                let offset = usize::try_from(offset).ok().filter(|offset| *offset < spilled.len())?;
                let part = spilled.read(offset, offset + most).await;
                part.inspect_err(|why| objects.unreadable(spilled.object(), spilled.place(), why)).ok()
            }
            Self::Partial(part, size) => {
                if offset >= *size {
                    return None;
                }
                // An error means that nothing is added any more: what there is may still be all.
                let here = part.wait_for(|part| part.len() as u64 > offset).await.map(|part| part.clone());
                let here = here.unwrap_or_else(|_| part.borrow().clone());
                let from = usize::try_from(offset).ok().filter(|from| *from < here.len())?;
                Some(here.slice(from..here.len().min(from + most)).bytes())
            }
        }
    }
}

impl Arriving {
    /// Begins an object of `size` bytes, of which `nothing` has arrived yet. A former attempt's bytes are no longer
    /// offered.
    pub fn begin(&self, object: ObjectId, attempt: Attempt, size: u64, nothing: View) -> Filled {
        let (sender, part) = watch::channel(nothing);
        lock(&self.0).insert(object, Begun { attempt, size, part });
        Filled { arriving: self.clone(), object, attempt, part: sender }
    }
}

impl Filled {
    /// So much is there now.
    pub fn grow(&self, part: View) {
        self.part.send_replace(part);
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let mut arriving = lock(&self.arriving.0);
        if arriving.get(&self.object).is_some_and(|begun| begun.attempt == self.attempt) {
            arriving.remove(&self.object);
        }
    }
}
