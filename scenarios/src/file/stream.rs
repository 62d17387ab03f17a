//! `next`: taking items from a generator.

use super::model::{Expect, ExpectedError, Name};
use super::source::Result;
use super::table::{Item, Table};
use mobula_runtime::Nanos;

/// Take items from a generator.
#[derive(Clone, Debug)]
pub struct Next {
    /// Which.
    pub stream: Name,
    /// What the items are called from now on; without it they are dropped at once.
    pub name: Option<Name>,
    /// How many are taken.
    pub count: u64,
    /// What comes after those.
    pub then: Then,
    /// How long for each.
    pub timeout: Option<Nanos>,
}

/// What comes after the items that were taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// Not asked for.
    Anything,
    /// The end.
    End,
    /// An error.
    Error(ExpectedError),
}

/// Reads a `next`.
pub(super) fn next(table: &mut Table<'_>) -> Result<Next> {
    let stream = table.need("next")?;
    let then = match table.get::<Item<'_>>("then")? {
        None => Then::Anything,
        Some(item) if item.value.as_str() == Some("end") => Then::End,
        // Read as what `get` expects, for which a word is only "ok".
        Some(item) if item.value.as_str().is_some() => return item.is_no("\"end\", or a table with `error`"),
        Some(item) => match item.read::<Expect>()? {
            Expect::Error(error) => Then::Error(error),
            _ => return item.is_no("\"end\", or a table with `error`"),
        },
    };
    let (name, count, timeout) = (table.get("as")?, table.or("count", 1)?, table.get("timeout")?);
    Ok(Next { stream, name, count, then, timeout })
}
