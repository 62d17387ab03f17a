//! Fault verbs, and the triggers of planned faults.

use super::model::{DiskChange, Fault, Goal, Name, PlannedFault, Trigger};
use super::source::{Result, hint};
use super::table::{Item, Read, Table};
use super::{OneOrMany, links, node, probes, results};
use mobula_sim::{DiskDamage, HEAD};

/// A fault verb: its word, and how the rest is read.
pub(super) struct FaultVerb {
    pub word: &'static str,
    pub read: fn(&mut Table<'_>) -> Result<Fault>,
}

/// What can go wrong, and how it is mended.
pub(super) static VERBS: &[FaultVerb] = &[
    FaultVerb { word: "kill", read: |table| table.need("kill").map(Fault::Kill) },
    FaultVerb { word: "power_off", read: |table| table.need("power_off").map(Fault::PowerOff) },
    FaultVerb { word: "pause", read: |table| table.need("pause").map(Fault::Pause) },
    FaultVerb { word: "resume", read: |table| table.need("resume").map(Fault::Resume) },
    FaultVerb { word: "restart", read: |table| table.need("restart").map(Fault::Restart) },
    FaultVerb { word: "head_kill", read: |table| head(table, "head_kill").map(Fault::Kill) },
    FaultVerb { word: "head_restart", read: |table| head(table, "head_restart").map(Fault::Restart) },
    FaultVerb { word: "head_pause", read: |table| head(table, "head_pause").map(Fault::Pause) },
    FaultVerb { word: "head_wipe", read: |table| head(table, "head_wipe").map(|_| Fault::WipeHead) },
    FaultVerb { word: "drain", read: |table| table.need("drain").map(Fault::Drain) },
    FaultVerb { word: "partition", read: links::partition },
    FaultVerb { word: "heal", read: links::heal },
    FaultVerb { word: "hold", read: links::hold },
    FaultVerb { word: "release_messages", read: links::release },
    FaultVerb { word: "slow_link", read: links::slow_link },
    FaultVerb { word: "loss", read: links::loss },
    FaultVerb { word: "rpc", read: links::rpc },
    FaultVerb { word: "clock_jump", read: links::clock_jump },
    FaultVerb { word: "add_node", read: |table| node(table.need("add_node")?).map(Fault::AddNode) },
    FaultVerb { word: "evict", read: evict },
    FaultVerb { word: "shrink_store", read: shrink_store },
    FaultVerb { word: "disk_full", read: |table| Ok(Fault::Disk(table.need("disk_full")?, DiskChange::Full)) },
    FaultVerb { word: "disk_errors", read: disk_errors },
    FaultVerb { word: "slow_disk", read: slow_disk },
    FaultVerb { word: "mend_disk", read: |table| Ok(Fault::Disk(table.need("mend_disk")?, DiskChange::Mended)) },
    FaultVerb { word: "lose_spill", read: |table| Ok(Fault::DamageSpill(table.need("lose_spill")?, DiskDamage::Lose)) },
    FaultVerb { word: "corrupt_spill", read: corrupt_spill },
];

/// `head_kill = true`: the head by a verb of its own.
fn head(table: &mut Table<'_>, word: &'static str) -> Result<Name> {
    let item: Item<'_> = table.need(word)?;
    match item.value.as_bool() {
        Some(true) => Ok(Name { text: HEAD.to_owned(), line: item.line }),
        _ => item.is_no("`true`: there is one head"),
    }
}

fn evict(table: &mut Table<'_>) -> Result<Fault> {
    Ok(Fault::Evict { object: table.need("evict")?, node: table.need("node")?, force: table.or("force", false)? })
}

fn shrink_store(table: &mut Table<'_>) -> Result<Fault> {
    Ok(Fault::ShrinkStore { node: table.need("shrink_store")?, to: table.need("to")? })
}

fn disk_errors(table: &mut Table<'_>) -> Result<Fault> {
    let node = table.need("disk_errors")?;
    let item: Item<'_> = table.need("rate")?;
    match f64::read(item)? {
        rate if (0.0..=1.0).contains(&rate) => Ok(Fault::Disk(node, DiskChange::Errors(rate))),
        _ => item.is_no("a share of all writes, from 0 to 1"),
    }
}

fn slow_disk(table: &mut Table<'_>) -> Result<Fault> {
    let node = table.need("slow_disk")?;
    let item: Item<'_> = table.need("times")?;
    match u64::read(item)? {
        0 => item.is_no("at least 1"),
        times => Ok(Fault::Disk(node, DiskChange::Slower(times))),
    }
}

fn corrupt_spill(table: &mut Table<'_>) -> Result<Fault> {
    let node = table.need("corrupt_spill")?;
    let item: Item<'_> = table.need("how")?;
    match results::word(item, "damage", &["flip_bit", "truncate"])?.as_str() {
        "truncate" => Ok(Fault::DamageSpill(node, DiskDamage::Truncate)),
        _ => Ok(Fault::DamageSpill(node, DiskDamage::FlipBit)),
    }
}

/// A `[[fault]]`.
pub(super) fn planned(item: Item<'_>) -> Result<PlannedFault> {
    let mut table = Table::of(item)?.called("`[[fault]]`");
    let line = table.line;
    let trigger = match (table.get("at")?, table.get::<Item<'_>>("when")?, table.get::<Item<'_>>("probe")?) {
        (Some(time), None, None) => Some(Trigger::At(time)),
        (None, Some(item), None) => Some(trigger(item)?),
        (None, None, Some(site)) => {
            let site = results::word(site, "probe", &probes::probes().collect::<Vec<_>>())?;
            Some(Trigger::Probe { site, nth: table.or("nth", 1)? })
        }
        (None, None, None) => None,
        _ => return Err(table.error("a fault has one of `at`, `when` and `probe`")),
    };
    let items: OneOrMany<Item<'_>> = table.need("do")?;
    let actions: Vec<(usize, Fault)> = items.0.into_iter().map(action).collect::<Result<_>>()?;
    let trigger = match trigger {
        Some(trigger) => trigger,
        None if actions.iter().all(|(_, fault)| matches!(fault, Fault::Rpc { .. })) => Trigger::Beginning,
        None => return Err(table.error("a fault needs one of `at`, `when` and `probe`; only `rpc` can do without")),
    };
    table.finish()?;
    Ok(PlannedFault { line, trigger, actions })
}

fn action(item: Item<'_>) -> Result<(usize, Fault)> {
    let table = Table::of(item)?;
    let (line, Some((word, at))) = (table.line, table.first()) else {
        return Err(table.error("a fault needs a verb"));
    };
    let mut table = table.called(format!("`{word}`"));
    let Some(verb) = VERBS.iter().find(|verb| verb.word == word) else {
        let hint = hint(word, VERBS.iter().map(|verb| verb.word));
        return Err(item.source.error(at, format!("unknown fault verb `{word}`{hint}")));
    };
    let fault = (verb.read)(&mut table)?;
    table.finish()?;
    Ok((line, fault))
}

/// `finished(map) >= 16`, `finished(map) >= 40%`, `sealed(x)`, `bytes_moved >= 64MB`.
fn trigger(item: Item<'_>) -> Result<Trigger> {
    let text: String = item.read()?;
    let wrong =
        || item.is_no("`finished(label) >= 16`, `finished(label) >= 40%`, `sealed(name)` or `bytes_moved >= 64MB`");
    if let Some(rest) = text.trim().strip_prefix("bytes_moved") {
        let bytes = rest.trim().strip_prefix(">=").and_then(|bytes| bytes.trim().trim_matches('\'').parse().ok());
        return bytes.map_or_else(wrong, |bytes| Ok(Trigger::Moved(bytes)));
    }
    let Some((word, rest)) = text.split_once('(') else { return wrong() };
    let Some((name, rest)) = rest.split_once(')') else { return wrong() };
    let name = Name { text: name.trim().to_owned(), line: item.line };
    match word.trim() {
        "sealed" if rest.trim().is_empty() => Ok(Trigger::Sealed(name)),
        "sealed" => wrong(),
        "finished" => {
            let Some(goal) = rest.trim().strip_prefix(">=").map(str::trim) else { return wrong() };
            let goal = match goal.strip_suffix('%') {
                Some(percent) => percent.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(Goal::Percent),
                None => goal.parse().ok().map(Goal::Count),
            };
            goal.map_or_else(wrong, |goal| Ok(Trigger::Finished { label: name, goal }))
        }
        other => {
            let hint = hint(other, ["finished", "sealed", "bytes_moved"].into_iter());
            Err(item.error(format!("unknown trigger `{other}`{hint}")))
        }
    }
}
