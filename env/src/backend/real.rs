//! The real world: tokio, tonic, sockets, files, threads. One runtime a node, so that a node can die in-process.

use crate::backend::Place;
use crate::env::{Env, Life, WorldKind};
use crate::key::{ClusterKey, KEY};
use crate::log::{Record, lock};
use crate::net::{Listener, Stream};
use crate::process::Residents;
use mobula_protocol::{ByteSize, Nanos};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Handle, Runtime};

pub use crate::net::memory::MemoryNet;

/// How a real node is set up.
#[derive(Clone, Debug)]
pub struct RealConfig {
    /// Its name; with [`RealNet::Memory`] also its host name.
    pub node: String,
    /// Seeds [`Env::rng`].
    pub seed: u64,
    /// Listeners bind this address, and others connect to it. Loopback by default; beyond it nothing listens without a
    /// key.
    pub bind: IpAddr,
    /// What whoever connects must know. Without one it is whoever can.
    pub key: Option<ClusterKey>,
    /// The directory behind [`Env::disk`]; created if needed. Without it the disk's operations fail with `Unsupported`.
    pub disk_dir: Option<PathBuf>,
    /// Sockets, or channels inside the process.
    pub net: RealNet,
    /// Threads that run tasks; 0 means one a core.
    pub threads: usize,
}

impl RealConfig {
    /// A directory for [`RealConfig::disk_dir`] among the machine's temporary files, the same for all processes of a
    /// user.
    pub fn temporary_disk() -> PathBuf {
        use std::os::unix::fs::MetadataExt;
        let user = std::fs::metadata("/proc/self").map_or(0, |process| process.uid());
        std::env::temp_dir().join(format!("mobula-{user}"))
    }
}

impl Default for RealConfig {
    fn default() -> Self {
        Self {
            node: "A".into(),
            seed: 0,
            bind: Ipv4Addr::LOCALHOST.into(),
            key: None,
            disk_dir: None,
            net: RealNet::Sockets,
            threads: 0,
        }
    }
}

/// How real nodes reach each other.
#[derive(Clone, Debug)]
pub enum RealNet {
    /// TCP.
    Sockets,
    /// Channels between the nodes of this process that share the same [`MemoryNet`]; addresses are `"node:port"`.
    Memory(MemoryNet),
}

/// A node of this process, with a runtime of its own.
///
/// Dropping it is like [`RealNode::kill`].
#[derive(Debug)]
pub struct RealNode {
    /// The handle to give to the node's code.
    pub env: Env,
    /// Present until the node is killed.
    runtime: Option<Runtime>,
}

impl Env {
    /// Starts the runtime of a real node. Fails if threads or the disk's directory cannot be created.
    pub fn real(config: RealConfig) -> io::Result<RealNode> {
        if let Some(dir) = &config.disk_dir {
            std::fs::create_dir_all(dir).map_err(|e| crate::files::naming(&dir.to_string_lossy(), e))?;
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().thread_name(format!("node-{}", config.node));
        if config.threads > 0 {
            builder.worker_threads(config.threads);
        }
        let runtime = builder.build()?;
        let env = Env::new(Life {
            node: config.node.into(),
            kind: WorldKind::Real,
            seed: config.seed,
            buggify: false,
            wall_offset: Arc::new(AtomicI64::new(0)),
            record: Arc::new(Record::default()),
            sites: Arc::default(),
            key: config.key,
            refused: Arc::default(),
            faults: Arc::default(),
            place: Place::Real(RealPlace {
                runtime: runtime.handle().clone(),
                bind: config.bind,
                disk_dir: config.disk_dir,
                net: config.net,
                residents: Residents::default(),
            }),
        });
        Ok(RealNode { env, runtime: Some(runtime) })
    }
}

impl RealNode {
    /// Ends the node at once: every task is dropped at its next suspension point, sockets close. Does not wait for
    /// work on blocking threads, whose results nobody sees.
    pub fn kill(self) {
        drop(self);
    }

    /// Runs `f` on this thread, with the node's runtime around it. Not from within another runtime.
    pub fn block_on<F: Future>(&self, f: F) -> F::Output {
        match &self.runtime {
            Some(runtime) => runtime.block_on(f),
            None => unreachable!("the runtime is present until drop"),
        }
    }

    /// The message of the first panic in a task of this node. A node with a failure should be killed.
    pub fn failure(&self) -> Option<String> {
        self.env.life().record.failure().map(|failure| failure.message)
    }

    /// How often each [`Env::probe`] was reached.
    pub fn probes(&self) -> BTreeMap<&'static str, u64> {
        self.env.life().record.probes()
    }
}

impl Drop for RealNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Fresh bytes from the operating system.
pub(crate) fn nonce() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The real side of a life. Holds a handle, not the runtime: an `Env` kept by someone does not keep a node alive.
#[derive(Clone)]
pub(crate) struct RealPlace {
    runtime: Handle,
    bind: IpAddr,
    disk_dir: Option<PathBuf>,
    net: RealNet,
    residents: Residents,
}

impl RealPlace {
    /// On the caller's runtime if it has one: such a timer outlives the node, and panics of a dead runtime's timers do
    /// not reach the caller.
    pub(crate) async fn sleep_until(&self, t: Nanos) {
        let sleep = {
            let runtime = Handle::try_current().unwrap_or_else(|_| self.runtime.clone());
            let _inside = runtime.enter();
            tokio::time::sleep(Duration::from(t.saturating_sub(now())))
        };
        sleep.await;
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.runtime.spawn(work).abort_handle()
    }

    /// Sockets belong to the node's runtime, so that they close when it dies: hence the tasks.
    pub(crate) async fn listen(&self, env: &Env, port: u16) -> io::Result<Listener> {
        match &self.net {
            RealNet::Memory(net) => Ok(Listener::memory(net.listen(env.node(), port)?)),
            RealNet::Sockets if env.key().is_none() && !self.bind.is_loopback() => {
                let why =
                    format!("{}: other machines reach it, and this process has no cluster key: set {KEY}", self.bind);
                Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
            }
            RealNet::Sockets => {
                let bind = self.bind;
                let bound = env.spawn("listen", async move {
                    let listener = tokio::net::TcpListener::bind((bind, port)).await?;
                    let address = listener.local_addr()?.to_string();
                    Ok(Listener::tcp(listener, address))
                });
                bound.await?.map_err(|e: io::Error| crate::files::naming(&format!("{bind}:{port}"), e))
            }
        }
    }

    pub(crate) async fn connect(&self, env: &Env, address: &str) -> io::Result<Stream> {
        match &self.net {
            RealNet::Memory(net) => net.connect(address).map(Stream::memory),
            RealNet::Sockets => {
                let to = address.to_owned();
                let stream = env.spawn("connect", async move { tokio::net::TcpStream::connect(to).await }).await?;
                let stream = stream.map_err(|e| crate::files::naming(address, e))?;
                stream.set_nodelay(true)?;
                Ok(Stream::tcp(stream))
            }
        }
    }

    /// The worker processes of this node.
    pub(crate) fn residents(&self) -> Residents {
        self.residents.clone()
    }

    /// What this process and its worker processes have in memory for themselves; none if that cannot be told of this one.
    pub(crate) fn resident(&self) -> Option<ByteSize> {
        let workers: Vec<u32> = lock(&self.residents).iter().copied().collect();
        let workers = workers.into_iter().filter_map(crate::memory::resident_of);
        Some(workers.fold(crate::memory::resident()?, |sum, worker| ByteSize(sum.0 + worker.0)))
    }

    pub(crate) fn disk_dir(&self) -> Option<&PathBuf> {
        self.disk_dir.as_ref()
    }

    pub(crate) async fn compute<T, F>(&self, work: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.runtime.spawn_blocking(work).await {
            Ok(value) => value,
            Err(gone) => match gone.try_into_panic() {
                // The panic goes on in the task that asked for the work.
                Ok(panic) => std::panic::resume_unwind(panic),
                // The node is dead; its tasks are about to be dropped.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Runs work on a thread of the runtime, whose other tasks go to another thread.
pub(crate) fn compute_here<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Time since the first look at the clock in this process; all nodes of a process share it.
pub(crate) fn now() -> Nanos {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().into()
}

/// The wall clock of the operating system; zero before 1970.
pub(crate) fn wall() -> Nanos {
    SystemTime::now().duration_since(UNIX_EPOCH).map(Nanos::from).unwrap_or(Nanos::ZERO)
}
