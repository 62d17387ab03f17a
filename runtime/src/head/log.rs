//! The head's log: the turns it took, on disk before anybody hears of them.
//!
//! # What is in it
//! Not what changed, but what happened ([`Turn`]): the machines are pure, so taking the same turns again gives the same
//! state. This is the log of a replicated state machine (Schneider 1990; Raft section 7 for snapshots) with one replica.
//! A log of changes would need a record type, and a recovery, per table; and links would have to begin anew, with all
//! that was under way found out again between both sides. Here a restart is no event in the protocol: the head's
//! incarnation, the order of its messages and what each node has confirmed are as they were.
//!
//! # Files
//! ```text
//!   00000000000000000042.snapshot    all machines after turn 42
//!   00000000000000000042.log         turns 43, 44, ...: one frame a commit
//!   frame = magic, bytes of the body, xxh3-64 of what follows, number of its first turn, body
//! ```
//! A *commit* is what was there when the disk was free: many turns, one write, one sync (group commit). A snapshot is
//! written under another name, synced and renamed, and then what came before it is removed. Each life of the head begins
//! with a snapshot, so that it never writes behind a torn end.
//!
//! # Guarantees
//! - What was committed is found again, whatever happens to the process or the power.
//! - An end that is torn (the commit under way at a power cut) is left out: nobody has heard of those turns.
//! - Anything else that is not as it was written is an error that names the file and the place, and the head does not
//!   start: it must not forget what it promised. (A torn end is told from a damaged middle by the valid frame behind it:
//!   a frame is written only when the one before is durable. Damage to the very last frame looks like a torn end.)
//! - Turns that lead elsewhere than they did, because the program is another one, are an error too
//!   ([`LogError::Diverged`]): each is written with the number of messages sent so far.
//!
//! # What must not happen
//! Writing on after an error to the same file (see [`Disk::append_durably`]): whoever gets one begins a new snapshot.
//! Two heads writing to one log ([`Disk::hold`]).
//!
//! # Where we differ from Ray
//! The GCS writes rows of tables to Redis or RocksDB, one key at a time, and after a restart asks every raylet what it
//! has (`fault_tolerance/gcs.md`); messages published around a restart are lost (#22340), and restart races with
//! creation (#63763). It is durable only if an external store is given.

mod frame;
mod replay;
#[cfg(test)]
mod tests;

use super::core::{Core, Turn};
use bytes::Bytes;
use frame::Kind;
use mobula_env::{Disk, DiskHold};
use mobula_protocol::Nanos;
use mobula_protocol::member::PROTOCOL_VERSION;
use mobula_protocol::sched::SharedPolicy;
use replay::{Files, recover};
use serde::{Deserialize, Serialize};
use std::io;

/// The version of all that is in these files: the state of the machines, and what turns mean to them. Counts up with each
/// change of either.
pub const LOG_VERSION: u32 = 1;

/// A log that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk does not give it.
    #[error("the head's log: {0}")]
    Disk(#[from] io::Error),
    /// Another process writes to it.
    #[error("the head's log is in use: {0}; stop the other head or name another directory")]
    InUse(io::Error),
    /// It is not as it was written.
    #[error(
        "the head's log is damaged: {file}, byte {at}: {what}; restore the file, or move the directory away to begin a \
         new cluster (the nodes of this one will stop)"
    )]
    Damaged {
        /// The file.
        file: String,
        /// From which byte on.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// Another release wrote it.
    #[error("the head's log {file} has version {found}, this program reads {mine}; start the release that wrote it")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: Version,
        /// Ours.
        mine: Version,
    },
    /// Its turns led elsewhere when they were taken.
    #[error(
        "turn {turn} of the head's log has led to {said} messages when it was taken and leads to {now} now: this \
         program is not the one that wrote it; start the release that did"
    )]
    Diverged {
        /// The turn.
        turn: u64,
        /// Messages sent up to its end, by the log.
        said: u64,
        /// By this program.
        now: u64,
    },
    /// The cluster was started with another one.
    #[error(
        "the actors of this log's cluster are placed by the policy `{found}`, not `{mine}`; start its head with that"
    )]
    Policy {
        /// The policy in the log.
        found: String,
        /// The one given.
        mine: String,
    },
    /// The cluster was started with others.
    #[error(
        "the cluster of this log is watched every {period} with a timeout of {timeout}, which its nodes were told; \
         start its head with these"
    )]
    Settings {
        /// The period in the log.
        period: Nanos,
        /// The timeout in the log.
        timeout: Nanos,
    },
}

/// The version of a log: of its contents, and of the protocol that its turns speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// See [`LOG_VERSION`].
    pub log: u32,
    /// See [`PROTOCOL_VERSION`].
    pub protocol: u32,
}

impl Version {
    /// Ours.
    pub const MINE: Self = Self { log: LOG_VERSION, protocol: PROTOCOL_VERSION };
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.log, self.protocol)
    }
}

/// Turns that wait to be committed together: each with how many messages were sent up to its end.
#[derive(Default)]
pub(super) struct Commit {
    first: u64,
    turns: u64,
    body: Vec<u8>,
}

impl Commit {
    /// Adds the turn that will be number `number`, as far as it is known before it is taken. Follow it with
    /// [`Commit::said`].
    pub fn push(&mut self, number: u64, turn: &Turn) {
        if self.turns == 0 {
            self.first = number;
        }
        self.turns += 1;
        frame::append(&mut self.body, turn);
    }

    /// What the turn that was pushed last led to.
    pub fn said(&mut self, said: u64) {
        frame::append(&mut self.body, &said);
    }

    pub fn is_empty(&self) -> bool {
        self.turns == 0
    }

    fn to_bytes(&self) -> Bytes {
        frame::encode(Kind::Turns, self.first, &self.body)
    }
}

/// The files of a log whose past was read.
pub(super) struct Log {
    disk: Disk,
    /// What the present files are called, without their ends.
    name: String,
    /// Whether there are turns in the present file.
    begun: bool,
    bytes: u64,
    snapshot: u64,
    _hold: DiskHold,
}

impl Log {
    /// Opens the log on `disk`, and the core it leads to if it is not empty. Begin a [snapshot](Log::begin) next.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn open(disk: Disk, policy: &SharedPolicy) -> Result<(Self, Option<Core>), LogError> {
        let hold = disk.hold().await.map_err(|why| match why.kind() {
            io::ErrorKind::ResourceBusy => LogError::InUse(why),
            _ => LogError::Disk(why),
        })?;
        let mut files = Files::new();
        for path in disk.list("").await? {
            if replay::is_ours(&path) {
                let bytes = disk.read(&path, 0, disk.len(&path).await?).await?;
                files.insert(path, bytes);
            }
        }
        let core = recover(&files, policy)?;
        let log = Self { disk, name: String::new(), begun: false, bytes: 0, snapshot: 0, _hold: hold };
        Ok((log, core))
    }

    /// Makes a snapshot durable; turns go behind it from now on, and what was before it is removed.
    ///
    /// # Errors
    /// The disk's. Try again, with the same or a later snapshot.
    pub async fn begin(&mut self, turns: u64, snapshot: Bytes) -> io::Result<()> {
        let name = format!("{turns:020}");
        let (draft, path) = (format!("{name}.draft"), format!("{name}.snapshot"));
        let size = snapshot.len() as u64;
        self.disk.write(&draft, snapshot).await?;
        self.disk.sync(&draft).await?;
        self.disk.rename(&draft, &path).await?;
        self.disk.sync(&path).await?;
        for old in self.disk.list("").await? {
            if replay::is_ours(&old) && old != path {
                self.disk.remove(&old).await?;
            }
        }
        (self.name, self.begun, self.bytes, self.snapshot) = (name, false, 0, size);
        Ok(())
    }

    /// Makes a commit durable; how many bytes it took.
    ///
    /// # Errors
    /// The disk's. Then only [`Log::begin`] may follow.
    pub async fn append(&mut self, commit: &Commit) -> io::Result<u64> {
        let (path, bytes) = (format!("{}.log", self.name), commit.to_bytes());
        let size = bytes.len() as u64;
        self.bytes += size;
        if self.begun {
            self.disk.append_durably(&path, bytes).await?;
            return Ok(size);
        }
        self.disk.append(&path, bytes).await?;
        self.disk.sync(&path).await?;
        self.begun = true;
        Ok(size)
    }

    /// Whether there is so much behind the snapshot that a new one is due: more than `least`, and more than the snapshot
    /// itself, so that writing snapshots costs no more than writing turns.
    pub fn is_long(&self, least: u64) -> bool {
        self.bytes > least.max(self.snapshot)
    }
}

/// All of a core, as [`Log::begin`] takes it.
pub(super) fn snapshot(core: &Core) -> Bytes {
    let mut body = Vec::new();
    frame::append(&mut body, &Version::MINE);
    frame::append(&mut body, core);
    frame::encode(Kind::Snapshot, core.turns(), &body)
}
