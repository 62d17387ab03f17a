//! `mobula why`: what a task of a running cluster waits for.

use crate::memory::visit;
use clap::Args;
use mobula_runtime::TaskId;
use std::process::ExitCode;

/// Flags of `why`.
#[derive(Args)]
pub struct WhyArgs {
    /// The task, as errors, logs and `mobula memory` write it: t5@n2.7 is task 5 of node 2 in its life 7.
    #[arg(value_name = "TASK")]
    task: TaskId,
    /// Address of the head, as it printed it.
    #[arg(long, value_name = "ADDR")]
    address: String,
}

/// Asks all nodes and prints what those say that know the task. Fails if the task's owner is dead or a node does not
/// answer.
pub fn why(args: &WhyArgs) -> ExitCode {
    let task = args.task;
    match visit("why", &args.address, async |context| context.why_task(task).await) {
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
        Ok(known) if known.is_empty() => {
            println!("{task} is over, or was never submitted");
            ExitCode::SUCCESS
        }
        Ok(known) => {
            known.iter().for_each(|(node, line)| println!("{node}: {line}"));
            ExitCode::SUCCESS
        }
    }
}
