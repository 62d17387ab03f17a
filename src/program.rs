//! What `#[mobula::main]` makes of an async function: a program that is driver, node and worker.

#![allow(clippy::disallowed_methods, reason = "a program has arguments, an environment and an exit code")]

use clap::Parser;
use mobula_runtime::{Context, Embedded, Env, Node, NodeSettings, RealConfig, Resources, Result, StartError};
use mobula_sim::child::{self, NodeArgs};
use std::future::Future;
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
pub fn program<F>(driver: impl FnOnce(Context) -> F) -> ExitCode
where
    F: Future<Output = Result<()>>,
{
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == NODE) {
        let command = NodeCommand::parse_from(arguments);
        return done(child::node(&command.node));
    }
    match std::env::var(ADDRESS) {
        Ok(address) => match connect(&address, driver) {
            Ok(result) => done(result),
            Err(why) => done(Err(why)),
        },
        Err(_) => match Embedded::start() {
            Ok(cluster) => match cluster.context().cloned() {
                Some(context) => done(cluster.block_on(driver(context))),
                None => done(Err("the embedded cluster has no node")),
            },
            Err(why) => done(Err(why)),
        },
    }
}

/// A driver is a node without cpus: it owns, stores and reads objects, and runs nothing.
fn connect<F>(address: &str, driver: impl FnOnce(Context) -> F) -> Result<Result<()>, StartError>
where
    F: Future<Output = Result<()>>,
{
    let name = format!("driver-{}", std::process::id());
    let real = Env::real(RealConfig {
        node: name.clone(),
        disk_dir: Some(RealConfig::temporary_disk()),
        ..Default::default()
    })?;
    let settings = NodeSettings { name, resources: Resources::none(), ..NodeSettings::default() };
    let node = real.block_on(Node::join(&real.env, address, settings))?;
    let result = real.block_on(node.drive(driver(node.context().clone())));
    real.kill();
    Ok(result)
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
