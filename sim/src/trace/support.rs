//! Why a run had its results: the events that each of them rests on.
//!
//! The lineage of a `got` of the driver is walked backwards. An event rests on the one before it in the same turn of its
//! node, on the last one there that speaks of the same task or object, and a received message on its sending. That is less
//! than everything that happened before (heartbeats of a quiet cluster support nothing), and about what the machines
//! looked at: a turn begins with what arrived.

use super::{Event, arrows};
use std::collections::{BTreeMap, BTreeSet};

/// The places in `events` of all that the driver's results rest on, in order.
pub fn support(events: &[Event]) -> BTreeSet<usize> {
    let parents = parents(events);
    let mut found = BTreeSet::new();
    let results = events.iter().enumerate().filter(|(_, event)| event.node == "driver" && event.kind == "got");
    let mut open: Vec<usize> = results.map(|(at, _)| at).collect();
    while let Some(at) = open.pop() {
        if found.insert(at) {
            open.extend(&parents[at]);
        }
    }
    found
}

/// For every event those it rests on.
fn parents(events: &[Event]) -> Vec<Vec<usize>> {
    let sendings: BTreeMap<usize, usize> = arrows(events).iter().map(|arrow| (arrow.received, arrow.sent)).collect();
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    let mut about: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let mut all = Vec::with_capacity(events.len());
    for (at, event) in events.iter().enumerate() {
        let node = event.node.as_str();
        let mut mine = Vec::new();
        match sendings.get(&at) {
            Some(sending) => mine.push(*sending),
            None if event.kind == "recv" => {}
            None => {
                let before = last.get(node).copied();
                mine.extend(before.filter(|before| events[*before].at == event.at || events[*before].kind == "recv"));
            }
        }
        for subject in event.subjects() {
            mine.extend(about.insert((node, subject), at));
        }
        last.insert(node, at);
        all.push(mine);
    }
    all
}
