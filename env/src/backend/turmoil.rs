//! The turmoil simulator: one paused current-thread runtime a host, ticked in lock step; real tonic over simulated TCP.
//!
//! Faults arrive through a queue that is emptied between two ticks. See <https://docs.rs/turmoil>.

use crate::env::{Env, WorldKind};
use crate::log::{lock, panic_text};
use crate::net::{Listener, Stream};
use crate::sim::{DRIVER, Machine, Primitive, SimFailure, SimPlace, World};
use mobula_protocol::Nanos;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
    requests: Mutex<VecDeque<(Primitive, oneshot::Sender<()>)>>,
    /// The machines turmoil knows.
    hosts: Mutex<BTreeSet<String>>,
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
        Some(elapsed) => to_model(world, elapsed),
        None => Nanos(world.simulator.clock.load(Ordering::Relaxed)),
    }
}

pub(crate) fn ended_at(world: &World) -> Nanos {
    Nanos(world.simulator.clock.load(Ordering::Relaxed))
}

pub(crate) async fn sleep_until(place: &SimPlace, t: Nanos) {
    let wait = to_simulator(&place.world, t.saturating_sub(place.now()));
    tokio::time::sleep(wait.max(Duration::from_nanos(TICK.0))).await;
}

pub(crate) fn spawn(place: &SimPlace, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
    place.runtime.spawn(work).abort_handle()
}

pub(crate) async fn listen(env: &Env, port: u16) -> io::Result<Listener> {
    let listener = turmoil::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let address = format!("{}:{}", env.node(), listener.local_addr()?.port());
    Ok(Listener::turmoil(listener, address))
}

/// Turmoil looks the host's name up by itself.
pub(crate) async fn connect(_env: &Env, address: &str) -> io::Result<Stream> {
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
        *lock(&slot) = env.supervise("driver", work).await;
        Ok(())
    });
    loop {
        let step = catch_unwind(AssertUnwindSafe(|| sim.step()));
        world.simulator.clock.store(to_model(world, sim.elapsed()).0, Ordering::Relaxed);
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
        for (primitive, done) in requests {
            perform(world, &mut sim, primitive);
            // The one who asked may have died of it.
            let _ = done.send(());
        }
    }
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
        env.supervise("boot", work).await;
    }
    std::future::pending().await
}
