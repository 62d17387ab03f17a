//! The turmoil simulator: one paused current-thread runtime a host, ticked in lock step; real tonic over simulated TCP.
//!
//! Faults arrive through a queue that is emptied between two ticks. See <https://docs.rs/turmoil>.
//!
//! Turmoil visits every host at every tick, whether anything is to be done there or not. So the clock of the model leaves
//! out the ticks in which nothing happens: after one in which no task ran, no message was under way and nobody woke, it
//! jumps to the time that the first sleeper waits for. All sleeps are therefore kept here and not by tokio, whose clock
//! knows nothing of the jumps. What a host sends to itself nobody sees: after such a connection there are no jumps.

use crate::backend::Place;
use crate::env::{Env, WorldKind};
use crate::log::{lock, panic_text};
use crate::net::{Listener, Stream};
use crate::sim::{DRIVER, Machine, Primitive, SimFailure, SimPlace, World, host};
use mobula_protocol::Nanos;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::oneshot;

/// A tick of the simulator, for which [`SimConfig::tick`](crate::SimConfig::tick) stands in model time.
const TICK: Nanos = Nanos::millis(1);

pub(crate) const KIND: WorldKind = WorldKind::Turmoil;

/// Segments a connection and an accept queue hold. Turmoil's default of 64 is soon full, and panics.
const TCP_CAPACITY: usize = 1 << 16;

/// The runtime of a life, so that tasks spawned through an `Env` run on its own node whoever spawns them.
pub(crate) type Runtime = tokio::runtime::Handle;

/// What the loop of the simulation shares with its hosts.
#[derive(Default)]
pub(crate) struct Shared {
    /// The clock between ticks, in model nanoseconds.
    clock: AtomicU64,
    /// What of it the simulator has not ticked through.
    skipped: AtomicU64,
    /// How often tasks ran.
    polls: AtomicU64,
    /// A host has connected to itself.
    loops: AtomicBool,
    sleepers: Mutex<Sleepers>,
    requests: Mutex<VecDeque<(Primitive, oneshot::Sender<()>)>>,
    /// The machines turmoil knows.
    hosts: Mutex<BTreeSet<String>>,
}

/// Who waits for which time, in the order in which they wake.
#[derive(Default)]
struct Sleepers {
    wakers: BTreeMap<(Nanos, u64), Waker>,
    /// Numbers them, so that those of one time wake in the order in which they fell asleep.
    next: u64,
}

impl Sleepers {
    /// Takes out those whose time has come.
    fn take(&mut self, now: Nanos) -> BTreeMap<(Nanos, u64), Waker> {
        if self.first().is_none_or(|first| first > now) {
            return BTreeMap::new();
        }
        let later = self.wakers.split_off(&(now + Nanos(1), 0));
        std::mem::replace(&mut self.wakers, later)
    }

    /// The time that the first one waits for.
    fn first(&self) -> Option<Nanos> {
        self.wakers.first_key_value().map(|((due, _), _)| *due)
    }
}

/// Until a time of the model. See [`Sleepers`].
struct Sleep<'a> {
    world: &'a World,
    due: Nanos,
    number: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now(self.world) >= self.due {
            return Poll::Ready(());
        }
        let mut sleepers = lock(&self.world.simulator.sleepers);
        let number = *self.number.get_or_insert_with(|| {
            sleepers.next += 1;
            sleepers.next
        });
        sleepers.wakers.insert((self.due, number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(&self.world.simulator.sleepers).wakers.remove(&(self.due, number));
        }
    }
}

/// The least a sleep takes, in model time.
pub(crate) fn tick(world: &World) -> Nanos {
    world.config.tick
}

fn to_simulator(world: &World, model: Nanos) -> Duration {
    Duration::from_nanos(scaled(model.0, TICK, tick(world)))
}

fn to_model(world: &World, simulator: Duration) -> Nanos {
    Nanos(scaled(Nanos::from(simulator).0, tick(world), TICK))
}

/// `time` by the ratio of two ticks, rounded down.
fn scaled(time: u64, by: Nanos, of: Nanos) -> u64 {
    u64::try_from(u128::from(time) * u128::from(by.0) / u128::from(of.0.max(1))).unwrap_or(u64::MAX)
}

/// Inside a host its own clock, which within a tick may be one tick ahead of another's; else the time of the last tick.
pub(crate) fn now(world: &World) -> Nanos {
    match turmoil::sim_elapsed() {
        Some(elapsed) => to_model(world, elapsed) + Nanos(world.simulator.skipped.load(Ordering::Relaxed)),
        None => Nanos(world.simulator.clock.load(Ordering::Relaxed)),
    }
}

pub(crate) fn ended_at(world: &World) -> Nanos {
    Nanos(world.simulator.clock.load(Ordering::Relaxed))
}

pub(crate) async fn sleep_until(place: &SimPlace, t: Nanos) {
    let world = &*place.world;
    Sleep { world, due: t.max(place.now() + tick(world)), number: None }.await;
}

pub(crate) fn spawn(place: &SimPlace, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
    place.runtime.spawn(counted(place.world.clone(), work)).abort_handle()
}

/// The same work, whose steps are counted.
async fn counted<F: Future>(world: Arc<World>, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        world.simulator.polls.fetch_add(1, Ordering::Relaxed);
        work.as_mut().poll(cx)
    })
    .await
}

pub(crate) async fn listen(env: &Env, port: u16) -> io::Result<Listener> {
    let listener = turmoil::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let address = format!("{}:{}", env.node(), listener.local_addr()?.port());
    Ok(Listener::turmoil(listener, address))
}

/// Turmoil looks the host's name up by itself.
pub(crate) async fn connect(env: &Env, address: &str) -> io::Result<Stream> {
    if let Place::Simulated(place) = env.place()
        && host(address) == env.node()
    {
        place.world.simulator.loops.store(true, Ordering::Relaxed);
    }
    Ok(Stream::turmoil(turmoil::net::TcpStream::connect(address).await?))
}

/// Queues `primitive` for the end of this tick, and waits for it.
pub(crate) async fn apply(world: &World, primitive: Primitive) {
    let (done, applied) = oneshot::channel();
    lock(&world.simulator.requests).push_back((primitive, done));
    // An error means that the simulation is over, and with it this task.
    let _ = applied.await;
}

/// Ticks until the driver has finished, a task has panicked, or the time is up.
pub(crate) fn run<T, D, F>(world: &Arc<World>, driver: D) -> Result<T, SimFailure>
where
    T: Send + 'static,
    D: FnOnce(Env) -> F + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut sim = build(world);
    let result = Arc::new(Mutex::new(None));
    let (inside, slot) = (world.clone(), result.clone());
    sim.client(DRIVER, async move {
        let env = inside.life(&inside.machine(DRIVER), Runtime::current());
        let work = driver(env.clone());
        *lock(&slot) = counted(inside, env.supervise("driver", work)).await;
        Ok(())
    });
    loop {
        let polls = world.simulator.polls.load(Ordering::Relaxed);
        let step = catch_unwind(AssertUnwindSafe(|| sim.step()));
        pass(world, &sim);
        if let Some(failure) = world.record.failure() {
            return Err(SimFailure::Panic { message: failure.message, node: failure.node });
        }
        let elsewhere = |message: String| SimFailure::Panic { message, node: "?".to_owned() };
        step.map_err(|panic| elsewhere(panic_text(&*panic)))?.map_err(|error| elsewhere(error.to_string()))?;
        if let Some(value) = lock(&result).take() {
            return Ok(value);
        }
        if ended_at(world) > world.config.max_time {
            return Err(SimFailure::Stuck { at: ended_at(world) });
        }
        let requests = std::mem::take(&mut *lock(&world.simulator.requests));
        let ran = world.simulator.polls.load(Ordering::Relaxed) != polls;
        let busy = wake(world) || ran || !requests.is_empty() || is_talking(&sim);
        if !busy && !world.simulator.loops.load(Ordering::Relaxed) {
            skip(world, &sim);
        }
        for (primitive, done) in requests {
            perform(world, &mut sim, primitive);
            // The one who asked may have died of it.
            let _ = done.send(());
        }
    }
}

/// Sets the clock to what it is after a tick, or after a jump.
fn pass(world: &World, sim: &turmoil::Sim<'_>) {
    let skipped = world.simulator.skipped.load(Ordering::Relaxed);
    world.simulator.clock.store(to_model(world, sim.elapsed()).0 + skipped, Ordering::Relaxed);
}

/// Wakes those whose time has come; says whether there were any.
fn wake(world: &World) -> bool {
    let due = lock(&world.simulator.sleepers).take(ended_at(world));
    due.values().for_each(Waker::wake_by_ref);
    !due.is_empty()
}

/// Whether a message is under way between two hosts.
fn is_talking(sim: &turmoil::Sim<'_>) -> bool {
    let mut talking = false;
    sim.links(|links| talking = links.into_iter().any(|mut link| link.next().is_some()));
    talking
}

/// Leaves out the ticks until somebody wakes, or the time is up.
fn skip(world: &World, sim: &turmoil::Sim<'_>) {
    let (now, end) = (ended_at(world), world.config.max_time + tick(world));
    let first = lock(&world.simulator.sleepers).first();
    let idle = first.unwrap_or(end).min(end).saturating_sub(now);
    let ticks = idle.0 / tick(world).0.max(1);
    world.simulator.skipped.fetch_add(ticks * tick(world).0, Ordering::Relaxed);
    pass(world, sim);
    wake(world);
}

fn build(world: &World) -> turmoil::Sim<'static> {
    let (least, most) = world.config.latency;
    turmoil::Builder::new()
        .rng_seed(world.config.seed)
        .enable_random_order()
        .epoch(UNIX_EPOCH)
        .simulation_duration(Duration::MAX)
        .tick_duration(Duration::from_nanos(TICK.0))
        .min_message_latency(to_simulator(world, least))
        .max_message_latency(to_simulator(world, most.max(least)))
        .tcp_capacity(TCP_CAPACITY)
        .build()
}

fn perform(world: &Arc<World>, sim: &mut turmoil::Sim<'static>, primitive: Primitive) {
    match primitive {
        Primitive::Boot(name) => {
            if lock(&world.simulator.hosts).insert(name.clone()) {
                let inside = world.clone();
                let machine = world.machine(&name);
                sim.host(name, move || live(inside.clone(), machine.clone()));
            } else {
                sim.bounce(name);
            }
        }
        Primitive::Crash(name) => sim.crash(name),
        Primitive::Link { from, to, cut: true } => sim.partition_oneway(from, to),
        Primitive::Link { from, to, cut: false } => sim.repair_oneway(from, to),
    }
}

/// One life of a machine, as turmoil runs it. It ends only by a crash: a host whose future ends is no longer ticked.
async fn live(world: Arc<World>, machine: Arc<Machine>) -> turmoil::Result {
    let env = world.life(&machine, Runtime::current());
    if let Some(boot) = &machine.boot {
        let work = boot(env.clone());
        counted(world, env.supervise("boot", work)).await;
    }
    std::future::pending().await
}
