//! Conditions on counters and copies.

use super::driver::{Done, Driver};
use super::report::Failure;
use super::steps::{failed, unexpected};
use crate::condition::Condition;
use crate::file::{Assert, Counter, Name, ObjectName, StoreCounter};
use mobula_runtime::{Counters, Nanos, Question};
use mobula_sim::{FaultError, NodeState};

/// How long conditions may take to become true unless the file says otherwise: the time counters need to be published.
const WITHIN: Nanos = Nanos::millis(500);
/// How often they are looked at.
const LOOK: Nanos = Nanos::millis(10);

impl Driver {
    /// Waits until all conditions hold.
    pub async fn assert(&self, assert: &Assert) -> Done {
        let (from, within) = (self.now(), assert.within.unwrap_or(WITHIN));
        loop {
            let broken = self.broken(assert).await?;
            if broken.is_empty() {
                let stored = assert.copies.len() + assert.held.len() + assert.stores.len();
                let nodes = assert.stopped.len() + assert.refused.len();
                let conditions = assert.counters.len() + stored + nodes + assert.jobs.len();
                return Ok(format!("{conditions} conditions hold"));
            }
            if self.now().saturating_sub(from) >= within {
                return Err(unexpected(broken.join("; ")));
            }
            self.env().sleep(LOOK).await;
        }
    }

    /// What does not hold now.
    async fn broken(&self, assert: &Assert) -> Result<Vec<String>, Failure> {
        let mut broken = Vec::new();
        for (counter, label, condition) in &assert.counters {
            let found = self.count(*counter, label.as_ref());
            if !condition.holds(found) {
                let of = label.as_ref().map_or_else(String::new, |label| format!(" of {}", label.text));
                broken.push(format!("{}{of}: expected {condition}, found {found}", counter.word()));
            }
        }
        for (object, condition) in &assert.copies {
            let copies = self.copies(object).await?;
            if !condition.holds(copies.len() as u64) {
                broken.push(copies_wrong(object, condition, &copies));
            }
        }
        for (object, node, held) in &assert.held {
            let copies = self.copies(object).await?;
            if copies.contains(&node.text) != *held {
                let wanted = if *held { "a copy" } else { "no copy" };
                let found = copies.join(", ");
                broken.push(format!("{}: expected {wanted} on {}, found copies on [{found}]", object.text, node.text));
            }
        }
        for (node, counter, condition) in &assert.stores {
            let found = self.stored(&node.text, *counter).await?;
            if let Some(found) = found.filter(|found| !condition.holds(*found)) {
                broken.push(format!(
                    "{} in the store of {}: expected {condition}, found {found}",
                    counter.word(),
                    node.text
                ));
            }
        }
        if !assert.jobs.is_empty() {
            broken.extend(self.jobs_wrong(assert).await?);
        }
        for (node, condition) in &assert.refused {
            let found = self.cluster.refused(&node.text).map_err(|why| Failure::new("assert", why.to_string()))?;
            if let Some(found) = found.filter(|found| !condition.holds(*found)) {
                broken.push(format!("strangers refused by {}: expected {condition}, found {found}", node.text));
            }
        }
        for node in &assert.stopped {
            let state = self.cluster.state_of(&node.text).map_err(|why| Failure::new("assert", why.to_string()))?;
            if state != NodeState::Stopped {
                broken.push(format!("{}: expected that it has stopped by itself, it is {state}", node.text));
            }
        }
        Ok(broken)
    }

    /// Jobs that have another status.
    async fn jobs_wrong(&self, assert: &Assert) -> Result<Vec<String>, Failure> {
        let known = self.context().jobs().await.map_err(|error| failed(&error))?;
        let mut wrong = Vec::new();
        for (job, wanted) in &assert.jobs {
            let found = known.iter().find(|info| info.job.0 == job.text).map(|info| info.status.to_string());
            if !found.as_ref().is_some_and(|found| found.starts_with(wanted.as_str())) {
                let found = found.unwrap_or_else(|| "unknown to the head".to_owned());
                wrong.push(format!("job {}: expected that it has {wanted}, it is {found}", job.text));
            }
        }
        Ok(wrong)
    }

    /// What is counted of a node's store; nothing where the world cannot look, which it says.
    async fn stored(&self, node: &str, counter: StoreCounter) -> Result<Option<u64>, Failure> {
        if counter == StoreCounter::FilesOnDisk {
            return Ok(self.cluster.spill_files(node).map(|files| files as u64));
        }
        let usage = match self.cluster.usage(node).await {
            Ok(Some(usage)) => usage,
            Err(FaultError::Unsupported { .. }) => return Ok(None),
            Ok(None) => return Err(Failure::new("assert", format!("{node} is dead: it has no store"))),
            Err(why) => return Err(Failure::new("assert", why.to_string())),
        };
        Ok(Some(match counter {
            StoreCounter::Used => usage.total().0,
            StoreCounter::Peak => usage.peak.0,
            StoreCounter::SpilledObjects => usage.spilled_objects as u64,
            StoreCounter::SpilledBytes => usage.spilled.0,
            StoreCounter::Files | StoreCounter::FilesOnDisk => usage.files as u64,
            StoreCounter::Pins => usage.pins,
            StoreCounter::Evicted => usage.departed.evicted,
            StoreCounter::Spilled => usage.departed.spilled,
            StoreCounter::Rebuildable => usage.departed.rebuildable,
            StoreCounter::Lost => usage.departed.lost,
        }))
    }

    fn count(&self, counter: Counter, label: Option<&Name>) -> u64 {
        match label {
            Some(label) => counted(counter, &self.context().counters(&label.text)),
            None => self.context().progress().borrow().iter().map(|(_, counters)| counted(counter, counters)).sum(),
        }
    }

    /// Names of the nodes that have a copy.
    async fn copies(&self, object: &Name) -> Result<Vec<String>, Failure> {
        let reference = self.one(&ObjectName { name: object.clone(), index: None }, 0)?;
        let copies = self.context().ask(|reply| Question::Copies(reference.id(), reply)).await;
        copies.map_err(|error| failed(&error))
    }
}

/// One of the counters.
pub(super) fn counted(counter: Counter, counters: &Counters) -> u64 {
    match counter {
        Counter::Submitted => counters.submitted,
        Counter::Executions => counters.executions,
        Counter::Finished => counters.finished,
        Counter::Failed => counters.failed,
        Counter::Retried => counters.retried,
        Counter::Rebuilt => counters.rebuilt,
    }
}

fn copies_wrong(object: &Name, condition: &Condition, copies: &[String]) -> String {
    format!("copies of {}: expected {condition}, found {} on [{}]", object.text, copies.len(), copies.join(", "))
}
