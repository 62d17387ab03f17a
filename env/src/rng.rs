//! Counter-based random numbers: a draw is a pure function of (seed, node, stream, counter).
//!
//! Every component draws from its own named stream. Removing one component, or one fault from a plan, then leaves the
//! draws of all others as they were; that is what makes a failing run shrinkable (FoundationDB and Turso share one
//! generator and cannot shrink this way; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// One named stream of random numbers. A clone continues from the same place, independently.
///
/// Not for cryptography.
#[derive(Clone, Debug)]
pub struct Rng {
    key: u64,
    counter: u64,
}

impl Rng {
    /// The stream `stream` of `node` in the world seeded with `seed`, from its beginning.
    pub fn new(seed: u64, node: &str, stream: &str) -> Self {
        // The two names are hashed apart, so that ("a", "bc") and ("ab", "c") are different streams.
        let names = [xxh3_64(node.as_bytes()).to_le_bytes(), xxh3_64(stream.as_bytes()).to_le_bytes()].concat();
        Self { key: xxh3_64_with_seed(&names, seed), counter: 0 }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let draw = xxh3_64_with_seed(&self.counter.to_le_bytes(), self.key);
        self.counter += 1;
        draw
    }

    /// A number in `0..n`, each equally likely. Panics if `n` is zero: there is no such number.
    ///
    /// Lemire, "Fast random integer generation in an interval", TOMACS 2019.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below(0): no number is below zero");
        let biased = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            if wide as u64 >= biased {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A number in `[0, 1)`, on a grid of 2^53.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`; always false for `p <= 0`, always true for `p >= 1`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }
}

#[cfg(test)]
mod tests;
