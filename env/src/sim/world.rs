//! What both simulators share: machines and their power, links, pauses, cost queues, the simulated disk.

use super::{DRIVER, SimConfig};
use crate::backend::{Place, simulator};
use crate::compute::{Costs, Occupied, Queues, Resource};
use crate::disk::FaultyDisk;
use crate::env::{Env, Life};
use crate::key::ClusterKey;
use crate::log::{Record, lock};
use crate::playback::Playback;
use crate::rng::Rng;
use crate::rpc::RpcFaults;
use futures_util::future::BoxFuture;
use mobula_protocol::{ByteSize, Nanos};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

/// The wall clock at the start of every simulation: 2025-01-01T00:00:00Z.
const EPOCH: Nanos = Nanos::secs(1_735_689_600);

/// Starts a node's tasks.
pub(crate) type Boot = Arc<dyn Fn(Env) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a simulator does on our behalf; everything else is decided here.
#[derive(Debug)]
pub(crate) enum Primitive {
    /// Start a life of this machine.
    Boot(String),
    /// Stop all tasks of this machine.
    Crash(String),
    /// Drop, or deliver, what `from` sends to `to`.
    Link { from: String, to: String, cut: bool },
}

/// The state of one simulation.
pub(crate) struct World {
    pub(crate) config: SimConfig,
    pub(crate) record: Arc<Record>,
    pub(crate) simulator: simulator::Shared,
    pub(crate) faults: Arc<RpcFaults>,
    /// The record that is played, if one is.
    pub(crate) playback: OnceLock<Arc<Playback>>,
    /// That of all machines.
    key: ClusterKey,
    machines: Mutex<BTreeMap<String, Arc<Machine>>>,
    /// The storage that all machines see.
    shared: Mutex<FaultyDisk>,
    /// What all nodes share if they are processes of one host.
    host: Option<Arc<Mutex<Queues>>>,
    /// The links cut by partitions; machines without power are cut off besides.
    cuts: Mutex<BTreeSet<(String, String)>>,
}

/// Whether a machine runs, and how it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    Running,
    /// The process is gone, the operating system answers for it.
    Killed,
    /// Nothing answers.
    Off,
}

/// A machine outlives the lives of its node.
pub(crate) struct Machine {
    pub(crate) name: Arc<str>,
    pub(crate) cores: u32,
    pub(crate) boot: Option<Boot>,
    disk: Mutex<FaultyDisk>,
    wall_offset: Arc<AtomicI64>,
    refused: Arc<Mutex<u64>>,
    power: Mutex<Power>,
    gate: Arc<Gate>,
}

impl World {
    pub(crate) fn new(config: SimConfig) -> Arc<Self> {
        let record = Arc::new(Record::simulated(config.trace, config.branch));
        let driver = Machine::new(DRIVER, config.cores, None, config.seed);
        Arc::new(Self {
            simulator: simulator::Shared::default(),
            record,
            faults: Arc::default(),
            playback: OnceLock::new(),
            key: ClusterKey::simulated(config.seed),
            machines: Mutex::new(BTreeMap::from([(DRIVER.to_owned(), Arc::new(driver))])),
            shared: Mutex::new(FaultyDisk::new(config.seed, "shared storage")),
            cuts: Mutex::default(),
            host: config.host.map(|cores| Arc::new(Mutex::new(Queues::new(cores)))),
            config,
        })
    }

    pub(crate) fn now(&self) -> Nanos {
        simulator::now(self)
    }

    pub(crate) fn ended_at(&self) -> Nanos {
        simulator::ended_at(self)
    }

    pub(crate) fn add_machine(&self, name: &str, cores: u32, boot: Boot) {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        assert!(!name.is_empty() && name.chars().all(plain), "`{name}` is no node name: use letters, digits and `-`");
        let machine = Arc::new(Machine::new(name, cores, Some(boot), self.config.seed));
        let before = lock(&self.machines).insert(name.to_owned(), machine);
        assert!(before.is_none(), "there is a node `{name}` already");
    }

    /// The disk of a machine, or the shared one.
    pub(crate) fn with_disk<T>(&self, name: &str, use_it: impl FnOnce(&mut FaultyDisk) -> T) -> T {
        if name == super::SHARED {
            use_it(&mut lock(&self.shared))
        } else {
            use_it(&mut lock(&self.machine(name).disk))
        }
    }

    pub(crate) fn machine(&self, name: &str) -> Arc<Machine> {
        let found = lock(&self.machines).get(name).cloned();
        found.unwrap_or_else(|| panic!("there is no node `{name}`; the nodes are {}", self.names().join(", ")))
    }

    /// A machine that may be killed and paused: any but the driver's, which ends the world.
    pub(crate) fn mortal(&self, name: &str) -> Arc<Machine> {
        assert!(name != DRIVER, "the driver cannot be killed or paused: it is who does that");
        self.machine(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.machines).keys().cloned().collect()
    }

    pub(crate) fn cuts(&self) -> BTreeSet<(String, String)> {
        lock(&self.cuts).clone()
    }

    pub(crate) fn set_cut(&self, from: &str, to: &str, cut: bool) {
        let link = (from.to_owned(), to.to_owned());
        if cut {
            lock(&self.cuts).insert(link);
        } else {
            lock(&self.cuts).remove(&link);
        }
    }

    /// Whether nothing of what `from` sends reaches `to`.
    pub(crate) fn is_cut(&self, from: &str, to: &str) -> bool {
        let off = |name: &str| lock(&self.machines).get(name).is_some_and(|m| m.power() == Power::Off);
        lock(&self.cuts).contains(&(from.to_owned(), to.to_owned())) || off(from) || off(to)
    }

    /// A new life of `machine`: what the simulators put into a boot function.
    pub(crate) fn life(self: &Arc<Self>, machine: &Arc<Machine>, runtime: simulator::Runtime) -> Env {
        machine.power_on();
        lock(&machine.disk).new_life();
        Env::new(Life {
            node: machine.name.clone(),
            kind: simulator::KIND,
            seed: self.config.seed,
            buggify: self.config.buggify,
            wall_offset: machine.wall_offset.clone(),
            record: self.record.clone(),
            sites: Arc::default(),
            key: Some(self.key.clone()),
            refused: machine.refused.clone(),
            faults: self.faults.clone(),
            place: Place::Simulated(SimPlace {
                world: self.clone(),
                machine: machine.clone(),
                queues: self.host.clone().unwrap_or_else(|| Arc::new(Mutex::new(Queues::new(machine.cores)))),
                nonces: Arc::new(Mutex::new(Rng::new(self.config.seed, &machine.name, "nonces"))),
                runtime,
            }),
        })
    }
}

impl Machine {
    fn new(name: &str, cores: u32, boot: Option<Boot>, seed: u64) -> Self {
        Self {
            name: name.into(),
            cores,
            boot,
            disk: Mutex::new(FaultyDisk::new(seed, name)),
            wall_offset: Arc::default(),
            refused: Arc::default(),
            // Until its first boot: nobody can connect to a host the simulator does not know yet.
            power: Mutex::new(Power::Killed),
            gate: Arc::default(),
        }
    }

    fn power(&self) -> Power {
        *lock(&self.power)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.power() == Power::Running
    }

    /// Returns whether it was running.
    pub(crate) fn die(&self, how: Power) -> bool {
        std::mem::replace(&mut *lock(&self.power), how) == Power::Running
    }

    pub(crate) fn power_on(&self) {
        *lock(&self.power) = Power::Running;
    }

    pub(crate) fn power_cut(&self) {
        lock(&self.disk).power_cut();
    }

    pub(crate) fn clock_jump(&self, delta_nanos: i64) {
        self.wall_offset.fetch_add(delta_nanos, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) -> u64 {
        *lock(&self.refused)
    }

    pub(crate) fn pause(&self) {
        lock(&self.gate.0).paused = true;
    }

    pub(crate) fn resume(&self) {
        let waiting = {
            let mut gate = lock(&self.gate.0);
            gate.paused = false;
            std::mem::take(&mut gate.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// What every future of a machine passes before it is polled.
#[derive(Default)]
pub(crate) struct Gate(Mutex<GateState>);

#[derive(Default)]
struct GateState {
    paused: bool,
    waiting: Vec<Waker>,
}

/// A future that stands still while its machine is paused. What wakes it meanwhile is remembered by the waker.
pub(crate) struct Gated<F> {
    gate: Option<Arc<Gate>>,
    work: Pin<Box<F>>,
}

impl<F> Gated<F> {
    /// A future that never stands still.
    #[cfg(not(madsim))]
    pub(crate) fn open(work: F) -> Self {
        Self { gate: None, work: Box::pin(work) }
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(gate) = &self.gate {
            let mut gate = lock(&gate.0);
            if gate.paused {
                gate.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.work.as_mut().poll(cx)
    }
}

/// The simulated side of a life.
#[derive(Clone)]
pub(crate) struct SimPlace {
    pub(crate) world: Arc<World>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) runtime: simulator::Runtime,
    queues: Arc<Mutex<Queues>>,
    nonces: Arc<Mutex<Rng>>,
}

impl SimPlace {
    pub(crate) fn nonce(&self) -> [u8; 32] {
        let mut nonces = lock(&self.nonces);
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&nonces.next_u64().to_le_bytes()));
        bytes
    }

    pub(crate) fn now(&self) -> Nanos {
        self.world.now()
    }

    pub(crate) fn wall(&self) -> Nanos {
        EPOCH + self.now()
    }

    pub(crate) fn costs(&self) -> Costs {
        self.world.config.costs
    }

    /// The least a sleep takes.
    pub(crate) fn tick(&self) -> Nanos {
        simulator::tick(&self.world)
    }

    /// The machine's disk, or the one that all machines share.
    pub(crate) fn disk(&self, shared: bool) -> &Mutex<FaultyDisk> {
        if shared { &self.world.shared } else { &self.machine.disk }
    }

    /// When a computation that starts now and charged `charged` is done.
    pub(crate) fn reserve_core(&self, charged: Nanos) -> Nanos {
        lock(&self.queues).cores.reserve(self.now(), charged + self.costs().task)
    }

    /// The same, which frees the core when it is dropped before.
    pub(crate) fn occupy_core(&self, charged: Nanos) -> CoreTime<'_> {
        let occupied = lock(&self.queues).cores.occupy(self.now(), charged + self.costs().task);
        CoreTime { place: self, until: occupied.until, occupied: Some(occupied) }
    }

    pub(crate) fn reserve(&self, what: Resource, bytes: ByteSize) -> Nanos {
        lock(&self.queues).of(what).reserve(self.now(), self.costs().of(what, bytes))
    }

    pub(crate) fn gated<F>(&self, work: F) -> Gated<F> {
        Gated { gate: Some(self.machine.gate.clone()), work: Box::pin(work) }
    }

    pub(crate) fn is_silent(&self, address: &str) -> bool {
        self.world.is_cut(host(address), &self.machine.name)
    }

    /// What a connection attempt meets before there is anybody to answer it: an unknown host, silence, or the refusal
    /// of an operating system whose process has died. The simulators know none of these.
    pub(crate) async fn reachable(&self, env: &Env, address: &str) -> io::Result<()> {
        let (here, there) = (&*self.machine.name, host(address));
        let Some(machine) = lock(&self.world.machines).get(there).cloned() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no host `{there}`")));
        };
        if self.world.is_cut(here, there) || self.world.is_cut(there, here) {
            return std::future::pending().await;
        }
        if !machine.is_running() {
            env.sleep(self.world.config.latency.0 * 2).await;
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens on {address}")));
        }
        Ok(())
    }
}

/// A stretch of time of one of a machine's cores, for a computation that can be ended before.
pub(crate) struct CoreTime<'a> {
    place: &'a SimPlace,
    occupied: Option<Occupied>,
    /// When it is over.
    pub(crate) until: Nanos,
}

impl CoreTime<'_> {
    /// It was used to its end. What is shorter than a tick is not waited for, and stays on the queue.
    pub(crate) fn used(mut self) {
        self.occupied = None;
    }
}

impl Drop for CoreTime<'_> {
    fn drop(&mut self) {
        if let Some(occupied) = &self.occupied {
            lock(&self.place.queues).cores.give_back(self.place.now(), occupied);
        }
    }
}

/// The host of `"host:port"`.
pub(crate) fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}
