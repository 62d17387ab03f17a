//! At rest no object is on disk, and no spill file is left (I24, I23).

use super::nonzero;
use mobula_runtime::Ledger;

pub(super) fn left(ledger: &Ledger) -> Vec<String> {
    let usage = &ledger.usage;
    nonzero([(usage.spilled_objects, "spilled objects"), (usage.files, "spill files")])
}
