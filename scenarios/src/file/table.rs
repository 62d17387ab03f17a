//! Reading TOML into types with errors that name the line: a [`Table`] hands out its keys one by one, and complains in
//! [`Table::finish`] about those that nobody asked for.

use super::source::{Result, Source, hint};
use mobula_runtime::{ByteSize, Nanos};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One value of the file, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub source: &'a Source,
    /// The key it is the value of, for messages.
    pub key: &'a str,
    pub line: usize,
    pub value: &'a DeValue<'a>,
}

impl<'a> Item<'a> {
    /// An error about this value.
    pub fn error(&self, message: impl Into<String>) -> super::FileError {
        self.source.error(self.line, message)
    }

    /// The error that it is no `what`.
    pub fn is_no<T>(&self, what: &str) -> Result<T> {
        Err(self.error(format!("`{}` must be {what}, not {}", self.key, shown(self.value))))
    }

    /// As a `T`.
    pub fn read<T: Read<'a>>(self) -> Result<T> {
        T::read(self)
    }

    /// The elements of an array.
    pub fn items(self) -> Option<Vec<Item<'a>>> {
        let array = self.value.as_array()?;
        Some(array.iter().map(|element| self.inner(element)).collect())
    }

    fn inner(self, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        Item { source: self.source, key: self.key, line: self.source.line(value.span().start), value: value.get_ref() }
    }
}

/// What a value looks like in a message.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// What can be read from a value of the file.
pub(super) trait Read<'a>: Sized {
    /// Reads it.
    fn read(item: Item<'a>) -> Result<Self>;
}

impl<'a> Read<'a> for Item<'a> {
    fn read(item: Item<'a>) -> Result<Self> {
        Ok(item)
    }
}

impl Read<'_> for String {
    fn read(item: Item<'_>) -> Result<Self> {
        item.value.as_str().map_or_else(|| item.is_no("text"), |text| Ok(text.to_owned()))
    }
}

impl Read<'_> for bool {
    fn read(item: Item<'_>) -> Result<Self> {
        item.value.as_bool().map_or_else(|| item.is_no("true or false"), Ok)
    }
}

impl Read<'_> for i64 {
    fn read(item: Item<'_>) -> Result<Self> {
        let number = item.value.as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        number.map_or_else(|| item.is_no("a whole number"), Ok)
    }
}

impl Read<'_> for u64 {
    fn read(item: Item<'_>) -> Result<Self> {
        let number = i64::read(item).ok().and_then(|n| u64::try_from(n).ok());
        number.map_or_else(|| item.is_no("a whole number, not below zero"), Ok)
    }
}

impl Read<'_> for u32 {
    fn read(item: Item<'_>) -> Result<Self> {
        let number = u64::read(item)?;
        u32::try_from(number).or_else(|_| item.is_no("a smaller number"))
    }
}

impl Read<'_> for i32 {
    fn read(item: Item<'_>) -> Result<Self> {
        let number = i64::read(item)?;
        i32::try_from(number).or_else(|_| item.is_no("a number closer to zero"))
    }
}

impl Read<'_> for f64 {
    fn read(item: Item<'_>) -> Result<Self> {
        let float = item.value.as_float().and_then(|n| n.as_str().parse().ok());
        let number = float.or_else(|| i64::read(item).ok().map(|n| n as f64));
        number.filter(|n: &f64| n.is_finite()).map_or_else(|| item.is_no("a number"), Ok)
    }
}

impl Read<'_> for Nanos {
    fn read(item: Item<'_>) -> Result<Self> {
        let time = item.value.as_str().and_then(|text| text.parse().ok());
        time.map_or_else(|| item.is_no("a time such as \"250ms\""), Ok)
    }
}

impl Read<'_> for ByteSize {
    fn read(item: Item<'_>) -> Result<Self> {
        let size = match item.value {
            DeValue::String(text) => text.parse().ok(),
            _ => u64::read(item).ok().map(ByteSize),
        };
        size.map_or_else(|| item.is_no("a number of bytes such as \"10MB\""), Ok)
    }
}

impl<'a, T: Read<'a>> Read<'a> for Vec<T> {
    fn read(item: Item<'a>) -> Result<Self> {
        match item.items() {
            Some(items) => items.into_iter().map(T::read).collect(),
            None => item.is_no("a list"),
        }
    }
}

impl<'a, T: Read<'a>> Read<'a> for BTreeMap<String, T> {
    fn read(item: Item<'a>) -> Result<Self> {
        let entries = Table::of(item)?.entries();
        entries.into_iter().map(|(key, item)| Ok((key.to_owned(), T::read(item)?))).collect()
    }
}

/// A table whose keys are asked for one after the other.
pub(super) struct Table<'a> {
    source: &'a Source,
    /// What it is, for messages: "`submit`".
    what: String,
    pub line: usize,
    /// Keys in written order.
    entries: Vec<(&'a str, usize, Item<'a>)>,
    asked: Vec<&'a str>,
}

impl<'a> Table<'a> {
    /// The whole document.
    pub fn root(source: &'a Source, table: &'a DeTable<'a>) -> Self {
        Self::new(source, "a scenario file".to_owned(), 1, table)
    }

    /// A value that must be a table.
    pub fn of(item: Item<'a>) -> Result<Self> {
        match item.value.as_table() {
            Some(table) => Ok(Self::new(item.source, format!("`{}`", item.key), item.line, table)),
            None => item.is_no("a table"),
        }
    }

    fn new(source: &'a Source, what: String, line: usize, table: &'a DeTable<'a>) -> Self {
        let mut order: Vec<_> = table.iter().collect();
        // The map is sorted by key; people see the order they wrote.
        order.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let (name, line): (&'a std::borrow::Cow<'a, str>, usize) = (key.get_ref(), source.line(key.span().start));
            let item = Item { source, key: name, line: source.line(value.span().start), value: value.get_ref() };
            (item.key, line, item)
        };
        Self { source, what, line, entries: order.into_iter().map(entry).collect(), asked: Vec::new() }
    }

    /// Says what this table is, for messages.
    pub fn called(mut self, what: impl Into<String>) -> Self {
        self.what = what.into();
        self
    }

    /// The key written first, and its line.
    pub fn first(&self) -> Option<(&'a str, usize)> {
        self.entries.first().map(|(key, line, _)| (*key, *line))
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, ..)| *name == key)
    }

    /// Keys and values in written order, for tables whose keys are free.
    pub fn entries(self) -> Vec<(&'a str, Item<'a>)> {
        self.entries.into_iter().map(|(key, _, item)| (key, item)).collect()
    }

    /// The value of a key, if it is there.
    pub fn get<T: Read<'a>>(&mut self, key: &'a str) -> Result<Option<T>> {
        self.asked.push(key);
        let found = self.entries.iter().find(|(name, ..)| *name == key);
        found.map(|(.., item)| T::read(*item)).transpose()
    }

    /// The value of a key, or a default.
    pub fn or<T: Read<'a>>(&mut self, key: &'a str, default: T) -> Result<T> {
        Ok(self.get(key)?.unwrap_or(default))
    }

    /// The value of a key that must be there.
    pub fn need<T: Read<'a>>(&mut self, key: &'a str) -> Result<T> {
        let found = self.get(key)?;
        found.ok_or_else(|| self.error(format!("{} needs `{key}`", self.what)))
    }

    /// An error about the table as a whole.
    pub fn error(&self, message: impl Into<String>) -> super::FileError {
        self.source.error(self.line, message)
    }

    /// Complains about the first key that was not asked for.
    pub fn finish(self) -> Result<()> {
        let unknown = self.entries.iter().find(|(key, ..)| !self.asked.contains(key));
        let Some((key, line, _)) = unknown else { return Ok(()) };
        let hint = hint(key, self.asked.iter().copied());
        Err(self.source.error(*line, format!("unknown key `{key}` in {}{hint}", self.what)))
    }
}
