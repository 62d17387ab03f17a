//! Frames: bytes with a length, a checksum and a number.

use bytes::Bytes;
use serde::Serialize;
use std::io;
use twox_hash::XxHash3_64;

/// Magic, bytes of the body, checksum, number.
pub(super) const HEADER: usize = 4 + 4 + 8 + 8;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot,
    Turns,
}

impl Kind {
    fn magic(self) -> [u8; 4] {
        match self {
            Self::Snapshot => *b"mbSN",
            Self::Turns => *b"mbTU",
        }
    }
}

/// A frame that is as it was written.
pub(super) struct Frame<'a> {
    /// Of its first turn; of a snapshot, of its last.
    pub number: u64,
    pub body: &'a [u8],
    /// Bytes it takes in all.
    pub len: usize,
}

/// Appends `value` as MessagePack, which another language can read.
pub(super) fn append(body: &mut Vec<u8>, value: &impl Serialize) {
    // Into memory, and of types without anything that MessagePack lacks: there is nothing that can fail.
    rmp_serde::encode::write(body, value).expect("the head's own types are MessagePack");
}

/// A frame's bytes.
///
/// # Panics
/// With a body of 4 GiB, far above what a head's state may be.
pub(super) fn encode(kind: Kind, number: u64, body: &[u8]) -> Bytes {
    let len = u32::try_from(body.len()).expect("less than 4 GiB in one frame");
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&kind.magic());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(body);
    let checksum = checksum(&bytes);
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

/// Of everything but itself.
fn checksum(frame: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&frame[..8]), &frame[16..])
}

/// Reads the frame at the beginning of `bytes`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Result<Frame<'_>, &'static str> {
    if bytes.len() < HEADER {
        return Err("it ends within a header");
    }
    if bytes[..4] != kind.magic() {
        return Err("no frame begins here");
    }
    let len = HEADER + word(&bytes[4..8]) as usize;
    let Some(frame) = bytes.get(..len) else { return Err("it ends within a frame") };
    if checksum(frame) != word(&frame[8..16]) {
        return Err("the checksum of a frame is wrong");
    }
    Ok(Frame { number: word(&frame[16..24]), body: &frame[HEADER..], len })
}

/// Whether a whole frame begins anywhere in `bytes`.
pub(super) fn any(kind: Kind, bytes: &[u8]) -> bool {
    let begins = |at: &usize| bytes[*at..].starts_with(&kind.magic());
    (0..bytes.len()).filter(begins).any(|at| decode(kind, &bytes[at..]).is_ok())
}

/// Little-endian, of up to eight bytes.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Reads values one after the other.
pub(super) fn reader(body: &[u8]) -> rmp_serde::Deserializer<rmp_serde::decode::ReadReader<io::Cursor<&[u8]>>> {
    rmp_serde::Deserializer::new(io::Cursor::new(body))
}
