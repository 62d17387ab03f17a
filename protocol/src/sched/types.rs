//! Words shared by the scheduling machines.

use serde::{Deserialize, Serialize};

/// Why a node refuses a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It never has what the class needs; the text names what is missing.
    Infeasible(String),
    /// It is about to leave.
    Draining,
    /// The asking owner is dead by this node's view.
    OwnerDead,
}
