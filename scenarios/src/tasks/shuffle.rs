//! Sorting numbers by a shuffle: scattered by range, merged, and looked at. Numbers are eight bytes each, little-endian.

use super::{charge_pass, split_mix};
use crate::value::Value;
use mobula_runtime::{Nanos, Rest, Result, charge, task};

/// As many numbers as fit into `bytes`, drawn from `seed`, in `returns` parts: each has the numbers of one range, and the
/// ranges are of equal size and in order.
#[task(many)]
pub fn scatter(bytes: u64, seed: u64, returns: u64) -> Vec<Value> {
    charge(Nanos(bytes));
    let mut state = seed;
    let mut parts = vec![Vec::new(); usize::try_from(returns).unwrap_or(0)];
    for _ in 0..bytes / 8 {
        let number = split_mix(&mut state);
        // The high half of a product below `returns * 2^64`.
        let range = (u128::from(number) * u128::from(returns)) >> 64;
        if let Some(part) = usize::try_from(range).ok().and_then(|range| parts.get_mut(range)) {
            part.extend_from_slice(&number.to_le_bytes());
        }
    }
    parts.into_iter().map(|part| Value::Bytes(part.into())).collect()
}

/// All numbers of its arguments, the smallest first.
#[task]
pub fn merge(xs: Rest<Value>) -> Result<Value, String> {
    let mut numbers = numbers(&xs.0)?;
    charge_pass(numbers.len() * 16);
    numbers.sort_unstable();
    Ok(Value::Bytes(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>().into()))
}

/// How many numbers its arguments have, if none is smaller than the one before it.
#[task]
pub fn in_order(xs: Rest<Value>) -> Result<Value, String> {
    let numbers = numbers(&xs.0)?;
    charge_pass(numbers.len() * 8);
    match numbers.windows(2).position(|pair| pair[0] > pair[1]) {
        Some(at) => Err(format!("number {} is smaller than the one before it", at + 1)),
        None => i64::try_from(numbers.len()).map(Value::Int).map_err(|why| why.to_string()),
    }
}

/// The numbers of several values, one after the other.
fn numbers(values: &[Value]) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    for value in values {
        let Value::Bytes(bytes) = value else { return Err(format!("numbers are needed, not {value}")) };
        let (whole, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(format!("{} bytes are no numbers of 8 bytes", bytes.len()));
        }
        numbers.extend(whole.iter().map(|number| u64::from_le_bytes(*number)));
    }
    Ok(numbers)
}
