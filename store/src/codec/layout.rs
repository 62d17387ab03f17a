//! The fixed part of the format: header, buffer table, reference table. The bytes are drawn in the parent module.

use super::CodecError;
use mobula_protocol::{Incarnation, ObjectId, TaskId};
use std::hash::Hasher;
use std::ops::Range;
use twox_hash::XxHash3_64;

const MAGIC: [u8; 4] = *b"MOB1";
const VERSION: u16 = 1;
const HEADER: usize = 32;
/// Where the checksum stands in the header.
const CHECKSUM: Range<usize> = 24..32;
const SLOT: usize = 24;
const REF: usize = 24;
const ALIGN: usize = crate::ALIGN as usize;

/// Where everything is in a value whose header was found intact.
#[derive(Debug)]
pub(super) struct Layout {
    pub structure: Range<usize>,
    pub slots: Vec<Slot>,
    pub refs: Vec<ObjectId>,
}

/// One line of the buffer table.
#[derive(Debug)]
pub(super) struct Slot {
    pub range: Range<usize>,
    pub hash: u64,
}

/// The first multiple of the alignment that is not before `end`.
pub(super) fn aligned(end: usize) -> usize {
    end.next_multiple_of(ALIGN)
}

/// Bytes before the first buffer, without padding.
pub(super) fn head_length(structure: usize, buffers: usize, refs: usize) -> usize {
    HEADER + SLOT * buffers + REF * refs + structure
}

/// Writes all that precedes the buffers; `out` has [`head_length`] bytes. Both counts fit in 32 bits.
pub(super) fn write_head(out: &mut [u8], structure: &[u8], slots: &[Slot], refs: &[ObjectId]) {
    let mut put = Put { out, at: 0 };
    put.bytes(&MAGIC);
    put.bytes(&VERSION.to_le_bytes());
    put.bytes(&[0; 2]);
    put.bytes(&(structure.len() as u64).to_le_bytes());
    put.bytes(&(slots.len() as u32).to_le_bytes());
    put.bytes(&(refs.len() as u32).to_le_bytes());
    put.at = CHECKSUM.end;
    for slot in slots {
        put.bytes(&(slot.range.start as u64).to_le_bytes());
        put.bytes(&(slot.range.len() as u64).to_le_bytes());
        put.bytes(&slot.hash.to_le_bytes());
    }
    for id in refs {
        put.bytes(&id.task.owner.node.0.to_le_bytes());
        put.bytes(&id.task.owner.epoch.0.to_le_bytes());
        put.bytes(&id.task.seq.to_le_bytes());
        put.bytes(&id.index.to_le_bytes());
        put.bytes(&[0; 4]);
    }
    put.bytes(structure);
    let hash = checksum(put.out);
    put.out[CHECKSUM].copy_from_slice(&hash.to_le_bytes());
}

/// XXH3-64 of all bytes of the head except those of the checksum itself.
pub(super) fn checksum(head: &[u8]) -> u64 {
    let mut hash = XxHash3_64::new();
    hash.write(&head[..CHECKSUM.start]);
    hash.write(&head[CHECKSUM.end..]);
    hash.finish()
}

/// Makes the checksum right for the head that `bytes` announce, for tests: cut off where they end, and nothing if they
/// have no header.
pub(super) fn reseal(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    let tables = HEADER as u64 + SLOT as u64 * u64::from(u32_at(bytes, 16)) + REF as u64 * u64::from(u32_at(bytes, 20));
    let head = tables.saturating_add(u64_at(bytes, 8)).min(bytes.len() as u64) as usize;
    let hash = checksum(&bytes[..head]);
    bytes[CHECKSUM].copy_from_slice(&hash.to_le_bytes());
}

impl Layout {
    /// Checks the head against the bytes and against the layout rules.
    pub fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        Self::read_head(bytes, bytes.len())
    }

    /// The same of a value of `total` bytes, the first of which are here. If the head is not here completely, the value
    /// is said to be truncated and to need no more bytes than it has.
    pub fn read_head(bytes: &[u8], total: usize) -> Result<Self, CodecError> {
        let found = bytes.len() as u64;
        let header = bytes.get(..HEADER).ok_or(CodecError::Truncated { needed: HEADER as u64, found })?;
        let magic: [u8; 4] = array(header, 0);
        if magic != MAGIC {
            return Err(CodecError::Magic { found: magic });
        }
        let (version, flags) = (u16::from_le_bytes(array(header, 4)), u16::from_le_bytes(array(header, 6)));
        if (version, flags) != (VERSION, 0) {
            return Err(CodecError::Version { version, flags });
        }
        let (buffers, refs) = (u32_at(header, 16) as usize, u32_at(header, 20) as usize);
        // 24 times a 32-bit count fits in 64 bits twice over; only the structure's length can overflow.
        let tables = (HEADER + SLOT * buffers + REF * refs) as u64;
        let head = tables.saturating_add(u64_at(header, 8));
        if head > found {
            return Err(CodecError::Truncated { needed: head, found });
        }
        let head = &bytes[..head as usize];
        let (stored, computed) = (u64_at(header, CHECKSUM.start), checksum(head));
        if stored != computed {
            return Err(CodecError::Damaged { stored, computed });
        }
        let (slot_table, ref_table) = head[HEADER..tables as usize].split_at(SLOT * buffers);
        let slots = read_slots(slot_table, head.len(), total as u64)?;
        let refs = ref_table.chunks_exact(REF).map(read_ref).collect();
        Ok(Self { structure: tables as usize..head.len(), slots, refs })
    }
}

/// Reads the buffer table; the buffers must fill the bytes from `head` to `found` exactly.
fn read_slots(table: &[u8], head: usize, found: u64) -> Result<Vec<Slot>, CodecError> {
    let mut end = head;
    let mut slots = Vec::with_capacity(table.len() / SLOT);
    for (index, line) in table.chunks_exact(SLOT).enumerate() {
        let (start, len, hash) = (u64_at(line, 0), u64_at(line, 8), u64_at(line, 16));
        let expected = aligned(end) as u64;
        if start != expected {
            return Err(CodecError::Misplaced { index, expected, found: start });
        }
        let needed = start.saturating_add(len);
        if needed > found {
            return Err(CodecError::Truncated { needed, found });
        }
        end = needed as usize;
        slots.push(Slot { range: start as usize..end, hash });
    }
    let expected = end as u64;
    if expected == found { Ok(slots) } else { Err(CodecError::Trailing { expected, found }) }
}

fn read_ref(line: &[u8]) -> ObjectId {
    let owner = Incarnation::new(u32_at(line, 0), u32_at(line, 4));
    TaskId { owner, seq: u64_at(line, 8) }.result(u32_at(line, 16))
}

/// `N` bytes of a table line or header, whose length the caller has checked.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|n| bytes[at + n])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// Writes one field after the other.
struct Put<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Put<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.out[self.at..][..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}
