//! Spawned tasks: a future that runs on its own, and the handle to its result.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// A task started by [`Env::spawn`](crate::Env::spawn): a future of its result.
///
/// Dropping it detaches the task, which runs on.
#[derive(Debug)]
pub struct Task<T> {
    result: oneshot::Receiver<T>,
    abort: tokio::task::AbortHandle,
}

/// The task has no result: it was aborted, it panicked, or its node died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task ended without a result: it was aborted, it panicked, or its node died")]
pub struct TaskGone;

impl<T> Task<T> {
    pub(crate) fn new(result: oneshot::Receiver<T>, abort: tokio::task::AbortHandle) -> Self {
        Self { result, abort }
    }

    /// Stops the task at its next suspension point; its result is then [`TaskGone`], unless it had finished already.
    pub fn abort(&self) {
        self.abort.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(cx).map_err(|_| TaskGone)
    }
}
