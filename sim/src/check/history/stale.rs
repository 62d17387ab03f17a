//! I39: nobody acts on what the dead say, or on what is said to an earlier life of his.
//!
//! Source: most of Ray's late bugs are messages from the dead; decision D3 of the architecture.

use super::{Invariant, Known};
use crate::trace::Event;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Stale {
    /// Who has heard of whose death: (node, incarnation).
    heard: BTreeSet<(String, String)>,
    /// Envelopes for another life: (node, sender, number).
    misaddressed: BTreeSet<(String, String, String)>,
}

impl Invariant for Stale {
    fn name(&self) -> &'static str {
        "I39"
    }

    fn see(&mut self, event: &Event, world: &Known) -> Result<(), String> {
        let words = event.words();
        let here = event.node.clone();
        match event.kind.as_str() {
            "died" => {
                let incarnation = words.get(1).map_or("", |word| word.trim_matches(['(', ')', ':']));
                self.heard.insert((here, incarnation.to_owned()));
            }
            // A new life has heard of nobody's death, and is addressed anew.
            "joined" if words.len() == 1 => {
                self.heard.retain(|(node, _)| *node != here);
                self.misaddressed.retain(|(node, ..)| *node != here);
            }
            "misaddressed" => {
                if let [from, number, ..] = words[..] {
                    self.misaddressed.insert((here, from.to_owned(), number.to_owned()));
                }
            }
            "recv" => return self.received(event, world),
            _ => {}
        }
        Ok(())
    }
}

impl Stale {
    fn received(&mut self, event: &Event, world: &Known) -> Result<(), String> {
        let [from, number, answer] = event.words()[..] else { return Ok(()) };
        let key = (event.node.clone(), from.to_owned(), number.to_owned());
        let misaddressed = self.misaddressed.remove(&key);
        if answer != "Taken" {
            return Ok(());
        }
        if misaddressed {
            return Err(format!("{} took {number} of {from}, which was for another life", event.node));
        }
        if self.heard.contains(&(event.node.clone(), from.to_owned())) {
            return Err(format!("{} took {number} of {from}, of whose death it has heard", event.node));
        }
        if !from.starts_with("head") && !world.admitted.contains(from) {
            return Err(format!("{} took {number} of {from}, whom nobody has admitted", event.node));
        }
        Ok(())
    }
}
