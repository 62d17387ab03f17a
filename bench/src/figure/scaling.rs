//! Ray, OSDI 2018, figure 8b (scalability): tasks per second as nodes are added.

use super::chart::{Chart, Line};
use super::cluster::{nodes, simulate, words};
use mobula_runtime::{Nanos, ObjectRef, Result as TaskResult, charge, task};
use mobula_sim::ClusterSettings;

/// What a task costs: about the least that is worth sending away.
const COST: Nanos = Nanos::millis(10);
const CPUS: u64 = 4;
/// Tasks for each cpu.
const TASKS: u64 = 50;
const NODES: [u64; 7] = [1, 2, 4, 8, 16, 24, 32];

#[task]
fn work(n: u64) -> u64 {
    charge(COST);
    n
}

/// Measures all points.
pub fn chart() -> Result<Chart, String> {
    let mut points = Vec::new();
    for n in NODES {
        let rate = throughput(n)?;
        println!("{n} nodes: {rate:.0} tasks/s");
        points.push((n as f64, rate));
    }
    let perfect = |n: u64| (n as f64, (n * CPUS) as f64 / COST.as_secs_f64());
    Ok(Chart {
        title: format!("Tasks of {COST} on nodes of {CPUS} cpus, one driver, simulated"),
        x: "nodes".to_owned(),
        y: "tasks per second".to_owned(),
        lines: vec![
            Line { name: "all cpus always busy".to_owned(), points: NODES.into_iter().map(perfect).collect() },
            Line { name: "measured".to_owned(), points },
        ],
    })
}

/// Tasks per second of model time, from the first submission to the last value.
fn throughput(count: u64) -> Result<f64, String> {
    let all = count * CPUS * TASKS;
    let time = simulate(nodes(count as usize, CPUS), ClusterSettings::default(), move |cluster| async move {
        let (context, env) = (cluster.context(), cluster.env());
        let from = env.now();
        let tasks = (0..all).map(|n| work(n).submit(context));
        let tasks: Vec<ObjectRef<u64>> = tasks.collect::<TaskResult<_>>().map_err(words)?;
        context.get_all(&tasks).await.map_err(words)?;
        Ok(env.now().saturating_sub(from))
    })?;
    Ok(all as f64 / time.as_secs_f64())
}
