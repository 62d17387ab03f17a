//! A simulated disk that misbehaves: full, failing, slow, or with files damaged behind its owner's back.

use super::{Answer, Op, Tree};
use crate::rng::Rng;
use mobula_protocol::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

/// How a disk behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskFaults {
    /// Nothing more can be written (`ENOSPC`).
    pub full: bool,
    /// This share of all writes fails (`EIO`), drawn from a stream of the machine's own.
    pub error_rate: f64,
    /// Every operation takes so many times as long.
    pub slower: u64,
}

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskDamage {
    /// It is gone.
    Lose,
    /// The second half is gone.
    Truncate,
    /// One bit in its middle is another one.
    FlipBit,
}

/// The disk of a simulated machine, with its faults and the claims of the present life.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    tree: Tree,
    pub faults: DiskFaults,
    draws: Rng,
    claims: BTreeSet<String>,
    /// When files were last written as a whole.
    written: BTreeMap<String, Nanos>,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self { full: false, error_rate: 0.0, slower: 1 }
    }
}

impl FaultyDisk {
    pub fn new(seed: u64, machine: &str) -> Self {
        let draws = Rng::new(seed, machine, "disk errors");
        Self {
            tree: Tree::default(),
            faults: DiskFaults::default(),
            draws,
            claims: BTreeSet::new(),
            written: BTreeMap::new(),
        }
    }

    /// The process that claimed directories is gone.
    pub fn new_life(&mut self) {
        self.claims.clear();
    }

    pub fn power_cut(&mut self) {
        self.tree.power_cut();
    }

    pub fn slower(&self) -> u64 {
        self.faults.slower
    }

    /// Runs an operation on `path` in `folder`.
    pub fn run(&mut self, now: Nanos, folder: &str, path: &str, op: Op) -> io::Result<Answer> {
        if matches!(op, Op::Write(_) | Op::Append(_) | Op::AppendDurably(_)) {
            if self.faults.full {
                return Err(io::Error::new(io::ErrorKind::StorageFull, format!("{path}: no space left on device")));
            }
            if self.faults.error_rate > 0.0 && self.draws.chance(self.faults.error_rate) {
                return Err(io::Error::other(format!("{path}: input/output error")));
            }
        }
        let full = format!("{folder}{path}");
        let op = match op {
            Op::Rename(to) => Op::Rename(format!("{folder}{to}")),
            Op::Written => return self.written(&full),
            op => op,
        };
        if matches!(op, Op::Write(_)) {
            self.written.insert(full.clone(), now);
        }
        match self.tree.run(&full, op)? {
            Answer::Paths(paths) => {
                let inside = paths.iter().filter_map(|path| path.strip_prefix(folder));
                Ok(Answer::Paths(inside.map(str::to_owned).collect()))
            }
            answer => Ok(answer),
        }
    }

    fn written(&mut self, path: &str) -> io::Result<Answer> {
        self.tree.run(path, Op::Len)?;
        let at = self.written.get(path).copied().unwrap_or_default();
        Ok(Answer::Written((at.0 / Nanos::secs(1).0) as i64))
    }

    /// `directory` ends with a `/`.
    pub fn claim(&mut self, directory: &str) -> io::Result<()> {
        if !self.files(directory).is_empty() || !self.claims.insert(directory.to_owned()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{directory}: it exists already")));
        }
        Ok(())
    }

    pub fn sweep(&mut self, folder: &str, prefix: &str) -> Vec<String> {
        let mut swept = BTreeSet::new();
        for (path, _) in self.files("") {
            let inside = path.strip_prefix(folder).and_then(|path| path.split_once('/'));
            let Some((directory, _)) = inside.filter(|(directory, _)| directory.starts_with(prefix)) else { continue };
            if !self.claims.contains(&format!("{folder}{directory}/")) {
                swept.insert(directory.to_owned());
                self.tree.remove(&path);
            }
        }
        swept.into_iter().collect()
    }

    /// The files whose path contains `part`, with their lengths, sorted.
    pub fn files(&self, part: &str) -> Vec<(String, u64)> {
        self.tree.files().filter(|(path, _)| path.contains(part)).map(|(path, len)| (path.to_owned(), len)).collect()
    }

    /// Damages the files whose path contains `part`.
    pub fn damage(&mut self, part: &str, damage: DiskDamage) -> usize {
        let files = self.files(part);
        for (path, _) in &files {
            match damage {
                DiskDamage::Lose => self.tree.remove(path),
                DiskDamage::Truncate => self.tree.change(path, |content| content.truncate(content.len() / 2)),
                DiskDamage::FlipBit => self.tree.change(path, |content| {
                    let middle = content.len() / 2;
                    content.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
                }),
            }
        }
        files.len()
    }
}

impl fmt::Display for DiskFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "full={} error_rate={} slower={}", self.full, self.error_rate, self.slower)
    }
}

impl fmt::Display for DiskDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lose => "lose",
            Self::Truncate => "truncate",
            Self::FlipBit => "flip_bit",
        })
    }
}
