//! A check of MessagePack before serde sees it.
//!
//! `rmp_serde` counts the nesting of arrays and maps but not of enums, so a hostile structure could overflow the
//! stack; nor does it notice bytes after the value. One pass without recursion settles both, for what is written as
//! for what is read.

use super::CodecError;
use rmp::Marker;

/// How deep arrays and maps may be nested in one value.
pub const MAX_DEPTH: usize = 256;

/// Checks that `bytes` is one whole MessagePack value, nested at most [`MAX_DEPTH`] deep, and nothing else.
pub(super) fn scan(bytes: &[u8]) -> Result<(), CodecError> {
    let mut at = 0;
    // How many values are still to come at each level that is open.
    let mut open: Vec<u64> = vec![1];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let (skip, values) = step(bytes, at)?;
        at += skip;
        if values > 0 {
            if open.len() > MAX_DEPTH {
                return Err(CodecError::TooDeep);
            }
            open.push(values);
        }
    }
    if at == bytes.len() { Ok(()) } else { Err(CodecError::Structure { what: "more than one value", at }) }
}

/// The value at `at`: how many bytes it takes before its elements, and how many elements follow.
fn step(bytes: &[u8], at: usize) -> Result<(usize, u64), CodecError> {
    let wrong = |what| CodecError::Structure { what, at };
    let marker = Marker::from_u8(*bytes.get(at).ok_or_else(|| wrong("an early end"))?);
    // A big-endian length of `width` bytes after the marker.
    let length = |width: usize| {
        let digits = bytes.get(at + 1..at + 1 + width).ok_or_else(|| wrong("an early end"))?;
        Ok(digits.iter().fold(0_u64, |n, digit| n << 8 | u64::from(*digit)))
    };
    let (head, body, values) = match marker {
        Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => (1, 0, 0),
        Marker::U8 | Marker::I8 => (1, 1, 0),
        Marker::U16 | Marker::I16 => (1, 2, 0),
        Marker::U32 | Marker::I32 | Marker::F32 => (1, 4, 0),
        Marker::U64 | Marker::I64 | Marker::F64 => (1, 8, 0),
        Marker::FixStr(len) => (1, u64::from(len), 0),
        Marker::Str8 | Marker::Bin8 => (2, length(1)?, 0),
        Marker::Str16 | Marker::Bin16 => (3, length(2)?, 0),
        Marker::Str32 | Marker::Bin32 => (5, length(4)?, 0),
        Marker::FixExt1 => (2, 1, 0),
        Marker::FixExt2 => (2, 2, 0),
        Marker::FixExt4 => (2, 4, 0),
        Marker::FixExt8 => (2, 8, 0),
        Marker::FixExt16 => (2, 16, 0),
        Marker::Ext8 => (3, length(1)?, 0),
        Marker::Ext16 => (4, length(2)?, 0),
        Marker::Ext32 => (6, length(4)?, 0),
        Marker::FixArray(len) => (1, 0, u64::from(len)),
        Marker::Array16 => (3, 0, length(2)?),
        Marker::Array32 => (5, 0, length(4)?),
        Marker::FixMap(len) => (1, 0, 2 * u64::from(len)),
        Marker::Map16 => (3, 0, 2 * length(2)?),
        Marker::Map32 => (5, 0, 2 * length(4)?),
        Marker::Reserved => return Err(wrong("a byte without meaning")),
    };
    let whole = head + body;
    if whole > (bytes.len() - at) as u64 {
        return Err(wrong("an early end"));
    }
    Ok((whole as usize, values))
}
