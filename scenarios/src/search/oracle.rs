//! I46: what goes wrong does not change the answers. The same plan without its faults is the oracle.

use super::Document;
use crate::run::{Failure, Options, Outcome, Report, play};

/// Plays a document, and once more without its faults; different answers are a failure of `I46`.
///
/// `file` names the document in messages; its directory is where input paths begin.
pub fn play_twice(document: &Document, file: &str, options: &Options) -> Report {
    let options = &Options { drawn: true, ..options.clone() };
    let mut report = match document.scenario(file) {
        Ok(scenario) => play(scenario, options),
        Err(why) => return Report::refused(file.as_ref(), options, why.to_string()),
    };
    // Faults of an expected error would be missed, and a quiet run then fails where it should not.
    let (Outcome::Passed, Ok(quiet)) = (report.outcome, document.without_faults().scenario(file)) else {
        return report;
    };
    let oracle = play(quiet, options);
    let message = match oracle.outcome {
        Outcome::Passed if oracle.digest == report.digest => return report,
        Outcome::Passed => format!("the answers are {:016x}, without faults {:016x}", report.digest, oracle.digest),
        _ => {
            let why = oracle.failure.map_or_else(String::new, |failure| failure.message);
            format!("without faults it does not pass: {why}")
        }
    };
    report.outcome = Outcome::Failed;
    report.failure = Some(Failure::new("I46", message));
    report
}
