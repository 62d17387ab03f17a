//! Identities. Everything that can die and come back is named by (identity, epoch); see decision D3 in `ARCHITECTURE.md`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A cluster, from the first start of its head on: drawn at random, kept in the head's log, so that it outlives the head's
/// process but not its storage. Incarnations count from one in every cluster; only this tells two clusters apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u64);

/// A member of the cluster by name: the head gives each distinct node name one number, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The head itself.
    pub const HEAD: NodeId = NodeId(0);
}

/// The number of a life. The head counts registrations, so no two incarnations in a cluster ever share an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u32);

/// One life of one node: the only address a message may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Which node.
    pub node: NodeId,
    /// Which of its lives.
    pub epoch: Epoch,
}

impl Incarnation {
    /// The head's first life.
    pub const HEAD: Incarnation = Incarnation { node: NodeId::HEAD, epoch: Epoch(1) };

    /// Builds one from raw numbers.
    pub const fn new(node: u32, epoch: u32) -> Self {
        Self { node: NodeId(node), epoch: Epoch(epoch) }
    }
}

/// Who owns an object or a task: the process life that created it (Ownership, NSDI'21).
pub type OwnerId = Incarnation;

/// A task, named by its owner and the owner's own counter. Never random, so that a replay names the same things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The owner.
    pub owner: OwnerId,
    /// The owner's counter; tasks and puts draw from the same one.
    pub seq: u64,
}

impl FromStr for TaskId {
    type Err = NotATask;

    /// Reads what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, NotATask> {
        let read = || {
            let (seq, owner) = text.strip_prefix('t')?.split_once("@n")?;
            let (node, epoch) = owner.split_once('.')?;
            let owner = Incarnation::new(node.parse().ok()?, epoch.parse().ok()?);
            Some(Self { owner, seq: seq.parse().ok()? })
        };
        read().ok_or_else(|| NotATask(text.to_owned()))
    }
}

/// A text that names no task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no task; a task looks like t5@n2.7: task 5 of node 2 in its life 7")]
pub struct NotATask(pub String);

impl TaskId {
    /// The `index`-th return value of this task.
    pub const fn result(self, index: u32) -> ObjectId {
        ObjectId { task: self, index }
    }
}

/// An object: the `index`-th result of a task, or a put (a task id of its own that no task has, index 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// The producing task, or the put's own number.
    pub task: TaskId,
    /// Which of its results.
    pub index: u32,
}

impl ObjectId {
    /// Who answers for this object.
    pub const fn owner(self) -> OwnerId {
        self.task.owner
    }
}

/// A permission to run tasks of one class on one node, named by the owner that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    /// Who asked.
    pub owner: OwnerId,
    /// The owner's counter of lease requests.
    pub seq: u64,
}

/// A placement group, named by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId {
    /// Who made it.
    pub owner: OwnerId,
    /// The owner's counter of groups.
    pub seq: u64,
}

/// One of the reservations of a placement group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bundle {
    /// The group.
    pub group: GroupId,
    /// Which of its bundles, from 0.
    pub index: u32,
}

/// The number of a task's execution attempt, from 1. A result is accepted only from the current attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt(pub u32);

/// The registered name of a task function, such as `my_crate::total`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionId(pub Arc<str>);

impl From<&str> for FunctionId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == NodeId::HEAD { f.write_str("head") } else { write!(f, "n{}", self.0) }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.epoch.0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}@{}", self.seq, self.owner)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "o{}:{}@{}", self.task.seq, self.index, self.task.owner)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}@{}", self.seq, self.owner)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}@{}", self.seq, self.owner)
    }
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.group, self.index)
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_read_as_it_is_written() {
        let task = TaskId { owner: Incarnation::new(2, 7), seq: 5 };
        assert_eq!(task.to_string().parse(), Ok(task));
        for wrong in ["", "5@n2.7", "t5@2.7", "t5@n2", "t@n2.7", "t5@n2.x", "o5:0@n2.7"] {
            assert_eq!(wrong.parse::<TaskId>(), Err(NotATask(wrong.to_owned())));
        }
    }
}
