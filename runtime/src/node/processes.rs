//! The node's side of worker processes: `#[task(process)]` functions run in them. See [`crate::process`].

use super::worker::{Job, Life};
use crate::Error;
use crate::api::{Context, Output, gone};
use crate::node::Input;
use crate::process::{Answer, CLAIM, Passed, RELEASE, Request, Say, serve};
use bytes::Bytes;
use mobula_env::Env;
use mobula_env::process::{Hear, Process, Setup, StandIn};
use mobula_protocol::sched::Pool;
use mobula_protocol::sched::pool::{Effect, Event};
use mobula_protocol::{Amount, Arg, Attempt, ByteSize, Machine, Nanos, Resources, TaskErrorKind, TaskId, TaskOutcome};
use mobula_store::{Loan, Session, codec};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::mpsc::UnboundedSender;

/// Arguments up to this many bytes are copied: a loan costs two messages.
const COPIED: usize = 16 << 10;
/// How many processes in a row may die before they have begun a task, until that is the task's crash.
const TRIES: u32 = 3;

/// The worker processes of one node.
pub(crate) struct Processes(Mutex<State>);

struct State {
    pool: Pool,
    idle: BTreeMap<u64, Worker>,
    /// Somebody looks after those that are idle for too long.
    watched: bool,
    stopped: bool,
}

/// A worker process.
struct Worker {
    number: u64,
    process: Process,
    desk: Arc<Mutex<Desk>>,
}

/// What the node knows of a process while it lives.
struct Desk {
    session: Session,
    /// What it runs; the life is that of the worker which waits for it, and ends with the process if not before.
    running: Option<(TaskId, Attempt, Arc<Life>)>,
    inbox: UnboundedSender<Input>,
}

/// Tells the pool that a process is gone.
struct Gone {
    env: Env,
    number: u64,
    processes: Weak<Processes>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(processes) = self.processes.upgrade() {
            processes.ended(self.env.now(), self.number);
        }
    }
}

impl Processes {
    /// Of a node with these resources: as many may be idle as it has cpus.
    pub fn new(resources: &Resources) -> Self {
        let Amount(cpus) = resources.get(Resources::CPU);
        let limit = usize::try_from(cpus / 10_000).unwrap_or(usize::MAX).max(1);
        let pool = Pool::new(limit);
        Self(Mutex::new(State { pool, idle: BTreeMap::new(), watched: false, stopped: false }))
    }

    /// Runs a job in a process. Dropping the future kills that.
    ///
    /// # Errors
    /// How the attempt ended, if it has not returned.
    pub(super) async fn run(
        self: &Arc<Self>,
        context: &Context,
        job: &Job,
        life: &Arc<Life>,
    ) -> Result<Vec<Output>, TaskOutcome> {
        let raised = |error| TaskOutcome::Raised(super::worker::name(job, error));
        no_references(&job.args).map_err(raised)?;
        let mut tries = 1;
        loop {
            let mut worker = self.take(context).map_err(raised)?;
            let request = worker.begin(context, job, life).map_err(raised)?;
            match worker.process.call(request).await {
                Ok(answer) => {
                    self.give(context.env(), worker);
                    return results(context, &answer).map_err(raised);
                }
                Err(died) if !died.begun && tries < TRIES => tries += 1,
                Err(died) => return Err(TaskOutcome::Crashed(died.to_string())),
            }
        }
    }

    /// An idle process, or a new one.
    fn take(self: &Arc<Self>, context: &Context) -> Result<Worker, Error> {
        let mut state = self.state();
        if state.stopped {
            return Err(gone());
        }
        let mut effects = Vec::new();
        state.pool.step(context.env().now(), Event::Wanted, &mut effects);
        let number = match effects[..] {
            [Effect::Use(number) | Effect::Start(number)] => number,
            _ => unreachable!("a wish is answered with one process, not {effects:?}"),
        };
        let idle = state.idle.remove(&number);
        drop(state);
        idle.map_or_else(|| self.start(context, number), Ok)
    }

    fn start(self: &Arc<Self>, context: &Context, number: u64) -> Result<Worker, Error> {
        let shared = context.shared();
        let desk = Desk { session: Session::new(), running: None, inbox: shared.inbox.clone() };
        let desk = Arc::new(Mutex::new(desk));
        let (heard, gone) =
            (desk.clone(), Gone { env: context.env().clone(), number, processes: Arc::downgrade(self) });
        let hear: Hear = Arc::new(move |word| {
            let _ = &gone;
            locked(&heard).hear(word);
        });
        let descriptor = shared.objects.table().arena().descriptor().map(|arena| arena.try_clone_to_owned());
        let stand_in = stand_in(desk.clone());
        let started = descriptor
            .transpose()
            .and_then(|descriptor| context.env().start_process(Setup { descriptor, hear, stand_in }));
        let process = started.map_err(|why| {
            let message = format!("no worker process can be started: {why}");
            Error::new(TaskErrorKind::Unschedulable, message)
        })?;
        Ok(Worker { number, process, desk })
    }

    /// Takes a process back that has answered. One that has kept an argument would keep it for ever.
    fn give(self: &Arc<Self>, env: &Env, worker: Worker) {
        let mut desk = locked(&worker.desk);
        desk.running = None;
        let keeps = desk.session.held() > 0;
        drop(desk);
        let mut state = self.state();
        if keeps || state.stopped {
            drop(state);
            return drop(worker);
        }
        let mut effects = Vec::new();
        state.pool.step(env.now(), Event::Freed(worker.number), &mut effects);
        state.idle.insert(worker.number, worker);
        let over = state.end(&effects);
        let watch = !std::mem::replace(&mut state.watched, true);
        drop((state, over));
        if watch {
            env.spawn("idle processes", self.clone().watch(env.clone()));
        }
    }

    /// Ends processes that were idle for too long, while there are idle ones.
    async fn watch(self: Arc<Self>, env: Env) {
        loop {
            let deadline = {
                let mut state = self.state();
                let deadline = state.pool.next_deadline();
                state.watched = deadline.is_some();
                deadline
            };
            let Some(deadline) = deadline else { return };
            env.sleep_until(deadline).await;
            let mut effects = Vec::new();
            let mut state = self.state();
            state.pool.step(env.now(), Event::Tick, &mut effects);
            let over = state.end(&effects);
            drop((state, over));
        }
    }

    fn ended(&self, now: Nanos, number: u64) {
        let mut state = self.state();
        state.pool.step(now, Event::Ended(number), &mut Vec::new());
        let worker = state.idle.remove(&number);
        drop((state, worker));
    }

    /// The node has stopped: what is idle ends, and what is busy when whoever waits for it does.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let idle = std::mem::take(&mut state.idle);
        drop((state, idle));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0)
    }
}

impl State {
    /// What is to end; to be dropped without the lock, which its end takes.
    fn end(&mut self, effects: &[Effect]) -> Vec<Worker> {
        let over = effects.iter().filter_map(|effect| match effect {
            Effect::End(number) => self.idle.remove(number),
            Effect::Use(_) | Effect::Start(_) => None,
        });
        over.collect()
    }
}

impl Worker {
    /// Describes the job for the process, and lends it the arguments that are in the store.
    fn begin(&self, context: &Context, job: &Job, life: &Arc<Life>) -> Result<Vec<u8>, Error> {
        let (env, objects) = (context.env(), &context.shared().objects);
        let mut desk = locked(&self.desk);
        desk.running = Some((job.spec.id, job.attempt, life.clone()));
        let mut args = Vec::with_capacity(job.args.len());
        for (arg, value) in job.spec.args.iter().zip(&job.args) {
            let view = match arg {
                Arg::Ref(object) if value.len() > COPIED => objects.table().get(env.now(), *object),
                _ => None,
            };
            // Unless the object was freed by hand, or made again, since the job had its arguments.
            let same = view.filter(|view| std::ptr::eq(view.as_ptr(), value.as_ptr()));
            args.push(match same {
                Some(view) => Passed::Lent(desk.session.lend(view)),
                None => Passed::Copied(value.clone()),
            });
        }
        let request = Request { function: job.spec.class.function.clone(), attempt: job.attempt.0, args };
        rmp_serde::to_vec(&request).map_err(|why| Error::new(TaskErrorKind::WrongType, why.to_string()))
    }
}

impl Desk {
    fn hear(&mut self, word: &[u8]) {
        match word {
            [RELEASE, message @ ..] => self.session.answer(message, |_| None, &mut Vec::new()),
            [CLAIM, bytes @ ..] => {
                let bytes = bytes.try_into().map(u64::from_le_bytes);
                if let (Ok(bytes), Some((task, attempt, _))) = (bytes, &self.running) {
                    let claimed = Input::Claimed { task: *task, attempt: *attempt, bytes: ByteSize(bytes) };
                    // The inbox is closed only when the node has stopped.
                    let _ = self.inbox.send(claimed);
                }
            }
            // A process that says nonsense is about to end.
            _ => {}
        }
    }
}

/// Serves in this process, in simulation.
fn stand_in(desk: Arc<Mutex<Desk>>) -> StandIn {
    Box::new(move |request| {
        let borrowed = Mutex::new(Vec::new());
        let borrow = |loan: Loan| -> Option<Bytes> {
            locked(&borrowed).push(loan);
            locked(&desk).session.lent(loan)
        };
        let says = desk.clone();
        let say: Say = Arc::new(move |word| locked(&says).hear(word));
        let answer = serve(request, &borrow, &say);
        let mut desk = locked(&desk);
        locked(&borrowed).drain(..).for_each(|loan| desk.session.release(loan));
        answer
    })
}

/// A worker process is no node: it can neither read nor count references.
fn no_references(args: &[Bytes]) -> Result<(), Error> {
    for (position, arg) in args.iter().enumerate() {
        // What is no value at all is for the function to refuse.
        let refs = codec::refs(arg).unwrap_or_default();
        if let Some(object) = refs.first() {
            let message = format!(
                "argument {position} contains a reference, {object}, which a `#[task(process)]` cannot read: pass the value"
            );
            return Err(Error::new(TaskErrorKind::WrongType, message));
        }
    }
    Ok(())
}

/// The results in an answer.
fn results(context: &Context, answer: &[u8]) -> Result<Vec<Output>, Error> {
    let nonsense = |why: String| {
        let message = format!("the worker process answered what is no result, as if its memory were damaged: {why}");
        Error::new(TaskErrorKind::TaskFailed, message)
    };
    let values: Answer = rmp_serde::from_slice(answer).map_err(|why| nonsense(why.to_string()))?;
    let mut outputs = Vec::new();
    for value in values? {
        let encoded = codec::parts(&value).map_err(|why| nonsense(why.to_string()))?;
        if let Some(object) = encoded.refs().first() {
            let message =
                format!("the result contains a reference, {object}, which a `#[task(process)]` cannot return");
            return Err(Error::new(TaskErrorKind::WrongType, message));
        }
        outputs.push(Output::plain(encoded, context));
    }
    Ok(outputs)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
