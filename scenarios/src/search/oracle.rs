//! I46: what goes wrong does not change the answers. The same plan without its faults is the oracle.

use super::Document;
use crate::run::{Failure, Options, Outcome, Report};
use std::collections::BTreeMap;

/// What plans answer without their faults. Many plans of a search have the same quiet form, which is played once.
#[derive(Debug, Default)]
pub struct Oracle {
    known: BTreeMap<String, Answer>,
}

/// What a quiet plan did.
#[derive(Clone, Debug)]
enum Answer {
    Digest(u64),
    Fails(String),
    /// It makes no sense without faults: an error is expected of them.
    Nothing,
}

impl Oracle {
    /// Makes sure that the answers of a plan without its faults are known; plays it if not.
    pub fn ask(&mut self, document: &Document, file: &str, options: &Options) {
        self.answer(document, file, options);
    }

    /// Plays a document; answers that differ from those without its faults are a failure of `I46`.
    ///
    /// `file` names the document in messages; its directory is where input paths begin.
    pub fn play(&mut self, document: &Document, file: &str, options: &Options) -> Report {
        let options = &Options { drawn: true, ..options.clone() };
        let mut report = play(document, file, options);
        if report.outcome != Outcome::Passed {
            return report;
        }
        let message = match self.answer(document, file, options) {
            Answer::Nothing => return report,
            Answer::Digest(digest) if digest == report.digest => return report,
            Answer::Digest(digest) => {
                format!("the answers are {:016x}, without faults {digest:016x}", report.digest)
            }
            Answer::Fails(why) => format!("without faults it does not pass: {why}"),
        };
        report.outcome = Outcome::Failed;
        report.failure = Some(Failure::new("I46", message));
        report
    }

    fn answer(&mut self, document: &Document, file: &str, options: &Options) -> Answer {
        let quiet = document.without_faults();
        let text = quiet.to_string();
        if let Some(answer) = self.known.get(&text) {
            return answer.clone();
        }
        let options = &Options { drawn: true, keep_lines: false, ..options.clone() };
        // Faults of an expected error would be missed, and a quiet run then fails where it should not.
        let report = play(&quiet, file, options);
        let answer = match report.outcome {
            Outcome::Refused => Answer::Nothing,
            Outcome::Passed => Answer::Digest(report.digest),
            _ => Answer::Fails(report.failure.map_or_else(String::new, |failure| failure.message)),
        };
        self.known.insert(text, answer.clone());
        answer
    }
}

/// Plays a document once. What the parser refuses is [`Outcome::Refused`].
///
/// `file` names the document in messages; its directory is where input paths begin.
pub fn play(document: &Document, file: &str, options: &Options) -> Report {
    match document.scenario(file) {
        Ok(scenario) => crate::run::play(scenario, options),
        Err(why) => Report::refused(file.as_ref(), options, why.to_string()),
    }
}

/// Plays a document, and once more without its faults; different answers are a failure of `I46`. See [`Oracle::play`].
pub fn play_twice(document: &Document, file: &str, options: &Options) -> Report {
    Oracle::default().play(document, file, options)
}
