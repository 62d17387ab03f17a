//! I2: a value that a get returns was sealed by some completed attempt, or put. I4: nobody reads two values of one object.
//!
//! Source: Ray's silent corruption after re-execution of tasks that are not deterministic (#43395), and the absence of any
//! end-to-end check of content there.

use super::{Invariant, Known};
use crate::trace::Event;
use std::collections::{BTreeMap, BTreeSet};

/// I2.
#[derive(Default)]
pub(super) struct Results {
    /// Hashes under which each object was completed.
    made: BTreeMap<String, BTreeSet<String>>,
}

impl Invariant for Results {
    fn name(&self) -> &'static str {
        "I2"
    }

    fn see(&mut self, event: &Event, _: &Known) -> Result<(), String> {
        let mut make =
            |object: &str, hash: &str| self.made.entry(object.to_owned()).or_default().insert(hash.to_owned());
        match (event.kind.as_str(), &event.words()[..]) {
            ("put", [object, hash]) => drop(make(object, hash)),
            ("finish" | "finish-call", [task, "attempt", _, "returned", hashes @ ..]) => {
                for (index, hash) in hashes.iter().enumerate() {
                    make(&result_of(task, index), hash.trim_end_matches('*'));
                }
            }
            ("got", [object, hash]) if self.made.get(*object).is_some_and(|made| !made.contains(*hash)) => {
                return Err(format!("{object} was read as {hash}, which nobody made"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// `t7@n2.1` and 0 are `o7:0@n2.1`.
fn result_of(task: &str, index: usize) -> String {
    match task.trim_start_matches('t').split_once('@') {
        Some((number, owner)) => format!("o{number}:{index}@{owner}"),
        None => task.to_owned(),
    }
}

/// I4.
#[derive(Default)]
pub(super) struct OneValue {
    read: BTreeMap<String, String>,
    /// Values with references inside: a task that runs again makes new ones, so its value differs.
    with_references: BTreeSet<String>,
    /// Objects of which a node was told that they have no value and never will.
    failed: BTreeMap<(String, String), String>,
}

impl Invariant for OneValue {
    fn name(&self) -> &'static str {
        "I4"
    }

    fn see(&mut self, event: &Event, _: &Known) -> Result<(), String> {
        match (event.kind.as_str(), &event.words()[..]) {
            ("finish" | "finish-call", [task, "attempt", _, "returned", hashes @ ..]) => {
                let made = hashes.iter().enumerate().filter(|(_, hash)| hash.ends_with('*'));
                self.with_references.extend(made.map(|(index, _)| result_of(task, index)));
            }
            ("get-failed", [object, why]) => {
                self.failed.insert((event.node.clone(), (*object).to_owned()), (*why).to_owned());
            }
            ("got", [object, hash]) => {
                if let Some(why) = self.failed.get(&(event.node.clone(), (*object).to_owned())) {
                    return Err(format!("{object} has a value after {} was told that it has none: {why}", event.node));
                }
                let first = self.read.entry((*object).to_owned()).or_insert_with(|| (*hash).to_owned());
                if first != hash && !self.with_references.contains(*object) {
                    return Err(format!("{object} was read as {first}, and now as {hash}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
