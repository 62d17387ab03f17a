//! One event log from those of the processes of a real cluster, laid side by side by the clock that they share.

use crate::trace::Event;
use mobula_protocol::Nanos;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Where the log of a node is, which all its lives write.
pub(crate) fn file(logs: &Path, node: &str) -> PathBuf {
    logs.join(format!("{node}.{ENDING}"))
}

const ENDING: &str = "events";

/// The logs of all nodes that have one.
#[allow(clippy::disallowed_methods, reason = "the processes that wrote them are gone")]
pub(crate) fn read(logs: &Path) -> io::Result<Vec<Vec<Event>>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            // The last line of a process that was killed may be cut, which does not parse.
            let lines = String::from_utf8_lossy(&std::fs::read(&path)?).lines().filter_map(Event::parse).collect();
            all.insert(path, lines);
        }
    }
    Ok(all.into_values().collect())
}

/// The events of all processes in the order of their times, counted from the first. Each process's own stay in the order in
/// which it wrote them, also where two of its threads read the clock in another one.
///
/// O(n log n) in the events.
pub(crate) fn merge(logs: Vec<Vec<Event>>) -> Vec<String> {
    let mut events: Vec<Event> = Vec::with_capacity(logs.iter().map(Vec::len).sum());
    for log in logs {
        let mut reached = Nanos::ZERO;
        events.extend(log.into_iter().map(|event| {
            reached = reached.max(event.at);
            Event { at: reached, ..event }
        }));
    }
    events.sort_by_key(|event| event.at);
    let from = events.first().map_or(Nanos::ZERO, |event| event.at);
    let line = |(number, Event { at, node, kind, detail, .. }): (usize, Event)| {
        format!("{number} {} {node} {kind} {detail}", at.saturating_sub(from).0)
    };
    events.into_iter().enumerate().map(line).collect()
}

/// How many strangers were refused, by the log of one node: each life of it counts them from 1, and logs some of the
/// numbers.
pub(crate) fn refused(log: impl Iterator<Item = Event>) -> u64 {
    let numbers = log.filter(|event| event.kind == "stranger").filter_map(|event| event.words()[0].parse::<u64>().ok());
    let (before, last) = numbers.fold((0, 0), |(before, last), number| match number > last {
        true => (before, number),
        false => (before + last, number),
    });
    before + last
}

#[cfg(test)]
mod tests;
