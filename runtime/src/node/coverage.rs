//! Which situations a run has been in: (machine, how full it was, event). A search keeps the plans that add one.
//!
//! Machines without I/O make this cheap: every decision is one event in one state. The state itself is told by how much the
//! machine has to do, in four steps; that keeps the set small enough to fill (Mallory, CCS 2023, summarises timelines for
//! the same reason).

use std::collections::BTreeSet;
use std::fmt::{self, Debug, Write};

/// The situations of one life of a node.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    seen: BTreeSet<(&'static str, &'static str, String)>,
    fresh: Vec<String>,
}

impl Coverage {
    /// Notes that `machine`, which had `load` things to do, got `event`.
    pub fn note(&mut self, machine: &'static str, load: usize, event: &impl Debug) {
        let fullness = match load {
            0 => "idle",
            1 => "one",
            2..=9 => "some",
            _ => "many",
        };
        let situation = (machine, fullness, name(event));
        if !self.seen.contains(&situation) {
            self.fresh.push(format!("{machine}/{fullness}/{}", situation.2));
            self.seen.insert(situation);
        }
    }

    /// Those noted for the first time since the last call.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fresh)
    }
}

/// The name of an enum's variant: what its `Debug` form begins with. The rest, which may be large, is never formatted.
fn name(event: &impl Debug) -> String {
    struct FirstWord(String);
    impl Write for FirstWord {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
            self.0.push_str(&text[..end]);
            if end == text.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut word = FirstWord(String::new());
    // An error says that the word is over.
    let _ = write!(word, "{event:?}");
    word.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[allow(dead_code, reason = "only its Debug form is read")]
    enum Event {
        Tick,
        Push { task: u32 },
        Done(u32),
    }

    #[test]
    fn each_situation_is_told_once_by_the_name_of_its_event() {
        let mut coverage = Coverage::default();
        for (load, event) in [(0, Event::Tick), (1, Event::Push { task: 7 }), (0, Event::Tick), (30, Event::Done(1))] {
            coverage.note("owner", load, &event);
        }
        assert_eq!(coverage.take(), ["owner/idle/Tick", "owner/one/Push", "owner/many/Done"]);
        coverage.note("owner", 0, &Event::Tick);
        assert_eq!(coverage.take(), [""; 0]);
    }
}
