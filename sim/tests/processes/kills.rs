//! `kill -9` of nodes at random moments, while objects are made, spilled, moved and read.

use crate::common::{Answer, answer, content, digest, hash, produce, told};
use crate::processes::no_children;
use mobula_protocol::{ByteSize, Nanos};
use mobula_runtime::{Blob, ObjectRef};
use mobula_sim::check::quiesce;
use mobula_sim::{Cluster, ClusterSettings, ClusterSpec, NodeSpec, RunOptions, WorldKind, run};
use std::path::Path;

const NODES: [&str; 3] = ["A", "B", "C"];
/// Twelve objects of a megabyte in stores of four: most are on disk when a node dies.
const OBJECTS: u64 = 12;
const BYTES: u64 = 1_000_000;
const STORE: ByteSize = ByteSize::mb(4);
/// A round is over before this many microseconds have passed, mostly.
const MOMENTS: u64 = 600_000;

/// 5 times, or as often as `MOBULA_KILLS` says.
pub fn at_random_moments() -> Answer {
    let kills = std::env::var("MOBULA_KILLS").ok().map_or(Ok(5), |kills| kills.parse::<u64>());
    let kills = kills.map_err(|why| format!("MOBULA_KILLS: {why}"))?;
    let scratch = told(tempfile::tempdir())?;
    let settings = ClusterSettings {
        health_period: Nanos::millis(100),
        health_timeout: Nanos::secs(1),
        driver_store: STORE,
        spill: vec![scratch.path().to_string_lossy().into_owned()],
        ..ClusterSettings::default()
    };
    let nodes = NODES.iter().map(|name| NodeSpec::new(name, 2).store(STORE)).collect();
    let spec = ClusterSpec { nodes, settings, ..ClusterSpec::default() };
    let max_time = Nanos::secs(60 + 20 * kills);
    let options = RunOptions { world: WorldKind::Real, max_time, seed: kills, ..RunOptions::default() };
    let report = run(spec, options, async move |cluster: Cluster| {
        for round in 0..kills {
            killed_once(&cluster, round).await.map_err(|why| format!("round {round}: {why}"))?;
        }
        answer(quiesce(&cluster, Nanos::secs(20)).await)
    });
    report.outcome.map_err(|why| why.to_string())??;
    no_children()?;
    lives_left(scratch.path())
}

async fn killed_once(cluster: &Cluster, round: u64) -> Answer {
    let (context, mut random) = (cluster.context(), cluster.env().rng(&format!("kill {round}")));
    let victim = NODES[random.below(NODES.len() as u64) as usize];
    let seeds: Vec<u64> = (0..OBJECTS).map(|n| round * OBJECTS + n).collect();
    let made = seeds.iter().map(|seed| produce(BYTES, *seed).max_retries(10).submit(context));
    let made: Vec<ObjectRef<Blob>> = told(made.collect())?;
    let digests = made.iter().map(|blob| digest(blob).max_retries(10).submit(context));
    let digests: Vec<ObjectRef<u64>> = told(digests.collect())?;
    cluster.env().sleep(Nanos::micros(random.below(MOMENTS))).await;
    answer(cluster.kill(victim).await)?;
    answer(cluster.restart(victim).await)?;
    let found = told(context.get_all(&digests).await)?;
    for ((seed, found), blob) in seeds.iter().zip(found).zip(&made) {
        let wanted = content(BYTES, *seed);
        assert_eq!(found, hash(&wanted), "the digest of {seed} in round {round}, {victim} killed");
        let here = told(context.get(blob).await)?;
        assert!(*here == *wanted, "the bytes of {seed} in round {round}, {victim} killed");
    }
    answer(cluster.joined(&[victim]).await)
}

/// What dead lives spilled was swept by the lives after them: at most the last lives have left something.
fn lives_left(spill: &Path) -> Answer {
    let left: Vec<String> = told(std::fs::read_dir(spill))?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(|why| why.to_string())?;
    let lives = NODES.len() + 1;
    if left.len() <= lives { Ok(()) } else { Err(format!("more than {lives} lives have left files: {left:?}")) }
}
