//! A bounded sweep: plans drawn from fixed seeds, and faults chosen by lineage, must pass on turmoil. What they never
//! reached is printed (`cargo test --test sweep -- --nocapture`). The long sweep is in scenarios/README.md.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "this test starts the program")]

use std::process::Command;

/// A failing plan is written into the folder, which stays; its path is in what the program says.
fn sweep(name: &str, seeds: &str, options: &[&str]) {
    let folder = std::env::temp_dir().join(format!("mobula-sweep-{}-{name}", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobula"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.arg("sweep").arg(&folder).args(["--swarm", "--seeds", seeds]).args(options);
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("runs/s") && said.contains("situations"), "{said}");
}

#[test]
fn plans_drawn_from_seeds_pass() {
    sweep("random", "0..150", &["--jobs", "2"]);
}

#[test]
fn faults_that_cut_what_results_rest_on_do_no_harm() {
    sweep("lineage", "1000..1080", &["--search", "lineage"]);
}
