//! Group `recovery`: from the end of a process to the values that were lost with it.

use crate::child;
use crate::clock::Stopwatch;
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use bytes::Bytes;
use mobula_runtime::{Blob, ByteSize, Context, Nanos, ObjectRef, Question, Result as TaskResult, WorldKind, task};
use mobula_sim::{Cluster, ClusterSettings, ClusterSpec, NodeSpec, RunOptions};

/// Tasks of the chain, and objects that are lost.
const LENGTH: usize = 10;
const BYTES: usize = 1_000_000;
/// A run that takes longer is stuck.
const PATIENCE: Nanos = Nanos::secs(300);
/// How often the driver's view of the cluster is looked at, the error of the detection.
const LOOK: Nanos = Nanos::micros(200);
const FAULTLESS: &str = "the same chain the first time, submitted and got";

#[task]
fn step(before: Blob) -> Blob {
    Blob(Bytes::from(before.0.iter().map(|byte| byte.wrapping_add(1)).collect::<Vec<_>>()))
}

/// The seconds of every repetition.
#[derive(Default)]
struct Spans {
    faultless: Vec<f64>,
    detect: Vec<f64>,
    reexecute: Vec<f64>,
    total: Vec<f64>,
}

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let repetitions = effort.of(10, 3);
    let spans = measure(repetitions);
    let millis = |of: fn(&Spans) -> &Vec<f64>| {
        let sample = spans.as_ref().map(|spans| Sample::warm(of(spans).clone()).map(|seconds| seconds * 1e3));
        sample.map_err(String::clone)
    };
    let row = |name, of| {
        let row = Row::new(name, Unit::Millis, millis(of));
        match millis(|spans| &spans.faultless) {
            Ok(faultless) => row.against(FAULTLESS, &faultless),
            Err(_) => row,
        }
    };
    vec![
        row("recovery.detect", |spans| &spans.detect),
        row("recovery.reexecute", |spans| &spans.reexecute),
        row("recovery.total", |spans| &spans.total),
    ]
}

/// A driver in this process, a node that is killed and one that does its work again, processes of their own.
fn measure(repetitions: usize) -> Result<Spans, String> {
    let store = ByteSize(256 << 20);
    let nodes = ["A", "B"].iter().map(|name| NodeSpec::new(name, 1).store(store)).collect();
    let settings = ClusterSettings { driver_store: store, ..ClusterSettings::default() };
    let spec = ClusterSpec { nodes, settings, ..ClusterSpec::default() };
    let options = RunOptions {
        world: WorldKind::Real,
        program: Some(child::program()?),
        max_time: PATIENCE,
        ..RunOptions::default()
    };
    let run = mobula_sim::run(spec, options, move |cluster| async move {
        let mut spans = Spans::default();
        for _ in 0..=repetitions {
            once(&cluster, &mut spans).await?;
        }
        Ok::<_, String>(spans)
    });
    run.outcome.map_err(|why| why.to_string())?
}

async fn once(cluster: &Cluster, spans: &mut Spans) -> Result<(), String> {
    let context = cluster.context();
    let watch = Stopwatch::start();
    let chain = chain(context).await.map_err(words)?;
    let last = chain.last().ok_or("the chain has no tasks")?;
    // Not a view of the copy here, which would keep it here.
    let expected = context.get(last).await.map_err(words)?.0.to_vec();
    spans.faultless.push(watch.seconds());
    drop_own_copy(context, last).await.map_err(words)?;

    let watch = Stopwatch::start();
    cluster.kill("A").await.map_err(words)?;
    // Asked for at once, as a program would that does not know of the death.
    let value = {
        let (context, last) = (context.clone(), last.clone());
        cluster.env().spawn("get", async move { context.get(&last).await })
    };
    while sees(context, "A").await.map_err(words)? {
        cluster.env().sleep(LOOK).await;
    }
    let detected = watch.seconds();
    let found = value.await.map_err(words)?.map_err(words)?;
    let total = watch.seconds();
    if found.0 != expected {
        return Err("other bytes than before were recovered".to_owned());
    }
    spans.detect.push(detected);
    spans.reexecute.push((total - detected).max(0.0));
    spans.total.push(total);
    drop(chain);
    cluster.restart("A").await.map_err(words)?;
    cluster.joined(&["A"]).await.map_err(words)
}

/// All values of it, each held, all on `A`.
async fn chain(context: &Context) -> TaskResult<Vec<ObjectRef<Blob>>> {
    let first = context.put(&Blob(Bytes::from(vec![7; BYTES]))).await?;
    let mut chain = Vec::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let next = step(chain.last().unwrap_or(&first)).prefer("A").submit(context)?;
        chain.push(next);
    }
    Ok(chain)
}

/// Else nothing would have to be made again for it.
async fn drop_own_copy(context: &Context, value: &ObjectRef<Blob>) -> TaskResult<()> {
    while !context.ask(|reply| Question::Evict(value.id(), false, reply)).await? {
        context.env().sleep(Nanos::millis(1)).await;
    }
    Ok(())
}

async fn sees(context: &Context, node: &str) -> TaskResult<bool> {
    let view = context.ask(Question::Cluster).await?;
    Ok(view.nodes.iter().any(|entry| entry.member.name == node))
}

fn words(why: impl std::fmt::Display) -> String {
    why.to_string()
}
