//! The checksum of a buffer, taken while it is copied.

use crate::arena::Store;
use bytes::Bytes;
use std::hash::Hasher;
use twox_hash::XxHash3_64;

/// Bytes of a block. A block that was just copied is still in the cache when it is hashed.
pub(super) const BLOCK: usize = 64 * 1024;

/// XXH3-64 of some bytes.
pub(super) fn xxh3(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// The checksum of a buffer, given piece by piece: XXH3-64 of its bytes if it has at most one [`BLOCK`], else XXH3-64 of
/// the concatenated (little-endian) XXH3-64 of its blocks. So the blocks of a large buffer can be hashed in any order,
/// by several threads, or as they arrive.
pub(super) struct BufferHash {
    /// Of the blocks that are complete.
    blocks: Vec<u8>,
    /// The block that is being filled, if pieces end within it, and the bytes in it.
    open: XxHash3_64,
    filled: usize,
}

impl BufferHash {
    pub fn new() -> Self {
        Self { blocks: Vec::new(), open: XxHash3_64::new(), filled: 0 }
    }

    /// How many of the next bytes belong to the current block.
    fn room(&self) -> usize {
        BLOCK - self.filled
    }

    /// Adds bytes that do not cross the end of the block.
    fn add(&mut self, bytes: &[u8]) {
        if self.filled == 0 && bytes.len() == BLOCK {
            self.blocks.extend(xxh3(bytes).to_le_bytes());
            return;
        }
        self.open.write(bytes);
        self.filled += bytes.len();
        if self.filled == BLOCK {
            let done = std::mem::replace(&mut self.open, XxHash3_64::new());
            self.blocks.extend(done.finish().to_le_bytes());
            self.filled = 0;
        }
    }

    /// Adds bytes, however many.
    pub fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            self.add(now);
            bytes = later;
        }
    }

    pub fn finish(mut self) -> u64 {
        if self.blocks.is_empty() {
            return self.open.finish();
        }
        if self.filled > 0 {
            self.blocks.extend(self.open.finish().to_le_bytes());
        }
        match <[u8; 8]>::try_from(self.blocks.as_slice()) {
            Ok(only) => u64::from_le_bytes(only),
            Err(_) => xxh3(&self.blocks),
        }
    }
}

/// The checksum of a buffer that is there.
pub(super) fn of_buffer(bytes: &[u8]) -> u64 {
    if bytes.len() <= BLOCK {
        return xxh3(bytes);
    }
    let blocks: Vec<u8> = bytes.chunks(BLOCK).flat_map(|block| xxh3(block).to_le_bytes()).collect();
    xxh3(&blocks)
}

/// Writes `pieces` one after the other into `to`, which is as long as all of them, and returns the checksum of that.
pub(super) fn copy_and_hash(pieces: &[Bytes], store: Store, to: &mut [u8]) -> u64 {
    if let [only] = pieces
        && only.len() <= BLOCK
    {
        store.copy(only, to);
        return xxh3(only);
    }
    let mut hash = BufferHash::new();
    let mut to = to;
    for mut from in pieces.iter().map(|piece| &piece[..]) {
        while !from.is_empty() {
            let (now, later) = from.split_at(from.len().min(hash.room()));
            let (here, rest) = to.split_at_mut(now.len());
            store.copy(now, here);
            // The source, not the destination: a streaming store leaves only the source in the cache.
            hash.add(now);
            (from, to) = (later, rest);
        }
    }
    hash.finish()
}
