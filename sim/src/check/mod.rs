//! What must be true of every run, one invariant a file. The numbers are names and nothing more; the code is the list.
//!
//! | | invariant | file |
//! | --- | --- | --- |
//! | I24 | at rest no pin, no half-written buffer and no pull is left | `pins.rs` |
//! | I23 | at rest no object is on disk, and no spill file is left | `spill.rs` |
//! | I27 | without references no copy, directory entry and lineage is left, on all living nodes | `references.rs` |
//! | I33 | at rest all resources are free: no lease, no bundle, no running task | `leases.rs` |
//!
//! | I2, I4 | what is read was made by somebody, and never changes | `history/results.rs` |
//! | I5 | errors have their reason | `history/errors.rs` |
//! | I10, I11 | one attempt at a time, with increasing numbers | `history/attempts.rs` |
//! | I26 | what a living process refers to is not given up | `history/truth.rs` |
//! | I34 | a lease is granted once | `history/grants.rs` |
//! | I38 | verdicts are final | `history/membership.rs` |
//! | I39 | nobody listens to the dead | `history/stale.rs` |
//!
//! Whether concurrent operations on one object could have happened one after the other is [`linear`]'s to say.
//!
//! Those of the machines themselves (I18, I20 to I22, I28, I29, I32, I37 and others) are checked by
//! [`mobula_protocol::Machine::check`] after every turn of every simulated node, or every few turns of one with much
//! state, because a check costs time in proportion to it; a violation there is a panic of that node.
//!
//! [`quiesce`] waits until all hold: they are true eventually, not at once.

pub mod history;
mod leases;
pub mod linear;
mod pins;
mod references;
mod spill;

use crate::cluster::Cluster;
use mobula_protocol::Nanos;
use mobula_runtime::{Ledger, Question};
use std::fmt;

/// How often [`quiesce`] looks.
const LOOK: Nanos = Nanos::millis(50);

/// How long everything must stay the same, beyond what it takes to declare a death, for a leak to be one before the bound.
const STILL: Nanos = Nanos::secs(10);

/// Something that is still there although nobody uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The invariant it breaks, as in `"I24"`.
    pub invariant: &'static str,
    /// Where.
    pub node: String,
    /// What, with its amount.
    pub what: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.node, self.invariant, self.what)
    }
}

/// What is left, everywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not at rest after {waited}: {}", .leaks.iter().map(Leak::to_string).collect::<Vec<_>>().join("; "))]
pub struct Leaks {
    /// How long it was waited for.
    pub waited: Nanos,
    /// In node order.
    pub leaks: Vec<Leak>,
}

/// Waits until nothing is left anywhere: call it after every reference was dropped and the network is whole.
///
/// Asks the ledgers of all living simulated nodes, and of the driver; in the real world the other nodes are other
/// processes, so there it asks the driver's, and reads the others' free resources from its view of the cluster.
///
/// # Errors
/// What was left after `bound`, or earlier if nothing changes any more.
pub async fn quiesce(cluster: &Cluster, bound: Nanos) -> Result<(), Leaks> {
    let env = cluster.env();
    let from = env.now();
    // Long enough for a death to be declared and for every retry; after that, what stays the same stays.
    let still = cluster.settings().health_timeout * 2 + STILL;
    let (mut last, mut since) = (Vec::new(), from);
    loop {
        let leaks = leaks(cluster).await;
        let now = env.now();
        if leaks != last {
            (last, since) = (leaks.clone(), now);
        }
        let waited = now.saturating_sub(from);
        match leaks.is_empty() {
            true => return Ok(()),
            false if waited >= bound || now.saturating_sub(since) >= still => return Err(Leaks { waited, leaks }),
            false => env.sleep(LOOK).await,
        }
    }
}

/// What is left now.
async fn leaks(cluster: &Cluster) -> Vec<Leak> {
    let mut leaks = Vec::new();
    for (node, context) in cluster.contexts() {
        // A paused node does not answer, one that has just died never will; the next look tells them apart.
        match cluster.env().timeout(Nanos::secs(1), context.ask(Question::Ledger)).await {
            Ok(Ok(ledger)) => {
                leaks.extend(of(&ledger).map(|(invariant, what)| Leak { invariant, node: node.clone(), what }))
            }
            Ok(Err(_)) => {}
            Err(_) => leaks.push(Leak { invariant: "I24", node, what: "it does not answer".to_owned() }),
        }
    }
    leaks.extend(leases::busy(cluster).await);
    leaks
}

/// What a node's ledger breaks.
fn of(ledger: &Ledger) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let pins = pins::left(ledger).into_iter().map(|what| ("I24", what));
    let references = references::left(ledger).into_iter().map(|what| ("I27", what));
    let tasks = leases::left(ledger).into_iter().map(|what| ("I33", what));
    let spilled = spill::left(ledger).into_iter().map(|what| ("I23", what));
    pins.chain(spilled).chain(references).chain(tasks)
}

/// `"{n} {what}"` for every amount that is not zero.
fn nonzero<const N: usize>(amounts: [(usize, &str); N]) -> Vec<String> {
    amounts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect()
}

#[cfg(test)]
mod tests;
