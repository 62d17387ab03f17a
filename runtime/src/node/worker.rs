//! Workers: one per lease. Each runs the tasks pushed under its lease one after the other.
//!
//! A worker is a future and, for synchronous functions, a thread that it visits, or a process (`processes.rs`). It can be
//! stopped when the node runs out of memory (`monitor.rs`): the future is dropped at its next await, and with it an
//! asynchronous body or a process, which is killed; a synchronous one on a thread runs to its end, which [`Life`] tells, and
//! nobody sees its result. Small tasks that a thread runs in one go are all begun, so they end together.

use super::stream::{Turn, made, turn};
use crate::Error;
use crate::api::{self, Body, Context, Items, Output, Outputs, Placed};
use crate::node::Input;
use crate::objects::Objects;
use bytes::Bytes;
use futures_util::future::{Either, select};
use mobula_env::{Env, WorldKind};
use mobula_protocol::{
    Attempt, ByteSize, FunctionId, INLINE_TOTAL, LeaseId, Nanos, ObjectId, ResultPlace, TaskErrorKind, TaskId,
    TaskOutcome, TaskResult, TaskSpec,
};
use std::any::Any;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// The most small tasks handed to a thread at once in the real world, where the hand-over costs more than a small task.
const BATCH: usize = 64;
/// A batch is not continued after this long, so that finished tasks are not held back by their successors.
const BATCH_TIME: Nanos = Nanos::micros(200);

/// A task to run.
pub(super) struct Job {
    pub attempt: Attempt,
    pub spec: Arc<TaskSpec>,
    pub args: Vec<Bytes>,
}

/// The tasks a worker has still to begin, in order. Shared with the shell, so that a task can be taken back at any time
/// until it begins, also while the worker is busy or blocked.
#[derive(Default)]
pub(super) struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    filled: Notify,
}

impl Queue {
    pub fn push(&self, job: Job) {
        self.jobs().push_back(job);
        self.filled.notify_one();
    }

    /// Takes a task back. False if it has begun, or is over.
    pub fn skip(&self, task: TaskId, attempt: Attempt) -> bool {
        let mut jobs = self.jobs();
        let place = jobs.iter().position(|job| job.spec.id == task && job.attempt == attempt);
        place.and_then(|place| jobs.remove(place)).is_some()
    }

    /// Takes all that have not begun.
    pub fn take(&self) -> Vec<Job> {
        self.jobs().drain(..).collect()
    }

    async fn next(&self) -> Job {
        loop {
            if let Some(job) = self.jobs().pop_front() {
                return job;
            }
            self.filled.notified().await;
        }
    }

    /// The next one, if it is there and runs this function.
    fn next_of(&self, function: &FunctionId) -> Option<Job> {
        let mut jobs = self.jobs();
        jobs.front().is_some_and(|job| job.spec.class.function == *function).then(|| jobs.pop_front()).flatten()
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by everything that runs for a worker, its future, its threads and its process: dropped when nothing of it is left.
pub(super) struct Life {
    inbox: UnboundedSender<Input>,
    killed: OnceLock<Killed>,
}

/// For the sake of which attempt a worker was stopped, and what it had begun.
type Killed = ((TaskId, Attempt), Vec<(TaskId, Attempt)>);

impl Life {
    pub fn new(context: &Context) -> Self {
        Self { inbox: context.shared().inbox.clone(), killed: OnceLock::new() }
    }

    /// The worker is being stopped for want of memory: its end is to be reported.
    pub fn killed(&self, victim: (TaskId, Attempt), begun: Vec<(TaskId, Attempt)>) {
        // It is stopped once.
        let _ = self.killed.set((victim, begun));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some((victim, begun)) = self.killed.take() {
            // The inbox is closed only when the node has stopped.
            let _ = self.inbox.send(Input::WorkerGone { victim, begun });
        }
    }
}

/// Runs jobs until the lease ends.
pub(super) struct Worker {
    pub context: Context,
    pub lease: LeaseId,
    pub queue: Arc<Queue>,
    pub life: Arc<Life>,
}

/// How one execution went, and how long it took.
struct Ran {
    job: Job,
    outputs: Result<Outputs, Box<dyn Any + Send>>,
    spent: Nanos,
}

impl Worker {
    pub async fn run(self) {
        let env = self.context.env().clone();
        loop {
            let job = self.queue.next().await;
            match api::find(&job.spec.class.function.0) {
                Err(error) => self.report(&job, TaskOutcome::Raised(error), Nanos::ZERO),
                Ok(function) => match &function.body {
                    Body::Async(run) => self.run_async(&env, job, *run).await,
                    Body::Sync(run) => self.run_sync(&env, job, *run).await,
                    Body::Process(_) => self.run_process(&env, job).await,
                    Body::Stream(open) => self.run_stream(&env, job, *open).await,
                },
            }
        }
    }

    /// Runs a job, and in the real world also the jobs of the same function queued behind it, in one visit to a thread.
    async fn run_sync(&self, env: &Env, first: Job, run: fn(&api::Input) -> Outputs) {
        let most = if env.world() == WorldKind::Real { BATCH } else { 1 };
        let (context, clock, queue, life) = (self.context.clone(), env.clone(), self.queue.clone(), self.life.clone());
        let began = env.now();
        let mut ran = env
            .compute(move || {
                let function = first.spec.class.function.clone();
                let mut ran: Vec<Ran> = Vec::new();
                let mut next = Some(first);
                while let Some(job) = next {
                    let start = clock.now();
                    let outputs = run_once(&context, &job, run);
                    let end = clock.now();
                    ran.push(Ran { job, outputs, spent: end.saturating_sub(start) });
                    let more = ran.len() < most && end.saturating_sub(began) < BATCH_TIME;
                    next = if more { queue.next_of(&function) } else { None };
                }
                drop(life);
                ran
            })
            .await;
        if let [only] = &mut ran[..] {
            // In simulation a computation takes its charged time, which has passed only now.
            only.spent = env.now().saturating_sub(began);
        }
        for ran in ran {
            self.settle(env, ran).await;
        }
    }

    async fn run_async(&self, env: &Env, job: Job, run: fn(api::Input) -> api::BoxFuture<Outputs>) {
        let began = env.now();
        let (task, attempt) = (job.spec.id, job.attempt);
        let context = self.context.under(self.lease, &job.spec, attempt);
        let input = api::Input { context, args: job.args.clone(), returns: job.spec.returns };
        let running = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(run(input)));
        let cancels = &self.context.shared().cancels;
        let outputs = match select(running, pin!(cancels.until(task, attempt))).await {
            Either::Left((outputs, _)) => outputs,
            // Dropping it ends it at the await it is at.
            Either::Right(((), _)) => Ok(Err(Error::new(TaskErrorKind::Cancelled, "cancelled while it ran"))),
        };
        self.settle(env, Ran { job, outputs, spent: env.now().saturating_sub(began) }).await;
    }

    /// Runs a job in a process, which is killed when the attempt is cancelled, or this future dropped.
    async fn run_process(&self, env: &Env, job: Job) {
        let (began, shared) = (env.now(), self.context.shared());
        let ended = {
            let running = pin!(shared.processes.run(&self.context, &job, &self.life));
            let cancelled = pin!(shared.cancels.until(job.spec.id, job.attempt));
            match select(running, cancelled).await {
                Either::Left((ended, _)) => ended,
                Either::Right(((), _)) => {
                    let why = "cancelled while it ran; its process was killed";
                    Err(TaskOutcome::Raised(Error::new(TaskErrorKind::Cancelled, why)))
                }
            }
        };
        let spent = as_recorded(env, &job, env.now().saturating_sub(began)).await;
        match ended {
            Ok(outputs) => self.returned(env, job, outputs, spent).await,
            Err(outcome) => self.report(&job, outcome, spent),
        }
    }

    /// Runs a generator: item by item, as far as its consumer lets it.
    async fn run_stream(&self, env: &Env, job: Job, open: fn(&api::Input) -> Result<Items, Error>) {
        let (task, attempt, began) = (job.spec.id, job.attempt, env.now());
        let streaming = self.stream(env, &job, open);
        let cancelled = self.context.shared().cancels.until(task, attempt);
        let outcome = match select(pin!(streaming), pin!(cancelled)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), _)) => {
                TaskOutcome::Raised(Error::new(TaskErrorKind::Cancelled, "cancelled while it ran"))
            }
        };
        self.report(&job, outcome, env.now().saturating_sub(began));
    }

    async fn stream(&self, env: &Env, job: &Job, open: fn(&api::Input) -> Result<Items, Error>) -> TaskOutcome {
        let (task, attempt) = (job.spec.id, job.attempt);
        let context = self.context.under(self.lease, &job.spec, attempt);
        let input = api::Input { context: context.clone(), args: job.args.clone(), returns: 0 };
        let opened = env.compute(move || std::panic::catch_unwind(AssertUnwindSafe(|| open(&input)))).await;
        let mut items = match opened {
            Ok(Ok(items)) => items,
            Ok(Err(error)) => return TaskOutcome::Raised(name(job, error)),
            Err(panic) => return died(job, &*panic),
        };
        for index in 0.. {
            if turn(&context, (task, attempt), index).await == Turn::Stop {
                break;
            }
            let life = self.life.clone();
            let (rest, next) = env
                .compute(move || {
                    let next = std::panic::catch_unwind(AssertUnwindSafe(|| items.next()));
                    drop(life);
                    (items, next)
                })
                .await;
            items = rest;
            if let ControlFlow::Break(outcome) = made(&context, env, job, index, next).await {
                return outcome;
            }
        }
        TaskOutcome::Returned(Vec::new())
    }

    async fn settle(&self, env: &Env, ran: Ran) {
        let Ran { job, outputs, spent } = ran;
        let spent = as_recorded(env, &job, spent).await;
        let outcome = match outputs {
            Ok(Ok(outputs)) => return self.returned(env, job, outputs, spent).await,
            Ok(Err(error)) => TaskOutcome::Raised(name(&job, error)),
            Err(panic) => died(&job, &*panic),
        };
        self.report(&job, outcome, spent);
    }

    async fn returned(&self, env: &Env, job: Job, outputs: Vec<Output>, spent: Nanos) {
        let inline = self.context.shared().inline;
        let outcome = match place(&self.context, env, &job, &outputs, inline).await {
            Ok(results) => TaskOutcome::Returned(results),
            Err(error) => TaskOutcome::Raised(name(&job, error)),
        };
        self.report(&job, outcome, spent);
        // Until here the references inside the results were counted; now their new holder is about to be registered.
        drop(outputs);
    }

    fn report(&self, job: &Job, outcome: TaskOutcome, spent: Nanos) {
        let (task, attempt) = (job.spec.id, job.attempt);
        // The inbox is closed only when the node has stopped.
        let _ = self.context.shared().inbox.send(Input::Finished { task, attempt, outcome, spent });
    }
}

/// Where a record is played, an execution ends no sooner than it did there; see [`Env::as_recorded`].
async fn as_recorded(env: &Env, job: &Job, spent: Nanos) -> Nanos {
    env.as_recorded(&job.spec.label, job.spec.id.seq, job.attempt.0, spent).await
}

fn run_once(context: &Context, job: &Job, run: fn(&api::Input) -> Outputs) -> Result<Outputs, Box<dyn Any + Send>> {
    let context = context.in_attempt(&job.spec, job.attempt);
    let input = api::Input { context, args: job.args.clone(), returns: job.spec.returns };
    run_caught(|| run(&input))
}

/// Runs user code; a panic is a value.
pub(crate) fn run_caught<T>(run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    std::panic::catch_unwind(AssertUnwindSafe(run))
}

/// Puts the results of a job where they belong: in the report up to `inline` bytes each and [`INLINE_TOTAL`] after the
/// first, else into the store. Those that were stored are deleted again if a later one cannot be, or nobody waits for this
/// any more. To be reported without an await in between.
pub(super) async fn place(
    context: &Context,
    env: &Env,
    job: &Job,
    outputs: &[Output],
    inline: ByteSize,
) -> Result<Vec<TaskResult>, Error> {
    if outputs.len() != job.spec.returns as usize {
        let message = format!("returned {} values, not the {} asked for", outputs.len(), job.spec.returns);
        return Err(Error::new(TaskErrorKind::TaskFailed, message));
    }
    let objects = &context.shared().objects;
    let (mut results, mut limit, mut left) = (Vec::with_capacity(outputs.len()), inline, INLINE_TOTAL);
    let mut unreported = Unreported { objects, stored: Vec::new() };
    for (index, output) in (0..).zip(outputs) {
        let (object, output) = (job.spec.id.result(index), output.encoded());
        let Placed { place, hash, stored } = objects.place(env, object, output, limit).await?;
        unreported.stored.extend(stored.then_some(object));
        if let ResultPlace::Inline(bytes) = &place {
            left = left.saturating_sub(ByteSize(bytes.len() as u64));
            limit = inline.min(left);
        }
        results.push(TaskResult { place, refs: output.refs().to_vec(), hash });
    }
    unreported.stored.clear();
    Ok(results)
}

/// Results that an attempt has stored, of which it has told nobody: so nobody else would ever free them.
struct Unreported<'a> {
    objects: &'a Objects,
    stored: Vec<ObjectId>,
}

impl Drop for Unreported<'_> {
    fn drop(&mut self) {
        if !self.stored.is_empty() {
            self.objects.discard(std::mem::take(&mut self.stored));
        }
    }
}

/// Says in an error which task it comes from.
pub(super) fn name(job: &Job, mut error: Error) -> Error {
    error.message = format!("{} ({}): {}", job.spec.label, job.spec.id, error.message);
    error
}

/// The panic payload of [`crash`].
struct Crash(String);

/// Ends the worker that runs the calling task as if its process had died, and in a worker process by an abort: a crash, not
/// an error of the task. For tests and scenarios.
pub fn crash(why: &str) -> ! {
    std::panic::resume_unwind(Box::new(Crash(why.to_owned())))
}

pub(super) fn died(job: &Job, panic: &(dyn Any + Send)) -> TaskOutcome {
    match death(panic) {
        Ok(why) => TaskOutcome::Crashed(why),
        Err(text) => TaskOutcome::Raised(name(job, Error::new(TaskErrorKind::TaskFailed, format!("panicked: {text}")))),
    }
}

/// Why a panic is a crash of its worker; as an error, the message of one that is not.
pub(crate) fn death(panic: &(dyn Any + Send)) -> Result<String, String> {
    if let Some(Crash(why)) = panic.downcast_ref() {
        return Ok(why.clone());
    }
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned()))
}
