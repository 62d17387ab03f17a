//! Many tasks that wait for a cpu, in a process of their own: its memory grows by the tasks and by nothing else.

use super::workloads;
use crate::clock::Stopwatch;
use crate::lab::Lab;
use crate::machine;
use mobula_runtime::{Context, Nanos, Question, task};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What queueing took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Queued {
    /// From the first submit until all values were there, without the time the queue was full for the measurement.
    pub seconds: f64,
    /// From the first submit until the runtime had queued the last.
    pub submitting: f64,
    /// Growth of the process while its tasks were queued, by their number: what the runtime keeps of a task, its
    /// reference in the application included.
    pub bytes_per_task: f64,
}

/// Tasks that hold a cpu now.
static HOLDING: AtomicUsize = AtomicUsize::new(0);
/// Whether they may let go.
static LET_GO: AtomicBool = AtomicBool::new(false);

/// Values of one get: all of a get are in memory, and in the hands of the node's loop, at the same time.
const GET: usize = 10_000;
const PAUSE: Nanos = Nanos::millis(1);

#[task]
async fn hold(context: Context) {
    HOLDING.fetch_add(1, Ordering::Relaxed);
    while !LET_GO.load(Ordering::Relaxed) {
        context.env().sleep(PAUSE).await;
    }
}

/// Queues `tasks` empty tasks behind others that hold every cpu, looks at the memory, and lets them run.
///
/// # Errors
/// What kept the cluster or a task from working.
pub fn measure(tasks: usize) -> Result<Queued, String> {
    let (filled, resident) = Lab::embedded().drive(async |context| {
        let cpus = machine::cores();
        let holds = (0..cpus).map(|_| hold().submit(context)).collect::<mobula_runtime::Result<Vec<_>>>()?;
        while HOLDING.load(Ordering::Relaxed) < cpus {
            context.env().sleep(PAUSE).await;
        }
        let before = machine::resident();
        let watch = Stopwatch::start();
        let results = workloads::submit(context, tasks)?;
        context.ask(Question::Ledger).await?;
        let submitting = watch.seconds();
        let resident = before.and_then(|before| Ok((before, machine::resident()?)));
        let watch = Stopwatch::start();
        LET_GO.store(true, Ordering::Relaxed);
        for results in results.chunks(GET) {
            context.get_all(results).await?;
        }
        let seconds = submitting + watch.seconds();
        context.get_all(&holds).await?;
        Ok((Queued { seconds, submitting, bytes_per_task: 0.0 }, resident))
    })?;
    let (before, after) = resident?;
    Ok(Queued { bytes_per_task: after.saturating_sub(before) as f64 / tasks as f64, ..filled })
}
