//! What `#[mobula::main]` makes of an async function: a program that is driver, node and worker.

#![allow(clippy::disallowed_methods, reason = "a program has arguments, an environment and an exit code")]

use clap::Parser;
use futures_util::future::{Either, select};
use mobula_runtime::{
    ClusterKey, Context, Embedded, Env, Node, NodeSettings, RealConfig, Resources, Result, StartError, worker_main,
};
use mobula_sim::child::{self, NodeArgs};
use signals::signal::unix::{SignalKind, signal};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::process::ExitCode;

/// The environment variable with the address of a cluster's head: the program is a driver of that cluster then.
pub const ADDRESS: &str = "MOBULA_ADDRESS";

/// The first argument that makes the program a node.
const NODE: &str = "mobula-node";

#[derive(clap::Parser)]
#[command(name = NODE)]
struct NodeCommand {
    #[command(flatten)]
    node: NodeArgs,
}

/// Runs `driver`: on an embedded cluster, or as a driver of the cluster at [`ADDRESS`]. Started as
/// `PROGRAM mobula-node --join ADDR --name NAME`, the program is a node instead, which can run the tasks compiled into it.
/// Started by a node, it is a worker process of that node.
pub fn program<F>(driver: impl FnOnce(Context) -> F) -> ExitCode
where
    F: Future<Output = Result<()>>,
{
    worker_main();
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == NODE) {
        let command = NodeCommand::parse_from(arguments);
        return done(child::node(&command.node));
    }
    let ended = match std::env::var(ADDRESS) {
        Ok(address) => connect(&address, driver),
        Err(_) => embedded(driver),
    };
    match ended {
        Ok(Ended::Driver(result)) => done(result),
        // As shells report a process that a signal ended.
        Ok(Ended::Signal(number)) => ExitCode::from(128 + number),
        Err(why) => done(Err(why)),
    }
}

/// How a program came to its end.
enum Ended {
    Driver(Result<()>),
    Signal(u8),
}

/// Runs `driver` until it ends, or somebody asks the process to (SIGINT, SIGTERM): either way there is time to clean up.
async fn or_signal(driver: impl Future<Output = Result<()>>) -> Ended {
    let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
    let (Ok(mut interrupted), Ok(mut terminated)) = (signal(interrupt), signal(terminate)) else {
        // Then they end the process at once, as they do without this.
        return Ended::Driver(driver.await);
    };
    let interrupted = pin!(interrupted.recv());
    let terminated = pin!(terminated.recv());
    let asked = select(interrupted, terminated);
    match select(pin!(driver), asked).await {
        Either::Left((result, _)) => Ended::Driver(result),
        Either::Right((Either::Left(_), _)) => Ended::Signal(interrupt.as_raw_value() as u8),
        Either::Right((Either::Right(_), _)) => Ended::Signal(terminate.as_raw_value() as u8),
    }
}

fn embedded<F>(driver: impl FnOnce(Context) -> F) -> Result<Ended, StartError>
where
    F: Future<Output = Result<()>>,
{
    let cluster = Embedded::start()?;
    let context =
        cluster.context().cloned().ok_or_else(|| StartError::Os(io::Error::other("the cluster has no node")))?;
    let ended = cluster.block_on(or_signal(driver(context)));
    cluster.end();
    Ok(ended)
}

/// A driver is a node without cpus: it owns, stores and reads objects, and runs nothing.
fn connect<F>(address: &str, driver: impl FnOnce(Context) -> F) -> Result<Ended, StartError>
where
    F: Future<Output = Result<()>>,
{
    let name = format!("driver-{}", std::process::id());
    let real = Env::real(RealConfig {
        node: name.clone(),
        disk_dir: Some(RealConfig::temporary_disk()),
        key: ClusterKey::of_process()?,
        ..Default::default()
    })?;
    let settings = NodeSettings { name, resources: Resources::none(), ..NodeSettings::default() };
    let node = real.block_on(Node::join(&real.env, address, settings))?;
    let ended = real.block_on(async {
        let ended = or_signal(node.drive(driver(node.context().clone()))).await;
        node.clear_spill().await;
        ended
    });
    real.kill();
    Ok(ended)
}

fn done<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
