//! Which specifications are kept to rebuild values, and what happens when they become too many or turn out not to make
//! the same values again.

use super::Owner;
use super::types::{Effect, Origin, Stage, Task};
use crate::{ByteSize, Located, ObjectId, TaskId, TaskSpec, Violation};
use std::collections::BTreeSet;

/// The finished tasks whose specifications are kept, within a limit in bytes.
#[derive(Debug)]
pub(super) struct Lineage {
    limit: ByteSize,
    bytes: ByteSize,
    /// In order of submission: the first is dropped first.
    kept: BTreeSet<TaskId>,
    evicted: u64,
}

impl Lineage {
    pub fn new(limit: ByteSize) -> Self {
        Self { limit, bytes: ByteSize::ZERO, kept: BTreeSet::new(), evicted: 0 }
    }

    pub fn bytes(&self) -> ByteSize {
        self.bytes
    }

    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// A finished task is kept.
    fn kept(&mut self, spec: &TaskSpec) {
        if self.kept.insert(spec.id) {
            self.bytes += spec.footprint();
        }
    }

    /// A task is not kept any more, or not as lineage: it runs again. Nothing if it was not kept.
    pub fn dropped(&mut self, spec: &TaskSpec) {
        if self.kept.remove(&spec.id) {
            self.bytes -= spec.footprint();
        }
    }

    /// The one to go next, if there is too much.
    fn surplus(&self) -> Option<TaskId> {
        if self.bytes > self.limit { self.kept.first().copied() } else { None }
    }

    /// Against the finished tasks that are really there.
    pub fn check<'a>(&self, finished: impl Iterator<Item = &'a TaskSpec>) -> Result<(), Violation> {
        let (mut bytes, mut kept) = (ByteSize::ZERO, BTreeSet::new());
        for spec in finished {
            bytes += spec.footprint();
            kept.insert(spec.id);
        }
        Violation::unless(kept == self.kept && bytes == self.bytes, "I31 lineage is accounted for", || {
            format!("{} in {} tasks, counted {} in {}", bytes, kept.len(), self.bytes, self.kept.len())
        })?;
        Violation::unless(bytes <= self.limit, "I31 lineage has a limit", || format!("{bytes} of {}", self.limit))
    }
}

impl Owner {
    /// A task is over: its specification stays if a result could need it, and the oldest ones go if they are too many.
    pub(super) fn keep_lineage(&mut self, id: TaskId, out: &mut Vec<Effect>) {
        if self.drop_lineage(id, out) {
            return;
        }
        // What a consumer still reads from is no mere lineage.
        let over = |task: &&Task| task.stage == Stage::Finished && !task.is_open();
        let Some(task) = self.tasks.get(&id).filter(over) else { return };
        self.lineage.kept(&task.spec);
        while let Some(oldest) = self.lineage.surplus() {
            self.evict_lineage(oldest, out);
        }
    }

    fn evict_lineage(&mut self, id: TaskId, out: &mut Vec<Effect>) {
        let results = self.results(id);
        let Some(task) = self.tasks.swap_remove(&id) else { return };
        self.lineage.dropped(&task.spec);
        self.lineage.evicted += 1;
        for object in results {
            if let Some(entry) = self.objects.get_mut(&object) {
                entry.origin = Origin::Evicted(task.spec.label.clone());
                // One that was lost and is wanted by nobody yet may be needed by nobody now.
                self.idle.push(object);
            }
        }
        for object in task.spec.reachable() {
            self.unhold(object, |entry| entry.lineage -= 1, out);
        }
    }

    /// Another version of `object` is accepted: what was made from the old one, and from that, does not count any more.
    /// Looks at every task once per invalidated object: this is rare, and an index would cost each argument.
    pub(super) fn invalidate_consumers(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        let mut changed = vec![object];
        while let Some(object) = changed.pop() {
            let mut finished = Vec::new();
            for (id, task) in &mut self.tasks {
                match task.stage {
                    _ if !task.spec.reachable().any(|argument| argument == object) => {}
                    Stage::Running { .. } => task.stale = true,
                    Stage::Finished => finished.push(*id),
                    Stage::Waiting | Stage::Resting { .. } | Stage::Queued => {}
                }
            }
            finished.sort_unstable();
            let results: Vec<ObjectId> = finished.into_iter().flat_map(|id| self.results(id)).collect();
            for result in results {
                if self.forget_version(result, out) {
                    changed.push(result);
                }
            }
        }
    }

    /// Drops the value of a result that its task can make again, and what is known of its contents. Says whether it had
    /// any version.
    fn forget_version(&mut self, object: ObjectId, out: &mut Vec<Effect>) -> bool {
        if !self.is_rebuildable_kind(object) {
            return false;
        }
        let Some(entry) = self.objects.get_mut(&object) else { return false };
        let had = entry.hash.take().is_some();
        let contained = std::mem::take(&mut entry.contains);
        self.let_go(contained, out);
        self.resolve(object, Located::Pending, out);
        self.lost(object, out);
        had
    }
}
