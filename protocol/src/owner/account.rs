//! What an owner can say of its objects in stores, for people: on whose account they are, and who keeps them.

use super::Owner;
use crate::{Incarnation, Located, ObjectId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An object of this owner that is in some store, and why it is not freed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Which.
    pub object: ObjectId,
    /// The driver on whose account it is.
    pub job: Incarnation,
    /// The label of the task that made it; `put` if the application put it, or if its task is forgotten.
    pub maker: Arc<str>,
    /// The nodes that have a copy, in id order.
    pub copies: Vec<Incarnation>,
    /// References held in the owner's process.
    pub local: u32,
    /// Unfinished tasks that it is an argument of, by argument.
    pub arguments: u32,
    /// Values of this owner that contain a reference to it.
    pub inside: u32,
    /// Finished tasks kept as lineage that it is an argument of, by argument.
    pub lineage: u32,
    /// Other processes that hold references, in id order.
    pub borrowers: Vec<Incarnation>,
}

impl Owner {
    /// Everything this owner has in stores, in id order. Reads every object.
    pub fn holdings(&self) -> Vec<Holding> {
        let mut stored: Vec<ObjectId> = self.objects.keys().copied().filter(|id| self.is_stored(*id)).collect();
        stored.sort_unstable();
        stored.into_iter().filter_map(|id| self.holding(id)).collect()
    }

    fn is_stored(&self, id: ObjectId) -> bool {
        matches!(self.directory.state(id), Located::Stored { .. })
    }

    fn holding(&self, object: ObjectId) -> Option<Holding> {
        let entry = self.objects.get(&object)?;
        let task = self.tasks.get(&object.task).map(|task| &task.spec);
        Some(Holding {
            object,
            job: task.map(|spec| spec.job).or(entry.job).unwrap_or(self.me),
            maker: task.map_or_else(|| "put".into(), |spec| spec.label.clone()),
            copies: self.directory.copies(object).to_vec(),
            local: entry.local,
            arguments: entry.submitted,
            inside: entry.contained,
            lineage: entry.lineage,
            borrowers: entry.borrowed.iter().filter(|(_, n)| **n > 0).map(|(by, _)| *by).collect(),
        })
    }
}
