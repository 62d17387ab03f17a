//! A scenario as a document: something that can be cut, and written down so that a person likes to read it.

use crate::file::{self, FileError, Scenario};
use std::fmt::Write;
use toml::{Table, Value};

/// A scenario file as TOML, in the order of its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document(Table);

impl Document {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// No TOML.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|why: toml::de::Error| why.message().to_owned())
    }

    /// The scenario it describes. `file` is what errors call it; input paths are relative to its directory.
    ///
    /// # Errors
    /// What the parser refuses.
    pub fn scenario(&self, file: &str) -> Result<Scenario, FileError> {
        file::parse(file, &self.to_string())
    }

    /// The same without anything that goes wrong. A record is of a run in which it did.
    pub fn without_faults(&self) -> Self {
        let mut quiet = self.clone();
        quiet.0.remove("fault");
        quiet.0.remove("as_recorded");
        if let Some(Value::Table(settings)) = quiet.0.get_mut("settings") {
            settings.remove("buggify");
        }
        if let Some(Value::Array(steps)) = quiet.0.get_mut("steps") {
            remove_faults(steps);
        }
        quiet
    }

    /// How many steps and planned faults it has, those in parallel lists each.
    pub fn size(&self) -> usize {
        let list = |key: &str| self.0.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        list("steps").iter().map(steps_in).sum::<usize>() + list("fault").len()
    }

    pub(super) fn table(&self) -> &Table {
        &self.0
    }

    pub(super) fn table_mut(&mut self) -> &mut Table {
        &mut self.0
    }
}

impl From<Table> for Document {
    fn from(table: Table) -> Self {
        Self(table)
    }
}

fn steps_in(step: &Value) -> usize {
    match step.get("parallel").and_then(Value::as_array) {
        Some(lists) => lists.iter().filter_map(Value::as_array).flatten().map(steps_in).sum(),
        None => 1,
    }
}

/// Takes fault verbs out of steps. A node that joins late, or again, is part of the cluster that does the work.
fn remove_faults(steps: &mut Vec<Value>) {
    const KEPT: [&str; 1] = ["add_node"];
    steps.retain_mut(|step| {
        let Value::Table(table) = step else { return true };
        if let Some(Value::Array(lists)) = table.get_mut("parallel") {
            lists.iter_mut().filter_map(Value::as_array_mut).for_each(remove_faults);
            lists.retain(|list| list.as_array().is_none_or(|list| !list.is_empty()));
            return !lists.is_empty();
        }
        let verb = table.keys().next().map(String::as_str).unwrap_or_default();
        KEPT.contains(&verb) || !file::fault_words().any(|word| word == verb)
    });
}

impl std::fmt::Display for Document {
    /// Steps and planned faults a line each, everything else as tables.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut tables = String::new();
        for (key, value) in &self.0 {
            match value {
                Value::Table(table) => {
                    write!(tables, "\n[{key}]\n{}", lines(table))?;
                }
                Value::Array(items) if key == "fault" => {
                    for item in items.iter().filter_map(Value::as_table) {
                        write!(tables, "\n[[fault]]\n{}", lines(item))?;
                    }
                }
                Value::Array(items) if items.len() > 1 || key == "steps" => {
                    writeln!(f, "{key} = {}", list(items, ""))?;
                }
                value => writeln!(f, "{key} = {}", inline(value))?,
            }
        }
        f.write_str(&tables)
    }
}

fn lines(table: &Table) -> String {
    let line = |(key, value): (&String, &Value)| match value {
        Value::Array(items) if items.len() > 1 && items.iter().all(Value::is_table) => {
            format!("{} = {}\n", bare(key), list(items, ""))
        }
        value => format!("{} = {}\n", bare(key), inline(value)),
    };
    table.iter().map(line).collect()
}

/// One element a line.
fn list(items: &[Value], indent: &str) -> String {
    let deeper = format!("{indent}  ");
    let item = |item: &Value| match item {
        Value::Array(items) if items.iter().all(Value::is_table) => format!("{deeper}{},\n", list(items, &deeper)),
        Value::Table(table) if table.contains_key("parallel") => match &table["parallel"] {
            Value::Array(lists) => format!("{deeper}{{ parallel = {} }},\n", list(lists, &deeper)),
            other => format!("{deeper}{{ parallel = {} }},\n", inline(other)),
        },
        item => format!("{deeper}{},\n", inline(item)),
    };
    format!("[\n{}{indent}]", items.iter().map(item).collect::<String>())
}

fn inline(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let pair = |(key, value): (&String, &Value)| format!("{} = {}", bare(key), inline(value));
            format!("{{ {} }}", table.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        scalar => scalar.to_string(),
    }
}

fn bare(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}
