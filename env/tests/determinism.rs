//! Same seed, two processes: every line of the event log is equal.
//!
//! Processes, because addresses, hash keys and statics differ between them and not within one.
#![allow(clippy::disallowed_methods, reason = "two processes are what this test compares")]

mod common;

use common::{PORT, echo, echo_node};
use mobula_env::{Env, SimConfig, SimHandle, SimReport, simulate};
use mobula_protocol::Nanos;
use std::process::Command;

/// Set in the child processes: the seed to run with.
const SEED: &str = "MOBULA_DETERMINISM_SEED";
const CHILD: &str = "one_run_for_the_parent";

/// Three servers and concurrent callers, a partition, a kill, a restart and a pause.
async fn scenario(env: Env, sim: SimHandle) {
    for name in ["A", "B", "C"] {
        sim.start_node(name, 2, echo_node).await;
    }
    let callers: Vec<_> = ["A", "B", "C"].map(|name| env.spawn("caller", caller(env.clone(), name))).into();
    env.sleep(Nanos::millis(20)).await;
    sim.partition("B", "driver").await;
    env.sleep(Nanos::millis(20)).await;
    sim.kill("C").await;
    sim.pause("A").await;
    env.sleep(Nanos::millis(30)).await;
    sim.heal_all().await;
    sim.restart("C").await;
    sim.resume("A").await;
    for caller in callers {
        caller.await.expect("the caller finishes");
    }
}

async fn caller(env: Env, to: &'static str) {
    let mut rng = env.rng(to);
    let mut client = None;
    for n in 0..40 {
        env.sleep(Nanos(rng.below(5_000_000))).await;
        if client.is_none() {
            client = env.rpc_connect(&format!("{to}:{PORT}")).await.ok();
        }
        let Some(client) = &client else { continue };
        match echo(client, &n.to_string()).await {
            Ok(text) => env.emit("reply", format_args!("{to} {text}")),
            Err(e) => env.emit("error", format_args!("{to} {n} {e}")),
        }
    }
}

fn run(seed: u64) -> SimReport<()> {
    simulate(SimConfig { seed, trace: true, ..SimConfig::default() }, scenario)
}

#[test]
#[ignore = "what the child processes of the next test run"]
fn one_run_for_the_parent() {
    let seed = std::env::var(SEED).expect("the parent names the seed");
    let report = run(seed.parse().expect("a number"));
    report.outcome.expect("the scenario completes");
    for line in &report.lines {
        println!("line {line}");
    }
    println!("line hash {:016x} of {} at {}", report.log_hash, report.events, report.virtual_time.0);
}

/// The lines of a run in a process of its own.
fn in_a_process(seed: u64) -> Vec<String> {
    let exe = std::env::current_exe().expect("the path of this test");
    let output = Command::new(exe)
        .args(["--ignored", "--exact", CHILD, "--nocapture", "--test-threads=1"])
        .env(SEED, seed.to_string())
        .output()
        .expect("the child runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| Some(line.split_once("line ")?.1.to_owned())).collect()
}

#[test]
fn two_processes_write_the_same_log_and_another_seed_another() {
    for seed in [1, 2] {
        let (first, second) = (in_a_process(seed), in_a_process(seed));
        assert!(first.len() > 100, "{} lines", first.len());
        for (line, other) in first.iter().zip(&second) {
            assert_eq!(line, other, "seed {seed}: the first difference");
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
        for kind in [" reply ", " error ", " kill ", " partition "] {
            assert!(first.iter().any(|line| line.contains(kind)), "no line with{kind}");
        }
    }
    assert_ne!(in_a_process(1), in_a_process(2));
}

#[test]
fn two_runs_in_one_process_are_equal() {
    let (first, second) = (run(7), run(7));
    assert_eq!(first.lines, second.lines);
    assert_eq!((first.log_hash, first.virtual_time), (second.log_hash, second.virtual_time));
    assert_ne!(first.log_hash, run(8).log_hash);
}
