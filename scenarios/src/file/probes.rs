//! What a `[[fault]]` can wait for by name with `probe`.

/// The probes and unlikely paths of the code under test, and every kind of line of the event log, so that a name that is
/// none is refused before anything runs. A test compares them with the sources.
pub(super) fn probes() -> impl Iterator<Item = &'static str> + Clone {
    mobula_runtime::PROBES.iter().chain(OTHERS).copied()
}

/// What a sweep does not count as a place to reach.
const OTHERS: &[&str] = &[
    // Places in the code under test.
    "transfer.redirected",
    "transfer.refused",
    "transfer.relayed",
    "transfer.resumed",
    // Lines of a node and of the head.
    "bulk",
    "planted",
    "promote",
    "refused",
    "replica-failed",
    "replicas",
    "restore",
    "rpc",
    "shrink",
    "source",
    "spill",
    "spill failed",
    "spill lost",
    "store.cold",
    "sweep failed",
    "swept",
    "up",
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
