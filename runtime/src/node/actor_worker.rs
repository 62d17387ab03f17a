//! The worker of an actor's incarnation: it makes the actor, runs its calls in the order of its queue, and saves its state.

use super::actors::ActorInput;
use super::stream::{Turn, made, turn};
use super::worker::{Job, death, died, name, run_caught};
use crate::Error;
use crate::api::{self, ActorClass, Constructor, Context, Instance, MethodBody, MethodItems, Output, Outputs};
use crate::node::Input;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use mobula_env::{Env, WorldKind};
use mobula_protocol::actor::{ActorDeath, ActorSpec, End};
use mobula_protocol::{Attempt, ByteSize, LeaseId, Nanos, TaskErrorKind, TaskId, TaskOutcome};
use std::any::Any;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, RwLock, Semaphore, watch};

/// The most calls run in one visit to a thread.
const BATCH: usize = 64;
/// A batch is not continued after this long.
const BATCH_TIME: Nanos = Nanos::micros(200);

/// The orders of a worker, in order, until it is stopped.
pub(super) struct Orders {
    queue: Mutex<VecDeque<Order>>,
    filled: Notify,
    stop: watch::Sender<bool>,
}

enum Order {
    Call(Job),
    Save,
}

impl Orders {
    pub fn new() -> Self {
        Self { queue: Mutex::default(), filled: Notify::new(), stop: watch::Sender::new(false) }
    }

    pub fn call(&self, job: Job) {
        self.push(Order::Call(job));
    }

    pub fn save(&self) {
        self.push(Order::Save);
    }

    /// Nothing more is begun. An asynchronous call that runs is dropped, a synchronous one runs to its end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        self.filled.notify_one();
    }

    /// Takes a call out. False if it has begun, or is over.
    pub fn skip(&self, task: TaskId, attempt: Attempt) -> bool {
        let mut queue = self.queue();
        let this = |order: &Order| matches!(order, Order::Call(job) if job.spec.id == task && job.attempt == attempt);
        let place = queue.iter().position(this);
        place.and_then(|place| queue.remove(place)).is_some()
    }

    fn push(&self, order: Order) {
        self.queue().push_back(order);
        self.filled.notify_one();
    }

    /// The next order; none once stopped.
    async fn next(&self) -> Option<Order> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            if let Some(order) = self.queue().pop_front() {
                return Some(order);
            }
            self.filled.notified().await;
        }
    }

    /// The next one, if it is there and is a call.
    fn next_call(&self) -> Option<Job> {
        if *self.stop.borrow() {
            return None;
        }
        let mut queue = self.queue();
        match queue.pop_front() {
            Some(Order::Call(job)) => Some(job),
            Some(other) => {
                queue.push_front(other);
                None
            }
            None => None,
        }
    }

    fn return_call(&self, job: Job) {
        self.queue().push_front(Order::Call(job));
    }

    async fn stopped(&self) {
        // An error means that the sender is gone, and with it everybody who could want this.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker of one incarnation.
#[derive(Clone)]
pub(super) struct ActorWorker {
    pub context: Context,
    pub lease: LeaseId,
    pub spec: Arc<ActorSpec>,
    pub incarnation: Attempt,
    pub orders: Arc<Orders>,
}

/// The actor. Calls that change it have it alone; others share it.
type Shared = Arc<RwLock<Box<Instance>>>;

/// A call that was run, and what came of it.
struct Ran {
    job: Job,
    outputs: Result<Outputs, Box<dyn Any + Send>>,
    spent: Nanos,
}

impl ActorWorker {
    pub async fn run(self, args: Vec<Bytes>, state: Option<Bytes>) {
        let env = self.context.env().clone();
        let made = match ActorClass::find(&self.spec.task.class.function.0) {
            Ok(class) => self.construct(&env, class, args, state).await.map(|instance| (class, instance)),
            Err(error) => Err(End::Failed(error)),
        };
        match made {
            Err(end) => self.tell(ActorInput::Constructed(self.lease, Err(end))),
            Ok((class, instance)) => {
                self.tell(ActorInput::Constructed(self.lease, Ok(())));
                self.serve(&env, class, Arc::new(RwLock::new(instance))).await;
            }
        }
        self.tell(ActorInput::WorkerStopped(self.lease));
    }

    async fn construct(
        &self,
        env: &Env,
        class: &'static ActorClass,
        args: Vec<Bytes>,
        state: Option<Bytes>,
    ) -> Result<Box<Instance>, End> {
        let context = self.context.in_attempt(&self.spec.task, self.incarnation);
        let restored = state.is_some();
        let input = api::Input { context, args: state.map_or(args, |state| vec![state]), returns: 0 };
        let made = match (&class.construct, &class.checkpoint) {
            (_, Some(hooks)) if restored => {
                let restore = hooks.restore;
                env.compute(move || run_caught(|| restore(&input))).await
            }
            (Constructor::Sync(make), _) => {
                let make = *make;
                env.compute(move || run_caught(|| make(&input))).await
            }
            (Constructor::Async(make), _) => {
                let making = AssertUnwindSafe(make(input)).catch_unwind();
                match select(pin!(making), pin!(self.orders.stopped())).await {
                    Either::Left((made, _)) => made,
                    Either::Right(_) => return Err(End::Stopped),
                }
            }
        };
        match made {
            Ok(Ok(instance)) => Ok(instance),
            Ok(Err(error)) => Err(End::Failed(error)),
            Err(panic) => Err(match death(&*panic) {
                Ok(why) => End::Crashed(why),
                Err(text) => End::Failed(Error::new(TaskErrorKind::TaskFailed, format!("panicked: {text}"))),
            }),
        }
    }

    async fn serve(&self, env: &Env, class: &'static ActorClass, actor: Shared) {
        let together = self.spec.options.concurrency as usize;
        let slots = Arc::new(Semaphore::new(together.max(1)));
        while let Some(order) = self.orders.next().await {
            match order {
                Order::Save => self.save(env, class, &actor).await,
                Order::Call(job) if together <= 1 => self.call(env, class, &actor, job).await,
                Order::Call(job) => {
                    // A slot is always free: the host starts no more calls than there are.
                    let Ok(slot) = slots.clone().acquire_owned().await else { break };
                    let (this, env, actor) = (self.clone(), env.clone(), actor.clone());
                    let begun = Arc::new(Notify::new());
                    let begins = begun.clone();
                    self.context.env().spawn("call", async move {
                        this.call_together(&env, class, actor, job, &begins).await;
                        drop(slot);
                    });
                    // Calls enter the actor in the order of the queue.
                    let _ = select(pin!(begun.notified()), pin!(self.orders.stopped())).await;
                }
            }
        }
        // Every slot is free once nothing runs. The semaphore is never closed.
        let _ = slots.acquire_many(self.spec.options.concurrency.max(1)).await;
    }

    /// Runs a call of an actor that runs one at a time, and in the real world those queued behind it, in one visit to a
    /// thread.
    async fn call(&self, env: &Env, class: &'static ActorClass, actor: &Shared, job: Job) {
        match body(class, &job) {
            Ok(MethodBody::Sync(_) | MethodBody::SharedSync(_)) => {
                for ran in self.call_batch(env, class, actor, job).await {
                    self.settle(env, ran).await;
                }
            }
            Ok(MethodBody::Async(run)) => {
                let mut this = actor.write().await;
                let began = env.now();
                let input = self.input(&job, Some(self.lease));
                let outputs = self.until_stopped(run(&mut **this, input)).await;
                drop(this);
                self.end(env, job, outputs, began).await;
            }
            Ok(MethodBody::SharedAsync(run)) => {
                let this = actor.read().await;
                let began = env.now();
                let input = self.input(&job, Some(self.lease));
                let outputs = self.until_stopped(run(&**this, input)).await;
                drop(this);
                self.end(env, job, outputs, began).await;
            }
            Ok(MethodBody::Stream(open)) => {
                let mut this = actor.write().await;
                let input = &self.input(&job, Some(self.lease));
                let instance = &mut **this;
                self.stream(env, &job, input.context(), move || open(instance, input)).await;
            }
            Ok(MethodBody::SharedStream(open)) => {
                let this = actor.read().await;
                let (input, instance) = (&self.input(&job, Some(self.lease)), &**this);
                self.stream(env, &job, input.context(), move || open(instance, input)).await;
            }
            Err(_) if *job.spec.class.function.0 == *api::READY => {
                let outputs = api::output_of(&self.context, &()).map(|output| vec![output]);
                self.settle(env, Ran { job, outputs: Ok(outputs), spent: Nanos::ZERO }).await;
            }
            Err(error) => self.settle(env, Ran { job, outputs: Ok(Err(error)), spent: Nanos::ZERO }).await,
        }
    }

    async fn call_batch(&self, env: &Env, class: &'static ActorClass, actor: &Shared, first: Job) -> Vec<Ran> {
        let most = if env.world() == WorldKind::Real { BATCH } else { 1 };
        let mut this = actor.clone().write_owned().await;
        let (worker, clock) = (self.clone(), env.clone());
        let began = env.now();
        let mut ran = env
            .compute(move || {
                let mut ran: Vec<Ran> = Vec::new();
                let mut next = Some(first);
                while let Some(job) = next.take() {
                    let input = worker.input(&job, None);
                    let start = clock.now();
                    let outputs = match body(class, &job) {
                        Ok(MethodBody::Sync(run)) => run_caught(|| run(&mut **this, &input)),
                        Ok(MethodBody::SharedSync(run)) => run_caught(|| run(&**this, &input)),
                        // It may await, or is unknown: not on this thread.
                        _ => {
                            worker.orders.return_call(job);
                            break;
                        }
                    };
                    let end = clock.now();
                    let crashed = outputs.is_err();
                    ran.push(Ran { job, outputs, spent: end.saturating_sub(start) });
                    if !crashed && ran.len() < most && end.saturating_sub(began) < BATCH_TIME {
                        next = worker.orders.next_call();
                    }
                }
                ran
            })
            .await;
        if let [only] = &mut ran[..] {
            // In simulation a computation takes its charged time, which has passed only now.
            only.spent = env.now().saturating_sub(began);
        }
        ran
    }

    /// Runs one of several calls at a time, each on a thread or a task of its own.
    async fn call_together(&self, env: &Env, class: &'static ActorClass, actor: Shared, job: Job, begun: &Notify) {
        let input = self.input(&job, None);
        let outputs = match body(class, &job) {
            Ok(MethodBody::Sync(run)) => {
                let (run, mut this) = (*run, actor.write_owned().await);
                begun.notify_one();
                let began = env.now();
                let outputs = env.compute(move || run_caught(|| run(&mut **this, &input))).await;
                return self.end(env, job, Some(outputs), began).await;
            }
            Ok(MethodBody::SharedSync(run)) => {
                let (run, this) = (*run, actor.read_owned().await);
                begun.notify_one();
                let began = env.now();
                let outputs = env.compute(move || run_caught(|| run(&**this, &input))).await;
                return self.end(env, job, Some(outputs), began).await;
            }
            Ok(MethodBody::Async(run)) => {
                let mut this = actor.write().await;
                begun.notify_one();
                let began = env.now();
                let outputs = self.until_stopped(run(&mut **this, input)).await;
                drop(this);
                return self.end(env, job, outputs, began).await;
            }
            Ok(MethodBody::SharedAsync(run)) => {
                let this = actor.read().await;
                begun.notify_one();
                let began = env.now();
                let outputs = self.until_stopped(run(&**this, input)).await;
                drop(this);
                return self.end(env, job, outputs, began).await;
            }
            Ok(MethodBody::Stream(open)) => {
                let mut this = actor.write().await;
                begun.notify_one();
                let (input, instance) = (&input, &mut **this);
                return self.stream(env, &job, input.context(), move || open(instance, input)).await;
            }
            Ok(MethodBody::SharedStream(open)) => {
                let this = actor.read().await;
                begun.notify_one();
                let (input, instance) = (&input, &**this);
                return self.stream(env, &job, input.context(), move || open(instance, input)).await;
            }
            Err(_) if *job.spec.class.function.0 == *api::READY => {
                api::output_of(&self.context, &()).map(|output| vec![output])
            }
            Err(error) => Err(error),
        };
        begun.notify_one();
        self.settle(env, Ran { job, outputs: Ok(outputs), spent: Nanos::ZERO }).await;
    }

    /// Runs a method that yields, until its end, its cancellation or that of its actor. It ends between two items: the
    /// iterator is dropped before anything else has the actor.
    async fn stream<'a>(
        &self,
        env: &Env,
        job: &Job,
        context: &Context,
        open: impl FnOnce() -> Result<MethodItems<'a>, Error> + Send,
    ) {
        let began = env.now();
        let cancelled = pin!(self.context.shared().cancels.until(job.spec.id, job.attempt));
        let stopped = pin!(self.orders.stopped());
        let ended = select(cancelled, stopped);
        let outcome = match select(pin!(items(env, job, context, open)), ended).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((Either::Left(_), _)) => {
                TaskOutcome::Raised(Error::new(TaskErrorKind::Cancelled, "cancelled while it ran"))
            }
            Either::Right((Either::Right(_), _)) => TaskOutcome::Crashed("its actor was stopped".to_owned()),
        };
        if let TaskOutcome::Crashed(_) = outcome {
            self.orders.stop();
        }
        self.report(job, outcome, env.now().saturating_sub(began));
    }

    /// On whose behalf a call runs. With the lease, its cpu is given back while it waits in a get; several at a time have
    /// one lease between them, so theirs is not.
    fn input(&self, job: &Job, lease: Option<LeaseId>) -> api::Input {
        let context = match lease {
            Some(lease) => self.context.under(lease, &job.spec, job.attempt),
            None => self.context.in_attempt(&job.spec, job.attempt),
        };
        api::Input { context, args: job.args.clone(), returns: job.spec.returns }
    }

    /// Awaits a call; none if the worker is stopped first.
    async fn until_stopped(&self, call: api::MethodFuture<'_>) -> Option<Result<Outputs, Box<dyn Any + Send>>> {
        let call = AssertUnwindSafe(call).catch_unwind();
        match select(pin!(call), pin!(self.orders.stopped())).await {
            Either::Left((outputs, _)) => Some(outputs),
            Either::Right(_) => None,
        }
    }

    async fn end(&self, env: &Env, job: Job, outputs: Option<Result<Outputs, Box<dyn Any + Send>>>, began: Nanos) {
        let spent = env.now().saturating_sub(began);
        match outputs {
            Some(outputs) => self.settle(env, Ran { job, outputs, spent }).await,
            None => self.report(&job, TaskOutcome::Crashed("its actor was stopped".to_owned()), spent),
        }
    }

    async fn settle(&self, env: &Env, ran: Ran) {
        let Ran { job, outputs, spent } = ran;
        let outcome = match outputs {
            Ok(Ok(outputs)) => return self.returned(env, job, outputs, spent).await,
            Ok(Err(error)) => TaskOutcome::Raised(name(&job, error)),
            Err(panic) => match death(&*panic) {
                Ok(why) => {
                    self.orders.stop();
                    TaskOutcome::Crashed(why)
                }
                Err(text) => {
                    let error = Error::new(TaskErrorKind::TaskFailed, format!("panicked: {text}"));
                    TaskOutcome::Raised(name(&job, error))
                }
            },
        };
        self.report(&job, outcome, spent);
    }

    async fn returned(&self, env: &Env, job: Job, outputs: Vec<Output>, spent: Nanos) {
        let lends = outputs.iter().any(|output| !output.encoded().refs().is_empty());
        let inline = if self.spec.options.exactly_once { ByteSize(u64::MAX) } else { self.context.shared().inline };
        let outcome = if self.spec.options.exactly_once && lends {
            let message = "an exactly-once call cannot return references: the reply cache could not keep them alive";
            TaskOutcome::Raised(name(&job, Error::new(TaskErrorKind::WrongType, message)))
        } else {
            match super::worker::place(&self.context, env, &job, &outputs, inline).await {
                Ok(results) => TaskOutcome::Returned(results),
                Err(error) => TaskOutcome::Raised(name(&job, error)),
            }
        };
        self.report(&job, outcome, spent);
        // Until here the references inside the results were counted; now their new holder is about to be registered.
        drop(outputs);
    }

    fn report(&self, job: &Job, outcome: TaskOutcome, spent: Nanos) {
        self.tell(ActorInput::Finished(job.spec.id, job.attempt, outcome, spent));
    }

    async fn save(&self, env: &Env, class: &'static ActorClass, actor: &Shared) {
        let this = actor.clone().read_owned().await;
        let state = match &class.checkpoint {
            None => Err(ActorDeath::Checkpoint.error("the class has no `save`")),
            Some(hooks) => {
                let save = hooks.save;
                let saved = env.compute(move || run_caught(|| save(&**this))).await;
                match saved {
                    Ok(encoded) => encoded.map(|encoded| encoded.to_bytes()),
                    Err(panic) => {
                        let (Ok(text) | Err(text)) = death(&*panic);
                        Err(Error::new(TaskErrorKind::TaskFailed, format!("`save` panicked: {text}")))
                    }
                }
            }
        };
        self.tell(ActorInput::State(self.lease, state));
    }

    fn tell(&self, input: ActorInput) {
        // The inbox is closed only when the node has stopped.
        let _ = self.context.shared().inbox.send(Input::Actor(input));
    }
}

/// The code of the method that a job calls, as what it is called: one result or a stream.
fn body(class: &'static ActorClass, job: &Job) -> Result<&'static MethodBody, Error> {
    let method = class.method(&job.spec.class.function.0)?;
    let wrong = |why: &str| Err(Error::new(TaskErrorKind::WrongType, format!("{} {why}", method.name)));
    match (method.body.streams(), job.spec.stream.is_some()) {
        (true, false) => wrong("yields items, and was called for one result"),
        (false, true) => wrong("has one result, and was called for a stream"),
        (true, true) | (false, false) => Ok(&method.body),
    }
}

/// Makes items, as far as the consumer lets the method.
async fn items<'a>(
    env: &Env,
    job: &Job,
    context: &Context,
    open: impl FnOnce() -> Result<MethodItems<'a>, Error> + Send,
) -> TaskOutcome {
    let mut items = match env.compute_here(|| run_caught(open)).await {
        Ok(Ok(items)) => items,
        Ok(Err(error)) => return TaskOutcome::Raised(name(job, error)),
        Err(panic) => return died(job, &*panic),
    };
    for index in 0.. {
        if turn(context, (job.spec.id, job.attempt), index).await == Turn::Stop {
            break;
        }
        let next = env.compute_here(|| run_caught(|| items.next())).await;
        if let ControlFlow::Break(outcome) = made(context, env, job, index, next).await {
            return outcome;
        }
    }
    TaskOutcome::Returned(Vec::new())
}
