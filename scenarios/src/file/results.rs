//! What results and counters must be: `get`, `assert`, `[expect]`; and values as files write them.

use super::model::{Assert, Counter, Expect, ExpectedError, Get, Index, Literal, Name, ObjectName, StoreCounter};
use super::source::{Result, hint};
use super::table::{Item, Read, Table};
use super::{OneOrMany, dataset};
use crate::condition::Condition;
use mobula_runtime::{ActorDeath, ByteSize, TaskErrorKind, UnreconstructableReason};
use std::collections::BTreeMap;
use strum::VariantNames;
use toml::de::DeValue;

impl Read<'_> for ObjectName {
    /// `x`, `x[2]`, `x[i]` or `x[i::4]`, with or without a `$` before it.
    fn read(item: Item<'_>) -> Result<Self> {
        let text = String::read(item)?;
        let text = text.strip_prefix('$').unwrap_or(&text);
        let (name, index) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            None => (text, None),
            Some((name, "i")) => (name, Some(Index::Each)),
            Some((name, index)) => match (index.strip_prefix("i::").map(str::parse), index.parse()) {
                (Some(Ok(width @ 1..)), _) => (name, Some(Index::Column(width))),
                (None, Ok(number)) => (name, Some(Index::Number(number))),
                _ => return item.is_no("an object such as \"$x\", \"$x[2]\", \"$x[i]\" or \"$x[i::4]\""),
            },
        };
        Ok(Self { name: Name { text: name.to_owned(), line: item.line }, index })
    }
}

impl Read<'_> for Literal {
    fn read(item: Item<'_>) -> Result<Self> {
        Ok(match item.value {
            DeValue::Boolean(value) => Self::Bool(*value),
            DeValue::Integer(_) => Self::Int(item.read()?),
            DeValue::Float(_) => Self::Float(item.read()?),
            DeValue::String(text) if text.starts_with('$') => Self::Object(item.read()?),
            DeValue::String(text) => Self::Text(text.as_ref().to_owned()),
            DeValue::Array(_) => Self::List(item.read()?),
            DeValue::Table(_) => {
                let mut table = Table::of(item)?.called("a value");
                let bytes = table.need::<ByteSize>("bytes")?;
                let seed = table.or("seed", 0)?;
                table.finish()?;
                Self::Bytes(bytes, seed)
            }
            DeValue::Datetime(_) => return item.is_no("a number, text, true, false or a list"),
        })
    }
}

pub(super) fn get(table: &mut Table<'_>) -> Result<Get> {
    let objects = table.need::<OneOrMany<ObjectName>>("get")?.0;
    let expect = table.or("expect", Expect::Ok)?;
    let timeout = table.get("timeout")?;
    Ok(Get { objects, expect, timeout })
}

/// Ask what the task that makes an object waits for.
#[derive(Clone, Debug)]
pub struct Why {
    /// Which object.
    pub object: ObjectName,
    /// Part of the answer.
    pub says: String,
}

/// `why = "x", says = "text"`.
pub(super) fn why(table: &mut Table<'_>) -> Result<Why> {
    Ok(Why { object: table.need("why")?, says: table.need("says")? })
}

impl Read<'_> for Expect {
    fn read(item: Item<'_>) -> Result<Self> {
        if let Some(word) = item.value.as_str() {
            return match word {
                "ok" => Ok(Self::Ok),
                _ => item.is_no("\"ok\", or a table with `error`, `value`, `hash` or `same_as`"),
            };
        }
        let mut table = Table::of(item)?;
        let error = table.get::<ErrorKind>("error")?;
        let value = table.get("value")?;
        let hash = table.get::<Hash>("hash")?;
        let same_as = table.get("same_as")?;
        let counting = table.get("counting")?;
        let reason = table.get::<Reason>("reason")?.map(|reason| reason.0);
        let cause = table.get::<ErrorKind>("cause")?.map(|kind| kind.0);
        let message = table.get("message")?;
        if error.is_none() && (reason.is_some() || cause.is_some() || message.is_some()) {
            return Err(table.error("`reason`, `cause` and `message` go with `error`"));
        }
        let expect = match (error, value, hash, same_as, counting) {
            (Some(kind), None, None, None, None) => Self::Error(ExpectedError { kind: kind.0, reason, cause, message }),
            (None, Some(value), None, None, None) => Self::Value(value),
            (None, None, Some(hash), None, None) => Self::Hash(hash.0),
            (None, None, None, Some(other), None) => Self::SameAs(other),
            (None, None, None, None, Some(resets)) => Self::Counting(resets),
            _ => {
                let words = "`error`, `value`, `hash`, `same_as` and `counting`";
                return Err(table.error(format!("`expect` needs exactly one of {words}")));
            }
        };
        table.finish()?;
        Ok(expect)
    }
}

struct Hash(u64);

impl Read<'_> for Hash {
    fn read(item: Item<'_>) -> Result<Self> {
        let hash = item.value.as_str().and_then(|text| u64::from_str_radix(text, 16).ok());
        hash.map_or_else(|| item.is_no("a hash of 16 hexadecimal digits"), |hash| Ok(Self(hash)))
    }
}

struct ErrorKind(String);

impl Read<'_> for ErrorKind {
    fn read(item: Item<'_>) -> Result<Self> {
        word(item, "error kind", TaskErrorKind::VARIANTS).map(Self)
    }
}

struct Reason(String);

impl Read<'_> for Reason {
    fn read(item: Item<'_>) -> Result<Self> {
        let reasons = [UnreconstructableReason::VARIANTS, ActorDeath::VARIANTS].concat();
        word(item, "reason", &reasons).map(Self)
    }
}

/// One of these words.
pub(super) fn word(item: Item<'_>, what: &str, words: &[&str]) -> Result<String> {
    let word: String = item.read()?;
    if words.contains(&word.as_str()) {
        return Ok(word);
    }
    Err(item.error(format!("unknown {what} `{word}`{}", hint(&word, words.iter().copied()))))
}

impl Read<'_> for Condition {
    fn read(item: Item<'_>) -> Result<Self> {
        match item.value.as_str() {
            Some(text) => text.parse().map_err(|why: crate::condition::NoCondition| item.error(why.to_string())),
            None => item.read().map(Condition::exactly),
        }
    }
}

const COUNTERS: [(&str, Counter); 6] = [
    ("submitted", Counter::Submitted),
    ("executions", Counter::Executions),
    ("finished", Counter::Finished),
    ("failed", Counter::Failed),
    ("retried", Counter::Retried),
    ("rebuilt", Counter::Rebuilt),
];

impl Counter {
    /// The word for it in files and reports.
    pub fn word(self) -> &'static str {
        COUNTERS.iter().find(|(_, counter)| *counter == self).map_or("", |(word, _)| word)
    }
}

const STORE_COUNTERS: [(&str, StoreCounter); 11] = [
    ("used", StoreCounter::Used),
    ("peak", StoreCounter::Peak),
    ("spilled_objects", StoreCounter::SpilledObjects),
    ("spilled_bytes", StoreCounter::SpilledBytes),
    ("files", StoreCounter::Files),
    ("files_on_disk", StoreCounter::FilesOnDisk),
    ("pins", StoreCounter::Pins),
    ("evicted", StoreCounter::Evicted),
    ("spilled", StoreCounter::Spilled),
    ("rebuildable", StoreCounter::Rebuildable),
    ("lost", StoreCounter::Lost),
];

impl StoreCounter {
    /// The word for it in files and reports.
    pub fn word(self) -> &'static str {
        STORE_COUNTERS.iter().find(|(_, counter)| *counter == self).map_or("", |(word, _)| word)
    }
}

/// Conditions on counters, copies and stores.
pub(super) fn assertions(mut table: Table<'_>) -> Result<Assert> {
    let mut assert = Assert {
        line: table.line,
        counters: Vec::new(),
        copies: Vec::new(),
        held: Vec::new(),
        stores: Vec::new(),
        refused: Vec::new(),
        stopped: table.get::<OneOrMany<Name>>("stopped")?.map_or_else(Vec::new, |names| names.0),
        jobs: Vec::new(),
        within: None,
    };
    for (word, counter) in COUNTERS {
        let Some(item) = table.get::<Item<'_>>(word)? else { continue };
        if item.value.as_table().is_none() {
            assert.counters.push((counter, None, item.read()?));
            continue;
        }
        for (label, item) in Table::of(item)?.entries() {
            let label = Name { text: label.to_owned(), line: item.line };
            assert.counters.push((counter, Some(label), item.read()?));
        }
    }
    if let Some(item) = table.get::<Item<'_>>("copies")? {
        for (object, item) in Table::of(item)?.entries() {
            let object = Name { text: object.to_owned(), line: item.line };
            if item.value.as_table().is_none() {
                assert.copies.push((object, item.read()?));
                continue;
            }
            for (node, held) in item.read::<BTreeMap<String, bool>>()? {
                assert.held.push((object.clone(), Name { text: node, line: item.line }, held));
            }
        }
    }
    if let Some(item) = table.get::<Item<'_>>("refused")? {
        for (node, item) in Table::of(item)?.entries() {
            assert.refused.push((Name { text: node.to_owned(), line: item.line }, item.read()?));
        }
    }
    if let Some(item) = table.get::<Item<'_>>("jobs")? {
        for (job, item) in Table::of(item)?.entries() {
            let job = Name { text: job.to_owned(), line: item.line };
            assert.jobs.push((job, word(item, "status of a job", &["running", "succeeded", "failed"])?));
        }
    }
    if let Some(item) = table.get::<Item<'_>>("store")? {
        for (node, item) in Table::of(item)?.entries() {
            let node = Name { text: node.to_owned(), line: item.line };
            for (word, item) in Table::of(item)?.entries() {
                let Some((_, counter)) = STORE_COUNTERS.iter().find(|(known, _)| *known == word) else {
                    let hint = hint(word, STORE_COUNTERS.iter().map(|(word, _)| *word));
                    return Err(item.error(format!("unknown store counter `{word}`{hint}")));
                };
                assert.stores.push((node.clone(), *counter, item.read()?));
            }
        }
    }
    table.finish()?;
    Ok(assert)
}

impl Read<'_> for Expr {
    fn read(item: Item<'_>) -> Result<Self> {
        let text: String = item.read()?;
        dataset::in_file(item, crate::expr::expression(&text)).map(Expr)
    }
}

/// An expression over columns.
pub(super) struct Expr(pub mobula_data::Expr);
