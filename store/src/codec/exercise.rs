//! Everything a reader can do with bytes, for fuzzing.

use super::{Blob, CodecError, Reference, Rope, Strided, Tensor, decode, encode, layout, refs, verify};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A value of any shape.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Any {
    Flag(bool),
    Number(i64),
    Real(f64),
    Text(String),
    Tensor(Tensor<f64>),
    Strided(Strided<u16>),
    Reference(Reference),
    Blob(Blob),
    List(Vec<Any>),
    Map(BTreeMap<String, Any>),
}

/// Reads `bytes` in every way there is. For fuzzing: whatever the bytes, this returns, in time and memory in proportion
/// to them. A value that was read is encoded and read again, and must be the same.
///
/// # Errors
/// What [`decode`] says of the bytes when a value of any shape is wanted.
///
/// # Panics
/// If the codec is wrong.
pub fn exercise(bytes: &[u8]) -> Result<(), CodecError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let whole = verify(&bytes);
    let listed = refs(&bytes);
    assert!(whole.is_err() || listed.is_ok(), "what is intact has a reference table");
    let _ = decode::<Strided<i32>>(&bytes).map(|tensor| tensor.to_tensor());
    let _ = decode::<Vec<Rope>>(&bytes);
    let value: Any = decode(&bytes)?;
    let again = encode(&value)?.to_bytes();
    assert_eq!(verify(&again), Ok(()), "what is encoded is intact");
    let back: Any = decode(&again)?;
    // A not-a-number is unequal to itself; encoding it twice gives the same bytes.
    assert_eq!(encode(&back)?.to_bytes(), again, "a value survives encoding");
    Ok(())
}

/// `bytes` with the checksum of their head made right, if they have room for one. For fuzzing.
pub fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    layout::reseal(&mut bytes);
    bytes
}
