//! Membership: who is in the cluster, under which epoch, and who is dead.

mod types;

pub use types::{Member, MemberEvent, NodeLoad};
