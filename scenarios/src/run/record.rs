//! The record of a real run: its event log, with what is needed to play it again before, and how it ended after it.
//!
//! ```text
//! # mobula record 1
//! # scenario mine.toml                      the file, as it was named
//! # name what the scenario is called
//! # seed 1
//! # ready 34660184                          when the first step began, in the time of the event log
//! 0 0 world start A cores=1                 the event log
//! # fault 0 1500213000                      planned fault, from 0, and when it came: nanoseconds since the first step
//! # outcome passed
//! # digest c8fc7571ce5863b1
//! # tasks 1 2 1 0 1 0 x                     submitted, executions, finished, failed, retried, rebuilt; label
//! # end
//! ```

use super::journal::Journal;
use super::report::Report;
use crate::file::{Scenario, Trigger, hint};
use mobula_runtime::{Counters, Nanos};
use mobula_sim::Recorded;
use mobula_sim::trace::{self, Event};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The first line of every record.
const FIRST: &str = "# mobula record 1";
/// What the other lines that are no events begin with.
const KEYS: [&str; 9] = ["scenario", "name", "seed", "ready", "fault", "outcome", "digest", "tasks", "end"];

/// Why a record cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The file is not there, or is no text.
    #[error("{file}: cannot be read: {why}")]
    Unreadable {
        /// The file, as it was named.
        file: String,
        /// What the system says.
        why: String,
    },
    /// It is something else.
    #[error(
        "{file}:1: no record of a real run, which begins with `{FIRST}`; `mobula run FILE --world real --trace {file}` writes one"
    )]
    NoRecord {
        /// The file.
        file: String,
    },
    /// A line makes no sense.
    #[error("{file}:{line}: {what}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Its end is missing, or another line that every record has.
    #[error("{file}: has no line `# {missing}`: it was cut off, or its run was")]
    Missing {
        /// The file.
        file: String,
        /// What the missing line begins with.
        missing: &'static str,
    },
    /// It is of another scenario.
    #[error("{file} is a record of `{recorded}` ({scenario}), not of `{wanted}`")]
    Foreign {
        /// The file.
        file: String,
        /// The name of the scenario that was recorded.
        recorded: String,
        /// The file of that scenario.
        scenario: String,
        /// The name of the scenario that was to be played.
        wanted: String,
    },
}

/// A real run that can be played again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The file it was read from.
    pub file: String,
    /// The scenario's file, as it was named when it was recorded.
    pub scenario: String,
    /// The scenario's name.
    pub name: String,
    /// The seed of the run.
    pub seed: u64,
    /// The event log.
    pub(super) events: Vec<Event>,
    /// How long its messages and executions took.
    pub(super) times: Recorded,
    /// When planned faults came, by their place in the file.
    pub(super) faults: BTreeMap<usize, Nanos>,
    pub(super) ended: Ended,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// The word of its outcome.
    pub outcome: String,
    pub digest: u64,
    /// By label.
    pub tasks: BTreeMap<String, Counters>,
}

impl Ended {
    /// How a run ended that is over.
    pub fn of(report: &Report, journal: &Journal) -> Self {
        Self { outcome: report.outcome.word().to_owned(), digest: report.digest, tasks: journal.tasks() }
    }
}

/// The text of a record.
pub(super) fn text(
    scenario: &Scenario,
    seed: u64,
    ready: Nanos,
    lines: &[String],
    journal: &Journal,
    ended: &Ended,
) -> String {
    let (file, name) = (&scenario.file, one_line(&scenario.name));
    let mut text = format!("{FIRST}\n# scenario {file}\n# name {name}\n# seed {seed}\n# ready {}\n", ready.0);
    for line in lines {
        text += &one_line(line);
        text.push('\n');
    }
    // Writing into a string cannot fail.
    for (fault, at) in journal.moments() {
        let _ = writeln!(text, "# fault {fault} {}", at.0);
    }
    let _ = writeln!(text, "# outcome {}\n# digest {:016x}", ended.outcome, ended.digest);
    for (label, tasks) in &ended.tasks {
        let Counters { submitted, executions, finished, failed, retried, rebuilt } = tasks;
        let _ = writeln!(
            text,
            "# tasks {submitted} {executions} {finished} {failed} {retried} {rebuilt} {}",
            one_line(label)
        );
    }
    text + "# end\n"
}

/// Names and the texts of errors may have lines of their own.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

impl Record {
    /// Reads the record of a run.
    ///
    /// # Errors
    /// There is no such file, it is no record, a line makes no sense, or the end is missing.
    #[allow(clippy::disallowed_methods, reason = "a record is read before its world begins")]
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text),
            Err(why) => Err(RecordError::Unreadable { file, why: why.to_string() }),
        }
    }

    /// Reads the text of a record. `file` is what errors call it.
    ///
    /// # Errors
    /// As [`Record::read`].
    pub fn parse(file: &str, text: &str) -> Result<Self, RecordError> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, first)| first.trim_end()) != Some(FIRST) {
            return Err(RecordError::NoRecord { file: file.to_owned() });
        }
        let mut draft = Draft::default();
        let wrong = |at: usize, what: String| RecordError::Line { file: file.to_owned(), line: at + 1, what };
        for (at, line) in lines {
            match line.strip_prefix("# ") {
                Some(said) => draft.take(said).map_err(|what| wrong(at, what))?,
                None => {
                    let event = Event::parse(line).ok_or_else(|| wrong(at, format!("`{line}` is no event")))?;
                    draft.events.push(event);
                    draft.lines.push(at);
                }
            }
        }
        let ready = draft.ready.unwrap_or_default();
        let times = trace::times(&draft.events, ready).map_err(|bad| {
            let at = draft.lines.get(bad.at).copied().unwrap_or_default();
            wrong(at, bad.to_string())
        })?;
        draft.finish(file, times).map_err(|missing| RecordError::Missing { file: file.to_owned(), missing })
    }

    /// The same if it is of this scenario.
    ///
    /// # Errors
    /// It is of another.
    pub(super) fn of(self, scenario: &Scenario) -> Result<Self, RecordError> {
        if self.name == one_line(&scenario.name) {
            return Ok(self);
        }
        let Self { file, name: recorded, scenario: path, .. } = self;
        Err(RecordError::Foreign { file, recorded, scenario: path, wanted: scenario.name.clone() })
    }

    /// Moves the faults that come at a time to when they came in the record.
    pub(super) fn time_faults(&self, scenario: &mut Scenario) {
        for (number, fault) in scenario.faults.iter_mut().enumerate() {
            if let (Trigger::At(time), Some(recorded)) = (&mut fault.trigger, self.faults.get(&number)) {
                *time = *recorded;
            }
        }
    }
}

/// A record of which some lines have been read.
#[derive(Default)]
struct Draft {
    scenario: Option<String>,
    name: Option<String>,
    seed: Option<u64>,
    ready: Option<Nanos>,
    events: Vec<Event>,
    /// The line of each event, from 0.
    lines: Vec<usize>,
    faults: BTreeMap<usize, Nanos>,
    outcome: Option<String>,
    digest: Option<u64>,
    tasks: BTreeMap<String, Counters>,
    is_over: bool,
}

impl Draft {
    /// Takes what a line says that is no event.
    fn take(&mut self, said: &str) -> Result<(), String> {
        let (key, rest) = said.split_once(' ').unwrap_or((said, ""));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no number, in `# {said}`"));
        match key {
            "scenario" => self.scenario = Some(rest.to_owned()),
            "name" => self.name = Some(rest.to_owned()),
            "seed" => self.seed = Some(number(rest)?),
            "ready" => self.ready = Some(Nanos(number(rest)?)),
            "fault" => {
                let (fault, at) = rest.split_once(' ').ok_or("a fault has a number and a time")?;
                self.faults.insert(fault.parse().map_err(|_| format!("`{fault}` is no fault"))?, Nanos(number(at)?));
            }
            "outcome" => self.outcome = Some(rest.to_owned()),
            "digest" => {
                let digest = u64::from_str_radix(rest, 16).map_err(|_| format!("`{rest}` is no digest"))?;
                self.digest = Some(digest);
            }
            "tasks" => {
                let words: Vec<&str> = rest.splitn(7, ' ').collect();
                let [submitted, executions, finished, failed, retried, rebuilt, label] = words[..] else {
                    return Err(format!("`# {said}` has not six counters and a label"));
                };
                let tasks = Counters {
                    submitted: number(submitted)?,
                    executions: number(executions)?,
                    finished: number(finished)?,
                    failed: number(failed)?,
                    retried: number(retried)?,
                    rebuilt: number(rebuilt)?,
                };
                self.tasks.insert(label.to_owned(), tasks);
            }
            "end" => self.is_over = true,
            _ => return Err(format!("a record has no `# {key}`{}", hint(key, KEYS.into_iter()))),
        }
        Ok(())
    }

    /// The record, or what is missing.
    fn finish(self, file: &str, times: Recorded) -> Result<Record, &'static str> {
        let ended =
            Ended { outcome: self.outcome.ok_or("outcome")?, digest: self.digest.ok_or("digest")?, tasks: self.tasks };
        self.ready.ok_or("ready")?;
        self.is_over.then_some(()).ok_or("end")?;
        Ok(Record {
            file: file.to_owned(),
            scenario: self.scenario.ok_or("scenario")?,
            name: self.name.ok_or("name")?,
            seed: self.seed.ok_or("seed")?,
            events: self.events,
            times,
            faults: self.faults,
            ended,
        })
    }
}

#[cfg(test)]
mod tests;
