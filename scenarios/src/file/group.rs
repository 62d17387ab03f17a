//! `group` and `ready`: placement groups.

use super::model::{Action, Name};
use super::source::Result;
use super::table::{Item, Table};
use super::{resources, results};
use crate::condition::Condition;
use mobula_runtime::{Nanos, Resources, Strategy};

/// How long `ready` waits unless it says otherwise.
const READY: Nanos = Nanos::secs(10);

/// Make one or several placement groups.
#[derive(Clone, Debug)]
pub struct GroupStep {
    /// Its name from now on.
    pub name: Name,
    /// What each bundle sets aside.
    pub bundles: Vec<Resources>,
    /// How they lie to each other.
    pub strategy: Strategy,
    /// How many such groups.
    pub count: u64,
}

/// Wait until a placement group is placed, or all of that name.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Which.
    pub group: Name,
    /// How long.
    pub timeout: Nanos,
    /// Whether it must be placed by then, or must not.
    pub placed: bool,
    /// On how many different nodes, each group for itself.
    pub nodes: Option<Condition>,
    /// Part of what it must wait for, if it must not be placed.
    pub why: Option<String>,
}

/// `group = "g", bundles = [{ cpus = 1 }], strategy = "pack", count = 1`.
pub(super) fn group(table: &mut Table<'_>) -> Result<Action> {
    let name = table.need("group")?;
    let items: Vec<Item<'_>> = table.need("bundles")?;
    let bundles = items.into_iter().map(bundle).collect::<Result<Vec<_>>>()?;
    if bundles.is_empty() {
        return Err(table.error("`bundles` needs at least one bundle"));
    }
    let words: Vec<&str> = Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
    let strategy = match table.get::<Item<'_>>("strategy")? {
        None => Strategy::Pack,
        Some(item) => {
            let word = results::word(item, "strategy", &words)?;
            Strategy::ALL.into_iter().find(|strategy| strategy.name() == word).unwrap_or_default()
        }
    };
    match table.or("count", 1)? {
        0 => Err(table.error("`count` must be at least 1")),
        count => Ok(Action::Group(GroupStep { name, bundles, strategy, count })),
    }
}

fn bundle(item: Item<'_>) -> Result<Resources> {
    let mut table = Table::of(item)?.called("a bundle");
    let bundle = resources(&mut table, 0.0)?;
    table.finish()?;
    match bundle.is_empty() {
        true => Err(item.error("a bundle needs some resources: `cpus`, `resources`")),
        false => Ok(bundle),
    }
}

/// `ready = "g"`, with `timeout`, `nodes`, and `placed = false`, `why`.
pub(super) fn ready(table: &mut Table<'_>) -> Result<Action> {
    let (group, timeout) = (table.need("ready")?, table.or("timeout", READY)?);
    let (placed, nodes, why) = (table.or("placed", true)?, table.get("nodes")?, table.get("why")?);
    if placed && why.is_some() || !placed && nodes.is_some() {
        return Err(table.error("`why` goes with `placed = false`, and `nodes` does not"));
    }
    Ok(Action::Ready(Ready { group, timeout, placed, nodes, why }))
}
