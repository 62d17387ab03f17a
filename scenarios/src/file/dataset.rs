//! `dataset`: a chain of Dataset operations, as a list of one-key tables.

use super::OneOrMany;
use super::model::{DatasetStep, Input, Name, Op};
use super::results::{Expr, word};
use super::source::{Result, hint};
use super::table::{Item, Read, Table};
use crate::expr::{Problem, aggregate};
use mobula_data::JoinKind;
use std::path::Path;

const OPS: [&str; 9] = ["filter", "select", "drop", "rename", "with_column", "join", "group_by", "sort", "limit"];

/// Reads a `dataset`.
pub(super) fn dataset(table: &mut Table<'_>) -> Result<DatasetStep> {
    let name = table.need("dataset")?;
    let from = input(table)?;
    let ops = table.or::<Vec<Item<'_>>>("ops", Vec::new())?;
    Ok(DatasetStep {
        name,
        from,
        ops: ops.into_iter().map(op).collect::<Result<_>>()?,
        materialize: table.or("materialize", false)?,
        write_csv: table.get("write_csv")?,
        write_parquet: table.get("write_parquet")?,
        expect_csv: table.get::<Item<'_>>("expect_csv")?.map(beside).transpose()?,
        expect_rows: table.get("expect_rows")?,
        expect_error: table.get("expect_error")?,
        show: table.get("show")?,
    })
}

/// A path relative to the scenario file, as it is found from the current directory.
pub(super) fn beside(item: Item<'_>) -> Result<String> {
    let text: String = item.read()?;
    let directory = Path::new(&item.source.file).parent().unwrap_or(Path::new(""));
    Ok(directory.join(text).to_string_lossy().into_owned())
}

/// A file name or pattern is told from a Dataset by its ending.
fn input(table: &mut Table<'_>) -> Result<Input> {
    let item: Item<'_> = table.need("from")?;
    let text: String = item.read()?;
    let null = table.get("null")?;
    let header = table.get("header")?;
    let delimiter = match table.get::<Item<'_>>("delimiter")? {
        None => None,
        Some(item) => match item.read::<String>()?.as_bytes() {
            [byte] => Some(*byte),
            _ => return item.is_no("one ASCII character"),
        },
    };
    if text.ends_with(".csv") {
        return Ok(Input::Csv { path: beside(item)?, null, delimiter, header: header.unwrap_or(true) });
    }
    if null.is_some() || header.is_some() || delimiter.is_some() {
        return Err(table.error("`null`, `header` and `delimiter` are for CSV files"));
    }
    if text.ends_with(".parquet") {
        return Ok(Input::Parquet(beside(item)?));
    }
    if text.contains(['/', '.', '*']) {
        return item.is_no("a Dataset, or files whose name ends in .parquet or .csv");
    }
    Ok(Input::Dataset(Name { text, line: item.line }))
}

fn op(item: Item<'_>) -> Result<Op> {
    let mut table = Table::of(item)?;
    let Some((key, line)) = table.first() else { return Err(table.error("an operation needs a name")) };
    table = table.called(format!("`{key}`"));
    let op = match key {
        "filter" => Op::Filter(table.need::<Expr>(key)?.0),
        "select" => Op::Select(table.need::<Vec<Expr>>(key)?.into_iter().map(|expr| expr.0).collect()),
        "drop" => Op::Drop(table.need::<OneOrMany<String>>(key)?.0),
        "rename" => Op::Rename(pairs(table.need(key)?)?),
        "with_column" => {
            let columns = pairs::<Expr>(table.need(key)?)?;
            Op::WithColumn(columns.into_iter().map(|(name, expr)| (name, expr.0)).collect())
        }
        "join" => join(table.need(key)?)?,
        "group_by" => group_by(key, &mut table)?,
        "sort" => Op::Sort(table.need::<OneOrMany<String>>(key)?.0.iter().map(|key| sort_key(key)).collect()),
        "limit" => Op::Limit(table.need(key)?),
        other => {
            let message = format!("unknown Dataset operation `{other}`{}", hint(other, OPS.into_iter()));
            return Err(item.source.error(line, message));
        }
    };
    table.finish()?;
    Ok(op)
}

/// `-column` is descending.
fn sort_key(key: &str) -> (String, bool) {
    match key.strip_prefix('-') {
        Some(column) => (column.to_owned(), true),
        None => (key.to_owned(), false),
    }
}

/// Keys and values of a table, in written order.
fn pairs<'a, T: Read<'a>>(item: Item<'a>) -> Result<Vec<(String, T)>> {
    let entries = Table::of(item)?.entries();
    entries.into_iter().map(|(key, item)| Ok((key.to_owned(), item.read()?))).collect()
}

/// `{ with = "airlines", on = "carrier", how = "inner" }`; `on` is a column, several, or pairs of left and right.
fn join(item: Item<'_>) -> Result<Op> {
    let mut table = Table::of(item)?;
    let with = table.need("with")?;
    let on: Item<'_> = table.need("on")?;
    let on = if on.value.as_table().is_some() {
        pairs(on)?
    } else {
        on.read::<OneOrMany<String>>()?.0.into_iter().map(|column| (column.clone(), column)).collect()
    };
    let how = match table.get::<Item<'_>>("how")? {
        Some(item) => word(item, "kind of join", &["inner", "left"])?,
        None => "inner".to_owned(),
    };
    table.finish()?;
    Ok(Op::Join { with, on, how: if how == "left" { JoinKind::Left } else { JoinKind::Inner } })
}

fn group_by<'a>(key: &'a str, table: &mut Table<'a>) -> Result<Op> {
    let keys = table.need::<OneOrMany<String>>(key)?.0;
    let mut agg = Vec::new();
    for (name, item) in Table::of(table.need("agg")?)?.entries() {
        let text: String = item.read()?;
        agg.push((name.to_owned(), in_file(item, aggregate(&text))?));
    }
    Ok(Op::GroupBy { keys, agg })
}

/// What is wrong with an expression, with its place in the file.
pub(super) fn in_file<T>(item: Item<'_>, parsed: std::result::Result<T, Problem>) -> Result<T> {
    parsed.map_err(|problem| item.error(problem.to_string()))
}
