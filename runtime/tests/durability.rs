//! Values that outlive nodes, on embedded clusters: real threads, no sockets.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "this test looks into a folder of its own")]

use mobula_runtime::{Context, Embedded, EmbeddedNode, HeadSettings, Nanos, ObjectId, Question, TaskErrorKind, task};
use std::path::PathBuf;

const SOON: Nanos = Nanos::secs(20);
const LEN: usize = 1_000_000;

#[task]
fn filled(byte: u8) -> Vec<u8> {
    vec![byte; LEN]
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("mobula-durability-{}-{name}", std::process::id())))
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, Iterator::count)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn cluster(names: &[&str], folder: Option<&Folder>) -> Embedded {
    let persist = folder.map(|folder| folder.0.to_string_lossy().into_owned());
    let node = |name: &&str| EmbeddedNode { persist: persist.clone(), ..EmbeddedNode::new(name, 1) };
    let members = mobula_protocol::member::MemberSettings {
        health_period: Nanos::millis(100),
        health_timeout: Nanos::millis(1_000),
    };
    let nodes: Vec<_> = names.iter().map(node).collect();
    Embedded::with(&nodes, HeadSettings { members, ..HeadSettings::default() }, 0).unwrap()
}

/// Waits until the owner of an object lists so many copies, and gives the names of their nodes.
async fn copies(context: &Context, object: ObjectId, count: usize) -> Vec<String> {
    loop {
        let nodes = context.ask(|reply| Question::Copies(object, reply)).await.unwrap();
        if nodes.len() == count {
            return nodes;
        }
        context.env().sleep(Nanos::millis(5)).await;
    }
}

#[test]
fn a_replicated_value_outlives_its_nodes_without_running_again() {
    let mut cluster = cluster(&["A", "B", "C", "D"], None);
    let context = cluster.context_of("A").unwrap().clone();
    let x = filled(7).on("B").replicas(2).max_retries(0).submit(&context).unwrap();
    for round in 0..2 {
        let nodes = cluster.block_on(async {
            let env = context.env();
            env.timeout(SOON, copies(&context, x.id(), 2)).await.unwrap()
        });
        // The owner's own node stays.
        let victim = nodes.iter().find(|name| *name != "A").unwrap();
        assert!(cluster.kill(victim), "round {round}");
        cluster.block_on(async {
            let env = context.env();
            let gone = async {
                while copies_named(&context, x.id(), victim).await {
                    env.sleep(Nanos::millis(5)).await;
                }
            };
            env.timeout(SOON, gone).await.unwrap();
        });
    }
    cluster.block_on(async {
        let value = context.get_within(&x, SOON).await.unwrap();
        assert!(value.len() == LEN && value.iter().all(|byte| *byte == 7));
        assert_eq!(context.counters("filled").executions, 1);
    });
}

async fn copies_named(context: &Context, object: ObjectId, name: &str) -> bool {
    context.ask(|reply| Question::Copies(object, reply)).await.unwrap().iter().any(|node| node == name)
}

#[test]
fn a_persisted_value_is_read_back_and_its_file_goes_with_it() {
    let folder = Folder::new("read-back");
    let mut cluster = cluster(&["A", "B", "C"], Some(&folder));
    let context = cluster.context_of("A").unwrap().clone();
    let x = filled(9).on("B").persisted().max_retries(0).submit(&context).unwrap();
    cluster.block_on(async {
        let env = context.env();
        let written = async {
            copies(&context, x.id(), 1).await;
            while !context.cluster_waits().await.unwrap().is_empty() || folder.files() == 0 {
                env.sleep(Nanos::millis(5)).await;
            }
        };
        env.timeout(SOON, written).await.unwrap();
    });
    assert!(cluster.kill("B"));
    cluster.block_on(async {
        let value = context.get_within(&x, SOON).await.unwrap();
        assert!(value.len() == LEN && value.iter().all(|byte| *byte == 9));
        assert_eq!(context.counters("filled").executions, 1);
        drop((value, x));
        let env = context.env();
        let gone = async {
            while folder.files() > 0 {
                env.sleep(Nanos::millis(5)).await;
            }
        };
        env.timeout(SOON, gone).await.unwrap();
    });
}

#[test]
fn without_a_folder_nothing_can_be_persisted() {
    let cluster = cluster(&["A"], None);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let x = context.put(&vec![1u8; LEN]).await.unwrap();
        assert_eq!(context.persist(&x).unwrap_err().kind, TaskErrorKind::Unschedulable);
        let refused = filled(1).persisted().submit(context).map(|_| ()).unwrap_err();
        assert!(refused.message.contains("`persist`"), "{refused}");
        context.replicate(&x, 2).unwrap();
        assert!(context.get(&x).await.is_ok());
    });
}
