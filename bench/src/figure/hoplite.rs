//! Hoplite, SIGCOMM 2021, figure 6 (broadcast): one node has a large object, n others want it at the same time.

use super::chart::{Chart, Line};
use bytes::Bytes;
use mobula_runtime::{Blob, ByteSize, Nanos, ObjectRef, Result as TaskResult, WorldKind, task};
use mobula_sim::{ClusterSettings, ClusterSpec, LinkSpec, NodeSpec, RunOptions};

const BYTES: u64 = 32 << 20;
/// 10 Gbit/s, as in the paper.
const BANDWIDTH: ByteSize = ByteSize::mb(1_250);
/// No object is so large.
const NEVER: ByteSize = ByteSize(1 << 60);
const RECEIVERS: [usize; 6] = [1, 2, 4, 8, 12, 16];

#[task]
fn length(blob: Blob) -> u64 {
    blob.0.len() as u64
}

/// Measures all points.
pub fn chart() -> Result<Chart, String> {
    let line = |name: &str, relay_from| {
        let point = |n: &usize| Ok((*n as f64, milliseconds(*n, relay_from)?));
        let points = RECEIVERS.iter().map(point).collect::<Result<Vec<_>, String>>()?;
        points.iter().for_each(|(n, ms)| println!("{name}, {n} receivers: {ms:.1} ms"));
        Ok::<_, String>(Line { name: name.to_owned(), points })
    };
    let alone = BYTES as f64 / BANDWIDTH.0 as f64 * 1e3;
    let bound = RECEIVERS.iter().map(|n| (*n as f64, alone)).collect();
    Ok(Chart {
        title: format!("Broadcast of {} MiB over 10 Gbit/s links, simulated", BYTES >> 20),
        x: "receivers".to_owned(),
        y: "time until all have it, ms".to_owned(),
        lines: vec![
            line("whole copies only", NEVER)?,
            line("with relays", ClusterSettings::default().relay_from)?,
            Line { name: "one transfer at full speed".to_owned(), points: bound },
        ],
    })
}

/// Model time from the submission of a task on each receiver that takes the object until all have run.
fn milliseconds(receivers: usize, relay_from: ByteSize) -> Result<f64, String> {
    let nodes = (0..receivers).map(|n| NodeSpec::new(&format!("R{n}"), 1).store(ByteSize(2 * BYTES))).collect();
    let settings = ClusterSettings { relay_from, driver_store: ByteSize(2 * BYTES), ..ClusterSettings::default() };
    let link = LinkSpec { bandwidth: BANDWIDTH, ..LinkSpec::default() };
    let options = RunOptions { world: WorldKind::Turmoil, max_time: Nanos::secs(60), ..RunOptions::default() };
    let run = mobula_sim::run(ClusterSpec { nodes, settings, link }, options, move |cluster| async move {
        let (context, env) = (cluster.context(), cluster.env());
        let blob = context.put(&Blob(Bytes::from(vec![7; BYTES as usize]))).await?;
        let from = env.now();
        let lengths = (0..receivers).map(|n| length(&blob).on(&format!("R{n}")).submit(context));
        let lengths: Vec<ObjectRef<u64>> = lengths.collect::<TaskResult<_>>()?;
        context.get_all(&lengths).await?;
        Ok::<_, mobula_runtime::Error>(env.now().saturating_sub(from))
    });
    let time = run.outcome.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
    Ok(time.as_secs_f64() * 1e3)
}
