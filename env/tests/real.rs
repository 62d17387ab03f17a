//! The real world: sockets, memory, runtimes that die, files on disk.
#![cfg(not(madsim))]

mod common;

use bytes::Bytes;
use common::{Echo, echo};
use mobula_env::{
    Env, MemoryNet, RealConfig, RealNet, RealNode, RpcCode, RpcError, RpcFault, RpcFaultKind, TaskGone, WorldKind,
};
use mobula_protocol::{ByteSize, Nanos};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn node(name: &str, net: RealNet) -> RealNode {
    Env::real(RealConfig { node: name.into(), net, threads: 1, ..RealConfig::default() }).unwrap()
}

/// Runs `f` on a runtime that belongs to no node, as a test harness would.
fn outside<F: Future>(f: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
}

fn both(test: impl Fn(RealNet)) {
    test(RealNet::Sockets);
    test(RealNet::Memory(MemoryNet::new()));
}

#[test]
fn a_call_returns_what_the_service_answers() {
    both(|net| {
        let (a, b) = (node("A", net.clone()), node("B", net));
        assert_eq!(a.env.world(), WorldKind::Real);
        outside(async {
            let server = a.env.rpc_serve(0, Arc::new(Echo(a.env.clone()))).await.unwrap();
            let client = b.env.rpc_connect(&server.address()).await.unwrap();
            assert_eq!(echo(&client, "hello").await, Ok("hello".into()));
            let big = Bytes::from(vec![7u8; 8 << 20]);
            assert_eq!(client.call("echo", big.clone(), Nanos::secs(10)).await, Ok(big));
            let refused = client.call("refuse", Bytes::new(), Nanos::secs(1)).await.unwrap_err();
            assert_eq!(refused, RpcError::Status(RpcCode::FailedPrecondition, "not today".into()));
            assert!(!refused.is_retryable());
            let late = client.call("slow", Bytes::new(), Nanos::millis(10)).await.unwrap_err();
            assert!(matches!(late, RpcError::Timeout(_)) && late.is_retryable(), "{late}");
            assert_eq!(echo(&client, "again").await, Ok("again".into()));
        });
    });
}

#[test]
fn faults_of_calls_are_of_one_node_and_end_when_told() {
    both(|net| {
        let (a, b) = (node("A", net.clone()), node("B", net));
        outside(async {
            let server = a.env.rpc_serve(0, Arc::new(Echo(a.env.clone()))).await.unwrap();
            let client = b.env.rpc_connect(&server.address()).await.unwrap();
            b.env.inject_rpc_fault(RpcFault::new(RpcFaultKind::RequestLost));
            let lost = client.call("echo", Bytes::new(), Nanos::millis(50)).await.unwrap_err();
            assert!(lost.is_retryable(), "{lost}");
            let own = a.env.rpc_connect(&server.address()).await.unwrap();
            assert_eq!(echo(&own, "mine").await, Ok("mine".into()));
            b.env.end_rpc_faults();
            assert_eq!(echo(&client, "mended").await, Ok("mended".into()));
        });
    });
}

#[test]
fn a_message_that_is_too_large_is_refused_for_good() {
    both(|net| {
        let (a, b) = (node("A", net.clone()), node("B", net));
        outside(async {
            let server = a.env.rpc_serve(0, Arc::new(Echo(a.env.clone()))).await.unwrap();
            let client = b.env.rpc_client(&server.address());
            let body = Bytes::from(vec![0; mobula_env::MESSAGE_LIMIT + 1]);
            let refused = client.call("echo", body, Nanos::secs(60)).await.unwrap_err();
            assert!(refused.is_too_large() && !refused.is_retryable(), "{refused}");
            assert_eq!(echo(&client, "smaller").await, Ok("smaller".into()));
        });
    });
}

#[test]
fn killing_a_node_stops_its_server_and_a_new_one_is_found() {
    both(|net| {
        let (a, b) = (node("A", net.clone()), node("B", net.clone()));
        outside(async {
            let server = a.env.rpc_serve(0, Arc::new(Echo(a.env.clone()))).await.unwrap();
            let address = server.address();
            let client = b.env.rpc_connect(&address).await.unwrap();
            echo(&client, "before").await.unwrap();
            a.kill();
            // Tasks are dropped at their next suspension point, so a call may still be answered; then calls fail; then
            // the port is closed.
            let mut after = echo(&client, "dead").await;
            for _ in 0..100 {
                match &after {
                    Err(RpcError::Refused(_)) => break,
                    Err(dead) => assert!(dead.is_retryable(), "{dead}"),
                    Ok(_) => {}
                }
                b.env.sleep(Nanos::millis(10)).await;
                after = echo(&client, "dead").await;
            }
            assert_eq!(after, Err(RpcError::Refused(address.clone())));
            drop(server);
            let a = node("A", net);
            let port = address.rsplit(':').next().unwrap().parse().unwrap();
            let _server = a.env.rpc_serve(port, Arc::new(Echo(a.env.clone()))).await.unwrap();
            assert_eq!(echo(&client, "back").await, Ok("back".into()));
        });
    });
}

#[test]
fn a_dropped_server_is_gone_and_running_calls_finish() {
    both(|net| {
        let a = node("A", net);
        outside(async {
            let server = a.env.rpc_serve(0, Arc::new(Echo(a.env.clone()))).await.unwrap();
            let address = server.address();
            let client = a.env.rpc_connect(&address).await.unwrap();
            let slow = {
                let client = client.clone();
                a.env.spawn("slow", async move { client.call("slow", Bytes::new(), Nanos::secs(5)).await })
            };
            a.env.sleep(Nanos::millis(30)).await;
            drop(server);
            assert_eq!(slow.await.unwrap(), Ok(Bytes::new()));
            for _ in 0..100 {
                if matches!(a.env.rpc_connect(&address).await, Err(RpcError::Refused(_))) {
                    return;
                }
                a.env.sleep(Nanos::millis(10)).await;
            }
            panic!("{address} still accepts");
        });
    });
}

#[test]
fn streams_carry_bytes_and_end() {
    both(|net| {
        let (a, b) = (node("A", net.clone()), node("B", net));
        outside(async {
            let listener = a.env.listen(0).await.unwrap();
            let address = listener.address();
            let served = a.env.spawn("serve", async move {
                let mut stream = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.unwrap();
                bytes
            });
            let mut stream = b.env.connect(&address).await.unwrap();
            stream.write_all(&[5; 1 << 20]).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(served.await.unwrap(), vec![5; 1 << 20]);
            let refused = b.env.connect(&address).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            assert!(refused.to_string().contains(&address), "{refused}");
        });
    });
}

#[test]
fn a_killed_node_runs_nothing_any_more() {
    let a = node("A", RealNet::Sockets);
    let count = Arc::new(AtomicU64::new(0));
    let (env, inside) = (a.env.clone(), count.clone());
    let task = a.env.spawn("count", async move {
        loop {
            env.sleep(Nanos::millis(1)).await;
            inside.fetch_add(1, Ordering::SeqCst);
        }
    });
    let env = a.env.clone();
    outside(async {
        env.sleep(Nanos::millis(50)).await;
        a.kill();
        assert_eq!(task.await, Err(TaskGone));
        let frozen = count.load(Ordering::SeqCst);
        assert!(frozen > 0);
        env.sleep(Nanos::millis(50)).await;
        assert_eq!(count.load(Ordering::SeqCst), frozen);
    });
}

#[test]
fn a_panic_is_kept_and_fails_the_node_only() {
    let (a, b) = (node("A", RealNet::Sockets), node("B", RealNet::Sockets));
    a.block_on(async {
        let task: mobula_env::Task<()> = a.env.spawn("bad", async { panic!("a planted panic") });
        assert_eq!(task.await, Err(TaskGone));
        let work = a.env.clone();
        let computing = a.env.spawn("worse", async move { work.compute(|| -> u8 { panic!("in compute") }).await });
        assert_eq!(computing.await, Err(TaskGone));
    });
    assert_eq!(a.failure().as_deref(), Some("a planted panic"));
    assert_eq!(b.failure(), None);
}

#[test]
fn time_and_tasks_work_from_a_foreign_runtime() {
    let a = node("A", RealNet::Sockets);
    outside(async {
        let before = a.env.now();
        a.env.sleep(Nanos::millis(5)).await;
        assert!(a.env.now() >= before + Nanos::millis(5));
        assert!(a.env.timeout(Nanos::millis(5), std::future::pending::<()>()).await.is_err());
        assert_eq!(a.env.timeout(Nanos::secs(5), async { 3 }).await, Ok(3));
        assert_eq!(a.env.compute(|| 4).await, 4);
        let forever = a.env.spawn("forever", std::future::pending::<()>());
        forever.abort();
        assert_eq!(forever.await, Err(TaskGone));
        let mut ticks = a.env.interval(Nanos::millis(5));
        let first = ticks.tick().await;
        a.env.sleep(Nanos::millis(12)).await;
        let (second, third) = (ticks.tick().await, ticks.tick().await);
        assert_eq!((second.0 - first.0) % 5_000_000, 0);
        assert!(third > second && (third.0 - first.0) % 5_000_000 == 0);
        let wall = a.env.wall();
        a.env.clock_jump(-3_600_000_000_000);
        assert!(a.env.wall() < wall);
        a.env.charge(mobula_env::Resource::Memory, ByteSize::mb(1)).await;
        assert!(!a.env.buggify("anywhere"));
    });
}

#[test]
fn the_disk_is_a_directory_that_paths_cannot_leave() {
    let dir = std::env::temp_dir().join(format!("mobula-disk-{}", std::process::id()));
    let config = RealConfig { disk_dir: Some(dir.clone()), threads: 1, ..RealConfig::default() };
    let a = Env::real(config).unwrap();
    a.block_on(async {
        let disk = a.env.disk();
        disk.write("spill/1", Bytes::from_static(b"0123")).await.unwrap();
        disk.append("spill/1", Bytes::from_static(b"456")).await.unwrap();
        disk.sync("spill/1").await.unwrap();
        assert_eq!(disk.read("spill/1", 2, 3).await.unwrap(), "234");
        assert_eq!(disk.len("spill/1").await.unwrap(), 7);
        disk.rename("spill/1", "spill/2").await.unwrap();
        assert_eq!(disk.list("spill/").await.unwrap(), ["spill/2"]);
        assert_eq!(disk.list("").await.unwrap(), ["spill/2"]);
        disk.remove("spill/2").await.unwrap();
        disk.remove("spill/2").await.unwrap();
        assert_eq!(disk.read("spill/2", 0, 1).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        for outside in ["../x", "/etc/passwd", "a/../../x", ""] {
            assert_eq!(disk.len(outside).await.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{outside}");
        }
    });
    let without = node("B", RealNet::Sockets);
    let error = without.block_on(without.env.disk().len("x")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn log_lines_go_to_the_sink() {
    let a = node("A", RealNet::Sockets);
    a.env.emit("early", format_args!("nobody listens"));
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = lines.clone();
    a.env.log_to(Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned())));
    a.env.emit("seal", format_args!("object {}", 7));
    a.env.probe("here");
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("0 ") && lines[0].ends_with(" A seal object 7"), "{}", lines[0]);
    assert_eq!(a.probes()["here"], 1);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "plays a process that was killed long ago")]
fn a_claimed_directory_outlives_sweeps_and_is_swept_when_its_process_is_gone() {
    let dir = std::env::temp_dir().join(format!("mobula-claims-{}", std::process::id()));
    let config = RealConfig { disk_dir: Some(dir.clone()), threads: 1, ..RealConfig::default() };
    let a = Env::real(config).unwrap();
    a.block_on(async {
        let disk = a.env.disk().within("spill");
        assert_eq!(disk.sweep("life-").await.unwrap(), [] as [&str; 0], "there is nothing yet");
        let claim = disk.claim("life-1").await.unwrap();
        claim.disk().write("1", Bytes::from_static(b"0123")).await.unwrap();
        assert_eq!(disk.claim("life-1").await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // What a killed process leaves: the lock file without the lock.
        for dead in ["life-0", "other-0"] {
            std::fs::create_dir_all(dir.join("spill").join(dead)).unwrap();
            std::fs::write(dir.join("spill").join(dead).join("lock"), "").unwrap();
        }
        assert_eq!(disk.sweep("life-").await.unwrap(), ["life-0"]);
        assert_eq!(disk.list("").await.unwrap(), ["life-1/1", "life-1/lock", "other-0/lock"]);
        let absolute = a.env.disk().within(&dir.join("spill").to_string_lossy());
        assert_eq!(absolute.read("life-1/1", 0, 9).await.unwrap(), "0123");
        drop(claim);
        assert_eq!(disk.list("").await.unwrap(), ["other-0/lock"], "given up");
    });
    std::fs::remove_dir_all(&dir).unwrap();
}
