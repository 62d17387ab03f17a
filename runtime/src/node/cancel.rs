//! Cancelled attempts, and the tasks that attempts have submitted.

use super::core::Core;
use mobula_protocol::actor::HostEvent;
use mobula_protocol::sched::executor;
use mobula_protocol::{Attempt, Message, TaskId};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

type Key = (TaskId, Attempt);

/// Attempts on this node that were cancelled and are not over. The loop writes them, those who run attempts look.
#[derive(Default)]
pub(crate) struct Cancels {
    /// How many there are, so that looking costs nothing while there are none.
    count: AtomicUsize,
    /// Whether the cancel was recursive.
    attempts: Mutex<BTreeMap<Key, bool>>,
    rung: Notify,
}

impl Cancels {
    /// Whether this attempt was cancelled.
    pub fn has(&self, task: TaskId, attempt: Attempt) -> bool {
        self.how((task, attempt)).is_some()
    }

    /// Resolves when this attempt is cancelled; never if it is not.
    pub async fn until(&self, task: TaskId, attempt: Attempt) {
        loop {
            let mut rung = pin!(self.rung.notified());
            // Registered before the look, so that a cancel in between is not missed.
            rung.as_mut().enable();
            if self.has(task, attempt) {
                return;
            }
            rung.await;
        }
    }

    /// Whether the cancel of this attempt was recursive; none if it was not cancelled.
    fn how(&self, key: Key) -> Option<bool> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.attempts().get(&key).copied()
    }

    fn add(&self, key: Key, recursive: bool) {
        let mut attempts = self.attempts();
        attempts.insert(key, recursive);
        self.count.store(attempts.len(), Ordering::Release);
        drop(attempts);
        self.rung.notify_waiters();
    }

    fn remove(&self, key: Key) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut attempts = self.attempts();
            attempts.remove(&key);
            self.count.store(attempts.len(), Ordering::Release);
        }
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<Key, bool>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the attempts at this node have submitted so far. An attempt is forgotten when it is over.
pub(super) struct Children {
    of: BTreeMap<Key, Vec<TaskId>>,
    cancels: Arc<Cancels>,
}

impl Children {
    pub fn new(cancels: Arc<Cancels>) -> Self {
        Self { of: BTreeMap::new(), cancels }
    }

    /// An attempt is over, but a thread may still run it: its context says that it is cancelled.
    pub fn tell_thread(&self, attempt: Key) {
        self.cancels.add(attempt, false);
    }

    /// Whether whoever runs this attempt is told that it is cancelled.
    #[cfg(test)]
    pub fn is_cancelled(&self, (task, attempt): Key) -> bool {
        self.cancels.has(task, attempt)
    }

    /// Whoever runs this attempt is told that nobody wants it, unless he was told before.
    pub fn unwanted(&self, attempt: Key) {
        if self.cancels.how(attempt).is_none() {
            self.cancels.add(attempt, false);
        }
    }

    /// No thread does any more.
    pub fn thread_ended(&self, attempt: Key) {
        self.cancels.remove(attempt);
    }
}

impl Core {
    /// An attempt at this node submitted a task. If it was cancelled meanwhile, so is the task, before it can start.
    pub(super) fn adopt_child(&mut self, parent: Key, child: TaskId) {
        match self.children.cancels.how(parent) {
            Some(true) => self.cancel_child(child),
            Some(false) => {}
            None if self.attempts.contains_key(&parent) => self.children.of.entry(parent).or_default().push(child),
            None => {}
        }
    }

    /// The owner of an attempt that is here does not want it any more.
    pub(super) fn cancel_attempt(&mut self, task: TaskId, attempt: Attempt, recursive: bool) {
        let key = (task, attempt);
        if self.attempts.contains_key(&key) {
            self.children.cancels.add(key, recursive);
            let children = self.children.of.remove(&key).unwrap_or_default();
            children.into_iter().filter(|_| recursive).for_each(|child| self.cancel_child(child));
        }
        if self.actors.host.knows(key) {
            return self.tell_host(HostEvent::Cancel(key));
        }
        self.tell_executor(executor::Event::Cancel { task, attempt });
    }

    fn cancel_child(&mut self, child: TaskId) {
        self.send(self.me, Message::CancelObject { object: child.result(0), recursive: true });
    }

    /// An attempt is over.
    pub(super) fn attempt_forgotten(&mut self, task: TaskId, attempt: Attempt) {
        self.children.cancels.remove((task, attempt));
        self.children.of.remove(&(task, attempt));
    }
}
