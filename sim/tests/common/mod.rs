//! The tasks of the tests.

#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

use mobula_runtime::{Blob, Nanos, charge, task};

/// What a driver returns: an error ends a test with its text.
pub type Answer = Result<(), String>;

/// With the error as text.
pub fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|why| why.to_string())
}

/// The same without the value.
pub fn answer<T, E: std::fmt::Display>(result: Result<T, E>) -> Answer {
    told(result).map(drop)
}

/// Two milliseconds of work, and a number that shows that it was done.
#[task]
pub fn square(x: u64) -> u64 {
    charge(Nanos::millis(2));
    x * x
}

/// As [`square`], in a world where only real work takes time.
#[task]
#[allow(clippy::disallowed_methods, reason = "runs in the real world only")]
pub fn slow_square(x: u64) -> u64 {
    std::thread::sleep(std::time::Duration::from_millis(10));
    x * x
}

/// So many bytes that depend on `seed`.
pub fn content(bytes: u64, seed: u64) -> Vec<u8> {
    (0..bytes).map(|i| (i.wrapping_mul(0x9e37_79b9) ^ (i >> 8) ^ seed) as u8).collect()
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[task]
pub fn produce(bytes: u64, seed: u64) -> Blob {
    charge(Nanos(bytes));
    content(bytes, seed).into()
}

#[task]
pub fn digest(blob: Blob) -> u64 {
    charge(Nanos(blob.len() as u64));
    hash(&blob)
}
