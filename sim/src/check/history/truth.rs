//! I26: an object that a living process holds a reference to is not given up.
//!
//! The ground truth is kept here: every reference says when it comes to life and when it goes, and the owner says when it
//! gives an object up. Source: the safety half of the reference-counting protocol in the Ownership paper (NSDI 2021,
//! section 4), and Ray's `ReferenceCountingAssertionError`.

use super::{Invariant, Known};
use crate::trace::Event;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Truth {
    /// How many references each node has to each object.
    held: BTreeMap<String, BTreeMap<String, usize>>,
    freed: BTreeSet<String>,
}

impl Invariant for Truth {
    fn name(&self) -> &'static str {
        "I26"
    }

    fn see(&mut self, event: &Event, world: &Known) -> Result<(), String> {
        match (event.kind.as_str(), &event.words()[..]) {
            ("ref+", [object]) => {
                *self.held.entry((*object).to_owned()).or_default().entry(event.node.clone()).or_default() += 1;
            }
            ("ref-", [object]) => {
                if let Some(count) = self.held.get_mut(*object).and_then(|nodes| nodes.get_mut(&event.node)) {
                    *count = count.saturating_sub(1);
                }
            }
            ("free-by-hand", [object]) => drop(self.freed.insert((*object).to_owned())),
            ("kill" | "power_off" | "restart", [node]) if event.node == "world" => self.forget(node),
            ("stop", _) => self.forget(&event.node),
            ("gone", [object]) if !self.freed.contains(*object) => {
                let nodes = self.held.get(*object).into_iter().flatten();
                let holder =
                    nodes.filter(|(node, count)| **count > 0 && !world.is_fenced(node)).map(|(node, _)| node).next();
                if let Some(holder) = holder {
                    return Err(format!("{object} was given up while {holder} holds a reference to it"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Truth {
    fn forget(&mut self, node: &str) {
        for nodes in self.held.values_mut() {
            nodes.remove(node);
        }
    }
}
