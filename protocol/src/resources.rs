//! What a node has and a task needs: exact fixed-point amounts of named resources.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// An amount of a resource in ten-thousandths, so that adding and subtracting fractions is exact (invariant I32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount(pub u64);

impl Amount {
    /// `n` wholes.
    pub const fn whole(n: u64) -> Self {
        Self(n * 10_000)
    }

    /// The nearest amount to `value`; `None` if it is negative, not a number or too large.
    pub fn from_f64(value: f64) -> Option<Self> {
        let units = (value * 10_000.0).round();
        (0.0..1e18).contains(&units).then_some(Self(units as u64))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / 10_000.0)
    }
}

/// Free-form properties of a node, such as `zone = "z1"`.
pub type Labels = BTreeMap<String, String>;

/// Amounts by resource name. Absent means zero; no entry is ever zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resources(BTreeMap<String, Amount>);

impl Resources {
    /// The resource every task needs one of unless it says otherwise.
    pub const CPU: &'static str = "cpu";

    /// Nothing.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// `n` cpus and nothing else.
    pub fn cpus(n: u64) -> Self {
        Self::none().with(Self::CPU, Amount::whole(n))
    }

    /// The same with `name` set to `amount`.
    #[must_use]
    pub fn with(mut self, name: &str, amount: Amount) -> Self {
        if amount == Amount(0) {
            self.0.remove(name);
        } else {
            self.0.insert(name.to_owned(), amount);
        }
        self
    }

    /// How much of `name`.
    pub fn get(&self, name: &str) -> Amount {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Names and amounts, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `request` could be taken out of `self`.
    pub fn fits(&self, request: &Resources) -> bool {
        request.iter().all(|(name, amount)| self.get(name) >= amount)
    }

    /// Takes `request` out. Returns false and changes nothing if it does not fit.
    pub fn take(&mut self, request: &Resources) -> bool {
        if !self.fits(request) {
            return false;
        }
        for (name, amount) in request.iter() {
            let left = Amount(self.get(name).0 - amount.0);
            if left == Amount(0) {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), left);
            }
        }
        true
    }

    /// Gives `returned` back.
    pub fn give(&mut self, returned: &Resources) {
        for (name, amount) in returned.iter() {
            let sum = Amount(self.get(name).0 + amount.0);
            self.0.insert(name.to_owned(), sum);
        }
    }

    /// The first resource of `request` that is missing here, with what is wanted and what is there.
    pub fn lacking<'a>(&self, request: &'a Resources) -> Option<(&'a str, Amount, Amount)> {
        request.iter().find(|(name, amount)| self.get(name) < *amount).map(|(name, want)| (name, want, self.get(name)))
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (i, (name, amount)) in self.iter().enumerate() {
            write!(f, "{}{amount} {name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
