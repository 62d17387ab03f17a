//! `submit`: a built-in task, its arguments and its options.

use super::model::{Argument, Literal, Name, Place, Submit};
use super::source::{Result, hint};
use super::table::{Item, Table};
use super::{OneOrMany, resources};
use crate::tasks::{FUNCTIONS, Function, Kind, function};
use mobula_runtime::{ByteSize, Labels, Nanos, Retries};

impl Submit {
    /// What the runtime calls the function.
    pub fn path(&self) -> &'static str {
        self.function.process.filter(|_| self.process).unwrap_or(self.function.path)
    }
}

/// Reads a `submit`.
pub(super) fn submit(table: &mut Table<'_>) -> Result<Submit> {
    let item: Item<'_> = table.need("submit")?;
    let name: String = item.read()?;
    let Some(function) = function(&name) else {
        let hint = hint(&name, FUNCTIONS.iter().map(|function| function.name));
        return Err(item.error(format!("unknown task `{name}`{hint}")));
    };
    let names = table.get::<OneOrMany<Name>>("as")?.map_or_else(Vec::new, |names| names.0);
    let count = table.or("count", 1)?;
    let returns = table.or("returns", names.len().max(1) as u32)?;
    let label = match (table.get::<Name>("label")?, names.first()) {
        (Some(label), _) => label.text,
        (None, Some(name)) => name.text.clone(),
        (None, None) => function.name.to_owned(),
    };
    let submit = Submit {
        function,
        label,
        args: arguments(table, function, returns)?,
        count,
        place: place(table)?,
        resources: resources(table, 1.0)?,
        max_retries: table.get("max_retries")?,
        retry_exceptions: retry_exceptions(table)?,
        memory_retries: table.get("memory_retries")?,
        process: table.or("process", false)?,
        accept_replay: accept_replay(table)?,
        share: share(table)?,
        priority: table.get("priority")?,
        backpressure: table.get("backpressure")?,
        durability: super::verbs::durability(table)?,
        returns,
        names,
    };
    check(table, &submit)?;
    Ok(submit)
}

fn check(table: &Table<'_>, submit: &Submit) -> Result<()> {
    let several = submit.function.params.iter().any(|param| param.kind == Kind::Returns);
    let (name, names) = (submit.function.name, submit.names.len());
    if submit.function.streams && (names != 1 || submit.count > 1 || submit.returns > 1) {
        let message = format!("`{name}` is a generator: it needs one name in `as`, and no `count` or `returns`");
        return Err(table.error(message));
    }
    if submit.process && submit.function.process.is_none() {
        let others = FUNCTIONS.iter().filter(|function| function.process.is_some()).map(|function| function.name);
        let others: Vec<_> = others.collect();
        let message = format!("`{name}` is not there for worker processes; these are: {}", others.join(", "));
        return Err(table.error(message));
    }
    if submit.backpressure.is_some() && !submit.function.streams {
        return Err(table.error(format!("`{name}` is no generator; `backpressure` is for those")));
    }
    if submit.count == 0 || submit.returns == 0 {
        return Err(table.error("`count` and `returns` must be at least 1"));
    }
    if submit.returns > 1 && !several {
        return Err(table.error(format!("`{name}` has one result; `produce_many` has as many as `returns` says")));
    }
    if names > 1 && (submit.count > 1 || names != submit.returns as usize) {
        return Err(table.error(format!("{names} names in `as` need `returns = {names}` and no `count`")));
    }
    Ok(())
}

/// One argument a parameter: numbers by the parameter's name, values from `args`.
fn arguments<'a>(table: &mut Table<'a>, function: &'static Function, returns: u32) -> Result<Vec<Argument>> {
    let given: Vec<Literal> = table.or("args", Vec::new())?;
    let mut values = given.into_iter();
    let mut args = Vec::new();
    for param in function.params {
        let missing = |table: &Table<'_>| {
            let (name, param) = (function.name, param.name);
            table.error(format!("`{name}` needs `{param}`"))
        };
        let number = match param.kind {
            Kind::Value => {
                let value = values.next().ok_or_else(|| {
                    let name = function.name;
                    table.error(format!("`{name}` needs a value for `{}`: `args = [...]`", param.name))
                })?;
                args.push(Argument::Value(value));
                continue;
            }
            Kind::Values => {
                args.extend(values.by_ref().map(Argument::Values));
                continue;
            }
            Kind::Returns => Some(u64::from(returns)),
            Kind::Bytes => table.get::<ByteSize>(param.name)?.map(|size| size.0),
            Kind::Time => table.get::<Nanos>(param.name)?.map(|time| time.0),
            Kind::Count | Kind::Seed => table.get(param.name)?,
        };
        let number = number.or(param.default).ok_or_else(|| missing(table))?;
        args.push(if param.kind == Kind::Seed { Argument::Seed(number) } else { Argument::Number(number) });
    }
    match values.len() {
        0 => Ok(args),
        more => Err(table.error(format!("`{}` takes {more} fewer values in `args`", function.name))),
    }
}

pub(super) fn place(table: &mut Table<'_>) -> Result<Place> {
    let on = table.get("on")?.map(Place::On);
    let prefer = table.get("prefer")?.map(Place::Prefer);
    let labels = table.get::<Labels>("labels")?.map(Place::Labels);
    let strategy = match table.get::<Item<'_>>("strategy")? {
        Some(item) => Some(super::results::word(item, "strategy", &["spread", "any"])?),
        None => None,
    };
    let strategy = strategy.map(|word| if word == "spread" { Place::Spread } else { Place::Any });
    let bundle = table.get("bundle")?;
    let group = table.get("group")?.map(|group| Place::Group(group, bundle));
    if bundle.is_some() && group.is_none() {
        return Err(table.error("`bundle` goes with `group`"));
    }
    let mut given = [on, prefer, labels, strategy, group].into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(Place::Any),
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => {
            Err(table.error("only one of `on`, `prefer`, `labels`, `strategy` and `group` can decide the place"))
        }
    }
}

/// `share = "batch", weight = 3`.
fn share(table: &mut Table<'_>) -> Result<Option<(String, u32)>> {
    match (table.get::<Name>("share")?, table.get::<u32>("weight")?) {
        (None, None) => Ok(None),
        (Some(_), Some(0)) => Err(table.error("`weight` must be at least 1")),
        (Some(name), weight) => Ok(Some((name.text, weight.unwrap_or(1)))),
        (None, Some(_)) => Err(table.error("`weight` goes with `share`")),
    }
}

/// `replay = "accept"`.
fn accept_replay(table: &mut Table<'_>) -> Result<bool> {
    let Some(item) = table.get::<Item<'_>>("replay")? else { return Ok(false) };
    Ok(super::results::word(item, "replay", &["strict", "accept"])? == "accept")
}

/// `true` repeats as often as after a crash, a number so many times.
fn retry_exceptions(table: &mut Table<'_>) -> Result<Option<u32>> {
    let crashes = table.get("max_retries")?.or(Retries::default().crashes);
    let Some(item) = table.get::<Item<'_>>("retry_exceptions")? else { return Ok(None) };
    match item.value.as_bool() {
        Some(true) => Ok(crashes),
        Some(false) => Ok(Some(0)),
        None => item.read().map(Some),
    }
}
