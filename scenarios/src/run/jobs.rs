//! Executing `job`.
//!
//! The steps run on a machine of their own, as another process's would, so that they die with it.

use super::driver::{Beside, Done, Driver};
use super::report::Failure;
use super::steps::unexpected;
use crate::file::{JobStep, Submit};
use crate::value::Value;
use mobula_runtime::macros::TaskCall;
use mobula_runtime::{Context, Job, JobFailure, Nanos, ObjectRef};
use mobula_sim::{FaultError, NodeState, Program};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How often it is looked whether the steps are over.
const LOOK: Nanos = Nanos::millis(20);

type Outcome = Arc<Mutex<Option<Result<(), Failure>>>>;

impl Driver {
    /// Starts the driver and waits until its steps are over, or its machine is dead.
    pub async fn job(&self, step: &JobStep) -> Done {
        let outcome = Outcome::default();
        let (beside, there, told) = (self.beside(), step.clone(), outcome.clone());
        let program: Program = Box::new(move |context| {
            Box::pin(async move {
                let played = drive(beside, context, &there).await;
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(played);
            })
        });
        let name = &step.name.text;
        match self.cluster.start_driver(name, program).await {
            Ok(()) => {}
            Err(FaultError::Unsupported { why, .. }) => return Ok(format!("SKIPPED, {why}")),
            Err(why) => return Err(Failure::new("job", why.to_string())),
        }
        loop {
            if let Some(played) = outcome.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return played.map(|()| "its steps are over".to_owned());
            }
            let state = self.cluster.state_of(name).map_err(|why| Failure::new("job", why.to_string()))?;
            match state {
                NodeState::Running | NodeState::Paused => self.cluster.env().sleep(LOOK).await,
                NodeState::Killed | NodeState::Off => return Ok(format!("{name} is {state}")),
                NodeState::Stopped => return Err(unexpected(format!("{name} has stopped by itself"))),
            }
        }
    }

    /// Submits a task as the job's.
    pub async fn submit_to(&self, job: &Job, submit: &Submit) -> Done {
        let [name] = &submit.names[..] else {
            return Err(unexpected("what a job submits needs one name".to_owned()));
        };
        let mut objects = Vec::new();
        for number in 0..submit.count {
            let call = TaskCall::new(submit.path());
            let call = self.call(call, submit, number)?;
            objects.push(job.submit::<Value>(&key(&name.text, number), call).await.map_err(refused)?);
        }
        self.state().objects.insert(name.text.clone(), objects);
        Ok(format!("{} submitted", submit.count))
    }
}

/// What the other machine does.
async fn drive(beside: Beside, context: Context, step: &JobStep) -> Result<(), Failure> {
    let name = &step.job().text;
    let job = match step.attach {
        Some(_) => context.attach(name).await,
        None => context.begin_job(name).await,
    };
    let job = Arc::new(job.map_err(refused)?);
    let kept = job.kept().await.map_err(refused)?;
    let driver = beside.driver(context, job.clone());
    driver.state().objects = by_name(kept);
    driver.steps(&step.steps).await?;
    // What this driver refers to is its own; what the job keeps is released by its end.
    drop(driver);
    if let (false, Some(job)) = (step.leave, Arc::into_inner(job)) {
        job.end(Ok(())).await.map_err(refused)?;
    }
    Ok(())
}

/// What the `number`-th task of a name is kept under.
fn key(name: &str, number: u64) -> String {
    format!("{name}[{number:06}]")
}

/// What is kept, as the file calls it.
fn by_name(kept: BTreeMap<String, Vec<ObjectRef<()>>>) -> BTreeMap<String, Vec<ObjectRef<Value>>> {
    let mut objects: BTreeMap<String, Vec<ObjectRef<Value>>> = BTreeMap::new();
    for (key, results) in kept {
        let name = key.split('[').next().unwrap_or_default().to_owned();
        objects.entry(name).or_default().extend(results.iter().map(ObjectRef::cast));
    }
    objects
}

fn refused(why: JobFailure) -> Failure {
    unexpected(why.to_string())
}
