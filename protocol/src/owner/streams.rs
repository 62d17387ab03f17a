//! Generators: tasks whose results come one by one, as many as they like.
//!
//! # How far a generator may run ahead
//! Its node makes items below the [`Credit`] it has. Without a limit that is all of them; with a limit `k` it is `k`
//! more than the consumer has taken, so at most `k` items exist that nobody has taken (I17). A generator without credit
//! waits, and gives its cpu back meanwhile.
//!
//! # When it runs again
//! After a crash, after an error that may be repeated, and to rebuild a lost item, a generator runs from its beginning.
//! Items that have a value, or that nobody refers to any more, are dropped on arrival; lost ones get their value back;
//! new ones follow where the last attempt ended. So the consumer notices nothing.
//!
//! New items follow only what they belong to: unless other values are accepted ([`Replay::Accept`]), an attempt that comes
//! to its first new item after other items than the consumer was given is ended there, with `NondeterministicReplay`. A
//! digest of all items so far is kept for that, also of those that nobody refers to any more. (Ray would go on, with the
//! beginning of one run and the end of another.)
//!
//! A method of an actor that streams is the same to its owner. Its attempts are those of the call: after the end of an
//! incarnation under it the next one runs the method again from its beginning, at the cost of the crash budget.
//!
//! If an item is lost that the running attempt has passed already, and somebody wants it, the attempt is told to stop
//! where it is, and once it has stopped the generator runs again, at the cost of the loss budget. (The consumer may be
//! waiting for just that item, and the generator for the consumer.)
//!
//! A generator must yield as many items as before. If a complete run does not reach what an earlier one made, or goes
//! beyond the end of a complete one, what is still lost fails with `ReplayMismatch`, and so does the end if the
//! consumer has not had it. (Ray checks this since #64394; before, it waited for ever: #39109.)
//!
//! # When the consumer leaves
//! Items that it did not take are freed, and the generator stops after the last one that it took: that is as far as
//! anything could ever need it again. If it took none, the task is cancelled.

use super::Owner;
use super::attempts::spend;
use super::types::{Effect, Object, Stage, Task};
use crate::{
    Attempt, Credit, Incarnation, Located, ObjectId, Replay, TaskError, TaskErrorKind, TaskId, TaskResult, Violation,
};
use std::collections::BTreeSet;

/// What is known of the items of a generator.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Items that have an entry: in scope, or needed by lineage.
    pub live: BTreeSet<u32>,
    /// Items that any attempt has made.
    pub made: u32,
    /// Digest of those, as they were when they were new.
    digest: u64,
    /// Items that the current attempt has made.
    pub seen: u32,
    /// Digest of those.
    seen_digest: u64,
    /// Items that the consumer has taken.
    pub taken: u32,
    /// How many there are, once an attempt has come to its end.
    pub total: Option<u32>,
    /// Why there are no more.
    pub failed: Option<TaskError>,
    /// Whether the consumer waits for the next one.
    pub waits: bool,
    /// Whether the consumer wants no more.
    pub dropped: bool,
    /// Whether the current attempt was told to stop, because it has passed an item that is to be rebuilt.
    pub again: bool,
}

impl Stream {
    /// How far the current attempt may go.
    fn credit(&self, ahead: Option<u32>) -> Credit {
        match ahead {
            _ if self.again => Credit { upto: 0, stop: true },
            _ if self.dropped => Credit { upto: self.taken, stop: true },
            // A rebuild of a complete generator adds nothing that nobody has taken.
            Some(ahead) if self.total.is_none() => {
                Credit { upto: self.taken.saturating_add(ahead.max(1)), stop: false }
            }
            Some(_) | None => Credit { upto: u32::MAX, stop: false },
        }
    }
}

impl Owner {
    pub(super) fn is_stream(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.stream.is_some())
    }

    /// The results of a task that are known here.
    pub(super) fn results(&self, id: TaskId) -> Vec<ObjectId> {
        let Some(task) = self.tasks.get(&id) else { return Vec::new() };
        match &task.stream {
            Some(stream) => stream.live.iter().map(|index| id.result(*index)).collect(),
            None => (0..task.spec.returns).map(|index| id.result(index)).collect(),
        }
    }

    /// A new attempt was pushed: it begins at the first item.
    pub(super) fn stream_pushed(&mut self, id: TaskId, out: &mut Vec<Effect>) {
        if let Some(stream) = self.tasks.get_mut(&id).and_then(|task| task.stream.as_mut()) {
            (stream.seen, stream.seen_digest, stream.again) = (0, 0, false);
            self.send_credit(id, out);
        }
    }

    fn send_credit(&self, id: TaskId, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get(&id) else { return };
        if let (Stage::Running { to, .. }, Some(stream), Some(streaming)) = (task.stage, &task.stream, task.spec.stream)
        {
            out.push(Effect::Credit { to, task: id, attempt: task.attempt, credit: stream.credit(streaming.ahead) });
        }
    }

    /// An attempt made its next item.
    pub(super) fn item(
        &mut self,
        from: Incarnation,
        id: TaskId,
        attempt: Attempt,
        index: u32,
        result: TaskResult,
        out: &mut Vec<Effect>,
    ) {
        if self.dead.contains(&from) {
            return;
        }
        let object = id.result(index);
        let current =
            |task: &&mut Task| task.attempt == attempt && matches!(task.stage, Stage::Running { to, .. } if to == from);
        let Some(task) = self.tasks.get_mut(&id).filter(current) else {
            return self.refuse(from, object, result, out);
        };
        let (spec, stale) = (task.spec.clone(), task.stale);
        let Some(stream) = &mut task.stream else { return self.refuse(from, object, result, out) };
        stream.seen = index.saturating_add(1);
        let new = index == stream.made;
        let wanted = !stream.again && !stream.dropped && !stale && stream.total.is_none();
        let other = stream.seen_digest != stream.digest && spec.replay == Replay::Strict;
        stream.seen_digest = fold(stream.seen_digest, result.hash);
        if new && wanted && other {
            self.started(id, attempt);
            self.refuse(from, object, result, out);
            let message = format!("{} ({id}) made other items before number {index} when it ran again", spec.label);
            return self.end(id, true, TaskError::new(TaskErrorKind::NondeterministicReplay, message), out);
        }
        if new && wanted {
            stream.made += 1;
            stream.digest = stream.seen_digest;
            stream.live.insert(index);
            self.objects.insert(object, Object { local: 1, item: true, ..Object::default() });
            self.make_durable(object, spec.durability);
        }
        self.started(id, attempt);
        if new && !wanted {
            return self.refuse(from, object, result, out);
        }
        self.publish(from, object, result, &spec, out);
        self.arrived(object, out);
        self.answer_consumer(id, out);
    }

    /// An item has no entry any more.
    pub(super) fn item_removed(&mut self, object: ObjectId) {
        if let Some(stream) = self.tasks.get_mut(&object.task).and_then(|task| task.stream.as_mut()) {
            stream.live.remove(&object.index);
        }
    }

    pub(super) fn next_item(&mut self, id: TaskId, out: &mut Vec<Effect>) {
        match self.tasks.get_mut(&id).and_then(|task| task.stream.as_mut()) {
            Some(stream) => {
                stream.waits = true;
                self.answer_consumer(id, out);
            }
            // Not a generator of ours.
            None => out.push(Effect::Next { task: id, item: Ok(None) }),
        }
    }

    fn answer_consumer(&mut self, id: TaskId, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some(stream) = task.stream.as_mut().filter(|stream| stream.waits) else { return };
        let item = if stream.taken < stream.made {
            stream.taken += 1;
            Ok(Some(id.result(stream.taken - 1)))
        } else if let Some(error) = &stream.failed {
            Err(error.clone())
        } else if stream.total.is_some() {
            Ok(None)
        } else {
            return;
        };
        stream.waits = false;
        let taken = matches!(item, Ok(Some(_)));
        out.push(Effect::Next { task: id, item });
        if taken {
            self.send_credit(id, out);
        }
    }

    /// The current attempt came to its end. Says whether the task is over; else it waits to run again.
    pub(super) fn stream_ended(&mut self, id: TaskId, out: &mut Vec<Effect>) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return true };
        let Some(stream) = &mut task.stream else { return true };
        if stream.again {
            self.wait_for_args(id, out);
            return false;
        }
        // Where it was told to stop is not its end.
        let (seen, stopped) = (stream.seen, stream.dropped);
        let before = stream.total.unwrap_or(stream.made);
        let same = stopped || seen == before || (seen > before && stream.total.is_none());
        if !same {
            let label = &task.spec.label;
            let message = format!("{label} ({id}) yielded {seen} items when it ran again, and {before} before");
            let error = TaskError::new(TaskErrorKind::ReplayMismatch, message);
            stream.failed = Some(error.clone());
            for object in self.results(id) {
                if matches!(self.directory.state(object), Located::Pending) {
                    self.fail_value(object, error.clone(), out);
                }
            }
        } else if !stopped {
            stream.total = Some(seen);
        }
        self.answer_consumer(id, out);
        true
    }

    /// The task failed for good.
    pub(super) fn stream_failed(&mut self, id: TaskId, error: TaskError, out: &mut Vec<Effect>) {
        if let Some(stream) = self.tasks.get_mut(&id).and_then(|task| task.stream.as_mut()) {
            // A complete stream keeps its end, whatever becomes of its items.
            if stream.total.is_none() {
                stream.failed = Some(error);
            }
            self.answer_consumer(id, out);
        }
    }

    /// Somebody wants an item without a value. If the running attempt will not come to it any more, it is told to stop.
    pub(super) fn rerun_stream_for(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        let id = object.task;
        let Some(task) = self.tasks.get_mut(&id).filter(|task| matches!(task.stage, Stage::Running { .. })) else {
            return;
        };
        let Some(stream) = task.stream.as_mut().filter(|stream| object.index < stream.seen && !stream.again) else {
            return;
        };
        if spend(&mut task.losses_left) {
            stream.again = true;
            self.counters[task.label].1.rebuilt += 1;
            self.send_credit(id, out);
        } else {
            let label = task.spec.label.clone();
            let reason = self.exhausted(id);
            self.unreconstructable(object, reason, &label, out);
        }
    }

    pub(super) fn stream_dropped(&mut self, id: TaskId, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let unfinished = task.stage != Stage::Finished;
        let Some(stream) = task.stream.as_mut().filter(|stream| !stream.dropped) else { return };
        (stream.dropped, stream.waits) = (true, false);
        let (taken, made) = (stream.taken, stream.made);
        for index in taken..made {
            self.ref_dropped(id.result(index));
        }
        match (unfinished, taken) {
            (true, 0) => self.cancel(id, false, out),
            (true, _) => self.send_credit(id, out),
            (false, _) => self.keep_lineage(id, out),
        }
    }

    pub(super) fn check_stream(&self, id: TaskId, task: &Task) -> Result<(), Violation> {
        let Some(stream) = &task.stream else { return Ok(()) };
        let ahead = task.spec.stream.and_then(|streaming| streaming.ahead).map_or(u32::MAX, |ahead| ahead.max(1));
        let right = stream.taken <= stream.made
            && stream.made - stream.taken <= ahead
            && stream.total.is_none_or(|total| total >= stream.made)
            && !(stream.waits && (stream.taken < stream.made || stream.total.is_some() || stream.failed.is_some()))
            && (task.stage != Stage::Finished || stream.dropped || stream.total.is_some() || stream.failed.is_some());
        Violation::unless(right, "I17 items in order and not too many", || format!("{id}: {stream:?}"))
    }
}

/// FNV-1a, by words of 64 bits.
fn fold(digest: u64, hash: u64) -> u64 {
    (digest ^ hash).wrapping_mul(0x0000_0100_0000_01b3)
}
