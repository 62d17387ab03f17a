//! Which objects are in scope, and what goes when one no longer is.

use super::types::{Effect, Object, Origin, Stage, Task};
use super::{Owner, free, unknown};
use crate::directory::{Added, Gone};
use crate::{ByteSize, Incarnation, Located, ObjectId, TaskError, TaskErrorKind, TaskId};

impl Owner {
    pub(super) fn ref_added(&mut self, object: ObjectId) {
        if let Some(entry) = self.objects.get_mut(&object) {
            entry.local += 1;
        }
    }

    pub(super) fn ref_dropped(&mut self, object: ObjectId) {
        if let Some(entry) = self.objects.get_mut(&object) {
            debug_assert!(entry.local > 0, "{object} dropped more often than held");
            entry.local = entry.local.saturating_sub(1);
            self.idle.push(object);
        }
    }

    /// A registration of `by`, or its return. One that a lender made for a process which died meanwhile would never be
    /// given back, so it is not made (invariant I28).
    pub(super) fn borrowed(&mut self, object: ObjectId, by: Incarnation, change: i64) {
        if self.dead.contains(&by) {
            return;
        }
        if change < 0 && crate::planted!("owner-misses-returns") {
            return;
        }
        if let Some(entry) = self.objects.get_mut(&object) {
            let count = entry.borrowed.entry(by).or_default();
            *count += change;
            if *count == 0 {
                entry.borrowed.remove(&by);
            }
            self.idle.push(object);
        }
    }

    /// Looks at every object: deaths are rare, and an index of holders would cost each lent reference.
    pub(super) fn forget_borrower(&mut self, dead: Incarnation) {
        if crate::planted!("owner-keeps-dead-borrowers") {
            return;
        }
        for (id, object) in &mut self.objects {
            if object.borrowed.remove(&dead).is_some() {
                self.idle.push(*id);
            }
        }
    }

    pub(super) fn subscribe(&mut self, object: ObjectId, by: Incarnation, out: &mut Vec<Effect>) {
        if self.dead.contains(&by) {
            return;
        }
        if !self.objects.get(&object).is_some_and(Object::in_scope) {
            return out.push(Effect::Notify { to: by, object, located: Located::Failed(unknown(object)) });
        }
        self.directory.subscribe(object, by, &mut self.news);
        self.tell(out);
        self.want(object, out);
    }

    pub(super) fn copy_added(&mut self, object: ObjectId, at: Incarnation, size: ByteSize, out: &mut Vec<Effect>) {
        if self.dead.contains(&at) {
            return;
        }
        let wanted = self
            .objects
            .get(&object)
            .is_some_and(|entry| entry.in_scope() || (entry.origin != Origin::Task && entry.lineage > 0));
        let added = if wanted { self.directory.copy_added(object, at, size, &mut self.news) } else { Added::Refused };
        self.copies_changed(object);
        match added {
            Added::Further => self.tell(out),
            Added::Found => {
                self.tell(out);
                self.arrived(object, out);
            }
            // It came too late, or is of another version. What nobody needs must not stay there.
            Added::Refused => self.discard_copy(object, at, out),
        }
    }

    pub(super) fn copy_removed(&mut self, object: ObjectId, at: Incarnation, out: &mut Vec<Effect>) {
        let gone = self.directory.copy_removed(object, at, &mut self.news);
        self.copies_changed(object);
        self.tell(out);
        if gone == Gone::Last {
            self.lost(object, out);
        }
    }

    /// A copy that cannot be read is none; its node drops it.
    pub(super) fn copy_damaged(&mut self, object: ObjectId, at: Incarnation, out: &mut Vec<Effect>) {
        if self.directory.copies(object).binary_search(&at).is_ok() {
            free(at, object, out);
            self.copy_removed(object, at, out);
        }
    }

    /// A node dropped a primary copy because its task can run again. If it was the last, the task gets one more loss to
    /// spend: making room is not what the budget is for.
    pub(super) fn copy_evicted(&mut self, object: ObjectId, at: Incarnation, out: &mut Vec<Effect>) {
        if self.directory.copies(object) == [at]
            && let Some(task) = self.tasks.get_mut(&object.task)
        {
            task.losses_left = task.losses_left.map(|left| left.saturating_add(1));
        }
        self.copy_removed(object, at, out);
    }

    /// Records the references inside a value that now exists: they live at least as long as it does. Those of a lost
    /// value that it replaces are let go. `lent` says that the sender has registered this process with the owners of
    /// those that are not ours.
    pub(super) fn contain(&mut self, outer: ObjectId, refs: Vec<ObjectId>, lent: bool, out: &mut Vec<Effect>) {
        for inner in &refs {
            if lent && inner.owner() != self.me {
                out.push(Effect::Inherit(*inner));
            } else {
                self.hold(*inner, |entry| entry.contained += 1, out);
            }
        }
        let before = self.objects.get_mut(&outer).map(|entry| std::mem::replace(&mut entry.contains, refs));
        self.let_go(before.unwrap_or_default(), out);
    }

    /// The references inside a value that is no more.
    pub(super) fn let_go(&mut self, contained: Vec<ObjectId>, out: &mut Vec<Effect>) {
        for inner in contained {
            self.unhold(inner, |entry| entry.contained -= 1, out);
        }
    }

    /// Counts one more use of `object`: with `count` if it is ours, else with its owner.
    pub(super) fn hold(&mut self, object: ObjectId, count: impl FnOnce(&mut Object), out: &mut Vec<Effect>) {
        if object.owner() != self.me {
            out.push(Effect::Hold(object));
        } else if let Some(entry) = self.objects.get_mut(&object) {
            count(entry);
        }
    }

    /// The reverse of [`Owner::hold`].
    pub(super) fn unhold(&mut self, object: ObjectId, count: impl FnOnce(&mut Object), out: &mut Vec<Effect>) {
        if object.owner() != self.me {
            out.push(Effect::Unhold(object));
        } else if let Some(entry) = self.objects.get_mut(&object) {
            count(entry);
            self.idle.push(object);
        }
    }

    /// Frees what is out of scope among the idle objects, and what only they kept. A loop, not a recursion: a chain of
    /// lineage can be as long as the program ran.
    pub(super) fn release(&mut self, out: &mut Vec<Effect>) {
        while let Some(id) = self.idle.pop() {
            let Some(object) = self.objects.get(&id) else { continue };
            if object.in_scope() || (self.is_unfinished(id.task) && !self.is_stream(id.task)) {
                continue;
            }
            if object.lineage == 0 {
                self.dismiss(id, out);
                self.remove(id, out);
            } else if object.origin == Origin::Task && self.is_rebuildable_kind(id) {
                self.dismiss(id, out);
                self.drop_value(id, out);
            }
        }
    }

    /// Whoever still asks for an object that is out of scope must not wait for ever. Those who have their answer keep
    /// it.
    fn dismiss(&mut self, id: ObjectId, out: &mut Vec<Effect>) {
        let answered = matches!(self.directory.state(id), Located::Inline(_) | Located::Failed(_));
        for to in self.directory.subscribers(id).to_vec() {
            self.directory.unsubscribe(id, to);
            if !answered {
                out.push(Effect::Notify { to, object: id, located: Located::Failed(unknown(id)) });
            }
        }
        if let Some(entry) = self.objects.get_mut(&id) {
            let gone = |token| Effect::Exists { token, located: Located::Failed(unknown(id)) };
            out.extend(entry.awaited.drain(..).map(gone));
        }
    }

    fn remove(&mut self, id: ObjectId, out: &mut Vec<Effect>) {
        let Some(object) = self.objects.swap_remove(&id) else { return };
        if self.watched.remove(&id) {
            out.push(Effect::OutOfScope(id));
        }
        if object.item {
            self.item_removed(id);
        }
        self.replicas.forget(id);
        if self.persisted.forget(id) {
            out.push(Effect::Erase(id));
        }
        for at in self.directory.forget(id) {
            free(at, id, out);
        }
        self.let_go(object.contains, out);
        self.drop_lineage(id.task, out);
    }

    /// Frees every copy of a value that can be made again, but keeps the entry: somebody's lineage leads through it.
    fn drop_value(&mut self, id: ObjectId, out: &mut Vec<Effect>) {
        for at in self.directory.drop_copies(id, &mut self.news) {
            free(at, id, out);
        }
        self.copies_changed(id);
        self.tell(out);
        let contained = self.objects.get_mut(&id).map(|object| std::mem::take(&mut object.contains));
        self.let_go(contained.unwrap_or_default(), out);
    }

    fn is_unfinished(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| task.stage != Stage::Finished)
    }

    /// Whether some result of the task still has an entry whose value could be lost.
    pub(super) fn is_lineage(&self, task: TaskId) -> bool {
        if crate::planted!("owner-prunes-lineage") {
            return false;
        }
        let lineage = |id| self.objects.contains_key(&id) && self.is_rebuildable_kind(id);
        match self.tasks.get(&task) {
            Some(Task { stream: Some(stream), .. }) => stream.live.iter().any(|index| lineage(task.result(*index))),
            Some(Task { spec, .. }) => (0..spec.returns).any(|index| lineage(task.result(index))),
            None => false,
        }
    }

    /// Whether an object of ours is one that lineage is for: in shared memory, or lost from it.
    pub(super) fn is_rebuildable_kind(&self, object: ObjectId) -> bool {
        matches!(self.directory.state(object), Located::Stored { .. } | Located::Pending)
    }

    /// Forgets a finished task that no result needs any more, and what it kept of its arguments.
    /// Says whether it was one.
    pub(super) fn drop_lineage(&mut self, id: TaskId, out: &mut Vec<Effect>) -> bool {
        let over = self.tasks.get(&id).is_some_and(|task| task.stage == Stage::Finished && !task.is_open());
        if !over || self.is_lineage(id) {
            return false;
        }
        if let Some(task) = self.tasks.swap_remove(&id) {
            self.lineage.dropped(&task.spec);
            for object in task.spec.reachable() {
                self.unhold(object, |entry| entry.lineage -= 1, out);
            }
        }
        true
    }

    /// A value freed by hand is an error to whoever asks for it later, and is not rebuilt (Ray:
    /// `test_reconstruct_freed_object`). One that is still being made is freed as soon as it exists.
    pub(super) fn free_by_hand(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        if self.objects.contains_key(&object) && !matches!(self.directory.state(object), Located::Failed(_)) {
            self.fail(object, TaskError::new(TaskErrorKind::Freed, format!("{object} was freed by hand")), out);
        }
    }
}
