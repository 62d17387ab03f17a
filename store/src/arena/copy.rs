//! Copies that leave the caches alone.

#[cfg(test)]
mod tests;

/// From this length on, a copy is larger than what a reader would still find in a cache.
const LARGE: usize = 4 << 20;

/// How a run of copies writes its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// Through the caches: whoever reads next finds the bytes there.
    Cached,
    /// Past the caches. An ordinary store first reads the line it overwrites, so a large copy moves three bytes over
    /// the memory bus for each one; this moves two.
    Streaming,
}

impl Store {
    /// What suits an object of `len` bytes.
    pub(crate) fn suiting(len: usize) -> Self {
        if len >= LARGE { Self::Streaming } else { Self::Cached }
    }

    /// Copies `from` to `to`.
    ///
    /// # Panics
    /// If they differ in length.
    pub(crate) fn copy(self, from: &[u8], to: &mut [u8]) {
        assert_eq!(from.len(), to.len(), "source and destination of a copy have one length");
        match self {
            Self::Cached => to.copy_from_slice(from),
            Self::Streaming => stream(from, to),
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn stream(from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
}

/// Non-temporal stores of 16 bytes, which every x86-64 has; both slices have one length.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn stream(from: &[u8], to: &mut [u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    /// Bytes a round: one cache line, so that each line is written whole.
    const LINE: usize = 64;
    let (head, lines) = to.split_at_mut(to.as_ptr().align_offset(LINE).min(to.len()));
    let (from_head, from_lines) = from.split_at(head.len());
    head.copy_from_slice(from_head);
    let mut source = from_lines.chunks_exact(LINE);
    let mut target = lines.chunks_exact_mut(LINE);
    for (from, to) in source.by_ref().zip(target.by_ref()) {
        // SAFETY: both chunks have exactly LINE bytes, and four times 16 bytes are read and written. The reads need no
        // alignment; the writes start at a multiple of LINE, hence of 16, because `head` ends at one.
        unsafe {
            let (from, to) = (from.as_ptr().cast::<__m128i>(), to.as_mut_ptr().cast::<__m128i>());
            let line = [0, 1, 2, 3].map(|word| _mm_loadu_si128(from.add(word)));
            for (word, value) in line.into_iter().enumerate() {
                _mm_stream_si128(to.add(word), value);
            }
        }
    }
    target.into_remainder().copy_from_slice(source.remainder());
    // Non-temporal stores are not ordered with others; after the fence, whoever sees the object sealed sees its bytes.
    // SAFETY: every x86-64 has it, and it touches no memory.
    unsafe { _mm_sfence() };
}
