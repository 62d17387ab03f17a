//! One line of the event log, taken apart.

use mobula_protocol::Nanos;
use std::collections::BTreeMap;

/// `{number} {nanoseconds} {node} {kind} {detail}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log.
    pub number: u64,
    /// When, in the world's time.
    pub at: Nanos,
    /// Where: a node, or `world` for what the harness does.
    pub node: String,
    /// What: a word.
    pub kind: String,
    /// The rest of the line.
    pub detail: String,
}

impl Event {
    /// The event of a line, if it is one.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let number = words.next()?.parse().ok()?;
        let at = Nanos(words.next()?.parse().ok()?);
        let (node, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Self { number, at, node, kind, detail: words.next().unwrap_or_default().to_owned() })
    }

    /// The events of a log.
    pub fn parse_all(lines: &[String]) -> Vec<Self> {
        lines.iter().filter_map(|line| Self::parse(line)).collect()
    }

    /// The words of its detail.
    pub fn words(&self) -> Vec<&str> {
        self.detail.split(' ').collect()
    }

    /// The tasks and objects it speaks of, without the numbers of results: `t7@n2.1` and `o7:0@n2.1` are one subject.
    pub fn subjects(&self) -> impl Iterator<Item = String> + '_ {
        self.detail.split([' ', ',', '(', ')']).filter(|word| word.contains('@')).map(|word| {
            let word = word.trim_start_matches(['t', 'o']);
            match (word.split_once(':'), word.split_once('@')) {
                (Some((number, _)), Some((_, owner))) => format!("{number}@{owner}"),
                _ => word.to_owned(),
            }
        })
    }
}

/// Which node an incarnation is a life of.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Learns from `joined` events: a node's own, with its incarnation, and those of others, with name and incarnation.
    pub fn learn(&mut self, event: &Event) {
        if event.kind == "joined" {
            match event.words()[..] {
                [incarnation] => drop(self.0.insert(incarnation.to_owned(), event.node.clone())),
                [name, "as", incarnation] => drop(self.0.insert(incarnation.to_owned(), name.to_owned())),
                _ => {}
            }
        }
    }

    /// The node's name; the incarnation itself if nobody has said it yet.
    pub fn of<'a>(&'a self, incarnation: &'a str) -> &'a str {
        match incarnation.starts_with("head") {
            true => crate::spec::HEAD,
            false => self.0.get(incarnation).map_or(incarnation, String::as_str),
        }
    }
}
