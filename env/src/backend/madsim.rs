//! The madsim simulator: event-driven time, streams and calls whose messages travel as values.
//!
//! It replaces tokio in the whole build (`--cfg madsim`), so it is the only world of such a build. See
//! <https://docs.rs/madsim>.

use crate::env::{Env, WorldKind};
use crate::log::{lock, panic_text};
use crate::net::madsim::{MadsimListener, MadsimStream};
use crate::net::{Listener, Stream};
use crate::sim::{DRIVER, Machine, Primitive, SimFailure, SimPlace, World, host};
use madsim::net::NetSim;
use madsim::runtime::{Handle, NodeHandle};
use madsim::task::NodeId;
use mobula_protocol::Nanos;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Simulator nanoseconds a model nanosecond: a simulator millisecond, the least a sleep takes, is 1 us of the model. An
/// event-driven simulator pays for events, not for time, so the finer clock is free.
const DILATION: u64 = 1_000;

pub(crate) const KIND: WorldKind = WorldKind::Madsim;

/// What spawns tasks into one life of a node.
pub(crate) type Runtime = NodeHandle;

/// What a life needs to know about its simulation.
#[derive(Default)]
pub(crate) struct Shared {
    nodes: Mutex<BTreeMap<String, (NodeId, IpAddr)>>,
    /// Model time at the end of the run.
    ended: Mutex<Nanos>,
}

/// The least a sleep takes, in model time.
pub(crate) fn tick(_world: &World) -> Nanos {
    Nanos(1_000_000 / DILATION)
}

fn to_simulator(model: Nanos) -> Duration {
    Duration::from_nanos(model.0.saturating_mul(DILATION))
}

/// Zero outside the simulation.
pub(crate) fn now(_world: &World) -> Nanos {
    let elapsed = madsim::time::TimeHandle::try_current().map(|time| time.elapsed()).unwrap_or_default();
    Nanos(Nanos::from(elapsed).0 / DILATION)
}

pub(crate) fn ended_at(world: &World) -> Nanos {
    *lock(&world.simulator.ended)
}

pub(crate) async fn sleep_until(place: &SimPlace, t: Nanos) {
    madsim::time::sleep(to_simulator(t.saturating_sub(place.now()))).await;
    // The simulator's clock is cut off to model nanoseconds, and may then lack one.
    while place.now() < t {
        madsim::time::sleep(Duration::ZERO).await;
    }
}

pub(crate) fn spawn(place: &SimPlace, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
    place.runtime.spawn(work).abort_handle()
}

pub(crate) async fn listen(env: &Env, port: u16) -> io::Result<Listener> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let address = format!("{}:{}", env.node(), listener.local_addr()?.port());
    Ok(Listener::madsim(MadsimListener::new(env, listener), address))
}

/// madsim connects in no time; a real connection costs a round trip.
pub(crate) async fn connect(env: &Env, address: &str) -> io::Result<Stream> {
    let at = resolve(env, address)?;
    env.sleep(place(env).world.config.latency.0 * 2).await;
    let stream = tokio::net::TcpStream::connect(at).await?;
    Ok(Stream::madsim(MadsimStream::new(env, stream, host(address).to_owned())))
}

/// See [`SimPlace::reachable`].
pub(crate) async fn reachable(env: &Env, address: &str) -> io::Result<()> {
    place(env).reachable(env, address).await
}

/// `"host:port"` with the host's address in place of its name.
pub(crate) fn resolve(env: &Env, address: &str) -> io::Result<String> {
    let name = host(address);
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no host `{name}`"));
    let ip = lock(&place(env).world.simulator.nodes).get(name).map(|(_, ip)| *ip).ok_or_else(missing)?;
    Ok(format!("{ip}{}", &address[name.len()..]))
}

/// The name of the node with this address; the address itself if there is none.
pub(crate) fn name_of(env: &Env, ip: IpAddr) -> String {
    let nodes = lock(&place(env).world.simulator.nodes);
    let found = nodes.iter().find(|(_, (_, of))| *of == ip);
    found.map_or_else(|| ip.to_string(), |(name, _)| name.clone())
}

fn place(env: &Env) -> &SimPlace {
    match env.place() {
        crate::backend::Place::Simulated(sim) => sim,
    }
}

/// Takes effect at once: the simulator is between two events of the node concerned.
pub(crate) async fn apply(world: &Arc<World>, primitive: Primitive) {
    let id = |name: &str| lock(&world.simulator.nodes).get(name).map(|(id, _)| *id);
    match primitive {
        Primitive::Boot(name) => match id(&name) {
            Some(id) => Handle::current().restart(id),
            None => create(world, &name),
        },
        Primitive::Crash(name) => {
            if let Some(id) = id(&name) {
                Handle::current().kill(id);
            }
        }
        Primitive::Link { from, to, cut } => {
            // A machine that has not started yet has no links.
            if let (Some(from), Some(to)) = (id(&from), id(&to)) {
                let net = NetSim::current();
                if cut { net.clog_link(from, to) } else { net.unclog_link(from, to) }
            }
        }
    }
}

/// Adds a machine to the simulator and starts its first life.
fn create(world: &Arc<World>, name: &str) {
    let index = u32::try_from(lock(&world.simulator.nodes).len()).unwrap_or(u32::MAX);
    let ip = IpAddr::from(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)).saturating_add(index)));
    let (inside, machine) = (world.clone(), world.machine(name));
    let cores = machine.cores.max(1) as usize;
    let node = Handle::current()
        .create_node()
        .name(name)
        .ip(ip)
        .cores(cores)
        .init(move || live(inside.clone(), machine.clone()))
        .build();
    lock(&world.simulator.nodes).insert(name.to_owned(), (node.id(), ip));
}

/// One life of a machine. It ends only by a crash: madsim kills a node whose future ends.
async fn live(world: Arc<World>, machine: Arc<Machine>) {
    if let (Some(boot), Some(runtime)) = (&machine.boot, runtime_of(&world, &machine.name)) {
        let env = world.life(&machine, runtime);
        let work = boot(env.clone());
        env.supervise("boot", work).await;
    }
    std::future::pending().await
}

/// The handle of the node's present life.
fn runtime_of(world: &World, name: &str) -> Option<Runtime> {
    let id = lock(&world.simulator.nodes).get(name).map(|(id, _)| *id)?;
    Handle::current().get_node(id)
}

/// Runs until the driver has finished, a task has panicked, or the time is up.
pub(crate) fn run<T, D, F>(world: &Arc<World>, driver: D) -> Result<T, SimFailure>
where
    T: Send + 'static,
    D: FnOnce(Env) -> F + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (least, most) = world.config.latency;
    let mut config = madsim::Config::default();
    config.net.send_latency = to_simulator(least)..to_simulator(most.max(least)) + Duration::from_nanos(1);
    let runtime = madsim::runtime::Runtime::with_seed_and_config(world.config.seed, config);
    let supervised = catch_unwind(AssertUnwindSafe(|| runtime.block_on(supervise(world, driver))));
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(end(world))));
    let supervised = supervised.and_then(|result| ended.map(|()| result));
    let failed = |message, node| Err(SimFailure::Panic { message, node });
    match (world.record.failure(), supervised) {
        (Some(failure), _) => failed(failure.message, failure.node),
        (None, Ok(result)) => result,
        (None, Err(panic)) => failed(panic_text(&*panic), "?".to_owned()),
    }
}

/// Drops all tasks of the world. A task of madsim refers to itself until it has finished or its node is killed, so what
/// still waits, and all it holds, would outlive the runtime.
async fn end(world: &World) {
    let nodes: Vec<NodeId> = lock(&world.simulator.nodes).values().map(|(id, _)| *id).collect();
    nodes.into_iter().for_each(|id| Handle::current().kill(id));
}

async fn supervise<T, D, F>(world: &Arc<World>, driver: D) -> Result<T, SimFailure>
where
    T: Send + 'static,
    D: FnOnce(Env) -> F + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    create(world, DRIVER);
    let runtime = runtime_of(world, DRIVER).expect("created just above");
    let env = world.life(&world.machine(DRIVER), runtime.clone());
    let work = runtime.spawn(async move {
        let work = driver(env.clone());
        env.supervise("driver", work).await
    });
    let limit = world.config.max_time;
    let result = tokio::select! {
        biased;
        failure = world.record.failed() => Err(SimFailure::Panic { message: failure.message, node: failure.node }),
        value = work => match value {
            Ok(Some(value)) => Ok(value),
            // It panicked, and the record says so.
            _ => Err(SimFailure::Panic { message: "the driver ended without a result".into(), node: DRIVER.into() }),
        },
        () = madsim::time::sleep(to_simulator(limit)) => Err(SimFailure::Stuck { at: world.now() }),
    };
    *lock(&world.simulator.ended) = world.now();
    result
}
