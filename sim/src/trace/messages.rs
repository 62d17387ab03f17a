//! Which events are the two ends of one message.

use super::{Event, Names};
use std::collections::BTreeMap;

/// A message that arrived: indices of its two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The `send`.
    pub sent: usize,
    /// The `recv`.
    pub received: usize,
}

/// The messages of a log that arrived. A repeated envelope arrives from its last sending before, as does a sign of life: all
/// of a pair have one number.
pub fn arrows(events: &[Event]) -> Vec<Arrow> {
    let mut names = Names::default();
    events.iter().for_each(|event| names.learn(event));
    let mut sent: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut arrows = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let words = event.words();
        let [peer, number, ..] = words[..] else { continue };
        match event.kind.as_str() {
            "send" => drop(sent.insert((&event.node, names.of(peer), number), at)),
            "recv" => {
                let found = sent.get(&(names.of(peer), &event.node, number));
                arrows.extend(found.map(|sent| Arrow { sent: *sent, received: at }));
            }
            _ => {}
        }
    }
    arrows
}
