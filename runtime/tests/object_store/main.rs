//! Spilling to an object store: a real S3 server from PyPI (moto), started and stopped by the test.
//!
//! The store's address and credentials are the environment's, so each test runs in a process of its own.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "the test starts processes and talks to a server")]

mod moto;

use mobula_runtime::{Blob, ByteSize, Embedded, EmbeddedNode, HeadSettings, Nanos, ObjectRef, task};
use moto::Bucket;
use std::process::Command;

/// Set in the child: host and port of the server.
const SERVER: &str = "MOBULA_TEST_S3";

/// Runs a test below in a process that finds S3 at this address.
fn child(test: &str, server: &str) {
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(SERVER, server)
        .env("AWS_ENDPOINT", format!("http://{server}"))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && out.contains("1 passed"), "{test}: {out}\n{err}");
}

#[test]
fn objects_go_to_a_bucket_and_come_back() {
    let server = moto::Server::start();
    child("child_spills_and_restores", server.address());
    child("child_rebuilds_what_is_damaged", server.address());
    child("child_sweeps_what_nobody_claims", server.address());
}

#[test]
fn a_bucket_that_nobody_serves_is_a_typed_error() {
    // Bound and closed again: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    child("child_cannot_spill", &free.to_string());
}

fn cluster(store: ByteSize, folder: &str) -> Embedded {
    let spill = vec![format!("s3://{}/{folder}", moto::BUCKET)];
    let node = EmbeddedNode { spill, ..EmbeddedNode::new("A", 1).object_store_memory(store) };
    Embedded::with(&[node], HeadSettings::default(), 1).unwrap()
}

fn value(n: u8, len: usize) -> Blob {
    Blob::from(vec![n; len])
}

#[task]
fn made(n: u8, len: usize) -> Blob {
    value(n, len)
}

/// Four times the store in small objects, fused, and in some that are uploaded in parts.
#[test]
#[ignore = "run by objects_go_to_a_bucket_and_come_back"]
fn child_spills_and_restores() {
    let bucket = Bucket::at(&std::env::var(SERVER).unwrap());
    for (folder, store, len, count) in [("small", 8 << 20, 1 << 20, 32), ("large", 48 << 20, 20 << 20, 8)] {
        let cluster = cluster(ByteSize(store), folder);
        let context = cluster.context().unwrap().clone();
        cluster.block_on(async {
            let mut refs: Vec<ObjectRef<Blob>> = Vec::new();
            for n in 0..count {
                refs.push(context.put(&value(n, len)).await.unwrap());
            }
            let report = context.memory().await.unwrap();
            assert!(report.usage.spilled.0 >= 2 * store && report.usage.peak.0 <= store, "{report:?}");
            assert!(!bucket.files(folder).is_empty());
            for (n, object) in refs.iter().enumerate() {
                assert_eq!(context.get(object).await.unwrap(), value(n as u8, len), "{folder} {n}");
            }
            drop(refs);
            for _ in 0..500 {
                if bucket.files(folder).is_empty() {
                    return;
                }
                context.env().sleep(Nanos::millis(20)).await;
            }
            panic!("nobody refers to {:?} any more", bucket.files(folder));
        });
    }
}

#[test]
#[ignore = "run by objects_go_to_a_bucket_and_come_back"]
fn child_rebuilds_what_is_damaged() {
    let (bucket, folder) = (Bucket::at(&std::env::var(SERVER).unwrap()), "damage");
    let cluster = cluster(ByteSize(8 << 20), folder);
    let context = cluster.context().unwrap().clone();
    cluster.block_on(async {
        let refs: Vec<ObjectRef<Blob>> = (0..24).map(|n| made(n, 1 << 20).submit(&context).unwrap()).collect();
        context.wait(&refs, refs.len(), None).await.unwrap();
        let files = bucket.files(folder);
        assert!(files.len() >= 3, "{files:?}");
        bucket.put(&files[0], &[7; 1000]);
        bucket.delete(&files[1]);
        for (n, object) in refs.iter().enumerate() {
            let found = context.get_within(object, Nanos::secs(60)).await.unwrap();
            assert_eq!(found, value(n as u8, 1 << 20));
        }
    });
}

#[test]
#[ignore = "run by objects_go_to_a_bucket_and_come_back"]
fn child_sweeps_what_nobody_claims() {
    let (bucket, folder) = (Bucket::at(&std::env::var(SERVER).unwrap()), "sweep");
    bucket.put(&format!("{folder}/spill-dead/1.spill"), b"left over by a removal that did not end");
    bucket.put(&format!("{folder}/spill-other/lock"), b"");
    bucket.put(&format!("{folder}/spill-other/1.spill"), b"another node's");
    let cluster = cluster(ByteSize(8 << 20), folder);
    let context = cluster.context().unwrap().clone();
    cluster.block_on(async {
        for _ in 0..500 {
            if bucket.files(folder) == [format!("{folder}/spill-other/1.spill")] {
                return;
            }
            context.env().sleep(Nanos::millis(20)).await;
        }
        panic!("{:?}", bucket.files(folder));
    });
}

#[test]
#[ignore = "run by a_bucket_that_nobody_serves_is_a_typed_error"]
fn child_cannot_spill() {
    let cluster = cluster(ByteSize(8 << 20), "nowhere");
    let context = cluster.context().unwrap().clone();
    cluster.block_on(async {
        let mut refs: Vec<ObjectRef<Blob>> = Vec::new();
        let why = loop {
            match context.put(&value(refs.len() as u8, 1 << 20)).await {
                Ok(object) => refs.push(object),
                Err(why) => break why,
            }
            assert!(refs.len() < 9, "more than there is room for");
        };
        assert_eq!(why.kind.name(), "OutOfDisk", "{why}");
        for (n, object) in refs.iter().enumerate() {
            assert_eq!(context.get(object).await.unwrap(), value(n as u8, 1 << 20));
        }
    });
}
