//! Group `tasks`: what it costs to submit, run and get tasks that do nothing.

pub mod queued;
mod workloads;

use crate::baseline::{self, CHANNEL};
use crate::lab::Lab;
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use crate::{child, machine};
use mobula_runtime::{Nanos, Result as TaskResult, WorldKind};
use mobula_sim::{ClusterSpec, NodeSpec, RunOptions};

/// Objects or tasks of the rows that end in `10k`.
const TEN_K: usize = 10_000;
/// Tasks of the row that ends in `1M`.
const MILLION: usize = 1_000_000;
/// A figure of processes that takes longer is stuck.
const PATIENCE: Nanos = Nanos::secs(120);

/// What the figures of a pair of processes, or of one, are measured with.
#[derive(Clone, Copy)]
struct Sizes {
    /// Tasks submitted at once.
    tasks: usize,
    /// Repetitions of figures that take a good part of a second.
    repetitions: usize,
    /// Repetitions of figures that take microseconds.
    calls: usize,
}

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let sizes =
        Sizes { tasks: effort.of(100_000, 30_000), repetitions: effort.of(7, 3), calls: effort.of(5_000, 1_000) };
    let rate = baseline::pipelined(sizes.repetitions, sizes.tasks).map(|seconds| sizes.tasks as f64 / seconds);
    let latency = baseline::ping_pong(sizes.calls);
    // First, while this process is small: the children do not matter to it, nor it to them.
    let [queued, memory] = queued_rows();
    let mut rows = Vec::new();
    rows.extend(speeds("embedded", embedded(sizes), &rate, &latency));
    let process = Lab::embedded().drive(async |context| workloads::sync_process(context, sizes.calls).await);
    rows.push(Row::new("tasks.process.sync", Unit::Micros, process).against(CHANNEL, &latency));
    rows.extend(speeds("two_process", two_process(sizes), &rate, &latency));
    rows.extend([queued, memory]);
    rows.extend(many(effort));
    rows
}

/// Tasks per second, and microseconds per task.
type Speeds = (Sample, Sample);

fn speeds(place: &str, measured: Result<Speeds, String>, rate: &Sample, latency: &Sample) -> [Row; 2] {
    let (pipelined, sync) = match measured {
        Ok((pipelined, sync)) => (Ok(pipelined), Ok(sync)),
        Err(why) => (Err(why.clone()), Err(why)),
    };
    [
        Row::new(format!("tasks.{place}.pipelined"), Unit::TasksPerSecond, pipelined).against(CHANNEL, rate),
        Row::new(format!("tasks.{place}.sync"), Unit::Micros, sync).against(CHANNEL, latency),
    ]
}

fn embedded(sizes: Sizes) -> Result<Speeds, String> {
    Lab::embedded().drive(async |context| both(context, sizes).await)
}

/// The driver in this process, one node in another; a third is the head.
fn two_process(sizes: Sizes) -> Result<Speeds, String> {
    let spec = ClusterSpec { nodes: vec![NodeSpec::new("A", machine::cores() as u64)], ..ClusterSpec::default() };
    let options = RunOptions {
        world: WorldKind::Real,
        program: Some(child::program()?),
        max_time: PATIENCE,
        ..RunOptions::default()
    };
    let run = mobula_sim::run(spec, options, move |cluster| async move { both(cluster.context(), sizes).await });
    run.outcome.map_err(|why| why.to_string())?.map_err(|why| why.to_string())
}

async fn both(context: &mobula_runtime::Context, sizes: Sizes) -> TaskResult<Speeds> {
    let pipelined = workloads::pipelined(context, sizes.repetitions, sizes.tasks).await?;
    let sync = workloads::sync(context, sizes.calls).await?;
    Ok((pipelined.map(|seconds| sizes.tasks as f64 / seconds), sync))
}

fn queued_rows() -> [Row; 2] {
    let (name, baseline) = ("tasks.queued_1M", baseline::pipelined(1, MILLION));
    let measured = child::ask::<queued::Queued>(&["queued", &MILLION.to_string()]);
    let time = measured.as_ref().map(|queued| Sample::of(vec![queued.seconds])).map_err(Clone::clone);
    let memory = measured.as_ref().map(|queued| Sample::of(vec![queued.bytes_per_task])).map_err(Clone::clone);
    let mut time = Row::new(name, Unit::Seconds, time).against(CHANNEL, &baseline);
    if let Ok(queued) = measured {
        time = time.noting(&format!("{:.2} s of it until all were queued", queued.submitting));
    }
    [time, Row::new(format!("{name}.memory"), Unit::BytesPerTask, memory)]
}

fn many(effort: Effort) -> [Row; 4] {
    let repetitions = effort.of(7, 3);
    let lab = Lab::embedded();
    let (pipelined, one_by_one) = (baseline::pipelined(repetitions, TEN_K), baseline::ping_pong(TEN_K));
    // A chain cannot be pipelined: each closure waits for the one before.
    let chained = Sample::of(one_by_one.median().map(|micros| micros * TEN_K as f64 / 1e6).into_iter().collect());
    let row = |name: &str, measured| Row::new(format!("tasks.{name}_10k"), Unit::Seconds, measured);
    let args = lab.drive(async |context| workloads::args(context, repetitions, TEN_K).await);
    let get = lab.drive(async |context| workloads::get(context, repetitions, TEN_K).await);
    let wait = lab.drive(async |context| workloads::wait(context, repetitions, TEN_K).await);
    let chain = lab.drive(async |context| workloads::chain(context, repetitions, TEN_K).await);
    [
        row("args", args).against(CHANNEL, &pipelined),
        row("get", get).against(CHANNEL, &pipelined),
        row("wait", wait).against(CHANNEL, &pipelined),
        row("chain", chain).against(CHANNEL, &chained),
    ]
}
