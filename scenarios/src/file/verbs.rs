//! The driver's verbs.

use super::model::{Action, Put, Step, Wait};
use super::source::{Result, hint};
use super::table::{Item, Table};
use super::{OneOrMany, actor, dataset, faults, group, job, results, stranger, stream, submit};
use mobula_runtime::{ByteSize, Durability, Nanos};

/// A verb: its word, and how the rest of its step is read.
pub(super) struct Verb {
    pub word: &'static str,
    pub read: fn(&mut Table<'_>) -> Result<Action>,
}

/// How long `settle` waits unless it says otherwise.
const SETTLE: Nanos = Nanos::secs(30);

/// What the driver can do. Fault verbs are steps as well.
pub(super) static VERBS: &[Verb] = &[
    Verb { word: "put", read: put },
    Verb { word: "submit", read: |table| submit::submit(table).map(|submit| Action::Submit(Box::new(submit))) },
    Verb { word: "actor", read: |table| actor::actor(table).map(|actor| Action::Actor(Box::new(actor))) },
    Verb { word: "find_actor", read: |table| actor::find(table).map(|find| Action::FindActor(Box::new(find))) },
    Verb { word: "call", read: |table| actor::call(table).map(Action::Call) },
    Verb { word: "kill_actor", read: |table| actor::kill_actor(table).map(Action::KillActor) },
    Verb { word: "get", read: |table| results::get(table).map(Action::Get) },
    Verb { word: "wait", read: wait },
    Verb { word: "why", read: |table| results::why(table).map(Action::Why) },
    Verb { word: "group", read: group::group },
    Verb { word: "ready", read: group::ready },
    Verb { word: "next", read: |table| stream::next(table).map(Action::Next) },
    Verb { word: "stranger", read: stranger::stranger },
    Verb { word: "release", read: |table| names(table, "release").map(Action::Release) },
    Verb { word: "free", read: |table| names(table, "free").map(Action::Free) },
    Verb { word: "cancel", read: |table| names(table, "cancel").map(Action::Cancel) },
    Verb { word: "dataset", read: |table| dataset::dataset(table).map(|step| Action::Dataset(Box::new(step))) },
    Verb { word: "job", read: |table| job::job(table).map(|job| Action::Job(Box::new(job))) },
    Verb { word: "parallel", read: parallel },
    Verb { word: "sleep", read: |table| table.need("sleep").map(Action::Sleep) },
    Verb { word: "settle", read: settle },
    Verb { word: "assert", read: assert },
];

/// A list of steps.
pub(super) fn steps(items: Vec<Item<'_>>) -> Result<Vec<Step>> {
    items.into_iter().map(step).collect()
}

fn step(item: Item<'_>) -> Result<Step> {
    let table = Table::of(item)?;
    let line = table.line;
    let Some((word, at)) = table.first() else { return Err(table.error("a step needs a verb")) };
    let mut table = table.called(format!("`{word}`"));
    let action = if let Some(verb) = VERBS.iter().find(|verb| verb.word == word) {
        (verb.read)(&mut table)?
    } else if let Some(verb) = faults::VERBS.iter().find(|verb| verb.word == word) {
        Action::Fault((verb.read)(&mut table)?)
    } else {
        let words = || VERBS.iter().map(|verb| verb.word).chain(faults::VERBS.iter().map(|verb| verb.word));
        let message = match words().find(|verb| table.has(verb)) {
            Some(verb) => format!("a step begins with its verb: write `{verb}` before `{word}`"),
            None => format!("unknown verb `{word}`{}", hint(word, words())),
        };
        return Err(item.source.error(at, message));
    };
    table.finish()?;
    Ok(Step { line, action })
}

fn names(table: &mut Table<'_>, verb: &'static str) -> Result<Vec<super::Name>> {
    table.need::<OneOrMany<super::Name>>(verb).map(|names| names.0)
}

fn put(table: &mut Table<'_>) -> Result<Action> {
    let item: Item<'_> = table.need("put")?;
    let bytes = table.get::<ByteSize>("bytes")?;
    let seed = table.get("seed")?;
    let name: Option<super::Name> = table.get("as")?;
    let (value, name) = match (bytes, name) {
        // `put = "x", bytes = ...` names the value in the verb.
        (Some(bytes), None) => (super::Literal::Bytes(bytes, seed.unwrap_or(0)), item.read()?),
        (None, Some(name)) => (item.read()?, name),
        (Some(_), Some(_)) => {
            return Err(table.error("with `bytes`, the name goes into the verb: `put = \"x\", bytes = \"1MB\"`"));
        }
        (None, None) => return Err(table.error("`put` of a literal needs `as`; `put` of a name needs `bytes`")),
    };
    if seed.is_some() && bytes.is_none() {
        return Err(table.error("`seed` goes with `bytes`"));
    }
    Ok(Action::Put(Put { name, value, durability: durability(table)? }))
}

/// `replicas` and `persisted`: what a value outlives.
pub(super) fn durability(table: &mut Table<'_>) -> Result<Option<Durability>> {
    let (replicas, persisted) = (table.get::<u32>("replicas")?, table.get("persisted")?);
    if replicas == Some(0) {
        return Err(table.error("`replicas` must be at least 1, which is what every value has"));
    }
    let given = replicas.is_some() || persisted.is_some();
    Ok(given.then(|| Durability { replicas: replicas.unwrap_or(1), persisted: persisted.unwrap_or(false) }))
}

fn wait(table: &mut Table<'_>) -> Result<Action> {
    let objects = table.need::<OneOrMany<super::ObjectName>>("wait")?.0;
    let count = table.or("count", 1)?;
    let timeout = table.get("timeout")?;
    let ready = table.get("ready")?.unwrap_or(count);
    Ok(Action::Wait(Wait { objects, count, timeout, ready }))
}

fn parallel(table: &mut Table<'_>) -> Result<Action> {
    let lists: Vec<Vec<Item<'_>>> = table.need("parallel")?;
    lists.into_iter().map(steps).collect::<Result<_>>().map(Action::Parallel)
}

/// `settle = true`, or `settle = "10s"`.
fn settle(table: &mut Table<'_>) -> Result<Action> {
    let item: Item<'_> = table.need("settle")?;
    match item.value.as_bool() {
        Some(true) => Ok(Action::Settle(SETTLE)),
        _ => item.read().map(Action::Settle),
    }
}

fn assert(table: &mut Table<'_>) -> Result<Action> {
    let item: Item<'_> = table.need("assert")?;
    let within = table.get("within")?;
    let mut assert = results::assertions(Table::of(item)?)?;
    assert.within = within;
    Ok(Action::Assert(assert))
}
