//! A spill file: the records of its objects, one after the other.
//!
//! ```text
//!  0       4       8            12            16          24          32            40         48      64
//!  | "SPL1" | index | owner node | owner epoch | task (8)  | length (8) | file no (8) | XXH3 (8) | zeros |
//!  | block table: for each block of 256 KiB of the object, its XXH3-64 (8)      | zeros up to a multiple of 64
//!  | the object's bytes                                                         | zeros up to a multiple of 64
//! ```
//! All numbers are little-endian. The hash in the head covers the 40 bytes before it and the block table. The head names
//! the object and the file, so that bytes of another record, or of another file, are noticed although they are whole.
//! Blocks have hashes of their own, so that a part of an object can be read, checked and sent without the rest.

use super::Place;
use mobula_protocol::{ByteSize, Incarnation, ObjectId, TaskId};
use std::hash::Hasher;
use twox_hash::XxHash3_64;

/// What is hashed, and hence read, at once, in bytes. The last block of an object may be shorter.
pub const BLOCK: u64 = 256 << 10;
/// Records and their parts start at multiples of this.
pub const ALIGN: u64 = 64;

const MAGIC: &[u8; 4] = b"SPL1";
const FIXED: u64 = 64;
const HASHED: usize = 40;

/// Bytes that are not the record that was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Too few bytes.
    #[error("a spill record ends after {found} of {wanted} bytes")]
    Truncated {
        /// How many there should be.
        wanted: u64,
        /// How many there are.
        found: u64,
    },
    /// No record begins here.
    #[error("there is no spill record at this place")]
    NoRecord,
    /// The head does not match its hash.
    #[error("the head of a spill record is damaged")]
    Head,
    /// The record of another object, or of another file.
    #[error("a spill record is that of {object} in file {file}, not the one that was looked for")]
    Other {
        /// Of which object.
        object: ObjectId,
        /// In which file it was written.
        file: u64,
    },
    /// A block does not match its hash.
    #[error("block {block} of the spilled object {object} is damaged")]
    Block {
        /// Which object.
        object: ObjectId,
        /// Which block.
        block: u64,
    },
}

/// What precedes an object's bytes in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which object.
    pub object: ObjectId,
    /// Its length.
    pub len: ByteSize,
    /// The number of the file.
    pub file: u64,
    /// The hash of each block.
    blocks: Vec<u64>,
}

/// How many bytes precede those of an object of `len` bytes.
pub fn head_size(len: ByteSize) -> u64 {
    let table = len.0.div_ceil(BLOCK).saturating_mul(8);
    FIXED.saturating_add(padded(table))
}

/// How long the record of an object of `len` bytes is.
pub fn record_size(len: ByteSize) -> u64 {
    head_size(len).saturating_add(padded(len.0))
}

/// `n` rounded up to a multiple of [`ALIGN`].
fn padded(n: u64) -> u64 {
    n.checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX)
}

impl Head {
    /// That of `object` with these bytes in the file `file`. Reads all of them.
    pub fn of(file: u64, object: ObjectId, bytes: &[u8]) -> Self {
        let blocks = bytes.chunks(BLOCK as usize).map(XxHash3_64::oneshot).collect();
        Self { object, len: ByteSize(bytes.len() as u64), file, blocks }
    }

    /// As it is written: [`head_size`] bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(head_size(self.len) as usize);
        out.extend_from_slice(MAGIC);
        let ObjectId { task: TaskId { owner, seq }, index } = self.object;
        for word in [index, owner.node.0, owner.epoch.0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for long in [seq, self.len.0, self.file] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        let table: Vec<u8> = self.blocks.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        out.extend_from_slice(&hash(&out[..HASHED], &table).to_le_bytes());
        out.resize(FIXED as usize, 0);
        out.extend_from_slice(&table);
        out.resize(head_size(self.len) as usize, 0);
        out
    }

    /// Reads a head. What follows it in `bytes` is ignored.
    ///
    /// # Errors
    /// [`FormatError`], whatever the bytes are. Nothing is allocated before the bytes for it were seen.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let truncated = |wanted: u64| FormatError::Truncated { wanted, found: bytes.len() as u64 };
        let fixed = bytes.get(..FIXED as usize).ok_or(truncated(FIXED))?;
        if !fixed.starts_with(MAGIC) {
            return Err(FormatError::NoRecord);
        }
        let len = ByteSize(long(fixed, 24));
        let size = head_size(len);
        let whole = usize::try_from(size).ok().and_then(|size| bytes.get(..size)).ok_or(truncated(size))?;
        let table = &whole[FIXED as usize..][..len.0.div_ceil(BLOCK) as usize * 8];
        if long(fixed, HASHED) != hash(&fixed[..HASHED], table) {
            return Err(FormatError::Head);
        }
        let owner = Incarnation::new(word(fixed, 8), word(fixed, 12));
        let object = TaskId { owner, seq: long(fixed, 16) }.result(word(fixed, 4));
        let blocks = table.chunks_exact(8).map(|hash| long(hash, 0)).collect();
        Ok(Self { object, len, file: long(fixed, 32), blocks })
    }

    /// Whether it is the head of `object` as written to `place`.
    ///
    /// # Errors
    /// [`FormatError::Other`].
    pub fn expect(&self, object: ObjectId, place: &Place) -> Result<(), FormatError> {
        if (self.object, self.len, self.file) == (object, place.len, place.file.number) {
            Ok(())
        } else {
            Err(FormatError::Other { object: self.object, file: self.file })
        }
    }

    /// Whether `bytes` are the object's block number `block`, whole.
    ///
    /// # Errors
    /// [`FormatError::Block`].
    pub fn check(&self, block: u64, bytes: &[u8]) -> Result<(), FormatError> {
        let wanted = usize::try_from(block).ok().and_then(|block| self.blocks.get(block));
        let whole = bytes.len() as u64 == self.len.0.saturating_sub(block.saturating_mul(BLOCK)).min(BLOCK);
        if whole && wanted == Some(&XxHash3_64::oneshot(bytes)) {
            Ok(())
        } else {
            Err(FormatError::Block { object: self.object, block })
        }
    }
}

fn hash(fixed: &[u8], table: &[u8]) -> u64 {
    let mut hasher = XxHash3_64::new();
    hasher.write(fixed);
    hasher.write(table);
    hasher.finish()
}

/// The number at `at`, which the caller knows to be inside.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
