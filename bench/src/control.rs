//! Group `control`: what the head's log costs, and what it gives back.

#![allow(clippy::disallowed_methods, reason = "the baseline of a log is the file of the system")]

use crate::clock::Stopwatch;
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use mobula_runtime::{Context, Embedded, EmbeddedNode, Env, Head, HeadSettings, RealConfig, Result as TaskResult};
use mobula_runtime::{actor, append_turns};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Actors of the row about restarts.
const ACTORS: usize = 10_000;
/// Turns in a commit of a busy head.
const TOGETHER: u64 = 64;
/// The names of the baselines.
const PIECES: &str = "append and fdatasync of the same bytes in as many pieces";
const WHOLE: &str = "write and fsync of as many bytes";

/// Waits for calls.
pub struct Idle;

#[actor]
impl Idle {
    pub fn new() -> Self {
        Self
    }

    /// Nothing.
    pub fn nothing(&mut self) {}
}

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let (repetitions, commits) = (effort.of(7, 3), effort.of(500, 100));
    let append = |name: &str, together| match appended(repetitions, commits, together) {
        Ok((ours, disk)) => Row::new(name, Unit::OpsPerSecond, Ok(ours)).against(PIECES, &disk),
        Err(why) => Row::new(name, Unit::OpsPerSecond, Err(why)),
    };
    let restart = match restarted(repetitions) {
        Ok((ours, disk, bytes)) => Row::new("restart.10k_actors", Unit::Millis, Ok(ours))
            .against(WHOLE, &disk)
            .noting(&format!("a log of {:.1} MB", bytes as f64 / 1e6)),
        Err(why) => Row::new("restart.10k_actors", Unit::Millis, Err(why)),
    };
    vec![append("log.append", TOGETHER), append("log.append.alone", 1), restart]
}

/// Turns per second, and what the disk can do.
fn appended(repetitions: usize, commits: usize, together: u64) -> Result<(Sample, Sample), String> {
    let root = tempfile::tempdir().map_err(|why| format!("no directory for a log: {why}"))?;
    let turns = commits as f64 * together as f64;
    let real = Env::real(RealConfig { node: "head".to_owned(), ..RealConfig::default() });
    let real = real.map_err(|why| why.to_string())?;
    let (mut ours, mut disk) = (Vec::new(), Vec::new());
    for repetition in 0..=repetitions {
        let directory = root.path().join(format!("log-{repetition}"));
        let name = directory.to_str().ok_or("the directory's name is no text")?;
        let watch = Stopwatch::start();
        let written = real.block_on(append_turns(&real.env, name, commits as u64, together));
        ours.push(turns / watch.seconds());
        let piece = written.map_err(|why| why.to_string())? as usize / commits;
        let seconds = pieces(&root.path().join("baseline"), piece, commits).map_err(|why| why.to_string())?;
        disk.push(turns / seconds);
    }
    Ok((Sample::warm(ours), Sample::warm(disk)))
}

fn pieces(path: &Path, piece: usize, count: usize) -> std::io::Result<f64> {
    let bytes = vec![7; piece];
    let watch = Stopwatch::start();
    let mut file = File::create(path)?;
    for _ in 0..count {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    Ok(watch.seconds())
}

/// Milliseconds to start a head on the log of many actors, what the disk can do, and the bytes of that log.
fn restarted(repetitions: usize) -> Result<(Sample, Sample, u64), String> {
    let root = tempfile::tempdir().map_err(|why| format!("no directory for a log: {why}"))?;
    let directory = root.path().join("log");
    let log = Some(directory.to_str().ok_or("the directory's name is no text")?.to_owned());
    let settings = HeadSettings { log, ..HeadSettings::default() };
    let nodes = [EmbeddedNode::new("local", crate::machine::cores() as u64)];
    let cluster = Embedded::with(&nodes, settings.clone(), 0).map_err(|why| why.to_string())?;
    let context = cluster.context().ok_or("the cluster has no node")?;
    cluster.block_on(create(context)).map_err(|why| why.to_string())?;
    drop(cluster);
    let bytes = size(&directory).map_err(|why| why.to_string())?;
    let (mut ours, mut disk) = (Vec::new(), Vec::new());
    for _ in 0..=repetitions {
        let real = Env::real(RealConfig { node: "head".to_owned(), ..RealConfig::default() });
        let real = real.map_err(|why| why.to_string())?;
        // The threads of the head before may still be ending.
        let free = real.block_on(real.env.disk().within(&settings.log.clone().unwrap_or_default()).hold());
        drop(free.map_err(|why| why.to_string())?);
        let watch = Stopwatch::start();
        let head = real.block_on(Head::start(&real.env, settings.clone())).map_err(|why| why.to_string())?;
        ours.push(watch.seconds() * 1e3);
        drop(head);
        real.kill();
        disk.push(whole(&root.path().join("baseline"), bytes).map_err(|why| why.to_string())? * 1e3);
    }
    Ok((Sample::warm(ours), Sample::warm(disk), bytes))
}

/// Actors that outlive this driver; returns when all live.
async fn create(context: &Context) -> TaskResult<()> {
    let mut calls = Vec::with_capacity(ACTORS);
    for _ in 0..ACTORS {
        let idle = Idle::actor().cpus(0.0).detached().create(context)?;
        calls.push(idle.nothing().submit(context)?);
    }
    context.get_all(&calls).await.map(drop)
}

fn size(directory: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn whole(path: &Path, bytes: u64) -> std::io::Result<f64> {
    let bytes = vec![7; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let watch = Stopwatch::start();
    let mut file = File::create(path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(watch.seconds())
}
