//! The arena of another process, mapped read-only.

use crate::StoreError;
use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use mobula_protocol::ByteSize;
use rustix::fs::SealFlags;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A read-only mapping of another process's whole arena. Pages appear in this process when they are first read.
///
/// Not public: which bytes may be read, and until when, is agreed with their owner; [`crate::Client`] does that.
#[derive(Clone)]
pub(crate) struct Attached(Arc<MmapRaw>);

/// Bytes of the mapping, and what keeps their owner from reusing them.
struct Held<H> {
    map: Arc<MmapRaw>,
    offset: usize,
    len: usize,
    _hold: H,
}

impl Attached {
    /// Maps the arena behind a descriptor that its owner passed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if it is not an arena's: sealed, so that it neither shrinks nor is written by others.
    pub fn map(descriptor: &OwnedFd) -> Result<Self, StoreError> {
        let refused = |reason: String| StoreError::Refused { asked: ByteSize::ZERO, reason };
        let seals = rustix::fs::fcntl_get_seals(descriptor).map_err(|e| refused(e.to_string()))?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::FUTURE_WRITE) {
            return Err(refused("the descriptor is not an arena's: its seals are missing".into()));
        }
        let map = MmapOptions::new().map_raw_read_only(descriptor).map_err(|e| refused(e.to_string()))?;
        super::prefer_huge_pages(&map);
        Ok(Self(Arc::new(map)))
    }

    /// The bytes of a range that its owner keeps as it is for as long as `hold` lives; `None` outside of the arena.
    pub fn bytes(&self, offset: u64, len: u64, hold: impl Send + 'static) -> Option<Bytes> {
        let end = offset.checked_add(len)?;
        if end > self.0.len() as u64 {
            return None;
        }
        let map = self.0.clone();
        Some(Bytes::from_owner(Held { map, offset: offset as usize, len: len as usize, _hold: hold }))
    }
}

impl<H> AsRef<[u8]> for Held<H> {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range lies inside the mapping (checked in `Attached::bytes`), which lives as long as `self` and
        // cannot shrink (its seal was checked). Its owner sealed the object before it named the range, and keeps the
        // range allocated until `_hold` is dropped, so nobody writes it; no third process can.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(self.offset), self.len) }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attached({})", ByteSize(self.0.len() as u64))
    }
}
