//! Fault verbs of links, calls and clocks.

use super::model::{Fault, Name};
use super::source::{Result, hint};
use super::table::{Item, Read, Table};
use mobula_runtime::Nanos;
use mobula_sim::{RpcFault, RpcFaultKind};

/// How long a call with `kind = "delay"` waits unless it says otherwise.
const DELAY: Nanos = Nanos::millis(50);

/// `partition = ["A", "B"]`, both ways or, with `oneway`, from the first to the second.
pub(super) fn partition(table: &mut Table<'_>) -> Result<Fault> {
    let (a, b) = pair(table.need("partition")?)?;
    Ok(Fault::Partition { a, b, oneway: table.or("oneway", false)? })
}

/// `heal = ["A", "B"]`, or `heal = "all"`.
pub(super) fn heal(table: &mut Table<'_>) -> Result<Fault> {
    let item: Item<'_> = table.need("heal")?;
    match item.value.as_str() {
        Some("all") => Ok(Fault::Heal(None)),
        Some(_) => item.is_no("two nodes, or \"all\""),
        None => pair(item).map(|pair| Fault::Heal(Some(pair))),
    }
}

/// `hold = ["A", "B"]`.
pub(super) fn hold(table: &mut Table<'_>) -> Result<Fault> {
    pair(table.need("hold")?).map(|(a, b)| Fault::Hold { a, b })
}

/// `release_messages = ["A", "B"]`.
pub(super) fn release(table: &mut Table<'_>) -> Result<Fault> {
    pair(table.need("release_messages")?).map(|(a, b)| Fault::ReleaseMessages { a, b })
}

/// `slow_link = ["A", "B"], latency = "20ms"`.
pub(super) fn slow_link(table: &mut Table<'_>) -> Result<Fault> {
    let (a, b) = pair(table.need("slow_link")?)?;
    Ok(Fault::SlowLink { a, b, latency: table.need("latency")? })
}

/// `loss = ["A", "B"], probability = 0.2`.
pub(super) fn loss(table: &mut Table<'_>) -> Result<Fault> {
    let (a, b) = pair(table.need("loss")?)?;
    Ok(Fault::Loss { a, b, probability: probability(table)?.unwrap_or(0.1) })
}

/// `clock_jump = "A", by = "-1h"`.
pub(super) fn clock_jump(table: &mut Table<'_>) -> Result<Fault> {
    let node: Name = table.need("clock_jump")?;
    let item: Item<'_> = table.need("by")?;
    let text = String::read(item)?;
    let (sign, size) = text.strip_prefix('-').map_or((1, text.as_str()), |size| (-1, size));
    let nanos = size.parse::<Nanos>().ok().and_then(|size| i64::try_from(size.0).ok());
    match nanos {
        Some(nanos) => Ok(Fault::ClockJump { node, nanos: sign * nanos }),
        None => item.is_no("a time such as \"1h\" or \"-1h\""),
    }
}

/// `rpc = { kind = "in_flight", method = "PushTask", nth = 1, count = 3 }`.
pub(super) fn rpc(table: &mut Table<'_>) -> Result<Fault> {
    let mut table = Table::of(table.need("rpc")?)?.called("`rpc`");
    let item: Item<'_> = table.need("kind")?;
    let word = String::read(item)?;
    let delay = table.get("for")?;
    let kind = RpcFaultKind::of(&word, delay.unwrap_or(DELAY));
    let Some(kind) = kind else {
        let hint = hint(&word, RpcFaultKind::WORDS.into_iter());
        return Err(item.error(format!("unknown kind of fault `{word}`{hint}")));
    };
    if delay.is_some() && !matches!(kind, RpcFaultKind::Delay(_)) {
        return Err(table.error("`for` is how long a call with the kind `delay` waits"));
    }
    let method: Option<Item<'_>> = table.get("method")?;
    let method = method.map(method_name).transpose()?;
    let node = |name: Option<Name>| name.map(|name| name.text);
    let names = (table.get::<Name>("from")?, table.get::<Name>("to")?);
    let fault = RpcFault {
        kind,
        method,
        from: node(names.0.clone()),
        to: node(names.1.clone()),
        nth: table.or("nth", 1)?,
        count: table.get("count")?,
        probability: probability(&mut table)?.unwrap_or(1.0),
    };
    table.finish()?;
    Ok(Fault::Rpc { fault, nodes: names.0.into_iter().chain(names.1).collect() })
}

/// A method of the wire, or the name of a message.
fn method_name(item: Item<'_>) -> Result<String> {
    let name = String::read(item)?;
    if mobula_runtime::call_names().any(|known| known == name) {
        return Ok(name);
    }
    let hint = hint(&name, mobula_runtime::call_names());
    Err(item.error(format!("no method or message `{name}`{hint}")))
}

fn probability(table: &mut Table<'_>) -> Result<Option<f64>> {
    let item: Option<Item<'_>> = table.get("probability")?;
    let read = |item: Item<'_>| match f64::read(item)? {
        p if (0.0..=1.0).contains(&p) => Ok(p),
        _ => item.is_no("a probability from 0 to 1"),
    };
    item.map(read).transpose()
}

fn pair(item: Item<'_>) -> Result<(Name, Name)> {
    match <[Name; 2]>::try_from(item.read::<Vec<Name>>()?) {
        Ok([a, b]) if a.text == b.text => Err(item.error(format!("`{}` needs two different nodes", item.key))),
        Ok([a, b]) => Ok((a, b)),
        Err(_) => item.is_no("a list of two nodes"),
    }
}
