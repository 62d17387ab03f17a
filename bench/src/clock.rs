//! The wall clock. Benchmarks are about it; no other file of this crate reads it.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark measures what a person waits for")]

use std::time::Instant;

/// Measures one span of wall time.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    pub fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    /// Microseconds since the start.
    pub fn micros(self) -> f64 {
        self.seconds() * 1e6
    }
}
