//! The four objects, as the listing at the end of the article makes them.

use mobula_runtime::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// An array of numbers as our codec has them, and as a format without tensors has them.
pub trait Array: FromIterator<f64> {}
impl Array for Tensor<f64> {}
impl Array for Vec<f64> {}

/// `np.random.randn(50000)`: elements and order of magnitude; no two are alike.
fn array<A: Array>(seed: usize) -> A {
    (0..50_000).map(|n| ((n * 7919 + seed * 104_729) % 100_003) as f64 / 25_000.0 - 2.0).collect()
}

/// `[np.random.randn(50000) for i in range(100)]`
pub fn arrays<A: Array>() -> Vec<A> {
    (0..100).map(array).collect()
}

/// `{'weight-' + str(i): np.random.randn(50000) for i in range(100)}`
pub fn dict_arrays<A: Array>() -> BTreeMap<String, A> {
    (0..100).map(|i| (format!("weight-{i}"), array(i))).collect()
}

/// `{i: set(['string1' + str(i), 'string2' + str(i)]) for i in range(100000)}`
pub fn dict_sets() -> BTreeMap<u32, BTreeSet<String>> {
    (0..100_000).map(|i| (i, [format!("string1{i}"), format!("string2{i}")].into())).collect()
}

/// `[str(i) for i in range(200000)]`
pub fn strings() -> Vec<String> {
    (0..200_000).map(|i: u32| i.to_string()).collect()
}
