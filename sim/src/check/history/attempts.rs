//! I10: at most one attempt of a task runs that still counts. I11: attempts that start have increasing numbers.
//!
//! An attempt on a node that is gone, or that the head has declared dead, does not count: it is fenced. Source: Ray's
//! tasks and actors started twice after a retry overtook the request it repeated (#58512).

use super::{Invariant, Known};
use crate::trace::Event;
use std::collections::BTreeMap;

/// `start {label} {task} attempt {n} under {lease}`.
fn started(event: &Event) -> Option<(String, u32, String)> {
    match (event.kind.as_str(), &event.words()[..]) {
        ("start", [.., task, "attempt", number, "under", lease]) => {
            Some(((*task).to_owned(), number.parse().ok()?, (*lease).to_owned()))
        }
        _ => None,
    }
}

struct Running {
    node: String,
    attempt: u32,
    lease: String,
}

/// I10.
#[derive(Default)]
pub(super) struct OneAttempt {
    running: BTreeMap<String, Running>,
}

impl Invariant for OneAttempt {
    fn name(&self) -> &'static str {
        "I10"
    }

    fn see(&mut self, event: &Event, world: &Known) -> Result<(), String> {
        match (event.kind.as_str(), &event.words()[..]) {
            ("finish" | "skip", [task, "attempt", number, ..]) => {
                self.running.retain(|running, of| running != task || of.attempt.to_string() != **number);
            }
            // A life ends, and what it was doing with it.
            ("kill" | "power_off" | "restart", [node]) if event.node == "world" => self.forget(node),
            ("stop", _) | ("joined", [_]) => self.forget(&event.node),
            // The worker ends, and what it was doing with it.
            ("lease-end", [lease]) => {
                self.running.retain(|_, running| running.lease != **lease || running.node != event.node);
            }
            _ => {}
        }
        let Some((task, attempt, lease)) = started(event) else { return Ok(()) };
        if world.is_fenced(&event.node) {
            return Ok(());
        }
        let running = Running { node: event.node.clone(), attempt, lease };
        match self.running.insert(task.clone(), running) {
            Some(other) if !world.is_fenced(&other.node) => Err(format!(
                "attempt {attempt} of {task} starts on {} while attempt {} runs on {}",
                event.node, other.attempt, other.node
            )),
            _ => Ok(()),
        }
    }
}

impl OneAttempt {
    fn forget(&mut self, node: &str) {
        self.running.retain(|_, running| running.node != node);
    }
}

/// I11.
#[derive(Default)]
pub(super) struct Increasing {
    last: BTreeMap<String, u32>,
}

impl Invariant for Increasing {
    fn name(&self) -> &'static str {
        "I11"
    }

    fn see(&mut self, event: &Event, world: &Known) -> Result<(), String> {
        let Some((task, attempt, _)) = started(event) else { return Ok(()) };
        if world.is_fenced(&event.node) {
            return Ok(());
        }
        match self.last.insert(task.clone(), attempt) {
            Some(before) if before >= attempt => {
                Err(format!("attempt {attempt} of {task} starts after attempt {before} did"))
            }
            _ => Ok(()),
        }
    }
}
