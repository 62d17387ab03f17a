//! What a `[[fault]]` can wait for by name with `probe`.

/// The probes and unlikely paths of the code under test, and every kind of line of the event log, so that a name that is
/// none is refused before anything runs. A test compares them with the sources.
pub(super) fn probes() -> impl Iterator<Item = &'static str> + Clone {
    mobula_runtime::PROBES.iter().chain(OTHERS).copied()
}

/// What a sweep does not count as a place to reach.
const OTHERS: &[&str] = &[
    // A planted bug, what an operating or a file system refuses, and what only damage on the way or a late thread
    // leads to.
    "damaged",
    "late",
    "late-call",
    "planted",
    "bulk",
    "erase failed",
    "persist failed",
    "rpc",
    "store.cold",
    // Somebody without the cluster's key: only a step of a scenario sends one.
    "stranger",
    // Lines of the simulated world: what was done to it.
    "clock_jump",
    "disk_damage",
    "disk_faults",
    "heal",
    "heal_all",
    "hold",
    "inject",
    "kill",
    "loss",
    "partition",
    "partition_oneway",
    "pause",
    "power_off",
    "release_messages",
    "restart",
    "resume",
    "slow_link",
];

#[cfg(test)]
mod tests;
