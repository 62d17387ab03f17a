//! Group `spill`: objects for which a node's store has no room, to its disk and back.

mod disk;

use crate::clock::Stopwatch;
use crate::lab::{Lab, settle};
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use bytes::Bytes;
use mobula_runtime::{Blob, ByteSize, Context, ObjectRef, Result as TaskResult};
use std::hint::black_box;
use std::path::Path;

/// The node's store.
const BUDGET: ByteSize = ByteSize(256 << 20);
/// One object, and how many of them are four times the store.
const OBJECT: usize = 16 << 20;
const COUNT: usize = 64;
/// What travels each way.
const BYTES: usize = OBJECT * COUNT;
/// The names of the baselines.
const WRITE: &str = "sequential write of one file in the same directory, with fsync";
const READ: &str = "sequential read of that file";

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let repetitions = effort.of(5, 2);
    let measured =
        tempfile::tempdir().map_err(|why| format!("no directory to spill to: {why}")).and_then(|directory| {
            let disk = disk::speed(directory.path(), repetitions, BYTES)?;
            Ok((spilled(directory.path(), repetitions)?, disk))
        });
    match measured {
        Ok((ours, disk)) => vec![
            row("spill.4x", Ok(ours.there)).against(WRITE, &disk.there.map(rate)),
            row("restore.4x", Ok(ours.back)).against(READ, &disk.back.map(rate)),
        ],
        Err(why) => vec![row("spill.4x", Err(why.clone())), row("restore.4x", Err(why))],
    }
}

/// Seconds of both directions.
struct Ways {
    there: Sample,
    back: Sample,
}

fn row(name: &str, seconds: Result<Sample, String>) -> Row {
    Row::new(name, Unit::GigabytesPerSecond, seconds.map(|seconds| seconds.map(rate)))
}

fn rate(seconds: f64) -> f64 {
    BYTES as f64 / 1e9 / seconds
}

/// Puts the objects and gets them again in the order they came, so that the one wanted next is always on disk.
fn spilled(directory: &Path, repetitions: usize) -> Result<Ways, String> {
    let directory = directory.to_str().ok_or("the directory's name is no text")?;
    let lab = Lab::spilling(BUDGET, directory);
    let value = Blob(Bytes::from(vec![7; OBJECT]));
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for _ in 0..=repetitions {
        let (put, got) = lab.drive(async |context| once(context, &value).await)?;
        there.push(put);
        back.push(got);
    }
    Ok(Ways { there: Sample::warm(there), back: Sample::warm(back) })
}

async fn once(context: &Context, value: &Blob) -> TaskResult<(f64, f64)> {
    let watch = Stopwatch::start();
    let mut objects: Vec<ObjectRef<Blob>> = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        objects.push(context.put(value).await?);
    }
    let put = watch.seconds();
    let watch = Stopwatch::start();
    for object in &objects {
        let here = context.get(object).await?;
        assert_eq!(here.0.len(), OBJECT, "the object that was put");
        black_box(here.0.last());
    }
    let got = watch.seconds();
    drop(objects);
    settle(context).await?;
    Ok((put, got))
}
