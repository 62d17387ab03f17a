//! The rooms of the house: who may import whom, and which names belong to one room alone. The rules are those of
//! `ARCHITECTURE.md`; a failure names the rule, the file and the line.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "this test reads the sources of the repository")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who may import whom, of ours. The root package and `bench` may import all.
const IMPORTS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("env", &["protocol"]),
    ("store", &["protocol"]),
    ("runtime/macros", &[]),
    ("runtime", &["protocol", "env", "store", "macros"]),
    ("data", &["runtime"]),
    ("sim", &["protocol", "env", "runtime"]),
    ("scenarios", &["sim", "data", "runtime"]),
];

/// Text that may stand in the sources of these rooms only, and why.
const NAMES: &[(&str, &[&str], &str)] = &[
    ("tokio::time", &["env"], "only env names tokio's time: elsewhere time is Env's, so that a simulator can own it"),
    ("tokio::net", &["env"], "only env names tokio's net: elsewhere the network is Env's"),
    ("tokio::fs", &["env"], "only env names tokio's fs: elsewhere files are Env's"),
    ("tokio::task", &["env"], "only env names tokio's task: elsewhere tasks are Env's, tied to a node"),
    ("tokio::spawn", &["env"], "only env spawns on tokio: elsewhere tasks are Env's, tied to a node"),
    ("turmoil::", &["env"], "only env names turmoil"),
    ("madsim::", &["env"], "only env names madsim"),
    ("tonic::", &["env"], "only env names tonic"),
    ("unsafe {", &["store/src/arena"], "unsafe lives in the store's arena alone"),
    ("unsafe impl", &["store/src/arena"], "unsafe lives in the store's arena alone"),
    ("tokio::", &["env", "store", "runtime", "data", "sim", "scenarios", "bench"], "protocol has no async"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, tests left out: they may play the outside world.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() && !["tests", "benches", "target", "macros"].contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_room_imports_only_what_it_may() {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    for (room, may) in allowed {
        let manifest =
            std::fs::read_to_string(root().join(room).join("Cargo.toml")).expect("every room has a manifest");
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let Some(other) = line.strip_prefix("mobula-") else { continue };
            let other = other.split(['.', ' ', '=']).next().unwrap_or_default();
            let tests_only = section.contains("dev-dependencies");
            assert!(
                may.contains(&other) || tests_only,
                "{room}/Cargo.toml {section}: `{room}` may import {may:?}, not `{other}` (ARCHITECTURE.md, \"Rooms\")"
            );
        }
    }
}

#[test]
fn names_stay_in_their_rooms() {
    let rooms = ["protocol", "env", "store", "runtime", "data", "sim", "scenarios", "bench", "src"];
    let mut broken = Vec::new();
    for room in rooms {
        let mut files = Vec::new();
        sources(&root().join(room), &mut files);
        files.sort();
        for file in files {
            let here = file.strip_prefix(root()).unwrap_or(&file).to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&file).expect("a source file can be read");
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                for (name, homes, rule) in NAMES {
                    if line.contains(name) && !homes.iter().any(|home| here.starts_with(home)) {
                        broken.push(format!("{here}:{}: `{name}`: {rule}", number + 1));
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "rules of ARCHITECTURE.md are broken:\n{}", broken.join("\n"));
}

#[test]
fn files_hold_one_idea() {
    let mut long = Vec::new();
    for room in ["protocol", "env", "store", "runtime", "data", "sim", "scenarios", "bench", "src", "tests"] {
        let mut files = Vec::new();
        sources(&root().join(room), &mut files);
        for file in files {
            let lines = std::fs::read_to_string(&file).expect("a source file can be read").lines().count();
            if lines > 600 {
                long.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "over 600 lines a file holds two ideas:\n{}", long.join("\n"));
}
