//! Reading a scenario file: TOML with places, into a typed [`Scenario`], with every name checked before anything runs.
//!
//! The grammar is documented in `scenarios/README.md`. A verb is a row of [`verbs::VERBS`] or [`faults::VERBS`]; adding one
//! adds a row, a variant of [`Action`] or [`Fault`], and its execution in [`crate::run`].

mod actor;
mod assertion;
mod check;
mod dataset;
mod faults;
mod group;
mod job;
mod links;
mod model;
mod probes;
mod results;
mod source;
mod stranger;
mod stream;
mod submit;
mod survivable;
mod table;
mod trouble;
mod verbs;

#[cfg(test)]
mod tests;

pub use actor::FindActor;
pub use group::{GroupStep, Ready};
pub use job::JobStep;
pub use model::*;
pub use results::Why;
pub(crate) use source::hint;
pub use source::{FileError, Result};
pub use stranger::{Attempt, Stranger};
pub use stream::{Next, Then};

use mobula_runtime::{
    Amount, ByteSize, Labels, MemoryPolicy, Nanos, Resources, SharedPolicy, UnknownPolicy, WorldKind,
};
use source::Source;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use table::{Item, Read, Table};
use toml::de::DeTable;

/// The words of all fault verbs.
pub(crate) fn fault_words() -> impl Iterator<Item = &'static str> {
    faults::VERBS.iter().map(|verb| verb.word)
}

/// The words of all verbs.
#[cfg(test)]
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    verbs::VERBS.iter().map(|verb| verb.word).chain(fault_words())
}

/// The store of a node of which the file does not say otherwise.
const STORE: ByteSize = ByteSize::mb(100);

/// Reads and checks a file.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(path: &Path) -> Result<Scenario> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|why| {
        let message = format!("cannot be read: {why}");
        FileError { file: file.clone(), line: None, message }
    })?;
    parse(&file, &text)
}

/// Reads and checks the text of a file. `file` is what errors call it; input paths are relative to its directory.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Scenario> {
    let source = Source::new(file, text);
    let document = DeTable::parse(&source.text).map_err(|why| {
        let line = why.span().map(|span| source.line(span.start));
        let message = why.message().replace('\n', ", ");
        FileError { file: file.to_owned(), line, message }
    })?;
    let scenario = scenario(&source, Table::root(&source, document.get_ref()))?;
    check::check(&source, &scenario)?;
    survivable::check(&source, &scenario)?;
    Ok(scenario)
}

fn scenario(source: &Source, mut table: Table<'_>) -> Result<Scenario> {
    let name = table.need("name")?;
    let origin = table.get("source")?;
    let known_failing = table.get("known_failing")?;
    let worlds = table.or::<Vec<World>>("worlds", Vec::new())?.into_iter().map(|world| world.0).collect();
    let as_recorded = table.get("as_recorded")?.map(dataset::beside).transpose()?.map(PathBuf::from);
    let cluster = match table.get::<Item<'_>>("cluster")? {
        Some(item) => cluster(Table::of(item)?)?,
        None => return Err(table.error("a scenario needs a `[cluster]` with `nodes`")),
    };
    let settings = match table.get::<Item<'_>>("settings")? {
        Some(item) => settings(Table::of(item)?)?,
        None => Settings::default(),
    };
    let steps = verbs::steps(table.need("steps")?)?;
    let faults = table.or::<Vec<Item<'_>>>("fault", Vec::new())?;
    let faults = faults.into_iter().map(faults::planned).collect::<Result<_>>()?;
    let expect = match table.get::<Item<'_>>("expect")? {
        Some(item) => Some(results::assertions(Table::of(item)?.called("`[expect]`"))?),
        None => None,
    };
    table.finish()?;
    Ok(Scenario {
        file: source.file.clone(),
        name,
        source: origin,
        known_failing,
        worlds,
        as_recorded,
        cluster,
        settings,
        steps,
        faults,
        expect,
    })
}

struct World(WorldKind);

impl Read<'_> for World {
    fn read(item: Item<'_>) -> Result<Self> {
        let name = String::read(item)?;
        name.parse().map(World).map_err(|_| {
            let hint = hint(&name, ["turmoil", "madsim", "real"].into_iter());
            item.error(format!("unknown world `{name}`{hint}"))
        })
    }
}

fn cluster(mut table: Table<'_>) -> Result<Cluster> {
    let store = table.or("store", STORE)?;
    let items: Vec<Item<'_>> = table.need("nodes")?;
    let nodes = items.into_iter().map(node).collect::<Result<Vec<_>>>()?;
    if nodes.is_empty() {
        return Err(table.error("`nodes` needs at least one node"));
    }
    let (mut latency, mut bandwidth) = (None, None);
    if let Some(item) = table.get::<Item<'_>>("link")? {
        let mut link = Table::of(item)?;
        latency = link.get("latency")?;
        bandwidth = link.get::<Rate>("bandwidth")?.map(|rate| rate.0);
        link.finish()?;
    }
    table.finish()?;
    Ok(Cluster { nodes, store, latency, bandwidth })
}

/// Bytes a second, with or without the `/s`.
struct Rate(ByteSize);

impl Read<'_> for Rate {
    fn read(item: Item<'_>) -> Result<Self> {
        let rate = item.value.as_str().and_then(|text| text.trim_end_matches("/s").parse().ok());
        rate.map_or_else(|| item.is_no("a rate such as \"1GB/s\""), |rate| Ok(Self(rate)))
    }
}

/// A node of a cluster, or one to be added.
fn node(item: Item<'_>) -> Result<Node> {
    let mut table = Table::of(item)?.called("a node");
    let name: Name = table.need("name")?;
    let resources = resources(&mut table, 1.0)?;
    let labels = table.or("labels", Labels::new())?;
    let (store, memory) = (table.get("store")?, table.get("memory")?);
    table.finish()?;
    Ok(Node { name, resources, labels, store, memory })
}

/// `cpus` and `resources`.
fn resources(table: &mut Table<'_>, cpus: f64) -> Result<Resources> {
    let cpus = table.get::<Quantity>("cpus")?.map_or_else(|| Amount::from_f64(cpus).unwrap_or_default(), |q| q.0);
    let others = table.or("resources", BTreeMap::<String, Quantity>::new())?;
    let all = Resources::none().with(Resources::CPU, cpus);
    Ok(others.into_iter().fold(all, |all, (name, quantity)| all.with(&name, quantity.0)))
}

struct Quantity(Amount);

impl Read<'_> for Quantity {
    fn read(item: Item<'_>) -> Result<Self> {
        let amount = f64::read(item).ok().and_then(Amount::from_f64);
        amount.map_or_else(|| item.is_no("an amount of a resource, such as 2 or 0.5"), |amount| Ok(Self(amount)))
    }
}

fn settings(mut table: Table<'_>) -> Result<Settings> {
    let settings = Settings {
        health_period: table.get("health_period")?,
        health_timeout: table.get("health_timeout")?,
        inline: table.get("inline")?,
        store_grace: table.get("store_grace")?,
        lineage: table.get("lineage")?,
        memory_policy: table.get::<Policy>("memory_policy")?.map(|policy| policy.0),
        spill: table.get("spill")?,
        policy: table.get("policy")?,
        driver_store: table.get("driver_store")?,
        relay_from: table.get("relay_from")?,
        head_grace: table.get("head_grace")?,
        head_log: table.get("head_log")?,
        max_time: table.get("max_time")?,
        tick: table.get("tick")?,
        buggify: table.or("buggify", false)?,
    };
    let period = settings.health_period.unwrap_or(Nanos::millis(1));
    if period == Nanos::ZERO {
        return Err(table.error("`health_period` must be longer than nothing"));
    }
    if settings.tick.is_some_and(|tick| tick < Nanos::micros(1) || tick > Nanos::millis(10)) {
        return Err(table.error("`tick` must be between 1us and 10ms"));
    }
    table.finish()?;
    Ok(settings)
}

impl Read<'_> for SharedPolicy {
    fn read(item: Item<'_>) -> Result<Self> {
        let word = results::word(item, "policy", &SharedPolicy::NAMES)?;
        word.parse().map_err(|why: UnknownPolicy| item.error(why.to_string()))
    }
}

struct Policy(MemoryPolicy);

impl Read<'_> for Policy {
    fn read(item: Item<'_>) -> Result<Self> {
        let word = results::word(item, "memory policy", &["spill", "evict"])?;
        word.parse().map(Policy).map_err(|why: String| item.error(why))
    }
}

impl Read<'_> for Name {
    fn read(item: Item<'_>) -> Result<Self> {
        let text = String::read(item)?;
        let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || c == '\'';
        if text.is_empty() || !text.chars().all(plain) {
            return item.is_no("a name of letters, digits, `_` and `-`");
        }
        Ok(Self { text, line: item.line })
    }
}

/// One value, or a list of them.
struct OneOrMany<T>(Vec<T>);

impl<'a, T: Read<'a>> Read<'a> for OneOrMany<T> {
    fn read(item: Item<'a>) -> Result<Self> {
        match item.items() {
            Some(items) => items.into_iter().map(T::read).collect::<Result<_>>().map(Self),
            None => T::read(item).map(|one| Self(vec![one])),
        }
    }
}
