//! What the disk does by itself.

#![allow(clippy::disallowed_methods, reason = "the baseline of spilling is the file of the system")]

use super::Ways;
use crate::clock::Stopwatch;
use crate::sample::Sample;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// How much goes to the system at once.
const PIECE: usize = 1 << 20;

/// Seconds to write a file of so many bytes until it is durable, and to read it, without the first of so many
/// repetitions.
///
/// # Errors
/// The disk's.
pub fn speed(directory: &Path, repetitions: usize, bytes: usize) -> Result<Ways, String> {
    let path = directory.join("baseline");
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for _ in 0..=repetitions {
        let (wrote, read) = once(&path, bytes).map_err(|why| format!("{}: {why}", path.display()))?;
        there.push(wrote);
        back.push(read);
    }
    Ok(Ways { there: Sample::warm(there), back: Sample::warm(back) })
}

fn once(path: &Path, bytes: usize) -> std::io::Result<(f64, f64)> {
    let mut piece = vec![7; PIECE];
    let watch = Stopwatch::start();
    let mut file = File::create(path)?;
    for _ in 0..bytes / PIECE {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let wrote = watch.seconds();
    let watch = Stopwatch::start();
    let mut file = File::open(path)?;
    for _ in 0..bytes / PIECE {
        file.read_exact(&mut piece)?;
    }
    let read = watch.seconds();
    std::fs::remove_file(path)?;
    Ok((wrote, read))
}
