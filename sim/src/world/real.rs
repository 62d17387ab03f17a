//! A cluster of processes on this machine, connected by sockets on loopback. The driver is this process.

use super::lives::{Life, Lives};
use super::process::Process;
use super::{World, events};
use crate::check::history::Watch;
use crate::child::{HeadArgs, NodeArgs};
use crate::cluster::{Cluster, Parts, Skipped};
use crate::fault::FaultError;
use crate::run::{RunFailure, RunOptions, RunReport};
use crate::spec::{ClusterSettings, ClusterSpec, DRIVER, HEAD, HEAD_LOG, LinkSpec, NodeSpec};
use crate::trace::Event;
use mobula_env::{Elapsed, Env, RealConfig, RealNode, RpcFault};
use mobula_protocol::Nanos;
use mobula_runtime::{ClusterKey, Node};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the head may take to say where it listens.
const HEAD_STARTS: Duration = Duration::from_secs(20);

type Lines = Arc<Mutex<Vec<String>>>;

/// The processes of one cluster.
#[derive(Clone)]
pub(crate) struct Real {
    program: PathBuf,
    head: String,
    /// That of this run: nobody else can join it.
    key: ClusterKey,
    logs: PathBuf,
    settings: ClusterSettings,
    rpc_faults: Vec<RpcFault>,
    lives: Lives,
    processes: Processes,
    /// This process, where the log of events is kept.
    log: Option<Env>,
}

/// The running children, by node. The run owns them all and takes them down at its end.
#[derive(Clone, Default)]
struct Processes(Arc<Mutex<BTreeMap<String, Process>>>);

/// Kills whatever runs when the run is over, also by a panic.
struct TakeDown(Processes);

/// What `shared:NAME` is where all machines are this one: a directory that goes with the run.
fn shared_here(root: &str, dir: &Path) -> String {
    match root.strip_prefix("shared:").filter(|name| !name.starts_with('/')) {
        Some(name) => format!("shared:{}", dir.join("shared").join(name).display()),
        None => root.to_owned(),
    }
}

/// Runs `driver` on a cluster of processes.
pub(crate) fn run<T, D, F>(mut spec: ClusterSpec, options: &RunOptions, driver: D) -> RunReport<T>
where
    T: Send + 'static,
    D: FnOnce(Cluster) -> F + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let os = |why: io::Error| RunReport::failed(RunFailure::Start(why.to_string()));
    let logs = match tempfile::Builder::new().prefix("mobula-logs-").tempdir() {
        Ok(logs) => logs,
        Err(why) => return os(why),
    };
    spec.settings.spill.iter_mut().for_each(|root| *root = shared_here(root, logs.path()));
    let disk_dir = Some(RealConfig::temporary_disk());
    let key = match ClusterKey::random() {
        Ok(key) => key,
        Err(why) => return RunReport::failed(RunFailure::Start(why.to_string())),
    };
    let (node, seed) = (DRIVER.to_owned(), options.seed);
    let config = RealConfig { node, seed, disk_dir, key: Some(key.clone()), ..RealConfig::default() };
    let real = match Env::real(config) {
        Ok(real) => real,
        Err(why) => return os(why),
    };
    let lines = Lines::default();
    if options.trace {
        let lines = lines.clone();
        real.env.log_to(Arc::new(move |line| lock(&lines).push(line.to_owned())));
    }
    let processes = Processes::default();
    let _take_down = TakeDown(processes.clone());
    let skipped = Skipped::default();
    for fault in &options.rpc_faults {
        if fault.to.is_some() {
            let what = format!("rpc fault {fault}: skipped, real addresses do not say which node they are of");
            lock(&skipped).push(what);
        } else if fault.from.as_deref().is_none_or(|from| from == DRIVER) {
            real.env.inject_rpc_fault(fault.clone());
        }
    }
    if options.buggify {
        lock(&skipped).push("buggify: skipped, the real world takes its own unlikely paths".to_owned());
    }
    if spec.link != LinkSpec::default() {
        lock(&skipped).push("link: skipped, the real world has the network it has".to_owned());
    }
    let from = real.env.now();
    let started = start(&real, spec, options, key, processes.clone(), logs.path(), skipped.clone());
    let ready = real.env.wall();
    let outcome = started.and_then(|cluster| drive(&real, options.max_time, driver(cluster)));
    let virtual_time = real.env.now().saturating_sub(from);
    processes.lock().clear();
    let own = std::mem::take(&mut *lock(&lines)).iter().filter_map(|line| Event::parse(line)).collect();
    let (lines, ready) = match events::read(logs.path()) {
        Ok(mut all) => {
            all.push(own);
            let first = all.iter().flatten().map(|event| event.at).min().unwrap_or(ready);
            (events::merge(all), ready.saturating_sub(first))
        }
        Err(why) => return os(why),
    };
    let watch = Watch::default();
    lines.iter().for_each(|line| watch.line(line));
    let skipped_faults = std::mem::take(&mut *lock(&skipped));
    RunReport {
        outcome,
        events: lines.len() as u64,
        lines,
        virtual_time,
        ready,
        broken: watch.broken(),
        probes: real.probes(),
        skipped_faults,
        ..RunReport::failed(RunFailure::Stuck { at: Nanos::ZERO })
    }
}

/// Runs the driver as a task of its node, so that a panic in it is a failure like any other.
fn drive<F>(real: &RealNode, limit: Nanos, driver: F) -> Result<F::Output, RunFailure>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let env = &real.env;
    let result = real.block_on(async { env.timeout(limit, env.spawn(DRIVER, driver)).await });
    let panic = |message: String| RunFailure::Panic { message, node: DRIVER.to_owned() };
    match (result, real.failure()) {
        (_, Some(message)) => Err(panic(message)),
        (Ok(Ok(value)), None) => Ok(value),
        (Ok(Err(gone)), None) => Err(panic(gone.to_string())),
        (Err(Elapsed), None) => Err(RunFailure::Stuck { at: env.now() }),
    }
}

fn start(
    driver: &RealNode,
    spec: ClusterSpec,
    options: &RunOptions,
    key: ClusterKey,
    processes: Processes,
    logs: &Path,
    skipped: Skipped,
) -> Result<Cluster, RunFailure> {
    let failed = |why: String| RunFailure::Start(why);
    let ClusterSpec { nodes, settings, .. } = spec;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|why| failed(format!("which program is this? {why}")))?,
    };
    let rpc_faults: Vec<RpcFault> = options.rpc_faults.iter().filter(|fault| fault.to.is_none()).cloned().collect();
    let (lives, head, logs) = (Lives::default(), String::new(), logs.to_owned());
    let log = options.trace.then(|| driver.env.clone());
    let mut real =
        Real { program, head, key, logs, settings: settings.clone(), rpc_faults, lives: lives.clone(), processes, log };
    real.head = real.start_head(0).map_err(failed)?;
    for node in &nodes {
        real.start(node)?;
    }
    driver.block_on(async {
        let joined = Node::join(&driver.env, &real.head, settings.driver()).await;
        let node = joined.map_err(|why| failed(why.to_string()))?;
        let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
        let cluster = Cluster::new(Parts { node, nodes, settings, world: World::Real(real), lives, skipped });
        cluster.joined(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        Ok(cluster)
    })
}

impl Real {
    /// Says in the log of events what is done to the processes.
    fn note(&self, kind: &'static str, detail: &str) {
        if let Some(driver) = &self.log {
            driver.emit_as("world", kind, format_args!("{detail}"));
        }
    }

    fn events_of(&self, node: &str) -> Option<PathBuf> {
        self.log.is_some().then(|| events::file(&self.logs, node))
    }

    /// Where the head listens.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// How many strangers the lives of a node have refused, by its event log; none if it keeps no such log.
    #[allow(clippy::disallowed_methods, reason = "a file of this machine that another process writes")]
    pub(crate) fn refused(&self, node: &str) -> Option<u64> {
        // No file yet, no refusal.
        let text = std::fs::read_to_string(self.events_of(node)?).unwrap_or_default();
        Some(events::refused(text.lines().filter_map(Event::parse)))
    }

    /// Starts the head's process and returns where it listens.
    fn start_head(&self, port: u16) -> Result<String, String> {
        let (say, said) = mpsc::channel();
        let log = self.settings.head_log.then(|| self.logs.join(HEAD_LOG).to_string_lossy().into_owned());
        let (rpc_fault, event_log) = (of(&self.rpc_faults, HEAD), self.events_of(HEAD));
        let args = HeadArgs { port, log, rpc_fault, event_log, ..HeadArgs::of(&self.settings) }.to_args();
        let process = Process::start(&self.program, &args, &self.key, self.logs.join("head.log"), move |line| {
            // Nobody listens any more if the head took too long.
            let _ = say.send(line);
        });
        self.processes.lock().insert(HEAD.to_owned(), process.map_err(|why| why.to_string())?);
        let line = said.recv_timeout(HEAD_STARTS).map_err(|_| format!("head: silent for {HEAD_STARTS:?}"))??;
        match line.strip_prefix("mobula head listening on ") {
            Some(address) => {
                self.lives.set(HEAD, Life::Joined { incarnation: HEAD.to_owned(), context: None });
                Ok(address.trim().to_owned())
            }
            None => Err(format!("{} head said `{line}`, not where it listens", self.program.display())),
        }
    }

    pub(crate) fn start(&self, spec: &NodeSpec) -> Result<(), FaultError> {
        self.note("start", &format!("{} cores={}", spec.name, spec.cores()));
        self.start_life(spec)
    }

    fn start_life(&self, spec: &NodeSpec) -> Result<(), FaultError> {
        let args = NodeArgs::of(spec, &self.settings, &self.head);
        let (rpc_fault, event_log) = (of(&self.rpc_faults, &spec.name), self.events_of(&spec.name));
        let args = NodeArgs { rpc_fault, event_log, ..args }.to_args();
        let (lives, name) = (self.lives.clone(), spec.name.clone());
        let log = self.logs.join(format!("{name}.log"));
        let process = Process::start(&self.program, &args, &self.key, log, move |said| {
            // `mobula node A joined 127.0.0.1:4711 as n1.2`
            let life = match said.as_deref().map(|line| line.rsplit_once(" as ")) {
                Ok(Some((_, incarnation))) => {
                    Life::Joined { incarnation: incarnation.trim().to_owned(), context: None }
                }
                Ok(None) => Life::Failed(format!("it said `{}`", said.unwrap_or_default())),
                Err(log) => Life::Failed(log.clone()),
            };
            lives.set(&name, life);
        });
        let process = process.map_err(os("start", &spec.name))?;
        self.processes.lock().insert(spec.name.clone(), process);
        Ok(())
    }

    pub(crate) fn restart(&self, spec: &NodeSpec) -> Result<(), FaultError> {
        // Dropping a process kills it.
        let before = self.processes.lock().remove(&spec.name);
        drop(before);
        self.note("restart", &spec.name);
        self.start_life(spec)
    }

    /// Where the nodes know it to be.
    pub(crate) fn restart_head(&self) -> Result<(), FaultError> {
        let before = self.processes.lock().remove(HEAD);
        drop(before);
        self.note("restart", HEAD);
        let port = self.head.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
        let failed = |why| FaultError::Os { verb: "restart", name: HEAD.to_owned(), why };
        self.start_head(port).map(drop).map_err(failed)
    }

    pub(crate) fn wipe_head(&self) -> Result<(), FaultError> {
        match std::fs::remove_dir_all(self.logs.join(HEAD_LOG)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(os("wipe", HEAD)(why)),
            _ => Ok(()),
        }
    }

    pub(crate) fn has_exited(&self, node: &str) -> bool {
        self.processes.lock().get_mut(node).is_some_and(Process::has_exited)
    }

    pub(crate) fn kill(&self, node: &str) -> Result<(), FaultError> {
        let process = self.processes.lock().remove(node);
        process.map_or(Ok(()), |mut process| process.kill()).map_err(os("kill", node))?;
        // What it still did before it was gone has its place before this.
        self.note("kill", node);
        Ok(())
    }

    pub(crate) fn stop(&self, node: &str, verb: &'static str) -> Result<(), FaultError> {
        self.with(node, verb, Process::stop)?;
        self.note(verb, node);
        Ok(())
    }

    pub(crate) fn resume(&self, node: &str) -> Result<(), FaultError> {
        self.note("resume", node);
        self.with(node, "resume", Process::resume)
    }

    fn with(
        &self,
        node: &str,
        verb: &'static str,
        act: impl FnOnce(&Process) -> io::Result<()>,
    ) -> Result<(), FaultError> {
        self.processes.lock().get(node).map_or(Ok(()), act).map_err(os(verb, node))
    }
}

impl Processes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TakeDown {
    fn drop(&mut self) {
        self.0.lock().clear();
    }
}

/// Those of a node's calls.
fn of(faults: &[RpcFault], node: &str) -> Vec<RpcFault> {
    let concerned = |fault: &&RpcFault| fault.from.as_deref().is_none_or(|from| from == node);
    faults.iter().filter(concerned).map(|fault| RpcFault { from: None, ..fault.clone() }).collect()
}

fn os(verb: &'static str, node: &str) -> impl FnOnce(io::Error) -> FaultError {
    let name = node.to_owned();
    move |why| FaultError::Os { verb, name, why: why.to_string() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
