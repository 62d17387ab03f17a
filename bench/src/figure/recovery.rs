//! Lineage Stash, SOSP 2019: how long recovery takes against how much work the lost state rests on.

use super::chart::{Chart, Line};
use super::cluster::{nodes, simulate, words};
use bytes::Bytes;
use mobula_runtime::{Blob, ByteSize, Context, Nanos, ObjectRef, Result as TaskResult, actor, charge, task};
use mobula_sim::ClusterSettings;

/// Of one task, and of one call.
const COST: Nanos = Nanos::millis(10);
const HEALTH: Nanos = Nanos::secs(1);
const PERIOD: Nanos = Nanos::millis(250);
const LENGTHS: [u64; 6] = [1, 25, 50, 100, 150, 200];
const BYTES: usize = 20_000;

#[task]
fn step(before: Blob) -> Blob {
    charge(COST);
    before
}

/// A state that can be saved.
pub struct Sum(u64);

#[actor]
impl Sum {
    pub fn new() -> Self {
        Self(0)
    }

    /// Adds and returns the sum.
    pub fn add(&mut self, n: u64) -> u64 {
        charge(COST);
        self.0 += n;
        self.0
    }

    #[save]
    fn save(&self) -> u64 {
        self.0
    }

    #[restore]
    fn restore(sum: u64) -> Self {
        Self(sum)
    }
}

/// What is lost with node `N0`.
#[derive(Clone, Copy)]
enum Lost {
    /// The last value of a chain of tasks; those between are gone already.
    Chain,
    /// An actor that has had so many calls, with exactly-once calls.
    Actor,
}

/// Measures all points.
pub fn chart() -> Result<Chart, String> {
    let line = |name: &str, lost| {
        let point = |n: &u64| Ok((*n as f64, simulated(lost, *n)?.as_secs_f64()));
        let points = LENGTHS.iter().map(point).collect::<Result<Vec<_>, String>>()?;
        points.iter().for_each(|(n, seconds)| println!("{name}, {n}: {seconds:.2} s"));
        Ok::<_, String>(Line { name: name.to_owned(), points })
    };
    let detection = LENGTHS.iter().map(|n| (*n as f64, HEALTH.as_secs_f64())).collect();
    Ok(Chart {
        title: format!("From a node's end to the answer; tasks and calls of {COST} each, simulated"),
        x: "tasks in the chain, or calls of the actor".to_owned(),
        y: "seconds".to_owned(),
        lines: vec![
            line("chain of tasks, run again from its beginning", Lost::Chain)?,
            line("actor with exactly-once calls, from its checkpoint", Lost::Actor)?,
            Line { name: "silence after which a node is dead".to_owned(), points: detection },
        ],
    })
}

/// Model time from the end of the node to the value.
fn simulated(lost: Lost, length: u64) -> Result<Nanos, String> {
    let settings = ClusterSettings {
        inline: ByteSize(1_000),
        health_period: PERIOD,
        health_timeout: HEALTH,
        ..ClusterSettings::default()
    };
    simulate(nodes(2, 1), settings, move |cluster| async move {
        let (context, env) = (cluster.context(), cluster.env());
        match lost {
            Lost::Chain => {
                let last = chain(context, length).await.map_err(words)?;
                context.wait(std::slice::from_ref(&last), 1, None).await.map_err(words)?;
                cluster.kill("N0").await.map_err(words)?;
                let from = env.now();
                context.get(&last).await.map_err(words)?;
                Ok(env.now().saturating_sub(from))
            }
            Lost::Actor => {
                let sum = Sum::actor().exactly_once().max_restarts(1).prefer("N0").create(context).map_err(words)?;
                let calls = (0..length).map(|_| sum.add(1).submit(context)).collect::<TaskResult<Vec<_>>>();
                context.get_all(&calls.map_err(words)?).await.map_err(words)?;
                cluster.kill("N0").await.map_err(words)?;
                let from = env.now();
                let next = sum.add(1).submit(context).map_err(words)?;
                let found = context.get(&next).await.map_err(words)?;
                let right = found == length + 1;
                if right { Ok(env.now().saturating_sub(from)) } else { Err(format!("the sum is {found}")) }
            }
        }
    })
}

/// The last of so many tasks, the only one whose result is held. They run on `N0`, where their values are.
async fn chain(context: &Context, length: u64) -> TaskResult<ObjectRef<Blob>> {
    let first = context.put(&Blob(Bytes::from(vec![7; BYTES]))).await?;
    let mut last = step(&first).prefer("N0").submit(context)?;
    for _ in 1..length {
        last = step(&last).prefer("N0").submit(context)?;
    }
    Ok(last)
}
