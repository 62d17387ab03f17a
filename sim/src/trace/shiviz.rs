//! What ShiViz reads: a regular expression, an empty line, then for every event its host, its vector clock and its text.
//!
//! Source: Beschastnikh et al., "Debugging distributed systems", CACM 2016. A vector clock counts the events of a host;
//! the arrival of a message takes over what its sending knew.

use super::{Event, arrows};
use serde_json::json;
use std::collections::BTreeMap;

/// How ShiViz is to read the lines below.
const PARSER: &str = r"(?<host>\S+) (?<clock>\{.*\}) (?<event>.*)";

/// The document.
pub fn shiviz(events: &[Event]) -> String {
    let sources: BTreeMap<usize, usize> =
        arrows(events).into_iter().map(|arrow| (arrow.received, arrow.sent)).collect();
    let mut clocks: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    // Only what was sent is asked for again.
    let mut sent: BTreeMap<usize, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut out = format!("{PARSER}\n\n");
    for (at, event) in events.iter().enumerate() {
        let learnt = sources.get(&at).and_then(|source| sent.get(source)).cloned().unwrap_or_default();
        let clock = clocks.entry(&event.node).or_default();
        for (host, count) in learnt {
            let known = clock.entry(host).or_default();
            *known = count.max(*known);
        }
        *clock.entry(&event.node).or_default() += 1;
        if event.kind == "send" {
            sent.insert(at, clock.clone());
        }
        out += &format!("{} {} {} {} {}\n", event.node, json!(clock), event.at, event.kind, event.detail);
    }
    out
}
