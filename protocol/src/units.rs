//! Quantities with their unit in the type: nanoseconds and bytes, and how people write them.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};
use std::str::FromStr;

/// A point in monotonic time or a span of it, in nanoseconds. Which of the two, the name of the variable says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Nanos(pub u64);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ByteSize(pub u64);

/// A quantity that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}; write a number and a unit, as in `{example}`")]
pub struct UnitError {
    /// What was written.
    pub text: String,
    /// What was wanted.
    pub what: &'static str,
    /// A correct one.
    pub example: &'static str,
}

impl Nanos {
    /// No time at all.
    pub const ZERO: Nanos = Nanos(0);
    /// `n` microseconds.
    pub const fn micros(n: u64) -> Self {
        Self(n * 1_000)
    }
    /// `n` milliseconds.
    pub const fn millis(n: u64) -> Self {
        Self(n * 1_000_000)
    }
    /// `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self(n * 1_000_000_000)
    }
    /// As seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
    /// `self - other`, or zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Nanos> for std::time::Duration {
    fn from(n: Nanos) -> Self {
        std::time::Duration::from_nanos(n.0)
    }
}

impl From<std::time::Duration> for Nanos {
    fn from(d: std::time::Duration) -> Self {
        Self(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl ByteSize {
    /// No bytes.
    pub const ZERO: ByteSize = ByteSize(0);
    /// `n` times 10^6 bytes.
    pub const fn mb(n: u64) -> Self {
        Self(n * 1_000_000)
    }
    /// `self - other`, or zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

macro_rules! arithmetic {
    ($t:ident) => {
        impl Add for $t {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl Sub for $t {
            type Output = Self;
            /// Panics below zero in every build: a negative quantity is a bug, not a wrapped number.
            fn sub(self, other: Self) -> Self {
                Self(self.0.checked_sub(other.0).expect(concat!(stringify!($t), " below zero")))
            }
        }
        impl Mul<u64> for $t {
            type Output = Self;
            fn mul(self, factor: u64) -> Self {
                Self(self.0.saturating_mul(factor))
            }
        }
        impl AddAssign for $t {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl SubAssign for $t {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }
        impl std::iter::Sum for $t {
            fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
                parts.fold(Self(0), Add::add)
            }
        }
        impl<'de> Deserialize<'de> for $t {
            /// Reads a plain number or, in formats people write, text with a unit.
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visit;
                impl serde::de::Visitor<'_> for Visit {
                    type Value = $t;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a number, or text with a number and a unit")
                    }
                    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<$t, E> {
                        Ok($t(n))
                    }
                    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<$t, E> {
                        u64::try_from(n).map($t).map_err(|_| E::custom(format!("{n} is below zero")))
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$t, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                if from.is_human_readable() { from.deserialize_any(Visit) } else { from.deserialize_u64(Visit) }
            }
        }
    };
}
arithmetic!(Nanos);
arithmetic!(ByteSize);

/// Splits `"1.5ms"` into its number and unit, and scales it. `None` if it is no finite, non-negative number that fits.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let number: f64 = text[..split].replace('_', "").parse().ok()?;
    let unit = text[split..].trim();
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    let value = (number * factor).round();
    (value.is_finite() && value < u64::MAX as f64).then_some(value as u64)
}

impl FromStr for Nanos {
    type Err = UnitError;
    /// Reads `ns`, `us`, `ms`, `s`, `min` and `h`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const UNITS: &[(&str, f64)] =
            &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 6e10), ("h", 3.6e12)];
        scaled(text, UNITS).map(Nanos).ok_or_else(|| UnitError { text: text.into(), what: "a time", example: "250ms" })
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;
    /// Reads `B`, decimal `KB`, `MB`, `GB`, `TB` and binary `KiB`, `MiB`, `GiB`, `TiB`; no unit means bytes.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const UNITS: &[(&str, f64)] = &[
            ("", 1.0),
            ("B", 1.0),
            ("KB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("TB", 1e12),
            ("KiB", 1024.0),
            ("MiB", 1048576.0),
            ("GiB", 1073741824.0),
            ("TiB", 1099511627776.0),
        ];
        scaled(text, UNITS).map(ByteSize).ok_or_else(|| UnitError {
            text: text.into(),
            what: "a number of bytes",
            example: "100MB",
        })
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n < 1_000 => write!(f, "{n}ns"),
            n if n < 1_000_000 => write!(f, "{:.1}us", n as f64 / 1e3),
            n if n < 1_000_000_000 => write!(f, "{:.1}ms", n as f64 / 1e6),
            n => write!(f, "{:.2}s", n as f64 / 1e9),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n < 1_000 => write!(f, "{n} B"),
            n if n < 1_000_000 => write!(f, "{:.1} KB", n as f64 / 1e3),
            n if n < 1_000_000_000 => write!(f, "{:.1} MB", n as f64 / 1e6),
            n => write!(f, "{:.2} GB", n as f64 / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!("1.5ms".parse(), Ok(Nanos::micros(1500)));
        assert_eq!("250 us".parse(), Ok(Nanos::micros(250)));
        assert_eq!("100MB".parse(), Ok(ByteSize::mb(100)));
        assert_eq!("1KiB".parse(), Ok(ByteSize(1024)));
        for bad in ["", "ms", "-1s", "1 parsec", "1.2.3s", "99999999999h"] {
            assert!(bad.parse::<Nanos>().is_err(), "{bad}");
        }
    }
}
