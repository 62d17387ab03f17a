//! Generators that run on this node: how far they may go, and what they yield.

use super::core::Core;
use super::worker::{Job, died, name};
use crate::Error;
use crate::api::{Context, Output, Placed};
use crate::node::Input;
use mobula_env::Env;
use mobula_protocol::{Attempt, Credit, Message, ResultPlace, TaskId, TaskOutcome, TaskResult};
use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

type Key = (TaskId, Attempt);

/// How far each generator here may go. The loop writes it, workers wait for it.
#[derive(Default)]
pub(crate) struct Credits {
    attempts: Mutex<BTreeMap<Key, Credit>>,
    rung: Notify,
}

/// What a generator does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Make the item.
    Go,
    /// End here.
    Stop,
}

impl Credits {
    /// What an attempt does about item `index`, if that can be said now.
    pub(super) fn now(&self, key: Key, index: u32) -> Option<Turn> {
        match self.attempts().get(&key) {
            Some(credit) if index < credit.upto => Some(Turn::Go),
            Some(Credit { stop: true, .. }) => Some(Turn::Stop),
            Some(_) | None => None,
        }
    }

    /// The same, once it can be said.
    pub(super) async fn turn(&self, key: Key, index: u32) -> Turn {
        loop {
            let mut rung = pin!(self.rung.notified());
            // Registered before the look, so that credit given in between is not missed.
            rung.as_mut().enable();
            if let Some(turn) = self.now(key, index) {
                return turn;
            }
            rung.await;
        }
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<Key, Credit>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the attempt of this context does about its item `index`. While it waits for credit it has no cpu.
pub(super) async fn turn(context: &Context, key: Key, index: u32) -> Turn {
    let credits = &context.shared().credits;
    match credits.now(key, index) {
        Some(turn) => turn,
        None => {
            let _blocked = context.blocked();
            credits.turn(key, index).await
        }
    }
}

/// What an attempt's iterator said when it was asked for an item, or its panic.
pub(super) type Next = Result<Option<Result<Output, Error>>, Box<dyn Any + Send>>;

/// Stores and reports the item that was made, or says how the attempt ended.
pub(super) async fn made(context: &Context, env: &Env, job: &Job, index: u32, next: Next) -> ControlFlow<TaskOutcome> {
    let item = match next {
        Ok(Some(Ok(item))) => item,
        Ok(None) => return ControlFlow::Break(TaskOutcome::Returned(Vec::new())),
        Ok(Some(Err(error))) => return ControlFlow::Break(TaskOutcome::Raised(name(job, error))),
        Err(panic) => return ControlFlow::Break(died(job, &*panic)),
    };
    match yielded(context, env, job, index, item).await {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(TaskOutcome::Raised(name(job, error))),
    }
}

async fn yielded(context: &Context, env: &Env, job: &Job, index: u32, item: Output) -> Result<(), Error> {
    let (task, attempt, shared) = (job.spec.id, job.attempt, context.shared());
    let item = item.encoded();
    let Placed { place, hash, .. } = shared.objects.place(env, task.result(index), item, shared.inline).await?;
    let result = TaskResult { place, refs: item.refs().to_vec(), hash };
    // The inbox is closed only when the node has stopped.
    let _ = shared.inbox.send(Input::Item { task, attempt, index, result });
    Ok(())
}

impl Core {
    /// The owner of an attempt here says how far it may go.
    pub(super) fn credit(&mut self, task: TaskId, attempt: Attempt, credit: Credit) {
        let key = (task, attempt);
        if self.attempts.contains_key(&key) {
            self.credits.attempts().insert(key, credit);
            self.credits.rung.notify_waiters();
        }
    }

    /// An attempt is over.
    pub(super) fn credit_forgotten(&mut self, task: TaskId, attempt: Attempt) {
        self.credits.attempts().remove(&(task, attempt));
    }

    /// An attempt here made its next item.
    pub(super) fn item_made(&mut self, task: TaskId, attempt: Attempt, index: u32, result: TaskResult) {
        if self.attempts.contains_key(&(task, attempt)) {
            self.lend_results(task.owner, std::slice::from_ref(&result));
            self.announce_results(task, index, std::slice::from_ref(&result));
            self.send(task.owner, Message::TaskItem { task, attempt, index, result });
        } else if let ResultPlace::Stored(_) = result.place {
            // Its owner died meanwhile: nobody else would ever free it.
            self.drop_copy(task.result(index));
        }
    }
}
