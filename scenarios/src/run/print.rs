//! What people see: one line a step, and the outcome.

use super::{AsRecorded, Options, Outcome, Report};
use crate::file::Scenario;
use mobula_runtime::Nanos;

/// The scenario and its cluster.
pub(super) fn heading(scenario: &Scenario, options: &Options) {
    println!("{}", scenario.name);
    if let Some(source) = &scenario.source {
        println!("  from {source}");
    }
    let node = |node: &crate::file::Node| {
        let store = node.store.unwrap_or(scenario.cluster.store);
        format!("{} ({}, store {store})", node.name.text, node.resources)
    };
    let nodes: Vec<String> = scenario.cluster.nodes.iter().map(node).collect();
    println!("  {} seed {}: {}", options.world, options.seed, nodes.join("; "));
}

/// A step that is over.
pub(super) fn step(number: usize, at: Nanos, what: &str, result: Result<&str, &str>) {
    match result {
        Ok(result) => println!("{number:4}  {:>9}  {what}: {result}", at.to_string()),
        Err(why) => println!("{number:4}  {:>9}  {what}: FAILED, {why}", at.to_string()),
    }
}

/// Something beside the steps.
pub(super) fn note(at: Nanos, what: &str, result: &str) {
    println!("   *  {:>9}  {what}: {result}", at.to_string());
}

/// Other text.
pub(super) fn text(text: &str) {
    println!("{text}");
}

/// The end of a run.
pub(super) fn report(report: &Report, options: &Options) {
    if report.outcome == Outcome::Refused {
        if let (Some(failure), false) = (&report.failure, options.quiet) {
            eprintln!("error: {}", failure.message);
        }
        return;
    }
    if options.quiet {
        return;
    }
    if options.json {
        println!("{}", report.to_json());
        return;
    }
    for skipped in &report.skipped_faults {
        println!("skipped: {skipped}");
    }
    if let Some(failure) = &report.failure {
        let step = failure.step.as_ref().map_or_else(String::new, |step| format!("{step}: "));
        println!("{step}{} ({})", failure.message, failure.checker);
        failure.causal_chain.iter().for_each(|cause| println!("  because {cause}"));
        println!("replay: {}", report.replay);
    }
    report.states.iter().for_each(|line| println!("{line}"));
    let word = match report.outcome {
        Outcome::Panicked => "panicked",
        outcome => outcome.word(),
    };
    let hash = report.event_log_hash.map_or_else(String::new, |hash| format!(", event log {hash:016x}"));
    println!(
        "{word} in {} of the world and {} ms of yours: {} events{hash}, digest {:016x}",
        report.virtual_time, report.wall_ms, report.events, report.digest
    );
    let counters: Vec<String> = report.counters.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("tasks: {}", counters.join(", "));
    if let Some(played) = &report.as_recorded {
        println!("{}", as_recorded(played));
    }
    if let Some(trace) = &report.trace {
        println!("trace: {}", trace.display());
    }
    if let Some(reason) = &report.known_failing {
        match report.outcome {
            Outcome::Passed => println!("it passes now: remove `known_failing` ({reason})"),
            _ => println!("known to fail: {reason}"),
        }
    }
    println!();
}

/// How far a run went as recorded.
fn as_recorded(played: &AsRecorded) -> String {
    let AsRecorded { file, messages, order } = played;
    format!(
        "as recorded in {file}: {} messages took the recorded time, {} others; of {} neighbouring arrivals {} came in \
         the recorded order",
        messages.as_recorded, messages.otherwise, order.pairs, order.kept
    )
}

/// The end of many runs.
pub(super) fn summary(reports: &[Report], left_out: &[String], options: &Options) {
    if options.quiet || options.json {
        return;
    }
    let passed = reports.iter().filter(|report| report.outcome == Outcome::Passed).count();
    println!("{passed} of {} passed", reports.len());
    for report in reports.iter().filter(|report| report.outcome != Outcome::Passed) {
        let known = if report.is_known_failure() { " (known)" } else { "" };
        println!("  {}{known}: {}", report.outcome.word(), report.name);
    }
    left_out.iter().for_each(|why| println!("  left out: {why}"));
}
