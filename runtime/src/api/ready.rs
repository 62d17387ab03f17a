//! Waiting for many references, one change at a time.

use super::context::{Blocked, Context, gone};
use super::reference::ObjectRef;
use crate::Error;
use crate::node::Input;
use futures_util::future::{Either, select};
use futures_util::stream::{self, Stream};
use mobula_protocol::{Nanos, TaskErrorKind};
use serde::de::DeserializeOwned;
use std::pin::pin;
use tokio::sync::mpsc;

/// References of which the ready ones are taken out in the order in which they became ready.
///
/// Each reference costs once, when it is added, and once, when it is ready; [`WaitSet::next`] costs nothing for those
/// that stay. (A loop of [`Context::wait`] calls, as in Ray, lists all of them every time.)
pub struct WaitSet<T> {
    context: Context,
    /// The number under which the node knows this set.
    watch: u64,
    /// By position; none once it was ready.
    references: Vec<Option<ObjectRef<T>>>,
    pending: usize,
    reply: mpsc::UnboundedSender<usize>,
    ready: mpsc::UnboundedReceiver<usize>,
}

impl Context {
    /// A set of references to wait for, empty at first.
    pub fn wait_set<T>(&self) -> WaitSet<T> {
        let (reply, ready) = mpsc::unbounded_channel();
        let watch = self.next_bundle();
        WaitSet { context: self.clone(), watch, references: Vec::new(), pending: 0, reply, ready }
    }

    /// The values of many references as they become ready, each with its position in the list. Only one is in memory at
    /// a time, unless the caller keeps it.
    ///
    /// # Errors
    /// Each item has its own; the stream goes on after it. It ends early only if the runtime is shut down: then the first
    /// item that is left is `Disconnected`, and the last.
    pub fn get_stream<T>(&self, references: &[ObjectRef<T>]) -> impl Stream<Item = (usize, Result<T, Error>)> + use<T>
    where
        T: DeserializeOwned,
    {
        let mut set = self.wait_set();
        let begun = set.extend(references.iter().cloned());
        stream::unfold(Some((set, begun)), async |state| {
            let (mut set, begun) = state?;
            let next = match begun {
                Ok(()) => set.next_position(None).await,
                Err(error) => Err(error),
            };
            match next {
                Ok(next) => {
                    let (position, reference) = next?;
                    let value = set.context.get(&reference).await;
                    Some(((position, value), Some((set, Ok(())))))
                }
                Err(error) => {
                    let left = set.references.iter().position(Option::is_some)?;
                    Some(((left, Err(error)), None))
                }
            }
        })
    }
}

impl<T> WaitSet<T> {
    /// Adds a reference. One that is in the set already is there twice.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn add(&mut self, reference: ObjectRef<T>) -> Result<(), Error> {
        self.extend([reference])
    }

    /// Adds several references.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn extend(&mut self, references: impl IntoIterator<Item = ObjectRef<T>>) -> Result<(), Error> {
        let first = self.references.len();
        self.references.extend(references.into_iter().map(Some));
        let objects: Vec<_> = self.references[first..].iter().flatten().map(ObjectRef::id).collect();
        self.pending += objects.len();
        self.context.send(Input::Watch { watch: self.watch, first, objects, reply: self.reply.clone() })
    }

    /// How many were not taken out yet.
    pub fn len(&self) -> usize {
        self.pending
    }

    /// Whether all were taken out.
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// The next reference that has a value or an error; none if the set is empty.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn next(&mut self) -> Result<Option<ObjectRef<T>>, Error> {
        Ok(self.next_position(None).await?.map(|(_, reference)| reference))
    }

    /// As [`WaitSet::next`], but gives up after `limit`.
    ///
    /// # Errors
    /// Also `GetTimeout`, after which the set is as it was.
    pub async fn next_within(&mut self, limit: Nanos) -> Result<Option<ObjectRef<T>>, Error> {
        Ok(self.next_position(Some(limit)).await?.map(|(_, reference)| reference))
    }

    async fn next_position(&mut self, limit: Option<Nanos>) -> Result<Option<(usize, ObjectRef<T>)>, Error> {
        let Self { context, references, pending, ready, .. } = self;
        if *pending == 0 {
            return Ok(None);
        }
        let _blocked = Blocked::new(context);
        let next = async {
            loop {
                // The set itself can always add more, so its end of the channel stays open when the node stops.
                let position = match select(pin!(ready.recv()), pin!(context.shared().inbox.closed())).await {
                    Either::Left((Some(position), _)) => position,
                    Either::Left((None, _)) | Either::Right(_) => return Err(gone()),
                };
                // One that changed its place while it was ready is told again.
                if let Some(reference) = references[position].take() {
                    *pending -= 1;
                    return Ok(Some((position, reference)));
                }
            }
        };
        let late = |limit| Err(Error::new(TaskErrorKind::GetTimeout, format!("nothing more was ready after {limit}")));
        match limit {
            None => next.await,
            Some(limit) => context.env().timeout(limit, next).await.unwrap_or_else(|_| late(limit)),
        }
    }
}

impl<T> Drop for WaitSet<T> {
    fn drop(&mut self) {
        self.context.tell(Input::Unwatch(self.watch));
    }
}
