//! Running as a child.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a process has a standard input and an exit code"
)]

use super::{HeadArgs, NodeArgs};
use mobula_env::{Elapsed, Env, RealConfig, RealNode, RpcFault};
use mobula_protocol::Nanos;
use mobula_runtime::{ClusterKey, Head, Node, StartError};
use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a process looks whether one of its tasks panicked.
const LOOK: Nanos = Nanos::millis(200);

/// Why a child ended.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It did not come up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The cluster does without it.
    #[error("node `{0}` stopped: {1}")]
    Stopped(String, String),
    /// It cannot be the head any more.
    #[error("the head stopped: {0}")]
    HeadStopped(String),
    /// A task of the runtime panicked: a bug, after which nothing it says can be trusted.
    #[error("a task panicked: {0}")]
    Panic(String),
    /// The file for its events cannot be opened.
    #[error("cannot write events to {}: {why}", .file.display())]
    EventLog {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// Nobody reads what it says.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

/// Is the head of a cluster, until the process ends.
///
/// # Errors
/// It cannot start, or a task of it panicked.
pub fn head(args: &HeadArgs) -> Result<(), ChildError> {
    let real = real("head", Some(ClusterKey::of_process_or_new().map_err(StartError::Key)?))?;
    if args.exit_with_stdin {
        exit_with_stdin()?;
    }
    inject(&real, &args.rpc_fault);
    log_to(&real, args.event_log.as_deref())?;
    let head = real.block_on(Head::start(&real.env, args.settings()))?;
    real.env.emit("up", format_args!("{}", head.address()));
    say(&format!("mobula head listening on {}", head.address()))?;
    watch(&real, async { Err(ChildError::HeadStopped(head.stopped().await)) })
}

/// Is a node of a cluster, until it is told to stop.
///
/// # Errors
/// It cannot join, it was told to stop, or a task of it panicked.
pub fn node(args: &NodeArgs) -> Result<(), ChildError> {
    let real = real(&args.name, ClusterKey::of_process().map_err(StartError::Key)?)?;
    if args.exit_with_stdin {
        exit_with_stdin()?;
    }
    inject(&real, &args.rpc_fault);
    log_to(&real, args.event_log.as_deref())?;
    let node = real.block_on(Node::join(&real.env, &args.join, args.settings()))?;
    real.env.emit("joined", format_args!("{}", node.context().incarnation()));
    say(&format!("mobula node {} joined {} as {}", args.name, args.join, node.context().incarnation()))?;
    watch(&real, async { Err(ChildError::Stopped(args.name.clone(), node.stopped().await)) })
}

fn real(name: &str, key: Option<ClusterKey>) -> Result<RealNode, ChildError> {
    let disk_dir = Some(RealConfig::temporary_disk());
    let config = RealConfig { node: name.to_owned(), disk_dir, key, ..RealConfig::default() };
    Ok(Env::real(config).map_err(StartError::Os)?)
}

fn inject(real: &RealNode, faults: &[RpcFault]) {
    faults.iter().for_each(|fault| real.env.inject_rpc_fault(fault.clone()));
}

/// The event log goes to the end of this file, each line with a write of its own: a process that is killed has written all
/// that it did.
fn log_to(real: &RealNode, file: Option<&Path>) -> Result<(), ChildError> {
    let Some(path) = file else { return Ok(()) };
    let failed = |why| ChildError::EventLog { file: path.to_owned(), why };
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    let (path, failed) = (path.to_owned(), AtomicBool::new(false));
    real.env.log_to(Arc::new(move |line| {
        let written = (&file).write_all(format!("{line}\n").as_bytes());
        if let Err(why) = written
            && !failed.swap(true, Ordering::Relaxed)
        {
            eprintln!("{}: {why}; events are missing there from now on", path.display());
        }
    }));
    Ok(())
}

/// Waits for `end`, and looks for panics meanwhile.
fn watch(real: &RealNode, end: impl Future<Output = Result<(), ChildError>>) -> Result<(), ChildError> {
    real.block_on(async {
        let mut end = std::pin::pin!(end);
        loop {
            match real.env.timeout(LOOK, end.as_mut()).await {
                Ok(result) => return result,
                Err(Elapsed) => match real.failure() {
                    Some(message) => return Err(ChildError::Panic(message)),
                    None => continue,
                },
            }
        }
    })
}

/// One line, at once.
fn say(line: &str) -> Result<(), ChildError> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(ChildError::Output)
}

/// Ends this process when its standard input does: its parent is gone.
fn exit_with_stdin() -> Result<(), ChildError> {
    let wait = || {
        let mut input = std::io::stdin().lock();
        let mut ignored = [0; 256];
        // The end, or an error, which is no better.
        while matches!(input.read(&mut ignored), Ok(n) if n > 0) {}
        std::process::exit(0);
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(wait);
    thread.map(drop).map_err(|why| ChildError::Start(StartError::Os(why)))
}
