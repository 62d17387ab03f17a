//! The map of the hot paths: constant time, and as deterministic as a tree.

use rustc_hash::FxBuildHasher;

/// A hash map with a fixed hasher that iterates in an order given by the history of insertions and removals alone, so the
/// same steps give the same order on every machine (invariant I48). A look-up costs about a fifth of one in a `BTreeMap` of a
/// million ids. Where the order matters to people or to other nodes, sort; where ranges are needed, use a `BTreeMap`.
///
/// Removal is by `swap_remove`: constant time, and the last entry takes the place of the removed one. The hasher does not
/// resist chosen keys, so keys that a stranger can choose do not belong here.
pub type Map<K, V> = indexmap::IndexMap<K, V, FxBuildHasher>;
