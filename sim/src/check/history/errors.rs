//! I5: errors say what happened. `OwnerDied` only if the head has declared the owner dead, `Cancelled` only after a cancel,
//! `OutOfMemory` only if a node ran out of memory.
//!
//! Source: Ray reports an owner's death for other losses (#24274), and cancelled tasks as crashed workers.

use super::{Invariant, Known};
use crate::trace::Event;

#[derive(Default)]
pub(super) struct Errors {
    cancelled: bool,
    out_of_memory: bool,
}

impl Invariant for Errors {
    fn name(&self) -> &'static str {
        "I5"
    }

    fn see(&mut self, event: &Event, world: &Known) -> Result<(), String> {
        match (event.kind.as_str(), &event.words()[..]) {
            ("cancel", _) => self.cancelled = true,
            ("memory-kill", _) => self.out_of_memory = true,
            ("get-failed", [object, "OwnerDied"]) => {
                let owner = object.split_once('@').map_or("", |(_, owner)| owner);
                if !world.dead.contains(owner) {
                    return Err(format!("{object} failed with OwnerDied, but nobody has declared {owner} dead"));
                }
            }
            // A task that needs a cancelled one is cancelled with it, so the object itself says nothing.
            ("get-failed", [object, "Cancelled"]) if !self.cancelled => {
                return Err(format!("{object} failed with Cancelled, but nothing was ever cancelled"));
            }
            ("get-failed", [object, "OutOfMemory"]) if !self.out_of_memory => {
                return Err(format!("{object} failed with OutOfMemory, but no node ran out of memory"));
            }
            _ => {}
        }
        Ok(())
    }
}
