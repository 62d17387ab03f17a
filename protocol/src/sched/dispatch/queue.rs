//! The queued tasks of one class, oldest first but for second turns, with holes where tasks were taken out.

use super::{MAX_SKIPS, WINDOW};
use crate::{ByteSize, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Holes a queue may have beside as many as it has tasks.
const SPARE_HOLES: usize = 64;

/// Where a queued task is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) class: usize,
    pub(super) number: u64,
    pub(super) near: bool,
}

/// One enqueue of one task. It is a hole unless the index has its number for its task.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) task: TaskId,
    pub(super) number: u64,
    pub(super) near: Vec<(NodeId, ByteSize)>,
    /// The node of its largest argument.
    pub(super) home: Option<NodeId>,
}

type Index = BTreeMap<TaskId, Place>;

impl Entry {
    fn is_live(&self, index: &Index) -> bool {
        index.get(&self.task).is_some_and(|place| place.number == self.number)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// Entries that are no holes.
    live: usize,
    /// Live entries with a home.
    near: usize,
    /// How often the head was passed over.
    skips: u32,
}

impl Queue {
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Last in line, or `first`.
    pub(super) fn push(&mut self, entry: Entry, first: bool) {
        self.live += 1;
        self.near += usize::from(entry.home.is_some());
        if first {
            self.skips = 0;
            self.entries.push_front(entry);
        } else {
            self.entries.push_back(entry);
        }
    }

    /// A task was taken out of the index: its entry is a hole now. Constant time, amortised.
    pub(super) fn removed(&mut self, near: bool, index: &Index) {
        self.live -= 1;
        self.near -= usize::from(near);
        if self.entries.len() > 2 * self.live + SPARE_HOLES {
            self.entries.retain(|entry| entry.is_live(index));
        }
    }

    /// The home of the oldest task.
    pub(super) fn head_home(&mut self, index: &Index) -> Option<NodeId> {
        if self.near == 0 {
            return None;
        }
        self.drop_holes(index);
        self.entries.front().and_then(|entry| entry.home)
    }

    /// Argument bytes of the `n`-th of the first few tasks; nothing further back.
    pub(super) fn near(&self, n: usize, index: &Index) -> &[(NodeId, ByteSize)] {
        if self.near == 0 || n >= WINDOW {
            return &[];
        }
        self.entries.get(n).filter(|entry| entry.is_live(index)).map_or(&[], |entry| &entry.near)
    }

    /// Takes the next task for a lease on `node`, out of the index too.
    pub(super) fn take(&mut self, node: NodeId, index: &mut Index) -> Option<TaskId> {
        self.drop_holes(index);
        let suits = |entry: &Entry| entry.home == Some(node) && entry.is_live(index);
        let chosen = match self.near > 0 && self.skips < MAX_SKIPS {
            true => self.entries.iter().take(WINDOW).position(suits).unwrap_or(0),
            false => 0,
        };
        self.skips = if chosen == 0 { 0 } else { self.skips + 1 };
        let entry = self.entries.remove(chosen)?;
        index.remove(&entry.task);
        self.live -= 1;
        self.near -= usize::from(entry.home.is_some());
        Some(entry.task)
    }

    fn drop_holes(&mut self, index: &Index) {
        while self.entries.front().is_some_and(|entry| !entry.is_live(index)) {
            self.entries.pop_front();
            self.skips = 0;
        }
    }
}
