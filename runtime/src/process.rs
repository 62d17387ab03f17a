//! Worker processes, from inside: what `#[task(process)]` functions run in, and what they may ask there.
//!
//! Most tasks run on threads of their node, which costs microseconds; and whatever ends the process (an abort, a wild
//! pointer in a foreign library, the kernel for want of memory) ends the node, and nobody can stop a function that does not
//! await. A function marked `#[task(process)]` runs in a *worker process* of its node instead: the same program, started
//! again, which has the same functions under the same names (decision D8).
//!
//! ```
//! # mod example {
//! use mobula_runtime::{Tensor, task};
//! #[task(process)]
//! fn solve(matrix: Tensor<f64>) -> f64 {
//!     // A foreign library that may crash, or never come back.
//!     matrix.iter().sum()
//! }
//! # }
//! ```
//!
//! It is a property of the function and not an option of the call, because the function has to be fit for it: it takes no
//! `Context`, and neither its arguments nor its results contain references or actor handles, since a worker process is no
//! node. The macro refuses what it can see, and the node the rest, with a `WrongType` error that names the argument.
//!
//! # Contract
//! - **Arguments** in the node's store are read where they lie, without a copy; others, and results, are copied through a
//!   socket. Results above the inline size are then put into the node's store.
//! - **Ends.** A panic or an `Err` is the task's own error. An abort, a signal or an exit is a crash of the worker: it
//!   costs the crash budget, the attempt's error says the signal or the exit code in words, and nothing else on the node
//!   notices.
//! - **Cancel**, always by force, is SIGKILL:
//!
//!   | the task is | then |
//!   | --- | --- |
//!   | waiting or queued | it never starts |
//!   | running | its process is killed; its cpu is free at once, not when the function would have returned |
//!   | finished | nothing happens |
//!   | a child of a cancelled task | as above; `cancel` is recursive, `cancel_alone` is not |
//! - **Whatever ends the attempt kills the process**: the memory monitor, a lease that is lost, its owner's death, the end
//!   of its node. No process outlives its node, and what it had borrowed of the store is free when it is gone.
//! - A process runs one task at a time, and many one after the other ([`mobula_protocol::sched::pool`]): static variables
//!   may have values of an earlier task, as those of a thread's process have. A function that keeps an argument in one
//!   costs its process, which ends after the task.
//! - A process that dies before it has begun a task is replaced by another; no budget is charged.
//!
//! # What a program has to do
//! Call [`worker_main`] first thing in `main`. `#[mobula::main]` and the `mobula` program do. In a program that does not,
//! and so in tests with the usual harness, such tasks fail with `Unschedulable`, which says so.
//!
//! # In simulation
//! There are no processes. The function runs like a synchronous one, for what it [charges](crate::charge);
//! [`crash`](crate::crash) is its abort; and killing it ends it at that moment, although a thread would have run on.
//!
//! # Where we differ from Ray
//! There every task runs in a worker process (1.4 to 1.7 ms a round trip), and `cancel` interrupts Python unless it is
//! forced. Here a function is one or the other, and what can be stopped is stopped without asking.

use crate::Error;
use crate::api::{Body, ProcessInput, find};
use crate::node::{death, run_caught};
use bytes::Bytes;
use mobula_env::process::is_worker;
use mobula_protocol::{ByteSize, FunctionId, TaskErrorKind};
use mobula_store::Loan;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::sync::Arc;

#[cfg(not(madsim))]
mod worker;

#[cfg(not(madsim))]
pub use worker::worker_main;

/// A task for a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub function: FunctionId,
    pub attempt: u32,
    pub args: Vec<Passed>,
}

/// An argument of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Passed {
    /// The encoded value.
    Copied(Bytes),
    /// The value is in the store of the process's node.
    Lent(Loan),
}

/// Its encoded results.
pub(crate) type Answer = Result<Vec<Bytes>, Error>;

/// What a process says besides: first [`RELEASE`] or [`CLAIM`].
pub(crate) type Say = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// A message of `mobula_store::client` follows.
pub(crate) const RELEASE: u8 = 0;
/// A number of bytes that the task uses from now on follows, little-endian.
pub(crate) const CLAIM: u8 = 1;

/// What the function that runs on this thread may ask.
struct Current {
    attempt: u32,
    say: Say,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// Which execution of its task the process task on this thread is, from 1; 0 outside of one. See
/// [`Context::attempt`](crate::Context::attempt).
pub fn attempt() -> u32 {
    CURRENT.with_borrow(|current| current.as_ref().map_or(0, |current| current.attempt))
}

/// Says that the process task on this thread uses so many bytes more from now on, until it is over: as
/// [`Context::claim`](crate::Context::claim). Changes nothing outside of one.
pub fn claim(bytes: ByteSize) {
    let say = CURRENT.with_borrow(|current| current.as_ref().map(|current| current.say.clone()));
    if let Some(say) = say {
        let mut word = vec![CLAIM];
        word.extend(bytes.0.to_le_bytes());
        say(&word);
    }
}

/// Whether this is a worker process. In simulation there are none.
pub fn in_worker_process() -> bool {
    is_worker()
}

/// Does what a request says, and returns the answer. A crash of the worker unwinds through this, and a panic of the
/// function does not.
pub(crate) fn serve(request: &[u8], borrow: &dyn Fn(Loan) -> Option<Bytes>, say: &Say) -> Vec<u8> {
    let answer = match rmp_serde::from_slice::<Request>(request) {
        Ok(request) => run(request, borrow, say),
        // Both sides are one program.
        Err(why) => Err(Error::new(TaskErrorKind::WrongType, format!("a worker process cannot read its task: {why}"))),
    };
    // Bytes, text and numbers have an encoding.
    rmp_serde::to_vec(&answer).unwrap_or_default()
}

fn run(request: Request, borrow: &dyn Fn(Loan) -> Option<Bytes>, say: &Say) -> Answer {
    let function = find(&request.function.0)?;
    let Body::Process(run) = &function.body else {
        let message = format!("`{}` is no `#[task(process)]`", function.name);
        return Err(Error::new(TaskErrorKind::UnknownFunction, message));
    };
    let mut args = Vec::with_capacity(request.args.len());
    for (position, arg) in request.args.into_iter().enumerate() {
        args.push(match arg {
            Passed::Copied(bytes) => bytes,
            Passed::Lent(loan) => borrow(loan).ok_or_else(|| {
                let message = format!("argument {position} is not where the node said: {loan:?}");
                Error::new(TaskErrorKind::WrongType, message)
            })?,
        });
    }
    CURRENT.set(Some(Current { attempt: request.attempt, say: say.clone() }));
    let ended = run_caught(|| run(&ProcessInput { args }));
    CURRENT.set(None);
    match ended {
        Ok(values) => Ok(values?.iter().map(mobula_store::codec::Encoded::to_bytes).collect()),
        Err(panic) => match death(&*panic) {
            Ok(_) => std::panic::resume_unwind(panic),
            Err(text) => Err(Error::new(TaskErrorKind::TaskFailed, format!("panicked: {text}"))),
        },
    }
}
