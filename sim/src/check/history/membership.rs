//! I38: a verdict is final, and no life has the name of another.
//!
//! Source: Ray nodes that were marked dead and came back under the same id (#19975).

use super::{Invariant, Known};
use crate::trace::Event;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Verdicts {
    dead: BTreeSet<String>,
}

impl Invariant for Verdicts {
    fn name(&self) -> &'static str {
        "I38"
    }

    fn see(&mut self, event: &Event, _: &Known) -> Result<(), String> {
        let words = event.words();
        match event.kind.as_str() {
            // A join that is asked again is answered again with the same life; one that is over is not.
            "admit" if self.dead.contains(words[0]) => Err(format!("{} is admitted after its death", words[0])),
            "declare-dead" => {
                let incarnation = words.get(1).map_or("", |word| word.trim_matches(['(', ')', ':']));
                match self.dead.insert(incarnation.to_owned()) {
                    true => Ok(()),
                    false => Err(format!("{incarnation} is declared dead twice")),
                }
            }
            _ => Ok(()),
        }
    }
}
