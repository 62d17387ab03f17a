//! What the tests have in common.

use mobula_runtime::{Context, Embedded, EmbeddedNode, HeadSettings, Question};
use std::fmt::Display;
use std::time::{Duration, Instant};

pub type Answer = Result<(), String>;

pub fn told<T, E: Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|why| why.to_string())
}

/// One node with so many cpus.
pub fn node(cpus: u64) -> Result<Embedded, String> {
    told(Embedded::with(&[EmbeddedNode::new("A", cpus)], HeadSettings::default(), 1))
}

pub fn context(cluster: &Embedded) -> Result<Context, String> {
    cluster.context().cloned().ok_or_else(|| "the cluster has no node".to_owned())
}

/// Children of this process, from `/proc`: living ones, and ones that nobody waited for.
pub fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // `pid (name) state parent ...`
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(stat.rsplit(") ").next()?.split(' ').nth(1)? == own)
    };
    pids.filter(|pid| parent(*pid) == Some(true)).collect()
}

/// Descriptors that this process has open.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}

/// Waits for what must come, and says what did not.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Answer {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(format!("after 20 s still not: {what}; children: {:?}", children()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The same for what a future looks at.
pub async fn until_async(what: &str, mut done: impl AsyncFnMut() -> bool) -> Answer {
    let start = Instant::now();
    while !done().await {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(format!("after 20 s still not: {what}; children: {:?}", children()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Waits until nothing is in the node's store, nor held by anybody who reads there.
pub async fn empty(context: &Context) -> Answer {
    until_async("the store is empty", async || match context.ask(Question::Ledger).await {
        Ok(ledger) => {
            let usage = ledger.usage;
            (usage.sealed_primary + usage.sealed_cached + usage.creating + usage.lingering).0 == 0
        }
        Err(_) => false,
    })
    .await
}
