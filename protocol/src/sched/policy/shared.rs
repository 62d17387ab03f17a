//! A policy as settings carry it.

use super::{Hybrid, Packed, Policy, Random, Spread};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A policy that the machines of a node share. Those that come with Mobula have names, which settings, flags and
/// scenario files use; another one is `SharedPolicy::new(Mine)`. Two are equal if their names are.
#[derive(Clone)]
pub struct SharedPolicy(pub Arc<dyn Policy>);

/// No policy of this name comes with Mobula.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no policy `{name}`; there are {}", SharedPolicy::NAMES.join(", "))]
pub struct UnknownPolicy {
    name: String,
}

impl SharedPolicy {
    /// What [`SharedPolicy::from_str`] knows.
    pub const NAMES: [&str; 4] = ["hybrid", "spread", "packed", "random"];

    /// Any policy.
    pub fn new(policy: impl Policy + 'static) -> Self {
        Self(Arc::new(policy))
    }
}

impl Default for SharedPolicy {
    fn default() -> Self {
        Self::new(Hybrid)
    }
}

impl FromStr for SharedPolicy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let shipped = [Self::new(Hybrid), Self::new(Spread), Self::new(Packed), Self::new(Random)];
        shipped
            .into_iter()
            .find(|policy| policy.0.name() == name)
            .ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}

impl fmt::Display for SharedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl fmt::Debug for SharedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedPolicy({self})")
    }
}

impl PartialEq for SharedPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for SharedPolicy {}
