//! Spilling in one process, with real files.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "the test looks at the files")]

use mobula_runtime::{Blob, ByteSize, Embedded, EmbeddedNode, HeadSettings, MemoryPolicy, Nanos, ObjectRef};
use std::path::{Path, PathBuf};

const STORE: ByteSize = ByteSize(8 << 20);
const VALUE: usize = 1 << 20;

/// A directory of this test alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mobula-{name}-{}", std::process::id()));
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spill_files(below: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(below) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(spill_files(&path)),
            false if path.extension().is_some_and(|kind| kind == "spill") => files.push(path),
            false => {}
        }
    }
    files
}

fn cluster(scratch: &Scratch, names: &[&str]) -> Embedded {
    let directory = |sub: &str| scratch.0.join(sub).to_string_lossy().into_owned();
    let node = |name: &&str| EmbeddedNode {
        spill: vec![directory("a"), directory("b")],
        ..EmbeddedNode::new(name, 1).object_store_memory(STORE)
    };
    Embedded::with(&names.iter().map(node).collect::<Vec<_>>(), HeadSettings::default(), 1).unwrap()
}

fn value(n: u8) -> Blob {
    Blob::from(vec![n; VALUE])
}

#[test]
fn four_times_the_store_goes_to_disk_and_comes_back() {
    let scratch = Scratch::new("spill");
    let cluster = cluster(&scratch, &["A", "B"]);
    let (here, there) = (cluster.context_of("A").unwrap().clone(), cluster.context_of("B").unwrap().clone());
    cluster.block_on(async {
        let mut refs: Vec<ObjectRef<Blob>> = Vec::new();
        for n in 0..32 {
            refs.push(here.put(&value(n)).await.unwrap());
        }
        let report = here.memory().await.unwrap();
        assert!(report.usage.spilled.0 >= 20 << 20, "{report:?}");
        assert!(report.usage.peak <= STORE && report.objects.len() == 32 && report.owners.len() == 1, "{report:?}");
        assert!(!report.departed.is_empty() && report.departed.iter().all(|gone| gone.why == "spilled"));
        let files = spill_files(&scratch.0);
        assert!(files.iter().any(|file| file.starts_with(scratch.0.join("a"))), "{files:?}");
        assert!(files.iter().any(|file| file.starts_with(scratch.0.join("b"))), "in turn: {files:?}");
        for (n, object) in refs.iter().enumerate() {
            assert_eq!(here.get(object).await.unwrap(), value(n as u8));
        }
        let all = there.cluster_memory().await.unwrap();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "B"]);
        assert!(all[0].1.as_ref().unwrap().usage.spilled > ByteSize::ZERO);

        drop(refs);
        for _ in 0..500 {
            if spill_files(&scratch.0).is_empty() {
                break;
            }
            here.env().sleep(Nanos::millis(10)).await;
        }
        assert_eq!(spill_files(&scratch.0), [] as [PathBuf; 0], "nobody refers to them any more");
    });
    drop(cluster);
}

#[test]
fn a_file_damaged_on_disk_is_a_typed_error_and_the_others_are_read() {
    let scratch = Scratch::new("damage");
    let cluster = cluster(&scratch, &["A"]);
    let context = cluster.context().unwrap().clone();
    cluster.block_on(async {
        let mut refs: Vec<ObjectRef<Blob>> = Vec::new();
        for n in 0..24 {
            refs.push(context.put(&value(n)).await.unwrap());
        }
        let files = spill_files(&scratch.0);
        let mut bytes = std::fs::read(&files[0]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&files[0], bytes).unwrap();
        std::fs::remove_file(&files[1]).unwrap();
        let (mut read, mut lost) = (0, 0);
        for (n, object) in refs.iter().enumerate() {
            match context.get_within(object, Nanos::secs(20)).await {
                Ok(found) => {
                    assert_eq!(found, value(n as u8));
                    read += 1;
                }
                Err(why) => {
                    assert_eq!(why.kind.name(), "Unreconstructable", "{why}");
                    lost += 1;
                }
            }
        }
        assert!(read >= 16 && lost >= 1, "{read} read, {lost} lost");
    });
}

#[test]
fn without_directories_or_under_the_policy_that_evicts_a_put_is_refused() {
    for policy in [MemoryPolicy::Spill, MemoryPolicy::Evict] {
        let node = EmbeddedNode {
            spill: Vec::new(),
            memory_policy: policy,
            ..EmbeddedNode::new("A", 1).object_store_memory(STORE)
        };
        let cluster = Embedded::with(&[node], HeadSettings::default(), 1).unwrap();
        let context = cluster.context().unwrap().clone();
        cluster.block_on(async {
            let mut refs = Vec::new();
            for n in 0..7 {
                refs.push(context.put(&value(n)).await.unwrap());
            }
            let why = context.put(&value(8)).await.unwrap_err();
            assert_eq!(why.kind.name(), "StoreFull", "{why}");
            assert_eq!(context.get(&refs[0]).await.unwrap(), value(0));
        });
    }
}

#[cfg(not(feature = "object-store"))]
#[test]
fn a_program_without_object_stores_says_so_when_it_starts() {
    let node = EmbeddedNode { spill: vec!["s3://bucket/folder".to_owned()], ..EmbeddedNode::new("A", 1) };
    let why = Embedded::with(&[node], HeadSettings::default(), 1).err().expect("there is nothing to spill to");
    assert!(why.to_string().contains("s3://bucket/folder") && why.to_string().contains("object-store"), "{why}");
}
