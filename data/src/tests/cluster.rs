//! The questions on a cluster in this process, undisturbed and with a node killed among the reads.

use super::{assert_same, carriers, manufacturers, months, worst_routes};
use crate::io::csv::encode;
use crate::testing::dataset;
use crate::{CsvOptions, DataError, Dataset, JoinKind, ReadDatasets, Result, Session, asc, col};
use arrow_array::{ArrayRef, Int64Array};
use mobula_runtime::{Embedded, EmbeddedNode, HeadSettings};
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn cluster(names: &[&str]) -> Embedded {
    let nodes: Vec<EmbeddedNode> = names.iter().map(|name| EmbeddedNode::new(name, 1)).collect();
    Embedded::with(&nodes, HeadSettings::default(), 1).unwrap()
}

async fn text(dataset: Dataset) -> Result<String> {
    Ok(String::from_utf8(encode(&dataset.collect().await?)?.to_vec()).unwrap())
}

async fn answers(session: Session) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("carriers", text(carriers(&session)).await?),
        ("worst_routes", text(worst_routes(&session)).await?),
        ("months", text(months(&session)).await?),
        ("manufacturers", text(manufacturers(&session)).await?),
    ])
}

#[test]
fn the_four_questions_on_one_node() {
    let cluster = cluster(&["a"]);
    let session = Session::new(cluster.context().unwrap());
    for (name, answer) in cluster.block_on(answers(session)).unwrap() {
        assert_same(name, &answer);
    }
}

#[test]
fn the_four_questions_while_a_node_dies() {
    let mut cluster = cluster(&["a", "b", "c", "d"]);
    let context = cluster.context_of("a").unwrap().clone();
    let (send, receive) = mpsc::channel();
    let session = Session::new(&context);
    context.env().spawn("driver", async move {
        // The receiver is gone only when the test has failed already.
        let _ = send.send(answers(session).await);
    });
    while context.counters("read").finished < 5 {
        assert!(receive.try_recv().is_err(), "over before the kill");
        std::thread::yield_now();
    }
    assert!(cluster.kill("c"));
    let answers = receive.recv_timeout(Duration::from_secs(120)).unwrap().unwrap();
    for (name, answer) in answers {
        assert_same(name, &answer);
    }
}

#[test]
fn blocks_functions_and_errors_travel() {
    let cluster = cluster(&["a", "b"]);
    let context = cluster.context().unwrap();
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..20_000)) };
    let local = dataset(vec![("k", numbers()), ("v", numbers())], &[5_000, 7_000]);
    let block = crate::testing::now(local.collect()).unwrap();
    let data = context.from_blocks(block.schema().clone(), vec![block.clone(), block]).unwrap();
    let small = data.clone().limit(100).select(["k"]);
    let joined = data.clone().join(small, "k", JoinKind::Inner).sort([asc("v")]);
    assert_eq!(cluster.block_on(joined.count()).unwrap(), 200);

    let failing = data.with_column("bad", col("v") / (col("v") - 15_000));
    let error = cluster.block_on(failing.collect()).unwrap_err();
    let DataError::Task { label, detail, .. } = &error else { panic!("{error}") };
    assert_eq!(label, "map");
    assert!(detail.ends_with("`v / (v - 15000)` failed: division by zero"), "{detail}");

    let missing = context.read_csv("/nowhere/at/all.csv", CsvOptions::default()).unwrap_err();
    assert_eq!(missing.to_string(), "no file matches `/nowhere/at/all.csv`");
}
