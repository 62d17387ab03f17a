//! Whether waiting awake pays.
//!
//! A thread that sleeps is woken by an interrupt to its core, which takes longer than most of what this runtime does; a
//! thread that stays awake takes its core from others. So whoever waits often learns from how long it took before. The
//! rule is that of Linux's halt polling (Documentation/virt/kvm/halt-polling.rst): what is woken soon stays awake twice as
//! long the next time, what waits long sleeps at once.

use mobula_protocol::Nanos;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long somebody stays awake for what comes next. Shared by all who wait for the same kind of thing.
#[derive(Debug)]
pub struct Vigil {
    longest: Nanos,
    awake: AtomicU64,
}

impl Vigil {
    const FIRST: Nanos = Nanos::micros(10);

    /// One that sleeps at first, and is never awake for longer than `longest` at a time.
    pub fn new(longest: Nanos) -> Self {
        Self { longest, awake: AtomicU64::new(0) }
    }

    /// How long to stay awake now.
    pub(crate) fn time(&self) -> Nanos {
        Nanos(self.awake.load(Ordering::Relaxed))
    }

    /// Learns that something did not come while this was awake, but after `time` in all.
    pub(crate) fn slept(&self, time: Nanos) {
        let next = match time > self.longest {
            true => Nanos::ZERO,
            false => (self.time() * 2).clamp(Self::FIRST, self.longest.max(Self::FIRST)),
        };
        self.awake.store(next.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
