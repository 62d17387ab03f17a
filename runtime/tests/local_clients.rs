//! Processes that read a node's store, and are killed while they do.
#![cfg(not(madsim))]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are about processes and their time"
)]

use mobula_protocol::{ByteSize, Incarnation, Nanos, ObjectId, TaskId};
use mobula_runtime::{Blob, Client, Embedded, Env, RealConfig, attach, share};
use mobula_store::{Arena, CopyKind, Table, codec};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Where the child that reads finds its store.
const SOCKET: &str = "MOBULA_TEST_SOCKET";
/// How many clients are killed; the long mode is `MOBULA_KILLS=200`.
const KILLS: &str = "MOBULA_KILLS";
/// Objects that clients may ask for.
const NAMES: u64 = 16;
/// A store in which each of them has room once, and little more.
const STORE: ByteSize = ByteSize(4 << 20);

fn socket(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("mobula-clients-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

fn object(seq: u64) -> ObjectId {
    TaskId { owner: Incarnation::new(1, 1), seq }.result(0)
}

/// The word at position `at` of version `version` of object `seq`: no two are alike.
fn word(seq: u64, version: u64, at: usize) -> u64 {
    (seq << 56 | version << 24 | at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Checks that `bytes` are one version of object `seq`, whole, and says which.
fn version_of(seq: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let version = u64::from_le_bytes(words[0]);
    for (at, found) in words.iter().enumerate().skip(1) {
        assert_eq!(u64::from_le_bytes(*found), word(seq, version, at), "object {seq}, version {version}, word {at}");
    }
    version
}

/// Replaces object `seq` by its next version, if there is room.
fn rewrite(table: &Mutex<Table>, seq: u64, version: u64, len: usize) {
    table.lock().unwrap().delete(object(seq));
    let created = table.lock().unwrap().create(Nanos::ZERO, object(seq), ByteSize(len as u64), CopyKind::Cached);
    let Ok(mut created) = created else { return };
    let (words, _) = created.region.as_mut_slice().as_chunks_mut::<8>();
    for (at, place) in words.iter_mut().enumerate() {
        *place = if at == 0 { version } else { word(seq, version, at) }.to_le_bytes();
    }
    table.lock().unwrap().seal(Nanos::ZERO, object(seq), created.region).unwrap();
}

/// Reads for ever: gets objects, holds some for a while, and checks what it holds again before letting go.
fn read_for_ever(client: &Client) {
    let mut held = std::collections::VecDeque::new();
    for round in 0_u64.. {
        let seq = round.wrapping_mul(7919) % NAMES;
        if let Some(bytes) = client.get(object(seq)).unwrap() {
            held.push_back((seq, version_of(seq, &bytes), bytes));
        }
        if held.len() > 5 {
            let (seq, version, bytes) = held.pop_front().unwrap();
            assert_eq!(version_of(seq, &bytes), version, "object {seq} changed while it was held");
        }
    }
}

#[test]
#[ignore = "what the child processes run"]
fn child_that_reads() {
    let socket = std::env::var_os(SOCKET).expect("the parent names the socket");
    read_for_ever(&attach(Path::new(&socket)).unwrap());
}

fn start_child(socket: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_that_reads", "--ignored", "--exact", "--nocapture"]).env(SOCKET, socket);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for what must come, and says what did not.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "after 20 s still not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn clients_killed_at_any_moment_leave_nothing_and_read_nothing_wrong() {
    let kills: u64 = std::env::var(KILLS).map_or(20, |kills| kills.parse().unwrap());
    let node = Env::real(RealConfig { threads: 1, ..RealConfig::default() }).unwrap();
    let arena = Arena::memfd(STORE).unwrap();
    let table = Arc::new(Mutex::new(Table::new(arena.clone())));
    let (path, shared) = (socket("killed"), table.clone());
    let asked = Arc::new(AtomicU64::new(0));
    let asks = asked.clone();
    let find = Arc::new(move |id| {
        asks.fetch_add(1, Ordering::Relaxed);
        shared.lock().unwrap().get(Nanos::ZERO, id)
    });
    let _server = share(&node.env, &arena, find, &path).unwrap();
    let mut version = 0_u64;
    let mut churn = |rounds: u64| {
        for _ in 0..rounds {
            version += 1;
            let seq = version.wrapping_mul(31) % NAMES;
            rewrite(&table, seq, version, 8 * (1 + version as usize * 6151 % 25_000));
        }
    };
    churn(NAMES);
    for kill in 0..kills {
        let mut child = start_child(&path);
        // It reads at some time during these rounds; killed at another point of its life each time, from before it has
        // connected to long after.
        let deadline = Instant::now() + Duration::from_micros(kill * 7919 % 60_000);
        while Instant::now() < deadline {
            churn(5);
        }
        // SIGKILL: no destructor runs.
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), None, "it ended by itself: {}", String::from_utf8_lossy(&output.stderr));
        for seq in 0..NAMES {
            table.lock().unwrap().delete(object(seq));
        }
        until("all that the dead client held is free", || arena.used() == ByteSize::ZERO);
        churn(NAMES);
    }
    assert!(asked.load(Ordering::Relaxed) > kills, "clients were killed while they read, not before");
}

#[test]
fn another_connection_reads_what_a_program_put() {
    let cluster = Embedded::start().unwrap();
    let context = cluster.context().unwrap();
    let path = socket("put");
    let _server = context.share_store(&path).unwrap();
    cluster.block_on(async {
        let put = context.put(&Blob::from(vec![5; 1 << 20])).await.unwrap();
        let client = attach(&path).unwrap();
        let bytes = client.get(put.id()).unwrap().expect("it is sealed here");
        let blob: Blob = codec::decode(&bytes).unwrap();
        assert_eq!(&blob[..], &[5; 1 << 20][..]);
        assert!(client.get(object(u64::MAX)).unwrap().is_none());
    });
}
