//! The arguments of tasks: where they are, whose they are, and who waits for them.

use super::types::{Agenda, Effect, Foreign, Token};
use super::{Owner, unknown};
use crate::{
    Arg, ByteSize, INLINE_TOTAL, Incarnation, Located, NodeId, ObjectId, TaskError, TaskErrorKind, TaskId, TaskSpec,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Whether an argument can be had.
pub(super) enum Availability {
    /// Now.
    Here,
    /// Not yet, or not until it is rebuilt.
    Missing,
    /// Never.
    Never(TaskError),
}

impl Owner {
    /// What is known of a task's argument, whoever owns it; nothing if there is no such object any more.
    fn located(&self, object: ObjectId) -> Option<&Located> {
        if object.owner() == self.me {
            self.objects.contains_key(&object).then(|| self.directory.state(object))
        } else {
            self.foreign.get(&object).map(|foreign| &foreign.located)
        }
    }

    pub(super) fn availability(&self, object: ObjectId) -> Availability {
        match self.located(object) {
            Some(Located::Pending) => Availability::Missing,
            Some(Located::Inline(_) | Located::Stored { .. }) => Availability::Here,
            Some(Located::Failed(error)) => Availability::Never(error.clone()),
            None => Availability::Never(unknown(object)),
        }
    }

    /// Bytes of the task's arguments by the nodes that hold them, in id order. An argument given twice counts twice.
    pub(super) fn near(&self, spec: &TaskSpec) -> Vec<(NodeId, ByteSize)> {
        let mut near: BTreeMap<NodeId, ByteSize> = BTreeMap::new();
        for object in spec.refs() {
            if let Some(Located::Stored { size, copies }) = self.located(object) {
                for at in copies {
                    *near.entry(at.node).or_default() += *size;
                }
            }
        }
        near.into_iter().collect()
    }

    /// The values of reference arguments that this process holds itself, by position, as far as one message should carry
    /// them. For the others the executing node asks.
    pub(super) fn inline_args(&self, spec: &TaskSpec) -> Vec<(u32, Bytes)> {
        let (mut inline, mut left) = (Vec::new(), INLINE_TOTAL.0);
        for (position, arg) in (0..).zip(&spec.args) {
            let Arg::Ref(object) = arg else { continue };
            if let Some(Located::Inline(bytes)) = self.located(*object)
                && bytes.len() as u64 <= left
            {
                left -= bytes.len() as u64;
                inline.push((position, bytes.clone()));
            }
        }
        inline
    }

    /// Registers the executing node as a holder of the references inside value arguments, before the task goes out.
    pub(super) fn lend_nested(&mut self, spec: &TaskSpec, to: Incarnation, out: &mut Vec<Effect>) {
        if to == self.me || crate::planted!("owner-lends-nothing") {
            return;
        }
        for arg in &spec.args {
            let Arg::Value(_, refs) = arg else { continue };
            for object in refs {
                if object.owner() == self.me {
                    self.borrowed(*object, to, 1);
                } else if object.owner() != to {
                    out.push(Effect::Lend { object: *object, to });
                }
            }
        }
    }

    pub(super) fn no_longer_waits(&mut self, id: TaskId, object: ObjectId) {
        if let Some(tasks) = self.waiting.get_mut(&object) {
            tasks.remove(&id);
            if tasks.is_empty() {
                self.waiting.remove(&object);
            }
        }
    }

    /// See [`super::Event::Await`]. An object that is out of scope is gone, as for a subscriber.
    pub(super) fn await_value(&mut self, object: ObjectId, token: Token, out: &mut Vec<Effect>) {
        let Some(entry) = self.objects.get_mut(&object).filter(|entry| entry.in_scope()) else {
            return out.push(Effect::Exists { token, located: Located::Failed(unknown(object)) });
        };
        match self.directory.state(object) {
            Located::Pending => {
                entry.awaited.push(token);
                self.want(object, out);
            }
            located => out.push(Effect::Exists { token, located: located.clone() }),
        }
    }

    pub(super) fn unawait(&mut self, object: ObjectId, token: Token) {
        if let Some(entry) = self.objects.get_mut(&object) {
            entry.awaited.retain(|waiter| *waiter != token);
        }
    }

    /// Tells those who wait in this process that an object is no longer pending.
    fn wake(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        let Some(entry) = self.objects.get_mut(&object).filter(|entry| !entry.awaited.is_empty()) else { return };
        let located = self.directory.state(object);
        if !matches!(located, Located::Pending) {
            out.extend(entry.awaited.drain(..).map(|token| Effect::Exists { token, located: located.clone() }));
        }
    }

    /// An object may have a value now, or failed: whoever waited for it goes on.
    pub(super) fn arrived(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        self.wake(object, out);
        if !self.waiting.contains_key(&object) {
            return;
        }
        let availability = self.availability(object);
        if matches!(availability, Availability::Missing) {
            return;
        }
        let woken = if crate::planted!("owner-wakes-one-waiter") { 1 } else { usize::MAX };
        for id in self.waiting.remove(&object).unwrap_or_default().into_iter().take(woken) {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            task.missing.remove(&object);
            if let Availability::Never(error) = &availability {
                self.agenda.push_back(Agenda::Fail { task: id, argument: object, error: error.clone() });
            } else if task.missing.is_empty() {
                // Another argument may have been lost meanwhile, so all are looked at again.
                self.wait_for_args(id, out);
            }
        }
    }

    /// Keeps this process informed about the arguments of a task that other processes own.
    pub(super) fn follow_foreign(&mut self, spec: &TaskSpec, out: &mut Vec<Effect>) {
        for object in spec.refs().filter(|object| object.owner() != self.me) {
            let dead = self.dead.contains(&object.owner());
            let entry = self.foreign.entry(object).or_insert_with(|| {
                out.push(Effect::Locate(object));
                Foreign { located: if dead { orphaned(object) } else { Located::Pending }, uses: 0 }
            });
            entry.uses += 1;
        }
    }

    pub(super) fn unfollow_foreign(&mut self, spec: &TaskSpec, out: &mut Vec<Effect>) {
        for object in spec.refs().filter(|object| object.owner() != self.me) {
            let Some(entry) = self.foreign.get_mut(&object) else { continue };
            entry.uses -= 1;
            if entry.uses == 0 {
                self.foreign.remove(&object);
                out.push(Effect::Unlocate(object));
            }
        }
    }

    pub(super) fn foreign_located(&mut self, object: ObjectId, located: Located, out: &mut Vec<Effect>) {
        if self.dead.contains(&object.owner()) {
            return;
        }
        if let Some(foreign) = self.foreign.get_mut(&object) {
            foreign.located = located;
            self.arrived(object, out);
        }
    }

    /// Objects of a dead owner have nobody left who knows them.
    pub(super) fn owner_died(&mut self, dead: Incarnation, out: &mut Vec<Effect>) {
        let orphans: Vec<ObjectId> = self.foreign.keys().filter(|object| object.owner() == dead).copied().collect();
        for object in orphans {
            if let Some(foreign) = self.foreign.get_mut(&object) {
                foreign.located = orphaned(object);
            }
            self.arrived(object, out);
        }
    }
}

fn orphaned(object: ObjectId) -> Located {
    let message = format!("{object}: its owner, {}, died", object.owner());
    Located::Failed(TaskError::new(TaskErrorKind::OwnerDied, message))
}
