//! Planted bugs: what the simulator must be able to find.
//!
//! `planted!("name")` marks a place in product code where a bug can be switched on. Without the feature `planted` it is
//! the constant `false` and the compiler removes the place. With it, at most one bug of [`MUTANTS`] is active in the
//! process at a time. `mobula mutants` measures after how many seeds each is found, and by which invariant: that is the
//! measure of the test system, not of the product. Most are real bugs of distributed runtimes, in our own words.
//!
//! Three places have none, because no run of the whole system can tell the difference; for each there is another bug
//! of the same machine. The tests of those machines hold the guards in place.
//! - A gap in the membership log that is not noticed ([`crate::member::view`]), and a returned lease that is not
//!   remembered until its request comes ([`crate::sched::Local`]): the [`crate::link`] below them delivers exactly once
//!   and in order, also across a restart of the head, so there is no gap and nothing is overtaken.
//! - A report of an attempt that does not count any more ([`crate::owner`]): a node reports an attempt once, and only
//!   then, or after the node's death, is there another one; the dead are not heard, and a cancelled task is no more.

/// A bug that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its name, as in `planted!("name")`.
    pub name: &'static str,
    /// What the code does wrong then.
    pub what: &'static str,
}

const fn mutant(name: &'static str, what: &'static str) -> Mutant {
    Mutant { name, what }
}

/// All planted bugs. The first is the canary: every run hits it, so a search that does not find it is asleep.
pub const MUTANTS: &[Mutant] = &[
    mutant("canary", "every node panics when its first task finishes"),
    mutant("link-hears-the-dead", "messages of dead incarnations are delivered"),
    mutant("link-hears-for-others", "messages for an earlier life of this node are delivered"),
    mutant("link-delivers-twice", "an envelope that was received already is delivered again"),
    mutant("link-does-not-retry", "an envelope of which the request failed is not sent again"),
    mutant("node-takes-loss-for-ack", "a failed request counts as answered"),
    mutant("view-misses-first-news", "a newcomer takes the first change after its join for one it knows"),
    mutant("roster-keeps-deaths-secret", "a death is recorded and not told to the others"),
    mutant("roster-ignores-heartbeats", "a node dies after the timeout whatever it says"),
    mutant("owner-ignores-borrowers", "an object goes while another process refers to it"),
    mutant("owner-keeps-dead-borrowers", "the registrations of a dead process stay"),
    mutant("owner-misses-returns", "a returned registration is not taken back"),
    mutant("owner-lends-nothing", "the node that runs a task is not registered for references in its arguments"),
    mutant("owner-reuses-attempt-numbers", "a task that runs again has the attempt number that it had"),
    mutant("owner-keeps-attempts-on-the-dead", "attempts on a dead node are not ended"),
    mutant("owner-keeps-dead-copies", "copies on a dead node stay in the directory"),
    mutant("owner-prunes-lineage", "a task is forgotten when its result is first stored"),
    mutant("owner-forgets-lost-arguments", "a lost object that tasks wait for is not rebuilt"),
    mutant("owner-wakes-one-waiter", "of several tasks that wait for an object only one goes on"),
    mutant("owner-frees-good-copies", "a superseded result takes the accepted copy with it"),
    mutant("owner-counts-arguments-twice", "the arguments of a task that runs again are not counted in use"),
    mutant("directory-tells-once", "a subscriber hears the first answer only"),
    mutant("dispatch-keeps-dead-leases", "leases of a dead node stay in use"),
    mutant("dispatch-never-returns", "an idle lease is dropped and not returned"),
    mutant("local-leaks-returned-leases", "a returned lease keeps its resources"),
    mutant("local-keeps-leases-of-the-dead", "leases of a dead owner stay granted"),
    mutant("local-blocked-keeps-its-cpu", "a task that waits in a get keeps its cpu"),
    mutant("local-grants-beyond-total", "a lease is granted without holding what it uses"),
    mutant("local-keeps-unwanted-requests", "a request that is returned while it waits is granted all the same"),
    mutant("executor-starts-early", "a task starts before its arguments are there"),
    mutant("executor-keeps-tasks-behind-blocked", "tasks behind one that waits are not handed back"),
    mutant("executor-loses-skipped", "an attempt that was skipped is never reported"),
    mutant("pull-leaks-pins", "arguments of a finished task stay pinned"),
    mutant("pull-gives-up", "a fetch that failed is not tried again"),
    mutant("holds-return-one", "of several registrations only one is given back"),
    mutant("node-keeps-loans", "references inside arguments are not given back after the task"),
    mutant("node-keeps-orphans", "copies of a dead owner's objects stay"),
    mutant("node-answers-stale", "an eviction is not told to the owner"),
    mutant("store-frees-pinned", "the store evicts a copy that is pinned"),
];

#[cfg(feature = "planted")]
static ACTIVE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);

/// Whether this build has planted bugs at all.
pub const BUILT: bool = cfg!(feature = "planted");

/// Switches one bug on in this process, and any other off; with none, all off. False if there is no such bug, or this
/// build has none.
pub fn activate(name: Option<&str>) -> bool {
    let index = name.map_or(Some(usize::MAX), |name| MUTANTS.iter().position(|mutant| mutant.name == name));
    #[cfg(feature = "planted")]
    if let Some(index) = index {
        ACTIVE.store(index, std::sync::atomic::Ordering::SeqCst);
    }
    BUILT && index.is_some()
}

/// Whether this bug is active; see [`planted!`](crate::planted!).
#[cfg(feature = "planted")]
pub fn is_active(name: &str) -> bool {
    MUTANTS.get(ACTIVE.load(std::sync::atomic::Ordering::Relaxed)).is_some_and(|mutant| mutant.name == name)
}

/// Whether this bug is active: never, without the feature `planted`.
#[cfg(not(feature = "planted"))]
pub const fn is_active(_name: &str) -> bool {
    false
}

/// Marks a place where the bug of this name can be switched on.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::planted::is_active($name)
    };
}

#[cfg(test)]
mod tests {
    use super::MUTANTS;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), MUTANTS.len());
    }
}
