//! Ownership, NSDI 2021, and Ray, OSDI 2018, figure 11a: throughput while nodes are taken away one by one and given back.

use super::chart::{Chart, Line};
use super::cluster::{nodes, simulate, words};
use bytes::Bytes;
use mobula_runtime::{Blob, ByteSize, Context, Counters, Nanos, ObjectRef, Result as TaskResult, charge, task};
use mobula_sim::{Cluster, ClusterSettings};

const COST: Nanos = Nanos::millis(50);
const NODES: usize = 4;
const CPUS: u64 = 2;
/// Chains of dependent tasks, twice as many as cpus.
const CHAINS: usize = 16;
const LENGTH: usize = 250;
/// What a task returns: too much to travel with its reply, so that it is lost with its node.
const BYTES: usize = 20_000;
const SAMPLE: Nanos = Nanos::secs(1);
const HEALTH: Nanos = Nanos::secs(1);
const PERIOD: Nanos = Nanos::millis(250);
/// What happens when, in seconds: nodes that end, then nodes that come back.
const ENDS: [(u64, &str); 3] = [(5, "N1"), (10, "N2"), (15, "N3")];
const RETURNS: [(u64, &str); 3] = [(25, "N1"), (30, "N2"), (35, "N3")];

#[task]
fn link(before: Blob) -> Blob {
    charge(COST);
    before
}

/// Measures it.
pub fn chart() -> Result<Chart, String> {
    let settings = ClusterSettings {
        inline: ByteSize(1_000),
        health_period: PERIOD,
        health_timeout: HEALTH,
        ..ClusterSettings::default()
    };
    let samples = simulate(nodes(NODES, CPUS), settings, load)?;
    let line = |name: &str, of: fn(&Counters) -> u64| {
        let rate = |pair: &[Counters]| (of(&pair[1]) - of(&pair[0])) as f64 / SAMPLE.as_secs_f64();
        let points = samples.windows(2).zip(1_u32..).map(|(pair, n)| (f64::from(n) * SAMPLE.as_secs_f64(), rate(pair)));
        Line { name: name.to_owned(), points: points.collect() }
    };
    let lines = vec![
        line("all executions", |counters| counters.executions),
        line("tasks done for the first time", |counters| counters.finished),
    ];
    println!("{} executions of {} tasks", samples.last().map_or(0, |c| c.executions), CHAINS * LENGTH);
    Ok(Chart {
        title: format!("{CHAINS} chains of tasks; nodes end at 5, 10, 15 s and return at 25, 30, 35 s; simulated"),
        x: "time, s".to_owned(),
        y: "tasks per second".to_owned(),
        lines,
    })
}

/// Submits all chains at once, ends and restarts nodes by the clock, and counts once a [`SAMPLE`].
async fn load(cluster: Cluster) -> Result<Vec<Counters>, String> {
    let (context, env) = (cluster.context(), cluster.env());
    let from = env.now();
    let chains = submit(context).await.map_err(words)?;
    let mut samples = vec![context.counters("link")];
    for second in 1.. {
        env.sleep((from + SAMPLE * second).saturating_sub(env.now())).await;
        let counters = context.counters("link");
        samples.push(counters);
        if counters.finished >= (CHAINS * LENGTH) as u64 {
            break;
        }
        for (_, node) in ENDS.iter().filter(|(at, _)| *at == second) {
            cluster.kill(node).await.map_err(words)?;
        }
        for (_, node) in RETURNS.iter().filter(|(at, _)| *at == second) {
            cluster.restart(node).await.map_err(words)?;
        }
    }
    drop(chains);
    Ok(samples)
}

/// All results of all chains: as long as they are held, only those that are lost are made again.
async fn submit(context: &Context) -> TaskResult<Vec<ObjectRef<Blob>>> {
    let first = context.put(&Blob(Bytes::from(vec![7; BYTES]))).await?;
    let mut all = Vec::new();
    for _ in 0..CHAINS {
        let mut last = link(&first).max_retries(100).submit(context)?;
        for _ in 1..LENGTH {
            let next = link(&last).max_retries(100).submit(context)?;
            all.push(std::mem::replace(&mut last, next));
        }
        all.push(last);
    }
    Ok(all)
}
