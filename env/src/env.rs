//! The handle: one life of one node in one world.

use crate::backend::Place;
use crate::compute::{Resource, metered};
use crate::disk::Disk;
use crate::files::Files;
use crate::key::{self, ClusterKey};
use crate::log::{Failure, LogSink, Record, lock, panic_text};
use crate::net::{Listener, Stream};
use crate::rng::Rng;
use crate::rpc::{RpcClient, RpcError, RpcFault, RpcFaults, RpcServer, RpcService};
use crate::task::{Task, TaskGone};
use crate::vigil::Vigil;
use futures_util::FutureExt;
use mobula_protocol::{ByteSize, Nanos};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use tokio::sync::oneshot;

/// Refusals of strangers that are logged each; of those after them only every doubling is, so that a flood of them
/// does not become one of lines.
const LOGGED: u64 = 8;

/// The longest a connection attempt takes before it fails with [`io::ErrorKind::TimedOut`].
pub(crate) const CONNECT_TIMEOUT: Nanos = Nanos::secs(1);

/// The kinds of world a node can live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorldKind {
    /// Sockets, files and threads of this machine.
    Real,
    /// The turmoil simulator.
    Turmoil,
    /// The madsim simulator.
    Madsim,
}

impl fmt::Display for WorldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real => "real",
            Self::Turmoil => "turmoil",
            Self::Madsim => "madsim",
        })
    }
}

/// A name that is no [`WorldKind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no world `{0}`; the worlds are real, turmoil and madsim")]
pub struct UnknownWorld(pub String);

impl FromStr for WorldKind {
    type Err = UnknownWorld;
    fn from_str(text: &str) -> Result<Self, UnknownWorld> {
        [Self::Real, Self::Turmoil, Self::Madsim]
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| UnknownWorld(text.to_owned()))
    }
}

/// The time given to [`Env::timeout`] passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not finished in time")]
pub struct Elapsed;

/// One life of one node in one world. Cheap to clone; all clones are the same node.
#[derive(Clone)]
pub struct Env(Arc<Life>);

/// What the clones of an `Env` share.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) node: Arc<str>,
    pub(crate) kind: WorldKind,
    pub(crate) seed: u64,
    pub(crate) buggify: bool,
    /// Belongs to the machine: a restarted node still has a wrong clock.
    pub(crate) wall_offset: Arc<AtomicI64>,
    pub(crate) record: Arc<Record>,
    /// By seed and site: a branch has dice of its own.
    pub(crate) sites: Arc<Mutex<BTreeMap<(u64, &'static str), Rng>>>,
    pub(crate) key: Option<ClusterKey>,
    /// Strangers so far. Held while one is logged, so that the numbers in a log go up.
    pub(crate) refused: Arc<Mutex<u64>>,
    pub(crate) faults: Arc<RpcFaults>,
    pub(crate) place: Place,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Env({} in {})", self.node(), self.world())
    }
}

impl Env {
    pub(crate) fn new(life: Life) -> Self {
        Self(Arc::new(life))
    }

    #[cfg(not(madsim))]
    pub(crate) fn life(&self) -> &Life {
        &self.0
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0.place
    }

    /// The name of the node, as in `"A"`.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// The kind of world, for reports. Code that decides by it no longer rehearses what it will do.
    pub fn world(&self) -> WorldKind {
        self.0.kind
    }

    /// Monotonic time since the start of the world (the process, in the real one), in nanoseconds of the model.
    pub fn now(&self) -> Nanos {
        self.place().now()
    }

    /// The wall clock: nanoseconds since 1970, wrong by what [`Env::clock_jump`] added. For display; never for an
    /// order or a duration.
    pub fn wall(&self) -> Nanos {
        let offset = self.0.wall_offset.load(Ordering::Relaxed);
        Nanos(self.place().wall().0.saturating_add_signed(offset))
    }

    /// Moves this node's wall clock, and no other clock.
    pub fn clock_jump(&self, delta_nanos: i64) {
        self.0.wall_offset.fetch_add(delta_nanos, Ordering::Relaxed);
    }

    /// Waits for `d`. In simulation a sleep takes at least one simulator millisecond (100 us of the model on turmoil,
    /// 1 us on madsim), even a sleep of zero, so that a loop around it lets time pass.
    pub async fn sleep(&self, d: Nanos) {
        self.sleep_until(self.now() + d).await;
    }

    /// Waits until [`Env::now`] is `t` or later. See [`Env::sleep`].
    pub async fn sleep_until(&self, t: Nanos) {
        self.place().sleep_until(t).await;
    }

    /// The result of `f`, or [`Elapsed`] if it needs longer than `d`; `f` is then dropped.
    pub async fn timeout<F: Future>(&self, d: Nanos, f: F) -> Result<F::Output, Elapsed> {
        let mut work = std::pin::pin!(f);
        let mut limit = std::pin::pin!(self.sleep(d));
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => limit.as_mut().poll(cx).map(|()| Err(Elapsed)),
        })
        .await
    }

    /// The result of `f`, for which the real world stays awake as long as `vigil` says that it pays: the other tasks of
    /// this thread and the other threads of this core go on meanwhile, and nothing has to wake it. In simulation waiting
    /// costs nothing, and this is `f`.
    pub async fn awake<F: Future>(&self, vigil: &Vigil, f: F) -> F::Output {
        if self.world() != WorldKind::Real {
            return f.await;
        }
        let (mut f, began) = (std::pin::pin!(f), self.now());
        let time = vigil.time();
        while self.now().saturating_sub(began) < time {
            if let Poll::Ready(value) = std::future::poll_fn(|cx| Poll::Ready(f.as_mut().poll(cx))).await {
                return value;
            }
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        let value = f.await;
        vigil.slept(self.now().saturating_sub(began));
        value
    }

    /// Ticks at once, then every `period`. Ticks that were missed are skipped, not made up for.
    pub fn interval(&self, period: Nanos) -> Interval {
        Interval { env: self.clone(), period: period.max(Nanos(1)), next: self.now() }
    }

    /// Starts a task on this node. Dropping the [`Task`] detaches it. It stops when the node dies.
    ///
    /// A panic in it ends a simulation; in the real world it fails the node, and the task's result is [`TaskGone`].
    /// `name` says in reports which task it was.
    pub fn spawn<F>(&self, name: &'static str, f: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (send, result) = oneshot::channel();
        let work = self.supervise(name, f);
        let abort = self.place().spawn(async move {
            if let Some(value) = work.await {
                // The receiver is gone if the task was detached.
                let _ = send.send(value);
            }
        });
        Task::new(result, abort)
    }

    /// The random stream `stream` of this node, from its beginning.
    pub fn rng(&self, stream: &str) -> Rng {
        Rng::new(self.0.seed, &self.0.node, stream)
    }

    /// The same life of the same node with another cluster key, or none: what a stranger on its machine would be. For
    /// rehearsals; its listeners too ask for that key.
    pub fn with_key(&self, key: Option<ClusterKey>) -> Self {
        Self(Arc::new(Life { key, ..Life::clone(&self.0) }))
    }

    pub(crate) fn key(&self) -> Option<&ClusterKey> {
        self.0.key.as_ref()
    }

    /// How many connections and calls this node has refused for want of the key ([`ClusterKey`]); in a simulation those
    /// of all lives of its machine.
    pub fn refused(&self) -> u64 {
        *lock(&self.0.refused)
    }

    /// Counts and logs that `who` has not proved the key.
    pub(crate) fn refuse(&self, who: &str) {
        let mut refused = lock(&self.0.refused);
        *refused += 1;
        let number = *refused;
        if number > LOGGED && !number.is_power_of_two() {
            return;
        }
        self.emit("stranger", format_args!("{number} {who}"));
        // A simulation's report says it.
        if self.world() == WorldKind::Real {
            eprintln!("node `{}` refused {who}, which has not the cluster's key (refusal {number})", self.node());
        }
    }

    /// Accepts byte streams on `port`, or on any free port if it is 0. Each asks the other side for the cluster key, at
    /// its first read or write.
    pub async fn listen(&self, port: u16) -> io::Result<Listener> {
        Ok(self.place().listen(self, port).await?.guarded_by(self))
    }

    /// Opens a byte stream to `address`, which is what [`Listener::address`] says there; both sides have proved the
    /// cluster key when this returns.
    ///
    /// Fails with `ConnectionRefused` if nobody listens, `NotFound` if there is no such host, `TimedOut` after one
    /// second, `PermissionDenied` around [`WrongKey`](crate::WrongKey) if the keys differ. Reads and writes on the
    /// stream have no limit of their own: after a partition they may wait for ever.
    pub async fn connect(&self, address: &str) -> io::Result<Stream> {
        match self.timeout(CONNECT_TIMEOUT, self.dial(address)).await {
            Ok(result) => result,
            Err(Elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("connecting to {address} timed out"))),
        }
    }

    async fn dial(&self, address: &str) -> io::Result<Stream> {
        let faults = self.rpc_faults();
        if !faults.is_empty() {
            let (here, there) = (self.node(), crate::sim::host(address));
            faults.passable(here, there).await;
            faults.passable(there, here).await;
            self.sleep_if(faults.latency(here, there) + faults.latency(there, here)).await;
        }
        key::prove(self, self.place().connect(self, address).await?, address).await
    }

    /// Serves `service` on `port`, or on any free port if it is 0, until the [`RpcServer`] is dropped or the node dies.
    ///
    /// A handler runs to its end even if its caller has gone: an abandoned request is one whose reply was lost.
    pub async fn rpc_serve(&self, port: u16, service: Arc<dyn RpcService>) -> io::Result<RpcServer> {
        RpcServer::start(self, port, service).await
    }

    /// Connects to the service at `address`. The client reconnects by itself after a failure.
    pub async fn rpc_connect(&self, address: &str) -> Result<RpcClient, RpcError> {
        RpcClient::connect(self, address).await
    }

    /// A client of the service at `address` that connects with its first call, within that call's time.
    pub fn rpc_client(&self, address: &str) -> RpcClient {
        RpcClient::new(self, address)
    }

    /// From now on calls meet this fault: those of all nodes of a simulated world, those of this node in the real one.
    pub fn inject_rpc_fault(&self, fault: RpcFault) {
        self.0.faults.inject(self.0.seed, fault);
    }

    /// Ends all faults of calls that [`Env::inject_rpc_fault`] began.
    pub fn end_rpc_faults(&self) {
        self.0.faults.clear();
    }

    pub(crate) fn rpc_faults(&self) -> &RpcFaults {
        &self.0.faults
    }

    /// Sleeps, unless there is nothing to sleep for.
    pub(crate) async fn sleep_if(&self, d: Nanos) {
        if d > Nanos::ZERO {
            self.sleep(d).await;
        }
    }

    /// The disk of this node.
    pub fn disk(&self) -> Disk {
        Disk::new(self.clone())
    }

    /// The files outside the cluster.
    pub fn files(&self) -> Files {
        Files::new(self.place().costs())
    }

    /// Runs `work`, which may take long or block.
    ///
    /// In the real world on a thread for blocking work. In simulation inline; then what it
    /// [charged](crate::compute::charge) plus [`Costs::task`](crate::Costs::task) is reserved on the node's cores and
    /// waited for.
    pub async fn compute<T, F>(&self, work: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.place() {
            #[cfg(not(madsim))]
            Place::Real(real) => real.compute(work).await,
            Place::Simulated(sim) => {
                let (value, charged) = metered(work);
                let done = sim.reserve_core(charged);
                self.wait_for(done).await;
                value
            }
        }
    }

    /// The same for work that borrows what the caller has, on the caller's own thread: what else that thread had to do
    /// goes to another one meanwhile. A caller that is dropped is dropped before the work or after it.
    pub async fn compute_here<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.place() {
            #[cfg(not(madsim))]
            Place::Real(_) => crate::backend::real::compute_here(work),
            Place::Simulated(sim) => {
                let (value, charged) = metered(work);
                let done = sim.reserve_core(charged);
                self.wait_for(done).await;
                value
            }
        }
    }

    /// Waits until a core of this simulated node has been busy for what was `charged`. If this is given up before, the core
    /// is free then.
    pub(crate) async fn occupy_core(&self, charged: Nanos) {
        let sim = match self.place() {
            #[cfg(not(madsim))]
            Place::Real(_) => return,
            Place::Simulated(sim) => sim,
        };
        let time = sim.occupy_core(charged);
        self.wait_for(time.until).await;
        time.used();
    }

    /// What this node's process and its worker processes have in memory for themselves alone, without memory that is
    /// shared, such as an object store's, and without files. None in simulation, where all nodes are one process, and where it cannot be told.
    pub fn resident(&self) -> Option<ByteSize> {
        match self.place() {
            #[cfg(not(madsim))]
            Place::Real(real) => real.resident(),
            Place::Simulated(_) => None,
        }
    }

    /// The memory of the machine, or of the control group that this process is in. None in simulation, and where it cannot
    /// be told.
    pub fn machine_memory(&self) -> Option<ByteSize> {
        match self.place() {
            #[cfg(not(madsim))]
            Place::Real(_) => crate::memory::machine(),
            Place::Simulated(_) => None,
        }
    }

    /// Whether to take the unlikely path at `site`: the short timeout, the full buffer, the early flush.
    ///
    /// False in the real world and unless [`SimConfig::buggify`](crate::SimConfig::buggify) is set. As in
    /// FoundationDB, a quarter of the sites are armed in a run, and an armed site fires a quarter of the times it is
    /// asked.
    pub fn buggify(&self, site: &'static str) -> bool {
        let seed = match self.0.record.branched() {
            Some(seed) => seed,
            None if self.0.buggify => self.0.seed,
            None => return false,
        };
        // Armed or not is the same on all nodes: the whole cluster runs with the same unlikely paths.
        if !Rng::new(seed, "", site).chance(0.25) {
            return false;
        }
        let mut sites = lock(&self.0.sites);
        let fires = sites.entry((seed, site)).or_insert_with(|| Rng::new(seed, &self.0.node, site)).chance(0.25);
        if fires {
            self.0.record.probe(site);
        }
        fires
    }

    /// Counts that `site` was reached. A site never reached in many runs is code that was never rehearsed.
    pub fn probe(&self, site: &'static str) {
        self.0.record.probe(site);
    }

    /// Notes that this situation occurred; see [`SimReport::coverage`](crate::SimReport::coverage).
    pub fn cover(&self, situation: String) {
        self.0.record.cover(situation);
    }

    /// Returns once `site` was reached `count` times: by all nodes of a simulated world, by this one in the real world.
    /// Every kind of [`Env::emit`] is a site too.
    pub async fn probed(&self, site: &str, count: u64) {
        self.0.record.probed(site, count).await;
    }

    /// Returns once the event log has so many lines.
    pub async fn events_reach(&self, count: u64) {
        self.0.record.events_reach(count).await;
    }

    /// Returns once `bytes` were [charged](Env::charge) to the receiving sides of network cards: of all nodes of a
    /// simulated world, of this one in the real world.
    pub async fn bytes_moved(&self, bytes: ByteSize) {
        self.0.record.bytes_moved(bytes.0).await;
    }

    /// Appends a line to the event log: number, nanoseconds, node, `kind`, `detail`. The time is the model's; in the real
    /// world that of the system's clock since 1970, so that the logs of several processes can be laid side by side.
    ///
    /// No addresses, thread ids or wall times in `detail`: equal runs must give equal lines.
    pub fn emit(&self, kind: &'static str, detail: fmt::Arguments<'_>) {
        self.emit_as(&self.0.node, kind, detail);
    }

    /// [`Env::emit`] in the name of another node, as `world` for what a harness does.
    pub fn emit_as(&self, node: &str, kind: &'static str, detail: fmt::Arguments<'_>) {
        let at = match self.world() {
            WorldKind::Real => self.place().wall(),
            _ => self.now(),
        };
        self.0.record.emit(at, node, kind, detail);
    }

    /// Whether anybody keeps the event log: lines that cost something to make need not be made else.
    pub fn is_logged(&self) -> bool {
        self.0.record.is_kept()
    }

    /// Sends the log lines of a real node to `sink`; the first sink stays. In simulation it sees the world's lines.
    pub fn log_to(&self, sink: LogSink) {
        self.0.record.set_sink(sink);
    }

    /// Waits in the queue of a resource for as long as `bytes` take there. Nothing to wait for in the real world.
    pub async fn charge(&self, what: Resource, bytes: ByteSize) {
        if what == Resource::NicReceive {
            self.0.record.moved(bytes.0);
        }
        if let Some(done) = self.place().reserve(what, bytes) {
            self.wait_for(done).await;
        }
    }

    /// Sleeps until `done`, unless it is closer than the simulator can resolve; see [`crate::compute`].
    pub(crate) async fn wait_for(&self, done: Nanos) {
        if done.saturating_sub(self.now()) >= self.place().tick() {
            self.sleep_until(done).await;
        }
    }

    /// `f` with its panics reported (then `None`), and held while the node is paused.
    pub(crate) fn supervise<F>(&self, name: &'static str, f: F) -> impl Future<Output = Option<F::Output>> + use<F>
    where
        F: Future,
    {
        let env = self.clone();
        let work = AssertUnwindSafe(self.place().gated(f)).catch_unwind();
        async move {
            match work.await {
                Ok(value) => Some(value),
                Err(panic) => {
                    env.panicked(name, &*panic);
                    None
                }
            }
        }
    }

    fn panicked(&self, name: &str, panic: &(dyn Any + Send)) {
        let message = panic_text(panic);
        // The report of a simulation says it.
        if self.world() == WorldKind::Real {
            eprintln!("task `{name}` of node `{}` panicked: {message}", self.node());
        }
        self.0.record.fail(Failure { node: self.node().to_owned(), message });
    }
}

impl From<TaskGone> for io::Error {
    fn from(gone: TaskGone) -> Self {
        io::Error::other(gone)
    }
}

/// See [`Env::interval`].
#[derive(Debug)]
pub struct Interval {
    env: Env,
    period: Nanos,
    next: Nanos,
}

impl Interval {
    /// Waits for the next tick and returns the time it was due.
    pub async fn tick(&mut self) -> Nanos {
        let due = self.next;
        if due > self.env.now() {
            self.env.sleep_until(due).await;
        }
        let late = self.env.now().saturating_sub(due).0 / self.period.0;
        self.next = due + self.period * (late + 1);
        due
    }
}
