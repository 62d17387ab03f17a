//! Invariants over the history of a run: each watches the event log as it grows, from outside of the system.
//!
//! What a machine can check about itself it checks after every step ([`mobula_protocol::Machine::check`]); what only a
//! view of the whole cluster can tell is checked here. The watch sees a line when it is written, so the first violation is
//! found at the event that made it, and with it the events that led there.

mod attempts;
mod errors;
mod grants;
mod membership;
mod results;
mod stale;
mod truth;

use crate::trace::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most causes that are told.
const CHAIN: usize = 12;

/// What a history broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which invariant, as in `"I39"`.
    pub invariant: &'static str,
    /// The number of the event that broke it.
    pub event: u64,
    /// What was found.
    pub message: String,
    /// The events that led there, nearest first, the breaking one included.
    pub chain: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken by event {}: {}", self.invariant, self.event, self.message)
    }
}

/// An invariant that watches a history.
trait Invariant: Send {
    /// Its number.
    fn name(&self) -> &'static str;

    /// Takes the next event.
    ///
    /// # Errors
    /// What is wrong with it.
    fn see(&mut self, event: &Event, world: &Known) -> Result<(), String>;
}

/// What all invariants want to know of the world so far.
#[derive(Default)]
struct Known {
    /// Incarnations that the head has admitted, and declared dead.
    admitted: BTreeSet<String>,
    dead: BTreeSet<String>,
    /// Nodes of which the process is gone, or has stopped by itself.
    gone: BTreeSet<String>,
    /// The present lives of the nodes.
    lives: BTreeMap<String, String>,
}

impl Known {
    fn learn(&mut self, event: &Event) {
        let words = event.words();
        if let ("joined", [incarnation]) = (event.kind.as_str(), &words[..]) {
            self.lives.insert(event.node.clone(), (*incarnation).to_owned());
        }
        match (event.node.as_str(), event.kind.as_str()) {
            ("world", "kill" | "power_off") => drop(self.gone.insert(words[0].to_owned())),
            ("world", "start" | "restart") => drop(self.gone.remove(words[0])),
            (node, "stop") => drop(self.gone.insert(node.to_owned())),
            (_, "admit") => drop(self.admitted.insert(words[0].to_owned())),
            (_, "declare-dead") => {
                let incarnation = words.get(1).map(|word| word.trim_matches(['(', ')', ':']));
                self.dead.extend(incarnation.map(str::to_owned));
            }
            _ => {}
        }
    }

    /// Whether what this node does no longer counts: its process is gone, or its life was declared over.
    fn is_fenced(&self, node: &str) -> bool {
        self.gone.contains(node) || self.lives.get(node).is_some_and(|life| self.dead.contains(life))
    }
}

/// Watches one run. Cheap to clone; all clones are the same watch.
#[derive(Clone)]
pub struct Watch(Arc<Mutex<Seen>>);

struct Seen {
    invariants: Vec<Box<dyn Invariant>>,
    known: Known,
    events: Vec<Event>,
    broken: Option<Broken>,
}

impl Default for Watch {
    fn default() -> Self {
        let invariants: Vec<Box<dyn Invariant>> = vec![
            Box::new(results::Results::default()),
            Box::new(results::OneValue::default()),
            Box::new(errors::Errors::default()),
            Box::new(attempts::OneAttempt::default()),
            Box::new(attempts::Increasing::default()),
            Box::new(truth::Truth::default()),
            Box::new(grants::Grants::default()),
            Box::new(membership::Verdicts::default()),
            Box::new(stale::Stale::default()),
        ];
        let seen = Seen { invariants, known: Known::default(), events: Vec::new(), broken: None };
        Self(Arc::new(Mutex::new(seen)))
    }
}

impl Watch {
    /// Takes the next line of the event log.
    pub fn line(&self, line: &str) {
        if let Some(event) = Event::parse(line) {
            self.lock().see(event);
        }
    }

    /// The first invariant that was broken, if one was.
    pub fn broken(&self) -> Option<Broken> {
        self.lock().broken.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn see(&mut self, event: Event) {
        self.known.learn(&event);
        for invariant in &mut self.invariants {
            let seen = invariant.see(&event, &self.known);
            if let (Err(message), None) = (seen, &self.broken) {
                let chain = chain(&self.events, &event);
                self.broken = Some(Broken { invariant: invariant.name(), event: event.number, message, chain });
            }
        }
        self.events.push(event);
    }
}

/// The events about the same tasks and objects, nearest first.
fn chain(before: &[Event], event: &Event) -> Vec<String> {
    let subjects: BTreeSet<String> = event.subjects().collect();
    let concerned = |earlier: &&Event| earlier.subjects().any(|subject| subjects.contains(&subject));
    let causes = before.iter().rev().filter(concerned).take(CHAIN);
    let shown = |event: &Event| {
        let Event { number, at, node, kind, detail } = event;
        format!("event {number} at {at}: {node} {kind} {detail}")
    };
    std::iter::once(event).chain(causes).map(shown).collect()
}

#[cfg(test)]
mod tests;
