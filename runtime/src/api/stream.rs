//! Generators as their consumer sees them.

use super::call::{Streamed, TaskCall};
use super::context::{Blocked, Context, gone};
use super::reference::ObjectRef;
use crate::Error;
use crate::node::Input;
use mobula_protocol::{Nanos, Streaming, TaskErrorKind, TaskId};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

/// What a generator yields, item by item, while it runs: a task, or a method of an actor.
///
/// Each item is an object of its own: it can be passed on, read, and rebuilt if it is lost, and lives as long as
/// anything refers to it. A generator whose worker or node dies goes on elsewhere, as its budgets allow; the consumer sees
/// every item once, in order. When the stream is dropped, items that were not taken are freed, and the generator stops.
pub struct ObjectStream<T> {
    context: Context,
    task: TaskId,
    /// The answer to a question that was asked, also by a call of `next` that was given up.
    asked: Option<oneshot::Receiver<Result<Option<ObjectRef<T>>, Error>>>,
    ended: bool,
}

impl<T: 'static> TaskCall<Streamed<T>> {
    /// How many items may exist that the consumer has not taken; at least 1, without limit unless this is called. A
    /// generator that is so far ahead waits, and does not hold its cpu meanwhile.
    pub fn backpressure(mut self, items: u32) -> Self {
        self.ahead = Some(items.max(1));
        self
    }

    /// Submits it and returns at once.
    ///
    /// # Errors
    /// When an argument cannot be stored or the runtime is shut down.
    pub fn submit(self, context: &Context) -> Result<ObjectStream<T>, Error> {
        let streaming = Streaming { ahead: self.ahead };
        let task = self.launch(context, 0, Some(streaming))?;
        Ok(ObjectStream::new(context.clone(), task))
    }
}

impl<T: 'static> ObjectStream<T> {
    pub(super) fn new(context: Context, task: TaskId) -> Self {
        Self { context, task, asked: None, ended: false }
    }

    /// The next item, once the generator has made it; none after the last one. The item has a value then, which may be
    /// lost and rebuilt later.
    ///
    /// # Errors
    /// Why there are no more items: the generator's own error, the death of more workers or nodes than its budgets
    /// allow, its cancellation, `ReplayMismatch` if it yielded another number of items when it ran again, or
    /// `NondeterministicReplay` if it yielded others.
    pub async fn next(&mut self) -> Result<Option<ObjectRef<T>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let _blocked = Blocked::new(&self.context);
        if self.asked.is_none() {
            let (sender, asked) = oneshot::channel();
            let (task, context) = (self.task, self.context.clone());
            // A reference that nobody takes from the channel is dropped like any other.
            let reply = Box::new(move |item: Result<Option<_>, Error>| {
                let _ = sender.send(item.map(|item| item.map(|id| ObjectRef::adopt(id, context))));
            });
            self.context.send(Input::Next { task, reply })?;
            self.asked = Some(asked);
        }
        let Some(asked) = &mut self.asked else { return Ok(None) };
        let item = asked.await.unwrap_or_else(|_| Err(gone()));
        self.asked = None;
        self.ended = !matches!(item, Ok(Some(_)));
        item
    }

    /// As [`ObjectStream::next`], but gives up after `limit`; the item then comes with the next call.
    ///
    /// # Errors
    /// Also `GetTimeout`.
    pub async fn next_within(&mut self, limit: Nanos) -> Result<Option<ObjectRef<T>>, Error> {
        let env = self.context.env().clone();
        env.timeout(limit, self.next())
            .await
            .unwrap_or_else(|_| Err(Error::new(TaskErrorKind::GetTimeout, format!("no item came within {limit}"))))
    }

    /// The value of the next item.
    ///
    /// # Errors
    /// As [`ObjectStream::next`] and [`Context::get`].
    pub async fn next_value(&mut self) -> Result<Option<T>, Error>
    where
        T: DeserializeOwned,
    {
        match self.next().await? {
            Some(item) => self.context.get(&item).await.map(Some),
            None => Ok(None),
        }
    }

    /// Cancels the generator, and the tasks that it submitted: see [`Context::cancel`]. Items that were made stay.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn cancel(&self) -> Result<(), Error> {
        self.context.send(Input::Cancel { object: self.task.result(0), recursive: true })
    }
}

impl<T> Drop for ObjectStream<T> {
    fn drop(&mut self) {
        self.context.tell(Input::StreamDropped(self.task));
    }
}
