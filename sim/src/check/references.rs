//! I27: when no reference is left, all copies, directory entries, lineage and borrower entries go, on all living nodes.
//!
//! Source: the reference-counting protocol of the Ownership paper (NSDI 2021, section 4), and Ray's leaks of borrowed
//! references.

use super::nonzero;
use mobula_runtime::Ledger;

/// What is kept for references that nobody has.
pub(super) fn left(ledger: &Ledger) -> Vec<String> {
    let usage = &ledger.usage;
    let mut left = nonzero([
        (ledger.objects, "objects owned"),
        (ledger.tasks, "tasks kept as lineage"),
        (ledger.foreign, "references to other owners' objects"),
        (usage.objects, "copies in the store"),
    ]);
    let bytes = usage.sealed_primary + usage.sealed_cached;
    if bytes.0 > 0 {
        left.push(format!("{bytes} in copies"));
    }
    left
}
