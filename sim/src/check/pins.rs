//! I24: at rest there is no pin, no partial buffer and no pull.
//!
//! Source: Ray's leaked task-argument pins, which shrank a node's pull budget for ever (#65835), and its pull manager's
//! requests that outlived their callers.

use super::nonzero;
use mobula_runtime::Ledger;

/// What keeps memory in place.
pub(super) fn left(ledger: &Ledger) -> Vec<String> {
    let pins = usize::try_from(ledger.usage.pins).unwrap_or(usize::MAX);
    let mut left = nonzero([(pins, "pins"), (ledger.bundles, "gets and task arguments under way")]);
    if ledger.usage.creating.0 > 0 {
        left.push(format!("{} in half-written objects", ledger.usage.creating));
    }
    if ledger.usage.lingering.0 > 0 {
        left.push(format!("{} deleted but still viewed", ledger.usage.lingering));
    }
    left
}
