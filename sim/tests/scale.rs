//! A cluster of hundreds of nodes, on the simulator that goes from event to event. turmoil wakes every machine at every
//! tick, which makes that an hour; there it is a cluster of ten. `MOBULA_NODES=1000` is the long one: what it takes grows
//! with the third power, as every node copies its view of all others whenever one of them joins.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "says how long a person waits for it")]

mod common;

use common::{answer, square, told};
use mobula_protocol::Nanos;
use mobula_runtime::ObjectRef;
use mobula_sim::{Cluster, ClusterSpec, RunOptions, run};

fn nodes() -> usize {
    let asked = std::env::var("MOBULA_NODES").ok().map(|nodes| nodes.parse().expect("a number of nodes"));
    asked.unwrap_or(if cfg!(madsim) { 150 } else { 10 })
}

#[test]
fn a_large_cluster_joins_works_and_loses_a_node() {
    let nodes = nodes();
    let started = std::time::Instant::now();
    let options = RunOptions { seed: 1, max_time: Nanos::secs(300), ..RunOptions::default() };
    let report = run(ClusterSpec::nodes(nodes), options, async move |cluster: Cluster| {
        let (context, tasks) = (cluster.context(), 3 * nodes as u64);
        let squares = (0..tasks).map(|i| square(i).spread().submit(context));
        let squares: Vec<ObjectRef<u64>> = told(squares.collect::<Result<_, _>>())?;
        answer(context.wait(&squares, squares.len() / 3, None).await)?;
        let victim = cluster.nodes().pop().ok_or("a cluster has nodes")?;
        answer(cluster.kill(&victim).await)?;
        let values = told(context.get_all(&squares).await)?;
        assert!(values.iter().copied().eq((0..tasks).map(|i| i * i)), "{values:?}");
        Ok::<_, String>(())
    });
    assert_eq!(report.outcome, Ok(Ok(())));
    let seconds = started.elapsed().as_secs_f64();
    println!("{nodes} nodes: {seconds:.1} s for {} of the world and {} events", report.virtual_time, report.events);
}
