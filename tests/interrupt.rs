//! A program that somebody ends leaves nothing on the disk (reference C07; Ray test_object_spilling.py,
//! `test_file_deleted_when_driver_exits`).
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this test starts a process and ends it")]

use mobula::prelude::*;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Values of the program, in number and in bytes: more than its store of 256 MiB holds.
const VALUES: usize = 30;
const BYTES: usize = 12 << 20;

/// All spill files below `dir`.
fn spill_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { spill_files(&path) } else { vec![path] }).filter(is_spill).collect()
}

#[allow(clippy::ptr_arg, reason = "what an iterator of paths filters by")]
fn is_spill(path: &PathBuf) -> bool {
    path.extension().is_some_and(|extension| extension == "spill")
}

#[test]
fn c07_a_program_that_is_asked_to_end_leaves_no_spill_file() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let dir = std::env::temp_dir().join(format!("mobula-interrupt-{}-{signal}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut program = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_spills_and_waits", "--ignored", "--nocapture"])
            .env("TMPDIR", &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("spilled")));
        assert!(ready && !spill_files(&dir).is_empty(), "the program never spilled anything");
        let sent = Command::new("kill").args(["-s", signal, &program.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(program.wait().unwrap().code(), Some(code));
        assert_eq!(spill_files(&dir), [] as [PathBuf; 0]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
#[ignore = "run by c07_a_program_that_is_asked_to_end_leaves_no_spill_file"]
fn child_spills_and_waits() {
    let code = mobula::program(|ctx: Context| async move {
        let mut held = Vec::new();
        for n in 0..VALUES {
            held.push(ctx.put(&Blob::from(vec![n as u8; BYTES])).await?);
        }
        println!("spilled {}", ctx.memory().await?.usage.spilled);
        std::future::pending::<()>().await;
        drop(held);
        Ok(())
    });
    // What the test harness makes of a test is not how a program ends.
    let known = [130_u8, 143].into_iter().find(|known| code == std::process::ExitCode::from(*known));
    std::process::exit(known.map_or(1, i32::from));
}
