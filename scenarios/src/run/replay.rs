//! Whether a run that was to go as recorded did, and came to the recorded end.

use super::Options;
use super::assertions::counted;
use super::journal::Journal;
use super::record::{Ended, Record, RecordError};
use super::report::{Failure, Outcome, Report};
use crate::file::{Assert, Counter, Scenario};
use mobula_runtime::WorldKind;
use mobula_sim::trace::{self, Event, Order};
use mobula_sim::{Followed, Recorded};
use std::collections::BTreeSet;

/// How far a simulated run went as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsRecorded {
    /// The file of the record.
    pub file: String,
    /// Messages that took the time of the record, and others.
    pub messages: Followed,
    /// Whether they arrived in the recorded order.
    pub order: Order,
}

/// The record that a scenario is to be played by, if there is one: the one of the command line, else the file's own.
pub(super) fn open(scenario: &Scenario, options: &Options) -> Result<Option<Record>, RecordError> {
    let path = options.as_recorded.as_ref().or(scenario.as_recorded.as_ref());
    path.map(|path| Record::read(path)?.of(scenario)).transpose()
}

/// The times that a world is to keep: the real one keeps its own.
pub(super) fn times(record: Option<&Record>, options: &Options) -> Option<Recorded> {
    record.filter(|_| options.world != WorldKind::Real).map(|record| record.times.clone())
}

/// Writes into the report how far the run went as recorded, and that it failed if it ended otherwise.
pub(super) fn judge(
    report: &mut Report,
    record: &Record,
    scenario: &Scenario,
    journal: &Journal,
    followed: Option<Followed>,
    lines: &[String],
) {
    let played = Event::parse_all(lines);
    if let (Some(messages), Ok(order)) = (followed, trace::order(&record.events, &played)) {
        report.as_recorded = Some(AsRecorded { file: record.file.clone(), messages, order });
    }
    let now = Ended::of(report, journal);
    let both_passed = [&record.ended, &now].iter().all(|ended| ended.outcome == Outcome::Passed.word());
    let different = match report.world {
        // Its times are its own, and with them what was lost and made again.
        WorldKind::Real if both_passed => answers(&record.ended, &now),
        WorldKind::Real => None,
        WorldKind::Turmoil | WorldKind::Madsim => differences(&record.ended, &now, scenario.expect.as_ref()),
    };
    let Some(different) = different else { return };
    let message = format!("the record ended otherwise: {different}");
    match &mut report.failure {
        Some(failure) => failure.message = format!("{message}: {}", failure.message),
        None => {
            report.outcome = Outcome::Failed;
            report.failure = Some(Failure::new("record", message));
        }
    }
}

/// What differs between two ends; none if it is the same in all that counts: outcome, answers, executions under each
/// label, and the counters that the scenario expects something of. Two failures are the same end.
fn differences(recorded: &Ended, now: &Ended, expect: Option<&Assert>) -> Option<String> {
    if recorded.outcome != now.outcome {
        return Some(format!("it {}, this run {}", recorded.outcome, now.outcome));
    }
    let mut different = Vec::from_iter(answers(recorded, now));
    let all = recorded.tasks.keys().chain(now.tasks.keys()).map(|label| (Counter::Executions, Some(label.as_str())));
    let expected = expect.into_iter().flat_map(|expect| &expect.counters);
    let expected = expected.map(|(counter, label, _)| (*counter, label.as_ref().map(|label| label.text.as_str())));
    for (counter, label) in all.chain(expected).collect::<BTreeSet<_>>() {
        let count = |ended: &Ended| -> u64 {
            let of = |(name, _): &(&String, _)| label.is_none_or(|label| label == *name);
            ended.tasks.iter().filter(of).map(|(_, counters)| counted(counter, counters)).sum()
        };
        let (before, after) = (count(recorded), count(now));
        if before != after {
            let of = label.map_or_else(String::new, |label| format!(" of {label}"));
            different.push(format!("{}{of}: {before} there, {after} here", counter.word()));
        }
    }
    (!different.is_empty()).then(|| different.join("; "))
}

/// Whether other answers were given.
fn answers(recorded: &Ended, now: &Ended) -> Option<String> {
    let (before, after) = (recorded.digest, now.digest);
    (before != after).then(|| format!("digest {before:016x} there, {after:016x} here"))
}

#[cfg(test)]
mod tests;
