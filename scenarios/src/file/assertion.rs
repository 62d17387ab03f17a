//! What must be true: of `assert` and `[expect]`.

use super::model::Name;
use crate::condition::Condition;
use mobula_runtime::Nanos;

/// Something must be true: conditions on counters by label (`None`: all labels together), and on copies of objects.
#[derive(Clone, Debug)]
pub struct Assert {
    /// Its line.
    pub line: usize,
    /// Counter, label, condition.
    pub counters: Vec<(Counter, Option<Name>, Condition)>,
    /// Number of nodes with a copy of an object.
    pub copies: Vec<(Name, Condition)>,
    /// Nodes that must, or must not, have a copy.
    pub held: Vec<(Name, Name, bool)>,
    /// What a node's store must hold.
    pub stores: Vec<(Name, StoreCounter, Condition)>,
    /// Nodes that must have stopped by themselves.
    pub stopped: Vec<Name>,
    /// Nodes, and how many strangers each has refused.
    pub refused: Vec<(Name, Condition)>,
    /// What became of jobs: `running`, `succeeded` or `failed`.
    pub jobs: Vec<(Name, String)>,
    /// How long it may take to become true.
    pub within: Option<Nanos>,
}

/// What is counted of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreCounter {
    /// Bytes in use.
    Used,
    /// The most bytes that were ever in use.
    Peak,
    /// Objects that are on disk only.
    SpilledObjects,
    /// Bytes of those.
    SpilledBytes,
    /// Spill files the store knows.
    Files,
    /// Spill files on the machine's disk, whoever left them there.
    FilesOnDisk,
    /// Pins.
    Pins,
    /// Cached copies that made room.
    Evicted,
    /// Copies on disk that left memory to make room.
    Spilled,
    /// Copies that made room because their task can make them again.
    Rebuildable,
    /// Copies lost on disk.
    Lost,
}

/// What is counted of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Tasks submitted.
    Submitted,
    /// Attempts that began to execute.
    Executions,
    /// Tasks whose results existed at least once.
    Finished,
    /// Tasks that failed for good.
    Failed,
    /// Attempts repeated after a crash, a dead node or a user error.
    Retried,
    /// Finished tasks run again because their results were lost.
    Rebuilt,
}
