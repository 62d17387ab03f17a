//! Scheduling: leases, the policy that places them, and the queue of a leased worker.

mod types;

pub use types::Refusal;
