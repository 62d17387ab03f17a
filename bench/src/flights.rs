//! Group `flights`: the main job, from reading the files to the four answers, in each world this build has.

use crate::child;
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use mobula_runtime::WorldKind;
use mobula_scenarios::{Options, Outcome};
use std::path::Path;

/// Flights in the twelve files. A run reads each once, into the cluster's stores, and answers four questions about all of
/// them, while it loses a node and makes again what was there.
const FLIGHTS: f64 = 336_776.0;
/// What this build cannot run, and what can.
const MADSIM: &str = "it needs a build for madsim: cargo madsim-run run scenarios/flights.toml";

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    for world in [WorldKind::Turmoil, WorldKind::Madsim, WorldKind::Real] {
        let seconds = match world {
            WorldKind::Madsim => Err(MADSIM.to_owned()),
            world => Sample::repeat(effort.of(5, 2), || once(world)),
        };
        let rate = seconds.as_ref().map(|seconds| seconds.map(|seconds| FLIGHTS / seconds)).map_err(Clone::clone);
        rows.push(Row::new(format!("flights.{world}"), Unit::Seconds, seconds));
        rows.push(Row::new(format!("flights.{world}.rows"), Unit::RowsPerSecond, rate));
    }
    rows
}

/// Seconds of one run, from starting the cluster to taking it down.
fn once(world: WorldKind) -> Result<f64, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scenarios").join("flights.toml");
    let out = tempfile::tempdir().map_err(|why| format!("no directory for the answers: {why}"))?;
    let options = Options {
        world,
        seed: 1,
        out: Some(out.path().to_owned()),
        program: Some(child::program()?),
        quiet: true,
        timed: true,
        ..Options::default()
    };
    let report = mobula_scenarios::run_file(&file, &options);
    match (report.outcome, report.failure) {
        (Outcome::Passed, _) => Ok(report.wall_ms as f64 / 1e3),
        (_, Some(failure)) => Err(failure.message),
        (outcome, None) => Err(format!("the run {}", outcome.word())),
    }
}
