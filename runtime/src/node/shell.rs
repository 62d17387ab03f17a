//! The shell of a node: it waits, steps the core, and does what the core says.

use super::actor_worker::{ActorWorker, Orders};
use super::actors::{ActorInput, ActorOutput};
use super::bulk::{self, Bulk};
use super::cancel::Cancels;
use super::core::{Birth, Core};
use super::peers::{Failure, Peers, REQUEST_TIMEOUT};
use super::processes::Processes;
use super::stream::Credits;
use super::words::{Input, Output, Question};
use super::worker::{Job, Life, Queue, Worker};
use crate::Error;
use crate::api::{Context, Progress, Shared};
use crate::error::StartError;
use crate::objects::Objects;
use crate::settings::NodeSettings;
use crate::wire::{self, ExchangeAnswer, OtherCluster, Request};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, select};
use mobula_env::{Env, Rng, RpcCode, RpcError, RpcServer, RpcService, RpcStatus};
use mobula_env::{Task, Vigil, WorldKind};
use mobula_protocol::link::Envelope;
use mobula_protocol::member::{JoinRequest, Joined, PROTOCOL_VERSION};
use mobula_protocol::pull::FetchFailure;
use mobula_protocol::{
    Attempt, ByteSize, ClusterId, INLINE_TOTAL, Incarnation, LeaseId, Nanos, NodeId, ObjectId, TaskErrorKind, TaskId,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use tokio::sync::{mpsc, oneshot, watch};

/// Inputs taken in one turn of the loop before what they lead to is done.
const TURN: usize = 1024;
/// The longest that the loop stays awake for its next input: longer than a task in its own process takes, shorter than an
/// answer from another one. With the 200 us of Seastar's reactor (`--idle-poll-time-us`) those came no sooner on two cores,
/// where processes that stay awake take time from each other.
const AWAKE: Nanos = Nanos::micros(50);
/// How late an unlucky task of the operating system starts; see [`Env::buggify`].
const LATE: Nanos = Nanos::millis(20);

/// A running node. It runs until it is dropped, killed, or told by its cluster that it is dead.
pub struct Node {
    context: Context,
    stopped: watch::Receiver<Option<String>>,
    _server: RpcServer,
}

impl Node {
    /// Joins the cluster whose head listens at `head`.
    ///
    /// # Errors
    /// See [`StartError`]: nobody listens there, its cluster has another key (which is said at once), the name is
    /// taken, the store does not fit the machine, a place to spill to names no store that can be had, the port is in
    /// use.
    pub async fn join(env: &Env, head: &str, settings: NodeSettings) -> Result<Self, StartError> {
        let (inbox, inputs) = mpsc::unbounded_channel();
        settings.spill.iter().try_for_each(|root| env.disk().within(root).check()).map_err(StartError::Spill)?;
        let objects = Objects::new(env, &settings, inbox.clone()).map_err(StartError::Store)?;
        let (cluster, known) = watch::channel(None);
        let service = Arc::new(Service { inbox: inbox.clone(), cluster: known });
        let server = env.rpc_serve(settings.port, service).await.map_err(|why| StartError::port(settings.port, why))?;
        let listener = env.listen(0).await.map_err(|why| StartError::port(0, why))?;
        // The random streams of two lives of a node are equal, their births are not.
        let mut nonces = env.rng(&format!("join at {}", env.wall().0));
        let nonce = nonces.next_u64();
        let request = JoinRequest {
            nonce,
            name: settings.name.clone(),
            rpc: server.address(),
            bulk: listener.address(),
            total: settings.resources.clone(),
            labels: settings.labels.clone(),
            protocol_version: PROTOCOL_VERSION,
        };
        let (id, joined) = join(env, head, request, nonces, settings.head_grace).await?;
        cluster.send_replace(Some(id));
        objects.spill.born(&settings.name, joined.incarnation, nonce);
        let (members, known) = watch::channel(bulk::Members::default());
        let bulk = Bulk::new(env, joined.incarnation, &objects, settings.relay_from, known);
        env.spawn("bulk", bulk::serve(bulk.clone(), listener));
        let (progress, seen) = watch::channel(Progress::new());
        let (stop, stopped) = watch::channel(None);
        let (cancels, credits) = (Arc::new(Cancels::default()), Arc::new(Credits::default()));
        let shared = Arc::new(Shared {
            cancels: cancels.clone(),
            credits: credits.clone(),
            submitted: AtomicU64::new(0),
            env: env.clone(),
            me: joined.incarnation,
            inbox,
            objects: objects.clone(),
            inline: settings.inline.min(INLINE_TOTAL),
            next_task: AtomicU64::new(1),
            next_bundle: AtomicU64::new(1),
            has_freed: AtomicBool::new(false),
            processes: Arc::new(Processes::new(&settings.resources)),
            progress: seen,
        });
        let context = Context::new(shared);
        let birth = Birth {
            joined,
            memory_limit: settings.memory_limit_of(env.machine_memory()),
            name: settings.name,
            total: settings.resources,
            labels: settings.labels,
            lineage: settings.lineage,
            policy: settings.policy,
            head_grace: settings.head_grace,
            logging: env.is_logged(),
            cancels,
            credits,
            seed: env.rng("schedule").next_u64(),
        };
        let core = Core::new(env.now(), birth, objects);
        let peers = Peers::new(env, head, id);
        let shell = Shell {
            env: env.clone(),
            context: context.clone(),
            workers: BTreeMap::new(),
            actors: BTreeMap::new(),
            fetches: BTreeMap::new(),
            bulk,
            members,
            peers,
            progress,
            stop,
        };
        env.spawn("node", shell.run(core, inputs));
        Ok(Self { context, stopped, _server: server })
    }

    /// What programs use.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Runs a driver that uses this node to its end, or until the node has stopped.
    ///
    /// # Errors
    /// The driver's own; `Disconnected` with the reason if the node stopped first.
    pub async fn drive<T>(&self, driver: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match select(pin!(driver), pin!(self.stopped())).await {
            Either::Left((result, _)) => result,
            Either::Right((why, _)) => {
                Err(Error::new(TaskErrorKind::Disconnected, format!("the driver's node has stopped: {why}")))
            }
        }
    }

    /// Says goodbye, so that the others need not wait for the health check, and waits until the node is out of the
    /// cluster, at most `limit`. What it owns is lost, and what runs on it.
    pub async fn leave(&self, limit: Nanos) {
        // The inbox is closed only when the node has stopped.
        let _ = self.context.shared().inbox.send(Input::Leave);
        // If the head does not answer, the health check says what this would have.
        let _ = self.context.env().timeout(limit, self.stopped()).await;
    }

    /// Removes from disk what the node has spilled for its own process: for a process that is about to end.
    pub async fn clear_spill(&self) {
        self.context.shared().objects.spill.end().await;
    }

    /// Resolves when the node has stopped, with the reason.
    pub async fn stopped(&self) -> String {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await.map(|reason| reason.clone());
        reason.ok().flatten().unwrap_or_else(|| "the node's loop has ended".to_owned())
    }
}

/// Asks to join until the answer is final or `patience` is over.
async fn join(
    env: &Env,
    head: &str,
    mut request: JoinRequest,
    mut nonces: Rng,
    patience: Nanos,
) -> Result<(ClusterId, Joined), StartError> {
    const PAUSE: Nanos = Nanos::millis(200);
    let deadline = env.now() + patience;
    loop {
        let failed = match ask_to_join(env, head, &request).await {
            Ok(Ok(joined)) => return Ok(joined),
            Ok(Err(refused)) if !refused.can_retry() || env.now() >= deadline => {
                return Err(StartError::Refused(refused));
            }
            Ok(Err(_)) => {
                request.nonce = nonces.next_u64();
                None
            }
            Err(RpcError::WrongKey(why)) => return Err(why.into()),
            Err(why) if !why.is_retryable() => return Err(StartError::NoHead(head.to_owned(), why)),
            Err(why) => Some(why),
        };
        if let Some(why) = failed.filter(|_| env.now() >= deadline) {
            return Err(StartError::NoHead(head.to_owned(), why));
        }
        env.sleep(PAUSE).await;
    }
}

async fn ask_to_join(env: &Env, head: &str, request: &JoinRequest) -> Result<wire::JoinAnswer, RpcError> {
    let status = |status: RpcStatus| RpcError::Status(status.code, status.message);
    let client = env.rpc_connect(head).await?;
    let body = wire::write(request).map_err(status)?;
    let reply = client.call(wire::JOIN, body, REQUEST_TIMEOUT).await?;
    wire::read(&reply).map_err(status)
}

/// The rpc service of a node: it takes envelopes.
struct Service {
    inbox: mpsc::UnboundedSender<Input>,
    /// Once this node has joined one.
    cluster: watch::Receiver<Option<ClusterId>>,
}

impl Service {
    /// Whether an envelope of this cluster is to be read; waits for the join.
    async fn belongs(&self, yours: ClusterId) -> Result<Result<(), OtherCluster>, RpcStatus> {
        let mut known = self.cluster.clone();
        let mine = known.wait_for(Option::is_some).await.ok().and_then(|known| *known);
        let mine = mine.ok_or_else(|| RpcStatus::new(RpcCode::Unavailable, "this node has not joined"))?;
        Ok(if mine == yours { Ok(()) } else { Err(OtherCluster { mine, yours }) })
    }
}

impl Service {
    /// Answers with what the core says.
    async fn ask<T: Serialize>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<Bytes, RpcStatus> {
        let (reply, answer) = oneshot::channel();
        let sent = self.inbox.send(Input::Ask(question(reply)));
        let answer = if sent.is_ok() { answer.await.ok() } else { None };
        let stopped = || RpcStatus::new(RpcCode::Unavailable, "this node has stopped");
        answer.ok_or_else(stopped).and_then(|answer| wire::write(&answer))
    }
}

impl RpcService for Service {
    fn call(self: Arc<Self>, method: String, body: Bytes) -> BoxFuture<'static, Result<Bytes, RpcStatus>> {
        Box::pin(async move {
            match Request::parse(&method, &body)? {
                Request::Exchange(cluster, envelope) => {
                    if let Err(other) = self.belongs(cluster).await? {
                        return wire::write(&ExchangeAnswer::Err(other));
                    }
                    let (reply, ack) = oneshot::channel();
                    let sent = self.inbox.send(Input::Received { envelope, reply });
                    let ack = if sent.is_ok() { ack.await.ok() } else { None };
                    let stopped = || RpcStatus::new(RpcCode::Unavailable, "this node has stopped");
                    ack.ok_or_else(stopped).and_then(|ack| wire::write(&ExchangeAnswer::Ok(ack)))
                }
                Request::Memory => self.ask(Question::Memory).await,
                Request::Why(Some(task)) => self.ask(|reply| Question::Why(task, reply)).await,
                Request::Why(None) => self.ask(Question::Waits).await,
                Request::Jobs(_) => {
                    Err(RpcStatus::new(RpcCode::FailedPrecondition, "a node knows no jobs; ask the head"))
                }
                Request::Join(request) => {
                    let message = format!("`{}` asked a node to join; ask the head", request.name);
                    Err(RpcStatus::new(RpcCode::FailedPrecondition, message))
                }
            }
        })
    }
}

struct Shell {
    env: Env,
    context: Context,
    workers: BTreeMap<LeaseId, Slot>,
    actors: BTreeMap<LeaseId, Arc<Orders>>,
    fetches: BTreeMap<(ObjectId, Attempt), Fetch>,
    bulk: Bulk,
    members: watch::Sender<bulk::Members>,
    peers: Peers,
    progress: watch::Sender<Progress>,
    stop: watch::Sender<Option<String>>,
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.context.shared().processes.stop();
    }
}

/// An object on its way to this node.
struct Fetch {
    holders: watch::Sender<Vec<Incarnation>>,
    task: Task<()>,
}

/// A lease's worker.
struct Slot {
    queue: Arc<Queue>,
    life: Arc<Life>,
    task: Task<()>,
}

type Key = (TaskId, Attempt);

impl Shell {
    async fn run(mut self, core: Core, inputs: mpsc::UnboundedReceiver<Input>) {
        self.serve(core, inputs).await;
        self.end();
    }

    /// What runs here ends with the node: one that was declared dead would go on otherwise, while its tasks run again
    /// elsewhere and the next incarnation of its actors lives. Processes are killed. A synchronous function on a thread is
    /// not interrupted, since threads cannot be; nobody hears of its result, for the inbox is closed.
    fn end(&mut self) {
        self.workers.values().for_each(|slot| slot.task.abort());
        self.actors.values().for_each(|orders| orders.stop());
        self.fetches.values().for_each(|fetch| fetch.task.abort());
    }

    async fn serve(&mut self, mut core: Core, mut inputs: mpsc::UnboundedReceiver<Input>) {
        let simulated = self.env.world() != WorldKind::Real;
        let mut turns: usize = 0;
        let vigil = Vigil::new(AWAKE);
        loop {
            let input = match inputs.try_recv() {
                Ok(input) => input,
                Err(_) => {
                    let wait = core.next_deadline().saturating_sub(self.env.now());
                    match self.env.awake(&vigil, self.env.timeout(wait, inputs.recv())).await {
                        Ok(Some(input)) => input,
                        Ok(None) => return,
                        Err(_) => Input::Tick,
                    }
                }
            };
            self.step(&mut core, input);
            // Deciding after every single input is as right as deciding after many.
            let turn = if self.env.buggify("node.short-turn") { 1 } else { TURN };
            for _ in 1..turn {
                let Ok(input) = inputs.try_recv() else { break };
                self.step(&mut core, input);
            }
            for output in core.flush(self.env.now()) {
                if !self.execute(output) {
                    return;
                }
            }
            turns += 1;
            // Checking costs time in proportion to what is checked, so large states are checked at fewer turns.
            if simulated && turns.is_multiple_of(1 + core.size() / 256) {
                core.check_turn().unwrap_or_else(|violation| panic!("{violation}"));
            }
        }
    }

    fn step(&mut self, core: &mut Core, input: Input) {
        if let Input::Fetched { object, attempt, .. } = &input {
            self.fetches.remove(&(*object, *attempt));
        }
        core.step(self.env.now(), input);
    }

    /// Does what the core says. False when the node must stop.
    fn execute(&mut self, output: Output) -> bool {
        match output {
            Output::Transmit { address, envelope, load } => self.transmit(address, envelope, load),
            Output::Start { lease, attempt, spec, args } => {
                let slot = self.workers.entry(lease).or_insert_with(|| Slot::new(&self.env, &self.context, lease));
                slot.queue.push(Job { attempt, spec, args });
            }
            Output::Skip { lease, task, attempt } => {
                if self.workers.get(&lease).is_some_and(|slot| slot.queue.skip(task, attempt)) {
                    let _ = self.context.shared().inbox.send(Input::Skipped { task, attempt });
                }
            }
            Output::Actor(order) => self.order(order),
            Output::StopWorker(lease) => {
                self.actors.remove(&lease);
                if let Some(slot) = self.workers.remove(&lease) {
                    slot.task.abort();
                }
            }
            Output::MeasureMemory => {
                let _ = self.context.shared().inbox.send(Input::Measured(self.env.resident()));
            }
            Output::KillWorker { lease, victim, attempts, why } => self.kill_worker(lease, victim, attempts, why),
            Output::Fetch { object, attempt, holders, region } => {
                let (bulk, inbox) = (self.bulk.clone(), self.context.shared().inbox.clone());
                let (holders, known) = watch::channel(holders);
                let env = self.env.clone();
                let task = self.env.spawn("fetch", async move {
                    if env.buggify("fetch.late") {
                        env.sleep(LATE).await;
                    }
                    let (result, _relay) = bulk::receive(bulk, object, attempt, region, known).await;
                    let _ = inbox.send(Input::Fetched { object, attempt, result });
                });
                self.fetches.insert((object, attempt), Fetch { holders, task });
            }
            Output::Holders { object, attempt, holders } => {
                if let Some(fetch) = self.fetches.get(&(object, attempt)) {
                    fetch.holders.send_replace(holders);
                }
            }
            Output::Restore { object, attempt, place, region } => {
                let (objects, inbox) = (self.objects().clone(), self.context.shared().inbox.clone());
                let restore = self.env.spawn("restore", async move {
                    let result = objects.spill.restore(object, place, region).await;
                    let (result, lost) = match result {
                        Ok(region) => (Ok(region), None),
                        Err(why) => (Err(FetchFailure::Corrupt(None)), Some(why)),
                    };
                    let _ = inbox.send(Input::Fetched { object, attempt, result });
                    // After the end of the attempt, so that the next one does not begin before it.
                    lost.iter().for_each(|why| objects.unreadable(object, place, why));
                });
                let (holders, _) = watch::channel(Vec::new());
                self.fetches.insert((object, attempt), Fetch { holders, task: restore });
            }
            Output::Spill(batch) => {
                let (spill, inbox) = (self.objects().spill.clone(), self.context.shared().inbox.clone());
                self.env.spawn("spill", async move {
                    let file = batch.file;
                    let result = spill.write(batch).await;
                    let _ = inbox.send(Input::Spilled { file, result });
                });
            }
            Output::RemoveFile(file) => {
                let (spill, inbox) = (self.objects().spill.clone(), self.context.shared().inbox.clone());
                self.env.spawn("unspill", async move {
                    let done = spill.remove(file).await;
                    let _ = inbox.send(Input::Removed { file, done });
                });
            }
            Output::Save(object) => {
                let (objects, inbox) = (self.objects().clone(), self.context.shared().inbox.clone());
                self.env.spawn("save", async move {
                    let size = objects.persist.save(&objects, object).await;
                    let _ = inbox.send(Input::Saved { object, size });
                });
            }
            Output::Load(object, size) => {
                let (objects, inbox) = (self.objects().clone(), self.context.shared().inbox.clone());
                self.env.spawn("load", async move {
                    let loaded = objects.persist.load(&objects, object, size).await;
                    let _ = inbox.send(Input::Loaded { object, size: loaded.then_some(size) });
                });
            }
            Output::Erase(object) => {
                let folder = self.objects().persist.clone();
                self.env.spawn("erase", async move { folder.erase(object).await });
            }
            Output::AbortFetch { object, attempt } => {
                if let Some(fetch) = self.fetches.remove(&(object, attempt)) {
                    fetch.task.abort();
                }
            }
            Output::Members(members) => {
                self.members.send_replace(members);
            }
            Output::Living(addresses) => self.peers.keep(&addresses),
            Output::Progress(progress) => {
                self.progress.send_replace(progress);
            }
            Output::Covered(situation) => self.env.cover(situation),
            Output::Log { kind, detail } => self.env.emit(kind, format_args!("{detail}")),
            Output::Stop(why) => {
                self.env.emit("stop", format_args!("{why}"));
                self.stop.send_replace(Some(why));
                return false;
            }
        }
        true
    }

    /// Stops the worker of a lease, and puts a fresh one there for what it had not begun.
    fn kill_worker(&mut self, lease: LeaseId, victim: Key, attempts: Vec<Key>, why: String) {
        let inbox = self.context.shared().inbox.clone();
        let Some(slot) = self.workers.remove(&lease) else {
            // Its lease has ended meanwhile.
            let _ = inbox.send(Input::WorkerGone { victim, begun: Vec::new() });
            return;
        };
        let left = slot.queue.take();
        let waits: BTreeSet<Key> = left.iter().map(|job| (job.spec.id, job.attempt)).collect();
        let begun: Vec<Key> = attempts.into_iter().filter(|key| !waits.contains(key)).collect();
        let _ = inbox.send(Input::WorkerKilled { begun: begun.clone(), why });
        slot.life.killed(victim, begun);
        slot.task.abort();
        let fresh = Slot::new(&self.env, &self.context, lease);
        left.into_iter().for_each(|job| fresh.queue.push(job));
        self.workers.insert(lease, fresh);
    }

    /// Does what the core wants of an actor's worker.
    fn order(&mut self, order: ActorOutput) {
        match order {
            ActorOutput::Construct { lease, spec, incarnation, args, state } => {
                let (orders, context) = (Arc::new(Orders::new()), self.context.clone());
                let worker = ActorWorker { context, lease, spec, incarnation, orders: orders.clone() };
                self.actors.insert(lease, orders);
                self.env.spawn("actor", worker.run(args, state));
            }
            ActorOutput::Run(lease, job) => {
                if let Some(orders) = self.actors.get(&lease) {
                    orders.call(*job);
                }
            }
            ActorOutput::Skip(lease, task, attempt) => {
                if self.actors.get(&lease).is_some_and(|orders| orders.skip(task, attempt)) {
                    self.context.tell_actors(ActorInput::Skipped(task, attempt));
                }
            }
            ActorOutput::Save(lease) => {
                if let Some(orders) = self.actors.get(&lease) {
                    orders.save();
                }
            }
            ActorOutput::Stop(lease) => {
                if let Some(orders) = self.actors.remove(&lease) {
                    orders.stop();
                }
            }
        }
    }

    fn objects(&self) -> &Objects {
        &self.context.shared().objects
    }

    fn transmit(&self, address: String, envelope: Arc<Envelope>, load: ByteSize) {
        let (env, peers, inbox) = (self.env.clone(), self.peers.clone(), self.context.shared().inbox.clone());
        self.env.spawn("exchange", async move {
            let (to, seq) = (envelope.to, envelope.seq);
            if env.buggify("exchange.late") {
                env.sleep(LATE).await;
            }
            let input = match peers.exchange(&address, &envelope, load).await {
                Ok(ack) => Input::Acked { to, seq, ack },
                Err(Failure::Lost) => Input::Lost { to, seq },
                Err(Failure::Refused(why)) => Input::Refused { to, seq, why },
                // Another node may have the address by now, but only the head can be the head of another cluster.
                Err(Failure::OtherCluster(other)) if to.node == NodeId::HEAD => Input::Orphaned(other.to_string()),
                Err(Failure::OtherCluster(_)) => Input::Lost { to, seq },
            };
            let _ = inbox.send(input);
        });
    }
}

impl Slot {
    fn new(env: &Env, context: &Context, lease: LeaseId) -> Self {
        let queue = Arc::new(Queue::default());
        let life = Arc::new(Life::new(context));
        let worker = Worker { context: context.clone(), lease, queue: queue.clone(), life: life.clone() };
        Self { queue, life, task: env.spawn("worker", worker.run()) }
    }
}
