//! Group `actors`: what it costs to call a method that does nothing.

use crate::baseline::{self, CHANNEL};
use crate::clock::Stopwatch;
use crate::lab::{Lab, settle};
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use crate::{child, machine};
use mobula_runtime::{Actor, Context, Result, actor};
use serde::{Deserialize, Serialize};

/// Actors of the row about memory.
const ACTORS: usize = 2_000;

/// Does nothing, and can say so.
pub struct Idle;

#[actor]
impl Idle {
    pub fn new() -> Self {
        Self
    }

    /// Nothing.
    pub fn nothing(&mut self) {}

    #[save]
    fn save(&self) -> u8 {
        0
    }

    #[restore]
    fn restore(_: u8) -> Self {
        Self
    }
}

/// The same without a state to save.
pub struct Plain;

#[actor]
impl Plain {
    pub fn new() -> Self {
        Self
    }

    /// Nothing.
    pub fn nothing(&mut self) {}
}

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let calls = effort.of(50_000, 10_000);
    let (repetitions, single) = (effort.of(7, 3), effort.of(5_000, 1_000));
    let rate = baseline::pipelined(repetitions, calls).map(|seconds| calls as f64 / seconds);
    let latency = baseline::ping_pong(single);
    let memory = child::ask::<Grown>(&["idle-actors", &ACTORS.to_string()]);
    let lab = Lab::embedded();
    let sync = lab.drive(async |context| sync(context, single).await);
    let one = lab.drive(async |context| pipelined(context, repetitions, calls, 1).await);
    let many = lab.drive(async |context| pipelined(context, repetitions, calls, machine::cores()).await);
    let exactly = lab.drive(async |context| exactly_once(context, repetitions, calls / 5).await);
    let per_second = |name: &str, measured| Row::new(format!("actors.{name}"), Unit::CallsPerSecond, measured);
    vec![
        Row::new("actors.1to1.sync", Unit::Micros, sync).against(CHANNEL, &latency),
        per_second("1to1.pipelined", one).against(CHANNEL, &rate),
        per_second("nton.pipelined", many).against(CHANNEL, &rate),
        per_second("exactly_once", exactly).against(CHANNEL, &rate),
        Row::new("actors.memory", Unit::BytesPerActor, memory.map(|grown| Sample::of(vec![grown.bytes_per_actor]))),
    ]
}

/// Microseconds to call one method and get its value, one at a time.
async fn sync(context: &Context, calls: usize) -> Result<Sample> {
    let actor = Plain::actor().cpus(0.0).create(context)?;
    let mut micros = Vec::new();
    for _ in 0..=calls {
        let watch = Stopwatch::start();
        context.get(&actor.nothing().submit(context)?).await?;
        micros.push(watch.micros());
    }
    Ok(Sample::warm(micros))
}

/// Calls per second when `callers` drivers each call an actor of their own, until the runtime has forgotten all calls.
async fn pipelined(context: &Context, repetitions: usize, calls: usize, callers: usize) -> Result<Sample> {
    let actors = (0..callers).map(|_| Plain::actor().cpus(0.0).create(context)).collect::<Result<Vec<_>>>()?;
    let mut rates = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        let each = |actor: Actor<Plain>| {
            let context = context.clone();
            async move {
                let results = (0..calls / callers).map(|_| actor.nothing().submit(&context));
                let results = results.collect::<Result<Vec<_>>>()?;
                context.get_all(&results).await.map(drop)
            }
        };
        let drivers: Vec<_> = actors.iter().map(|actor| context.env().spawn("caller", each(actor.clone()))).collect();
        for driver in drivers {
            driver.await.map_err(gone)??;
        }
        settle(context).await?;
        rates.push(calls as f64 / watch.seconds());
    }
    Ok(Sample::warm(rates))
}

/// Calls per second of an actor whose replies wait for a checkpoint with the head.
async fn exactly_once(context: &Context, repetitions: usize, calls: usize) -> Result<Sample> {
    let actor = Idle::actor().cpus(0.0).exactly_once().create(context)?;
    let mut rates = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        let results = (0..calls).map(|_| actor.nothing().submit(context)).collect::<Result<Vec<_>>>()?;
        context.get_all(&results).await?;
        drop(results);
        settle(context).await?;
        rates.push(calls as f64 / watch.seconds());
    }
    Ok(Sample::warm(rates))
}

fn gone(why: impl std::fmt::Display) -> mobula_runtime::Error {
    mobula_runtime::Error::new(mobula_runtime::TaskErrorKind::Disconnected, why.to_string())
}

/// What actors that do nothing weigh.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grown {
    /// Growth of the process by each: head, host, caller and handle are all in it.
    pub bytes_per_actor: f64,
}

/// Creates so many idle actors and looks at the memory.
///
/// # Errors
/// What kept the cluster or an actor from working.
pub fn measure(actors: usize) -> std::result::Result<Grown, String> {
    let resident = Lab::embedded().drive(async |context| {
        context.get(&Plain::actor().cpus(0.0).create(context)?.ready().submit(context)?).await?;
        let before = machine::resident();
        let mut handles = Vec::new();
        for _ in 0..actors {
            handles.push(Plain::actor().cpus(0.0).create(context)?);
        }
        for handle in &handles {
            context.get(&handle.ready().submit(context)?).await?;
        }
        Ok(before.and_then(|before| Ok((before, machine::resident()?))))
    })?;
    let (before, after) = resident?;
    Ok(Grown { bytes_per_actor: after.saturating_sub(before) as f64 / actors as f64 })
}
