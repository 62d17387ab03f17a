//! The space-time diagram: one page, without network. Nodes are vertical lines, time goes down, messages are arrows,
//! executions are bars, faults and the violated invariant are marked; one steps through the events by key.

use super::{Arrow, Event, arrows};
use serde_json::json;

/// The page around the data. `/*DATA*/` is where the data goes.
const PAGE: &str = include_str!("diagram.html");

/// What the page says at its top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headline {
    /// The scenario.
    pub title: String,
    /// How it ended.
    pub outcome: String,
    /// The event that broke an invariant.
    pub broken: Option<u64>,
    /// Why it failed, and the events that led there.
    pub chain: Vec<String>,
    /// The command that does it again.
    pub replay: String,
}

/// The page.
pub fn html(events: &[Event], headline: &Headline) -> String {
    let mut nodes: Vec<&str> = Vec::new();
    for event in events {
        if !nodes.contains(&event.node.as_str()) {
            nodes.push(&event.node);
        }
    }
    // The harness, the head and the driver first: they talk to everybody.
    let rank = |node: &&str| match *node {
        "world" => 0,
        crate::spec::HEAD => 1,
        crate::spec::DRIVER => 2,
        _ => 3,
    };
    nodes.sort_by_key(|node| (rank(node), *node));
    let column = |node: &str| nodes.iter().position(|known| *known == node);
    let rows: Vec<_> = events
        .iter()
        .map(|event| json!([event.number, event.at.0, column(&event.node), event.kind, event.detail]))
        .collect();
    let messages: Vec<_> = arrows(events).into_iter().map(|Arrow { sent, received }| json!([sent, received])).collect();
    let data = json!({
        "nodes": nodes, "events": rows, "messages": messages, "title": headline.title, "outcome": headline.outcome,
        "broken": headline.broken, "chain": headline.chain, "replay": headline.replay,
    });
    // A `</script>` inside a string would end the script.
    PAGE.replace("/*DATA*/", &data.to_string().replace("</", "<\\/"))
}
