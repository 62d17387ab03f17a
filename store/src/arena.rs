//! One contiguous mapping, cut into ranges that are written once and then only read.
//!
//! ```text
//!  Arena::allocate --> Region (unique, writable) --seal--> View (shared, read-only, cloneable)
//!                        | drop                              | last clone dropped, on any thread
//!                        v                                   v
//!                      range returns to the allocator     range returns to the allocator
//! ```
//!
//! The types carry the guarantee that no view outlives its bytes and that nobody writes what somebody reads: a
//! [`View`] keeps its range allocated, a [`Region`] stops existing when it is sealed, and what a region declared
//! [filled](Region::fill) before that can be viewed but no longer written.
//!
//! Ranges start at multiples of [`ALIGN`] and are accounted in whole multiples of it. The offset allocator
//! (Aaltonen's two-level bins, constant time) finds a free range only by its size class, of which there are eight per
//! power of two, and would not find one that is just as long as what is asked for. Ranges therefore take whole size
//! classes of the mapping, so that what one object leaves fits the next of its size, and the mapping is longer than the
//! capacity by the eighth that this costs at most (and rounded up to a size class itself, so that an empty arena holds one
//! object of its whole capacity). Bytes in use are counted without it and never exceed the capacity.
//!
//! This module is the only one of the project with `unsafe` code.

#![allow(unsafe_code, reason = "slices are cut out of a mapping; each block says why it is sound")]

use crate::StoreError;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering};
use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};
use mobula_protocol::ByteSize;
use offset_allocator::{Allocation, Allocator};
use rustix::fs::{MemfdFlags, SealFlags};
use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::PoisonError;

mod attached;
mod copy;
#[cfg(test)]
mod tests;
mod warm;

pub(crate) use attached::Attached;
pub(crate) use copy::Store;

/// Alignment and accounting unit of every range, in bytes: a cache line, and what Arrow recommends for buffers.
pub const ALIGN: u64 = 64;

/// The largest size class of the offset allocator that 32-bit offsets can name, in units of [`ALIGN`].
const MOST_UNITS: u64 = 0xF000_0000;

/// The allocator's bookkeeping is allocated up front, about 36 bytes a range; one range for each 4 KiB keeps it below
/// 1 %.
const BYTES_PER_RANGE: u64 = 4096;
const FEWEST_RANGES: u64 = 4096;

/// A node's object memory. Cheap to clone; all clones are the same memory.
#[derive(Clone)]
pub struct Arena {
    inner: Arc<Inner>,
}

struct Inner {
    map: MmapRaw,
    /// The descriptor other processes map; `None` for plain memory.
    descriptor: Option<OwnedFd>,
    capacity: u64,
    space: Mutex<Space>,
    /// The highest end of any range so far, and the end of the pages made ready ahead of it; see `warm`.
    frontier: AtomicU64,
    warm: AtomicU64,
}

struct Space {
    allocator: Allocator,
    used: u64,
}

/// One allocated range; its drop is the one place where bytes are given back.
struct Range {
    arena: Arc<Inner>,
    offset: u64,
    len: u64,
    /// `None` for an empty object, which takes no memory.
    allocation: Option<Allocation>,
    gone: Arc<AtomicBool>,
}

/// A range that is being written, by its only writer, from the front to the back: its filled part is for good and can
/// be read by those who pass on what is still arriving, the rest is the writer's alone.
pub struct Region {
    range: Arc<Range>,
    /// Bytes from the start that are never written again.
    filled: u64,
}

/// A read-only window on a sealed range. Clones and slices share the range, which stays allocated and unmoved while any
/// of them lives.
#[derive(Clone)]
pub struct View {
    range: Arc<Range>,
    start: u64,
    len: u64,
}

/// Tells whether a range is still allocated, without keeping it so. Two watches are equal if they watch the same range.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Arc<AtomicBool>);

/// `len` rounded up to whole units: what an object of `len` bytes is charged.
pub(crate) fn charge(len: u64) -> u64 {
    len.checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX)
}

/// The smallest size class of the offset allocator that is not below `units` (its 8-bit floats have a 3-bit mantissa).
fn size_class(units: u64) -> u64 {
    let granule = 1 << units.max(1).ilog2().saturating_sub(3);
    units.next_multiple_of(granule)
}

impl Arena {
    /// Shared memory that other processes can map: a memfd, sealed so that whoever receives the descriptor can neither
    /// resize it nor map it writable. Pages are committed when first touched.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] above the machine's memory; [`StoreError::Refused`] if the system says no.
    pub fn memfd(capacity: ByteSize) -> Result<Self, StoreError> {
        let length = mapping_length(capacity)?;
        let refused = |reason: String| StoreError::Refused { asked: capacity, reason };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("mobula-store", flags).map_err(|e| refused(e.to_string()))?;
        rustix::fs::ftruncate(&fd, length).map_err(|e| refused(e.to_string()))?;
        let map = MmapOptions::new().len(length as usize).map_raw(&fd).map_err(|e| refused(e.to_string()))?;
        prefer_huge_pages(&map);
        // After our own writable mapping exists: FUTURE_WRITE forbids every later one.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(|e| refused(e.to_string()))?;
        Ok(Self::over(map, Some(fd), capacity))
    }

    /// Plain memory of this process, for simulation and tests. Pages are committed when first touched.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] above the machine's memory; [`StoreError::Refused`] if the system says no.
    pub fn heap(capacity: ByteSize) -> Result<Self, StoreError> {
        let length = mapping_length(capacity)?;
        let map = MmapOptions::new()
            .len(length as usize)
            .no_reserve_swap()
            .map_anon()
            .map_err(|e| StoreError::Refused { asked: capacity, reason: e.to_string() })?;
        Ok(Self::over(map.into(), None, capacity))
    }

    fn over(map: MmapRaw, descriptor: Option<OwnedFd>, capacity: ByteSize) -> Self {
        let units = map.len() as u64 / ALIGN;
        let ranges = (map.len() as u64 / BYTES_PER_RANGE).max(FEWEST_RANGES.min(units + 2));
        // Both fit: `units` is at most MOST_UNITS, and there are fewer ranges than units plus two.
        let allocator = Allocator::with_max_allocs(units as u32, ranges as u32);
        let space = Mutex::new(Space { allocator, used: 0 });
        let (frontier, warm) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { inner: Arc::new(Inner { map, descriptor, capacity: capacity.0, space, frontier, warm }) }
    }

    /// A new range of `len` bytes, or `None` if the budget or the longest free range is too small. What it holds at
    /// first is unspecified (zeros, or the bytes of an object that is gone).
    pub fn allocate(&self, len: ByteSize) -> Option<Region> {
        let charge = charge(len.0);
        let mut space = self.inner.space();
        if charge > self.inner.capacity.saturating_sub(space.used) {
            return None;
        }
        let allocation = match charge {
            0 => None,
            // The mapping is at most MOST_UNITS units, and the class of a charge within the capacity is no longer.
            _ => Some(space.allocator.allocate(size_class(charge / ALIGN) as u32)?),
        };
        space.used += charge;
        let offset = allocation.map_or(0, |a| u64::from(a.offset) * ALIGN);
        self.inner.reached(offset + charge);
        let (arena, gone) = (self.inner.clone(), Arc::new(AtomicBool::new(false)));
        Some(Region { range: Arc::new(Range { arena, offset, len: len.0, allocation, gone }), filled: 0 })
    }

    /// The budget: bytes in use never exceed it.
    pub fn capacity(&self) -> ByteSize {
        ByteSize(self.inner.capacity)
    }

    /// Bytes of all ranges that are allocated, each rounded up to [`ALIGN`].
    pub fn used(&self) -> ByteSize {
        ByteSize(self.inner.space().used)
    }

    /// A length that the next allocation can certainly have, within an eighth of the longest free range.
    pub fn largest_free(&self) -> ByteSize {
        let space = self.inner.space();
        let longest = u64::from(space.allocator.storage_report().largest_free_region) * ALIGN;
        ByteSize(longest.min(self.inner.capacity - space.used))
    }

    /// The descriptor to hand to another process of this host, which can map it read-only; `None` for plain memory.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor.as_ref().map(AsFd::as_fd)
    }

    /// Runs `look` on the bytes in use while no range can be allocated or given back.
    pub(crate) fn while_still<R>(&self, look: impl FnOnce(ByteSize) -> R) -> R {
        let space = self.inner.space();
        look(ByteSize(space.used))
    }
}

/// Asks for pages of 2 MiB where the system has them: fewer faults when pages are first touched, here and in every process
/// that maps the arena, and fewer misses when they are read. It is a hint: a system without them refuses, and small
/// pages serve.
fn prefer_huge_pages(map: &MmapRaw) {
    let _ = map.advise(Advice::HugePage);
}

/// How long the mapping for `capacity` is, in bytes.
fn mapping_length(capacity: ByteSize) -> Result<u64, StoreError> {
    // With the eighth for size classes, and the last class below the limit.
    let most = ByteSize(MOST_UNITS / 10 * 8 * ALIGN);
    if capacity > most {
        return Err(StoreError::TooLarge { asked: capacity, most, limit: "what 32-bit offsets of 64 bytes can name" });
    }
    let system = rustix::system::sysinfo();
    let memory = ByteSize((system.totalram as u64).saturating_mul(u64::from(system.mem_unit)));
    if capacity > memory {
        return Err(StoreError::TooLarge { asked: capacity, most: memory, limit: "this machine's memory" });
    }
    let units = (charge(capacity.0) / ALIGN).max(1);
    Ok(size_class(units + units / 8) * ALIGN)
}

impl Inner {
    fn space(&self) -> MutexGuard<'_, Space> {
        // A panic while the lock is held leaves the counters as they were: nothing between two writes can panic.
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Range {
    fn as_ptr(&self) -> *mut u8 {
        // SAFETY: the allocator hands out ranges inside the mapping only, so `offset + len <= map.len()`;
        // `self.arena` keeps the mapping alive.
        unsafe { self.arena.map.as_mut_ptr().add(self.offset as usize) }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        let mut space = self.arena.space();
        if let Some(allocation) = self.allocation {
            space.allocator.free(allocation);
        }
        space.used -= charge(self.len);
        // Under the lock, so that the table's ledger and the arena's counter change together.
        self.gone.store(true, Ordering::Release);
    }
}

impl Region {
    /// The bytes that are not filled yet, all of them unless [`Region::fill`] was called, to be written in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let len = self.range.len - self.filled;
        // SAFETY: `filled <= len` of the range, which lies inside a live mapping that was zero-filled by the system, so
        // every byte is initialised. It is disjoint from every other allocated range. This region is the only handle
        // through which these bytes can be reached, since views are of the filled part only, and is borrowed mutably.
        // Another process can map the memory read-only at most (seal FUTURE_WRITE).
        unsafe { std::slice::from_raw_parts_mut(self.range.as_ptr().add(self.filled as usize), len as usize) }
    }

    /// Declares the next `n` bytes filled: from now on they can be read, and cannot be written.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn fill(&mut self, n: usize) {
        assert!(n as u64 <= self.range.len - self.filled, "filled {n} bytes beyond {self:?}");
        self.filled += n as u64;
    }

    /// A view of the filled part. It keeps the whole range allocated.
    pub fn filled(&self) -> View {
        View { range: self.range.clone(), start: 0, len: self.filled }
    }

    /// How many bytes there are, filled or not.
    pub fn size(&self) -> ByteSize {
        ByteSize(self.range.len)
    }

    /// Ends the writing for good. Another process finds the bytes at [`View::offset`].
    pub fn seal(self) -> View {
        let len = self.range.len;
        View { range: self.range, start: 0, len }
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.range.gone.clone())
    }
}

impl View {
    /// The same bytes as a [`Bytes`] that keeps this range allocated. No copy.
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// A window on part of this one.
    ///
    /// # Panics
    /// If the bounds are out of order or beyond the end, like slicing.
    pub fn slice(&self, bounds: impl RangeBounds<usize>) -> Self {
        let start = match bounds.start_bound() {
            Bound::Included(&n) => n,
            Bound::Excluded(&n) => n + 1,
            Bound::Unbounded => 0,
        };
        let end = match bounds.end_bound() {
            Bound::Included(&n) => n + 1,
            Bound::Excluded(&n) => n,
            Bound::Unbounded => self.len(),
        };
        assert!(start <= end && end <= self.len(), "slice {start}..{end} of a view of {} bytes", self.len());
        Self { range: self.range.clone(), start: self.start + start as u64, len: (end - start) as u64 }
    }

    /// Where the view starts in the arena, in bytes; a multiple of [`ALIGN`] unless this is a slice.
    pub fn offset(&self) -> u64 {
        self.range.offset + self.start
    }

    /// How many other handles (clones, slices, [`Bytes`]) keep the range allocated. Zero is final if the caller lends
    /// this view to nobody: a handle is made from a handle only.
    pub fn readers(&self) -> usize {
        Arc::strong_count(&self.range) - 1
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.range.gone.clone())
    }
}

impl Deref for View {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start + len` is within the range (checked by `slice`), which is inside a live mapping and
        // initialised. A view is of a range whose region was consumed or of the part its region filled, and the range
        // is not allocated again while `self.range` lives: nobody writes these bytes.
        unsafe { std::slice::from_raw_parts(self.range.as_ptr().add(self.start as usize), self.len as usize) }
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Watch {
    /// Whether the range is still allocated.
    pub(crate) fn is_held(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arena({} of {} in use)", self.used(), self.capacity())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} at {})", self.size(), self.range.offset)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} at {})", ByteSize(self.len), self.offset())
    }
}
