//! Conditions on whole numbers, as files write them: `3`, `">=1"`, `">= 1, < 5"`.

use std::fmt;
use std::str::FromStr;

/// A condition on a whole number: all comparisons must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition(Vec<(Comparison, u64)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longer operators first, so that `>=` is not read as `>`.
const OPERATORS: [(&str, Comparison); 7] = [
    (">=", Comparison::GreaterOrEqual),
    ("<=", Comparison::LessOrEqual),
    ("!=", Comparison::NotEqual),
    ("==", Comparison::Equal),
    ("=", Comparison::Equal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
];

impl Condition {
    /// Exactly this number.
    pub fn exactly(number: u64) -> Self {
        Self(vec![(Comparison::Equal, number)])
    }

    /// Whether `number` meets it.
    pub fn holds(&self, number: u64) -> bool {
        self.0.iter().all(|(comparison, bound)| match comparison {
            Comparison::Equal => number == *bound,
            Comparison::NotEqual => number != *bound,
            Comparison::Less => number < *bound,
            Comparison::LessOrEqual => number <= *bound,
            Comparison::Greater => number > *bound,
            Comparison::GreaterOrEqual => number >= *bound,
        })
    }
}

/// Text that is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no condition; write a number, or comparisons such as `>= 1, < 5`")]
pub struct NoCondition(String);

impl FromStr for Condition {
    type Err = NoCondition;
    fn from_str(text: &str) -> Result<Self, NoCondition> {
        let part = |part: &str| {
            let part = part.trim();
            let (comparison, rest) = OPERATORS
                .iter()
                .find_map(|(operator, comparison)| part.strip_prefix(operator).map(|rest| (*comparison, rest)))
                .unwrap_or((Comparison::Equal, part));
            rest.trim().parse().map(|number| (comparison, number)).map_err(|_| NoCondition(text.to_owned()))
        };
        text.split(',').map(part).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (comparison, number)) in self.0.iter().enumerate() {
            let operator = match comparison {
                Comparison::Equal => "",
                Comparison::NotEqual => "!= ",
                Comparison::Less => "< ",
                Comparison::LessOrEqual => "<= ",
                Comparison::Greater => "> ",
                Comparison::GreaterOrEqual => ">= ",
            };
            write!(f, "{}{operator}{number}", if position == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_where_they_should() {
        let between: Condition = ">= 1, < 5".parse().expect("a condition");
        assert_eq!([0, 1, 4, 5].map(|n| between.holds(n)), [false, true, true, false]);
        let exactly: Condition = "= 3".parse().expect("a condition");
        assert_eq!([2, 3, 4].map(|n| exactly.holds(n)), [false, true, false]);
        assert_eq!(between.to_string(), ">= 1, < 5");
        for bad in ["", "three", ">", "> 1,", "=> 1", "-1"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }
}
