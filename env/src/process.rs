//! Worker processes of a node: this same program, started again, for work that may take its process along.
//!
//! ```text
//!  node                                                      worker process
//!    | starts this program with the argument `mobula-worker` -> | worker() in main says that it is one
//!    | standard input: the conversation and a descriptor -----> | takes both; its standard input is at its end now
//!    | request ---------------------------------------------->  |
//!    | <------------------------------------------------- begun |
//!    | <------------------------------------------------- words | (any number, until it ends)
//!    | <------------------------------------------------ answer |
//!    | SIGKILL, or it ends by itself                            X
//! ```
//! One request at a time. A process that is started for one request serves as many as its node likes.
//!
//! # Guarantees
//! - **Whatever a worker process does to itself** (abort, exit, a wild pointer, a signal) ends that process and nothing
//!   else, and [`Process::call`] says how it ended: [`Died`]. A request that it had not begun can be given to another.
//! - **Dropping a [`Process`] ends it**, whatever it is doing: SIGKILL. Nobody waits for that.
//! - **None outlives its node.** The system kills it when the thread that started it ends
//!   (`PR_SET_PDEATHSIG`), and an idle one sees the end of the conversation.
//! - **No zombie, no descriptor.** The thread that started a process also reaps it, and all descriptors on both sides
//!   close when a program is executed.
//! - What a process was lent is taken back when it is gone, never before: [`Setup::hear`] is dropped then.
//!
//! # What must NOT happen
//! A program that does not call [`worker()`] first thing in `main` being started as a worker process: it would run its main
//! function a second time. So nothing is started before this process has called it.
//!
//! # In simulation
//! Nodes have no processes. A [`StandIn`] does at once what the process would do, on the same bytes; the time that it
//! [charges](crate::compute::charge) is waited for afterwards. A panic that it lets through is an abort. When the
//! [`Process`] is dropped, what is left of that time is neither waited for nor kept from the node's cores, which is what
//! killing a process gives back and what a thread does not.

use crate::Env;
use crate::backend::Place;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(madsim))]
mod real;
mod simulated;
#[cfg(test)]
mod tests;
#[cfg(not(madsim))]
mod worker;

#[cfg(not(madsim))]
pub(crate) use real::Residents;
#[cfg(not(madsim))]
pub use worker::{Speaker, WorkerEnd, worker};

/// Whether this process is a worker process.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// Whether this process is a worker process. Never in simulation.
pub fn is_worker() -> bool {
    IS_WORKER.load(Ordering::Relaxed)
}

/// Hears what a process says besides its answers. Dropped when the process is gone.
pub type Hear = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Takes a request and gives the answer, as the process would.
pub type StandIn = Box<dyn FnMut(&[u8]) -> Vec<u8> + Send>;

/// With what a worker process is started.
pub struct Setup {
    /// A descriptor that it is given; there are none in simulation.
    pub descriptor: Option<OwnedFd>,
    /// Hears its words, on a thread of its own.
    pub hear: Hear,
    /// What takes its place in simulation.
    pub stand_in: StandIn,
}

/// How a process came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It could not be started, for this reason.
    NotStarted(String),
    /// It returned from main, or called exit.
    Exit(i32),
    /// A signal of this number ended it: an abort (6), an invalid address (11), a kill (9), ...
    Signal(i32),
}

/// Names of the signals that end processes in practice (signal(7), the numbers of Linux).
const SIGNALS: &[(i32, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (31, "SIGSYS"),
];

/// The numbers of SIGABRT and SIGKILL.
const ABORT: i32 = 6;
#[cfg(not(madsim))]
const KILL: i32 = 9;

impl fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(why) => write!(f, "its process could not be started: {why}"),
            Self::Exit(code) => write!(f, "its process exited with code {code}"),
            Self::Signal(number) => {
                let name = SIGNALS.iter().find(|(known, _)| known == number).map_or("unknown", |(_, name)| *name);
                write!(f, "its process was ended by signal {number} ({name})")
            }
        }
    }
}

/// There is no answer, because the process is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{end}")]
pub struct Died {
    /// Whether it had begun the request. If not, another process may be given it.
    pub begun: bool,
    /// How it ended.
    pub end: ProcessEnd,
}

/// A worker process. Dropping it kills it.
pub struct Process(Kind);

enum Kind {
    #[cfg(not(madsim))]
    Real(real::Process),
    Simulated(simulated::Process),
}

impl Env {
    /// Starts a worker process of this node; does not wait until it runs. If it cannot be started the first
    /// [`Process::call`] says why.
    ///
    /// # Errors
    /// `Unsupported` if this program's `main` does not call [`worker()`], so that it cannot be one; or no thread or
    /// descriptor is left for it.
    pub fn start_process(&self, setup: Setup) -> io::Result<Process> {
        match self.place() {
            #[cfg(not(madsim))]
            Place::Real(place) => real::Process::start(self, place.residents(), setup).map(Kind::Real).map(Process),
            Place::Simulated(_) => Ok(Process(Kind::Simulated(simulated::Process::new(self.clone(), setup)))),
        }
    }
}

impl Process {
    /// Gives it a request and waits for the answer. A call that is given up leaves it busy: drop it then.
    ///
    /// # Errors
    /// [`Died`].
    pub async fn call(&mut self, request: Vec<u8>) -> Result<Vec<u8>, Died> {
        match &mut self.0 {
            #[cfg(not(madsim))]
            Kind::Real(process) => process.call(request).await,
            Kind::Simulated(process) => process.call(&request).await,
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            #[cfg(not(madsim))]
            Kind::Real(_) => f.write_str("Process"),
            Kind::Simulated(_) => f.write_str("Process(simulated)"),
        }
    }
}
