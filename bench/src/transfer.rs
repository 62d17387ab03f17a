//! Group `transfer`: how fast objects move between nodes that are processes.

pub mod raw;

use crate::child;
use crate::clock::Stopwatch;
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use bytes::Bytes;
use mobula_runtime::{Blob, ByteSize, Context, Nanos, ObjectRef, Question, Result as TaskResult, WorldKind, task};
use mobula_sim::{Cluster, ClusterSettings, ClusterSpec, NodeSpec, RunOptions};

const GIB: usize = 1 << 30;
const BROADCAST: usize = 256_000_000;
/// Receivers of the broadcast.
const RECEIVERS: [&str; 3] = ["B", "C", "D"];
/// A run that takes longer is stuck.
const PATIENCE: Nanos = Nanos::secs(300);
/// The name of the baseline of bytes.
const RAW_COPY: &str = "raw TCP copy between two processes, into memory written before";
/// The name of the baseline of operations.
const RAW_PING: &str = "round trips of one byte over TCP between two processes";

#[task]
fn filled(bytes: u64) -> Blob {
    Blob(Bytes::from(vec![7; bytes as usize]))
}

#[task]
fn number(n: u64) -> u64 {
    n
}

#[task]
fn length(blob: Blob) -> u64 {
    blob.0.len() as u64
}

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let (copies, small) = (effort.of(7, 3), effort.of(5_000, 1_000));
    let copy = |bytes: usize| raw::copy(copies + 1, bytes).map(|seconds| seconds.map(rate(bytes)));
    let ping = raw::ping(small).map(|seconds| seconds.map(|seconds| 1.0 / seconds));
    vec![
        row("transfer.1GiB", Unit::GigabytesPerSecond, one(copies, GIB), (RAW_COPY, copy(GIB))),
        row("broadcast.256MB.to3", Unit::GigabytesPerSecond, broadcast(copies), (RAW_COPY, copy(BROADCAST))),
        row("remote_get.small", Unit::OpsPerSecond, remote_get(small), (RAW_PING, ping)),
    ]
}

fn row(
    name: &str,
    unit: Unit,
    measured: Result<Sample, String>,
    baseline: (&'static str, Result<Sample, String>),
) -> Row {
    let row = Row::new(name, unit, measured);
    match baseline {
        (name, Ok(sample)) => row.against(name, &sample),
        (_, Err(why)) => row.noting(&format!("no baseline: {why}")),
    }
}

fn rate(bytes: usize) -> impl Fn(f64) -> f64 {
    move |seconds| bytes as f64 / 1e9 / seconds
}

/// One object from the store of another process into that of this one.
fn one(repetitions: usize, bytes: usize) -> Result<Sample, String> {
    let seconds = on(&["A"], bytes, ByteSize::mb(1), move |cluster| async move {
        let context = cluster.context();
        let blob = filled(bytes as u64).on("A").submit(context)?;
        context.wait(std::slice::from_ref(&blob), 1, None).await?;
        let mut seconds = Vec::new();
        for _ in 0..=repetitions {
            let watch = Stopwatch::start();
            let here = context.get(&blob).await?;
            seconds.push(watch.seconds());
            assert_eq!(here.0.len(), bytes, "the object that was asked for");
            drop(here);
            drop_own_copy(context, &blob).await?;
        }
        Ok(Sample::warm(seconds))
    })?;
    Ok(seconds.map(rate(bytes)))
}

/// Makes the next get a transfer again.
async fn drop_own_copy(context: &Context, blob: &ObjectRef<Blob>) -> TaskResult<()> {
    while !context.ask(|reply| Question::Evict(blob.id(), false, reply)).await? {
        context.env().sleep(Nanos::millis(1)).await;
    }
    Ok(())
}

/// One object from this process into the stores of three others, asked for by all at once. Bytes are counted where they
/// arrive.
fn broadcast(repetitions: usize) -> Result<Sample, String> {
    let seconds = on(&RECEIVERS, 2 * BROADCAST, ByteSize::mb(1), move |cluster| async move {
        let context = cluster.context();
        let mut seconds = Vec::new();
        for _ in 0..=repetitions {
            let blob = context.put(&Blob(Bytes::from(vec![7; BROADCAST]))).await?;
            let watch = Stopwatch::start();
            let lengths: Vec<ObjectRef<u64>> =
                RECEIVERS.iter().map(|node| length(&blob).on(node).submit(context)).collect::<Result<_, _>>()?;
            let lengths = context.get_all(&lengths).await?;
            seconds.push(watch.seconds());
            assert!(lengths.iter().all(|length| *length == BROADCAST as u64), "every byte everywhere");
        }
        Ok(Sample::warm(seconds))
    })?;
    Ok(seconds.map(rate(BROADCAST * RECEIVERS.len())))
}

/// Numbers in the store of another process, got one at a time.
fn remote_get(count: usize) -> Result<Sample, String> {
    // Nothing travels inline.
    let seconds = on(&["A"], 64 << 20, ByteSize::ZERO, move |cluster| async move {
        let context = cluster.context();
        let numbers: Vec<ObjectRef<u64>> =
            (0..count as u64).map(|n| number(n).on("A").submit(context)).collect::<Result<_, _>>()?;
        context.wait(&numbers, count, None).await?;
        let mut seconds = Vec::new();
        for (expected, number) in numbers.iter().enumerate() {
            let watch = Stopwatch::start();
            let found = context.get(number).await?;
            seconds.push(watch.seconds());
            assert_eq!(found, expected as u64, "the number that was asked for");
        }
        Ok(Sample::warm(seconds))
    })?;
    Ok(seconds.map(|seconds| 1.0 / seconds))
}

/// Runs a driver in this process with nodes in processes of their own, each with a store for one object of `bytes`.
fn on<F>(
    nodes: &[&str],
    bytes: usize,
    inline: ByteSize,
    driver: impl FnOnce(Cluster) -> F + Send + 'static,
) -> Result<Sample, String>
where
    F: Future<Output = TaskResult<Sample>> + Send + 'static,
{
    let store = ByteSize(bytes as u64 + (64 << 20));
    let nodes = nodes.iter().map(|name| NodeSpec::new(name, 1).store(store)).collect();
    let settings = ClusterSettings { inline, driver_store: store, ..ClusterSettings::default() };
    let spec = ClusterSpec { nodes, settings, ..ClusterSpec::default() };
    let options = RunOptions {
        world: WorldKind::Real,
        program: Some(child::program()?),
        max_time: PATIENCE,
        ..RunOptions::default()
    };
    let run = mobula_sim::run(spec, options, driver);
    run.outcome.map_err(|why| why.to_string())?.map_err(|why| why.to_string())
}
