//! Group `sim`: how fast the simulators rehearse, on one core.

use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use mobula_runtime::WorldKind;
use mobula_scenarios::search::swarm;
use mobula_scenarios::{Options, Outcome, Report};

/// What this build cannot run, and what can: the same seeds, and a cluster of a thousand.
const MADSIM: &str = "it needs a build for madsim: cargo madsim-run sweep out/plans --swarm --seeds 0..200";
const LARGE: &str =
    "it needs a build for madsim: MOBULA_NODES=1000 cargo madsim --release -p mobula-sim --test scale -- --nocapture";

/// What a repetition counts.
#[derive(Clone, Copy, Default)]
struct Count {
    runs: f64,
    events: f64,
    simulated: f64,
    seconds: f64,
}

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let seeds = effort.of(200, 40) as u64;
    let counts = (0..effort.of(5, 2)).map(|_| once(seeds)).collect::<Result<Vec<_>, String>>();
    let sample = |value: fn(&Count) -> f64| {
        counts.as_ref().map(|counts| Sample::of(counts.iter().map(value).collect())).map_err(Clone::clone)
    };
    let mut rows = vec![
        Row::new("sim.turmoil.runs_per_s", Unit::RunsPerSecond, sample(|count| count.runs / count.seconds)),
        Row::new("sim.turmoil.events_per_s", Unit::EventsPerSecond, sample(|count| count.events / count.seconds)),
        Row::new("sim.turmoil.time_ratio", Unit::SimulatedSeconds, sample(|count| count.simulated / count.seconds)),
    ];
    for (name, unit) in [
        ("sim.madsim.runs_per_s", Unit::RunsPerSecond),
        ("sim.madsim.events_per_s", Unit::EventsPerSecond),
        ("sim.madsim.time_ratio", Unit::SimulatedSeconds),
    ] {
        rows.push(Row::new(name, unit, Err(MADSIM.to_owned())));
    }
    rows.push(Row::new("sim.madsim.1000_nodes", Unit::Seconds, Err(LARGE.to_owned())));
    rows
}

/// Plays the plans of these seeds, one after the other.
fn once(seeds: u64) -> Result<Count, String> {
    let mut count = Count::default();
    for seed in 0..seeds {
        let options = Options { world: WorldKind::Turmoil, seed, quiet: true, drawn: true, ..Options::default() };
        let report = mobula_scenarios::search::play(&swarm(seed), "swarm.toml", &options);
        let Report { outcome: Outcome::Passed, .. } = report else {
            return Err(format!("the plan of seed {seed} does not pass"));
        };
        count.runs += 1.0;
        count.events += report.events as f64;
        count.simulated += report.virtual_time.as_secs_f64();
        count.seconds += report.wall_ms as f64 / 1e3;
    }
    Ok(count)
}
