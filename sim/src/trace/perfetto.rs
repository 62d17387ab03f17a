//! The trace event format that Perfetto and Chrome read: nodes are processes, leases are threads, executions are slices,
//! messages are flows from slice to slice, faults are instants.
//!
//! Source: "Trace Event Format", the Chromium project. Times are in microseconds.

use super::{Event, arrows};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The document.
pub fn perfetto(events: &[Event]) -> String {
    let mut page = Page::default();
    for event in events {
        page.event(event);
    }
    for (number, arrow) in arrows(events).into_iter().enumerate() {
        let (from, to) = (&events[arrow.sent], &events[arrow.received]);
        page.flow("s", number, from);
        page.flow("f", number, to);
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": page.out }).to_string()
}

#[derive(Default)]
struct Page {
    processes: BTreeMap<String, u64>,
    threads: BTreeMap<(String, String), u64>,
    /// Executions that go on: where and since when, by task.
    running: BTreeMap<(String, String), (u64, f64, String)>,
    out: Vec<Value>,
}

impl Page {
    fn event(&mut self, event: &Event) {
        let (process, at) = (self.process(&event.node), micros(event));
        let words = event.words();
        match (event.kind.as_str(), &words[..]) {
            ("start", [label @ .., task, "attempt", number, "under", lease]) => {
                let thread = self.thread(&event.node, lease);
                let name = format!("{} {task} attempt {number}", label.join(" "));
                self.running.insert((event.node.clone(), (*task).to_owned()), (thread, at, name));
            }
            ("finish", [task, "attempt", _, how @ ..]) => {
                if let Some((thread, from, name)) = self.running.remove(&(event.node.clone(), (*task).to_owned())) {
                    let how = how.first().copied().unwrap_or_default();
                    self.out.push(json!({ "ph": "X", "name": name, "pid": process, "tid": thread, "ts": from,
                        "dur": at - from, "args": { "ended": how } }));
                }
            }
            // A slice of its own for each end, because flows connect slices.
            ("send" | "recv", _) => {
                self.out.push(json!({ "ph": "X", "name": format!("{} {}", event.kind, event.detail), "pid": process,
                    "tid": 0, "ts": at, "dur": 1 }));
            }
            (kind, _) => {
                let scope = if event.node == "world" { "g" } else { "p" };
                self.out.push(json!({ "ph": "i", "s": scope, "name": format!("{kind} {}", event.detail),
                    "pid": process, "tid": 0, "ts": at, "args": { "event": event.number } }));
            }
        }
    }

    fn flow(&mut self, phase: &str, number: usize, event: &Event) {
        let process = self.process(&event.node);
        self.out.push(json!({ "ph": phase, "bp": "e", "id": number, "name": "message", "cat": "message",
            "pid": process, "tid": 0, "ts": micros(event) }));
    }

    fn process(&mut self, node: &str) -> u64 {
        let next = self.processes.len() as u64 + 1;
        if let Some(known) = self.processes.get(node) {
            return *known;
        }
        self.processes.insert(node.to_owned(), next);
        self.out.push(json!({ "ph": "M", "name": "process_name", "pid": next, "args": { "name": node } }));
        next
    }

    fn thread(&mut self, node: &str, lease: &str) -> u64 {
        let next = self.threads.len() as u64 + 1;
        let key = (node.to_owned(), lease.to_owned());
        if let Some(known) = self.threads.get(&key) {
            return *known;
        }
        let process = self.process(node);
        self.threads.insert(key, next);
        let name = json!({ "ph": "M", "name": "thread_name", "pid": process, "tid": next,
            "args": { "name": format!("worker {lease}") } });
        self.out.push(name);
        next
    }
}

fn micros(event: &Event) -> f64 {
    event.at.0 as f64 / 1e3
}
