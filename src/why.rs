//! `mobula why`: what the tasks of a running cluster wait for.

use crate::memory::visit;
use clap::Args;
use mobula_runtime::TaskId;
use std::process::ExitCode;

/// Flags of `why`.
#[derive(Args)]
pub struct WhyArgs {
    /// The task, as errors, logs and `mobula memory` write it: t5@n2.7 is task 5 of node 2 in its life 7. Without it,
    /// everything that waits is listed.
    #[arg(value_name = "TASK")]
    task: Option<TaskId>,
    /// Address of the head, as it printed it.
    #[arg(long, value_name = "ADDR")]
    address: String,
}

/// Asks all nodes and prints what those say that know something. Fails if the task's owner is dead or does not answer.
pub fn why(args: &WhyArgs) -> ExitCode {
    let known = visit("why", &args.address, async |context| match args.task {
        Some(task) => context.why_task(task).await,
        None => context.cluster_waits().await,
    });
    match (known, args.task) {
        (Err(why), _) => {
            eprintln!("error: {why}");
            return ExitCode::FAILURE;
        }
        (Ok(known), Some(task)) if known.is_empty() => println!("{task} is over, or was never submitted"),
        (Ok(known), None) if known.is_empty() => println!("nothing waits"),
        (Ok(known), _) => known.iter().for_each(|(node, line)| println!("{node}: {line}")),
    }
    ExitCode::SUCCESS
}
