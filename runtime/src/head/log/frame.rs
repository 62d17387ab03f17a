//! Frames: bytes with a length, a checksum and a number.

use bytes::Bytes;
use serde::Serialize;
use std::io;
use twox_hash::XxHash3_64;

/// Magic, bytes of the body, checksum, number.
pub(super) const HEADER: usize = 4 + 8 + 8 + 8;

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
pub(super) fn encode(kind: Kind, number: u64, body: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&kind.magic());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(body);
    let checksum = checksum(&bytes);
    bytes[12..20].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

/// Of everything but itself.
fn checksum(frame: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&frame[..12]), &frame[20..])
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
    let len = usize::try_from(word(&bytes[4..12])).ok().and_then(|body| body.checked_add(HEADER));
    let Some(frame) = len.and_then(|len| bytes.get(..len)) else { return Err("it ends within a frame") };
    if checksum(frame) != word(&frame[12..20]) {
        return Err("the checksum of a frame is wrong");
    }
    Ok(Frame { number: word(&frame[20..HEADER]), body: &frame[HEADER..], len: frame.len() })
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
