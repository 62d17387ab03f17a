//! Pages made ready before they are needed.
//!
//! The first write to a page of shared memory waits until the system has found and zeroed it, which costs several times
//! what the write itself does. Whoever has a thread to spare calls [`Arena::warm_step`] in the background, and later
//! writes find their pages there. Pages stay ready for as long as the arena lives; the allocator prefers low offsets,
//! so they are used again and again.

use super::{Arena, Inner, Ordering};
use crate::StoreError;
use memmap2::Advice;
use mobula_protocol::ByteSize;

/// Bytes made ready in one step: some milliseconds of work.
const STEP: u64 = 16 << 20;
/// At least and at most so many bytes are ready ahead of those ever used; in between, as many as were used. A program
/// that stores little commits little, one that stores much soon finds all pages ready.
const AHEAD: std::ops::RangeInclusive<u64> = (64 << 20)..=(1 << 30);

impl Inner {
    /// Notes that bytes up to `end` are or were in use.
    pub(super) fn reached(&self, end: u64) {
        self.frontier.fetch_max(end, Ordering::Relaxed);
    }

    /// Which bytes the next step makes ready: none before the first allocation.
    fn next_step(&self) -> std::ops::Range<u64> {
        let frontier = self.frontier.load(Ordering::Relaxed);
        let length = if frontier > 0 && self.descriptor.is_some() { self.map.len() as u64 } else { 0 };
        let target = frontier.saturating_add(frontier.clamp(*AHEAD.start(), *AHEAD.end())).min(length);
        // Whoever writes below the frontier touches those pages himself.
        let start = self.warm.load(Ordering::Relaxed).max(frontier).next_multiple_of(STEP).min(target);
        start..(start + STEP).min(target)
    }
}

impl Arena {
    /// Whether a step of warming would do something now.
    pub fn is_cold_ahead(&self) -> bool {
        !self.inner.next_step().is_empty()
    }

    /// Makes the next few pages ready, ahead of the highest byte that was ever used, without changing what is in them.
    /// Blocks for some milliseconds. Says whether it did something; plain memory is never warmed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the system has no pages or no such call. Then there is no point in going on: pages
    /// come when they are touched, as they did before.
    pub fn warm_step(&self) -> Result<bool, StoreError> {
        let step = self.inner.next_step();
        if step.is_empty() {
            return Ok(false);
        }
        self.inner.warm.fetch_max(step.end, Ordering::Relaxed);
        let (start, len) = (step.start as usize, (step.end - step.start) as usize);
        match self.inner.map.advise_range(Advice::PopulateWrite, start, len) {
            Ok(()) => Ok(true),
            Err(why) => Err(StoreError::Refused { asked: ByteSize(len as u64), reason: why.to_string() }),
        }
    }
}
