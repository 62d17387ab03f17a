//! The contract every machine keeps.

use crate::Nanos;

/// A participant of the protocol without I/O: same inputs, same outputs, always.
///
/// The pattern is that of openraft's engine and quinn-proto: time is an argument, output is data, and the shell that owns
/// sockets and clocks contains a `match` and nothing clever.
pub trait Machine {
    /// Something that happened, named in the past tense.
    type Event;
    /// Something the shell must do, named in the imperative.
    type Effect;

    /// Takes one event at monotonic time `now` and appends what must be done to `out`, in order.
    ///
    /// `now` never decreases between calls. A machine never drops an event silently: an event that no longer applies (a late
    /// message, a duplicate) changes nothing and appends nothing.
    fn step(&mut self, now: Nanos, event: Self::Event, out: &mut Vec<Self::Effect>);

    /// When the machine next wants its tick event, if it waits for time at all.
    fn next_deadline(&self) -> Option<Nanos> {
        None
    }

    /// Checks the machine's own invariants. Tests and simulations call it after every step.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    fn check(&self) -> Result<(), Violation>;
}

/// An invariant that does not hold: always a bug in Mobula, never the user's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant violated: {invariant}: {detail}")]
pub struct Violation {
    /// Which invariant, by the name its checker uses.
    pub invariant: &'static str,
    /// What was found.
    pub detail: String,
}

impl Violation {
    /// `Ok` if `holds`, otherwise the violation of `invariant` with `detail`.
    ///
    /// # Errors
    /// When `holds` is false.
    pub fn unless(holds: bool, invariant: &'static str, detail: impl FnOnce() -> String) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { invariant, detail: detail() }) }
    }
}
