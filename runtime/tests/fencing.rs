//! A node that must stop takes what runs on it with it.
#![cfg(not(madsim))]

use mobula_env::{MemoryNet, RealNet, RealNode};
use mobula_runtime::{Context, Env, Head, HeadSettings, Nanos, Node, NodeSettings, RealConfig, Result};
use mobula_runtime::{actor, task};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps of the task and of the actor below.
static STEPS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

async fn step_for_ever(which: usize) -> Result<u64> {
    loop {
        STEPS[which].fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[task]
async fn endless(_context: Context) -> Result<u64> {
    step_for_ever(0).await
}

struct Endless;

#[actor]
impl Endless {
    pub fn new() -> Self {
        Self
    }

    /// Never returns.
    pub async fn run(&self, _context: Context) -> Result<u64> {
        step_for_ever(1).await
    }
}

fn steps() -> [u64; 2] {
    STEPS.each_ref().map(|steps| steps.load(Ordering::Relaxed))
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..2000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within ten seconds");
}

#[test]
fn what_runs_ends_with_its_node() {
    let net = MemoryNet::default();
    let real = |name: &str| -> RealNode {
        let config = RealConfig { node: name.to_owned(), net: RealNet::Memory(net.clone()), ..RealConfig::default() };
        Env::real(config).expect("threads")
    };
    let (there, here) = (real("head"), real("A"));
    let head = there.block_on(Head::start(&there.env, HeadSettings::default())).expect("a head");
    let settings =
        NodeSettings { name: "A".to_owned(), head_grace: Nanos::secs(1), spill: vec![], ..Default::default() };
    let settings = NodeSettings { resources: mobula_runtime::Resources::cpus(2), ..settings };
    let node = here.block_on(Node::join(&here.env, head.address(), settings)).expect("a node");
    let context = node.context().clone();
    let running = here.block_on(async {
        let result = endless().submit(&context).expect("it runs");
        let actor = Endless::actor().create(&context).expect("it runs");
        let call = actor.run().submit(&context).expect("it runs");
        until(|| steps().iter().all(|steps| *steps > 0)).await;
        (result, actor, call)
    });
    drop(head);
    there.kill();
    here.block_on(async {
        assert!(node.stopped().await.contains("head"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = steps();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(steps(), before, "it goes on although its node has stopped");
    });
    drop(running);
}
