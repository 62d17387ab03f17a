//! Spilling: what is written to disk when memory is short, and where it lies there.
//!
//! The decisions are the [table](crate::table)'s, which calls the two machines here; the bytes are moved by whoever runs
//! the table, in the background, and reported back.
//!
//! ```text
//!  Table::work --> Work::Write(batch) --(write, read back, compare)--> Table::written
//!              --> Work::Remove(file) --(remove)---------------------> Table::removed
//!  Table::restore --> region, place   --(read, compare)--------------> Table::seal, Table::abort, Table::lose_spilled
//! ```
//!
//! | module | answers |
//! | --- | --- |
//! | `format` | what does a file look like, and is it whole? |
//! | `files` | which files exist, and which can go? |
//! | `directories` | which directory is next, and which one rests after an error? |
//!
//! # Guarantees, and what must NOT happen
//!
//! - A memory copy is dropped only after the file was written, read back and its checksums compared (invariant I23).
//! - A file's name is never used twice in one life of a node, and its directory carries the life's name: a late write
//!   of an older life cannot fall into a file of this one. (Ray's names collided: #26395)
//! - A file is removed if and only if no live object refers to it (I23). A removal that fails is tried again.
//! - A write that fails changes nothing: the objects stay in memory. Its directory rests, for twice as long each time,
//!   up to [`REST_LAST`]; others are used meanwhile.
//! - Files are not synced: they are worth something only as long as the memory of the node that wrote them, and a power
//!   cut ends that.
//!
//! # Differences from Ray
//!
//! Ray spills through worker processes in the language of the application, without checksums (#21782). It drops the
//! memory copy when the write is reported; here the object merely becomes *clean* and leaves memory when the room is
//! needed, so that one that is read soon needs no restore, as in a page cache. In Ray a reader of a damaged file
//! hangs (#24248, its test is switched off); here the copy is reported lost.

mod directories;
mod files;
pub mod format;

#[cfg(test)]
mod tests;

pub(crate) use directories::Directories;
pub use directories::{REST_FIRST, REST_LAST};
pub(crate) use files::Files;

use crate::View;
use mobula_protocol::{ByteSize, Nanos, ObjectId};
use std::fmt;

/// What happens to referenced primary copies when memory is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// They are written to disk.
    #[default]
    Spill,
    /// Those that their task can make again are dropped, least recently used first, and made again when they are needed
    /// (the policy of Ray's early versions). The others, such as puts, stay.
    Evict,
}

impl fmt::Display for MemoryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spill => "spill",
            Self::Evict => "evict",
        })
    }
}

impl std::str::FromStr for MemoryPolicy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "spill" => Ok(Self::Spill),
            "evict" => Ok(Self::Evict),
            other => Err(format!("`{other}` is no memory policy; there are `spill` and `evict`")),
        }
    }
}

/// How a table makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillSettings {
    /// What happens to primary copies.
    pub policy: MemoryPolicy,
    /// How many directories there are to write to. With none, nothing is spilled.
    pub directories: usize,
    /// Writing begins when unwritten primary copies take more than this share of the capacity, in percent.
    pub threshold: u64,
    /// Small objects share a file of at least this size, where there are enough of them.
    pub fuse: ByteSize,
}

impl SpillSettings {
    /// No spilling: a creation without room fails.
    pub const OFF: SpillSettings =
        SpillSettings { policy: MemoryPolicy::Spill, directories: 0, threshold: 100, fuse: ByteSize::ZERO };

    /// For a store of `capacity` bytes with so many directories: from 80 % on, files of 100 MiB (both as Ray does) or of
    /// an eighth of the store.
    pub fn for_store(capacity: ByteSize, policy: MemoryPolicy, directories: usize) -> Self {
        let fuse = ByteSize((capacity.0 / 8).clamp(1, 100 << 20));
        Self { policy, directories, threshold: 80, fuse }
    }
}

/// A spill file. Ordered by number, that is, by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// The number of the file, never used twice by one table.
    pub number: u64,
    /// In which of the directories.
    pub directory: usize,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}.spill", self.number)
    }
}

/// Where a spilled object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileName,
    /// Where its [record](format) begins in the file.
    pub offset: u64,
    /// The length of the object.
    pub len: ByteSize,
}

/// Objects to be written to one file.
#[derive(Debug)]
pub struct Batch {
    /// Where to.
    pub file: FileName,
    /// What, in this order. The views keep the bytes where they are; drop them before reporting the batch as written.
    pub objects: Vec<(ObjectId, View)>,
}

/// What whoever runs a table must do on disk.
#[derive(Debug)]
pub enum Work {
    /// Write these, and report [`Table::written`](crate::Table::written).
    Write(Batch),
    /// Remove this, and report [`Table::removed`](crate::Table::removed). One that does not exist is removed already.
    Remove(FileName),
}

/// Why a batch was not written, or a spilled object not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpillFailure {
    /// The disk is full.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// The operating system reports an error.
    #[error("{0}")]
    Io(String),
    /// The disk does not answer.
    #[error("the disk did not answer within {0}")]
    Hung(Nanos),
    /// The file is not there.
    #[error("the file is gone: {0}")]
    Missing(String),
    /// What is in the file is not what was written.
    #[error("{0}")]
    Damaged(#[from] format::FormatError),
}

impl SpillFailure {
    /// Whether what was to be read is given up at once. Other failures may pass, and are waited out for a while.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Damaged(_) | Self::Hung(_))
    }
}
