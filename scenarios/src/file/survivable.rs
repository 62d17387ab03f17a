//! Plans that no correct system survives: a scenario that fails because of one says nothing about the system.
//!
//! Refused unless the file expects an error somewhere (then losing is the point): faults of calls that never let a
//! method through, messages held and never released, links that lose everything for ever or are slower than a death
//! takes to be declared, and a cluster of which no node that runs tasks is left. A `heal` of all ends all but slowness
//! and death. TigerBeetle bounds its simulator's storage faults in the same spirit.

use super::model::*;
use super::source::{Result, Source};
use super::stream::Then;
use mobula_runtime::Nanos;
use mobula_sim::{ClusterSettings, RpcFault, RpcFaultKind};
use std::collections::BTreeSet;

/// Refuses a plan that no correct system survives.
pub(super) fn check(source: &Source, scenario: &Scenario) -> Result<()> {
    let mut plan = Plan::default();
    plan.steps(&scenario.steps);
    plan.faults.extend(scenario.faults.iter().flat_map(|fault| &fault.actions).map(|(line, fault)| (*line, fault)));
    if plan.expects_errors {
        return Ok(());
    }
    let timeout = scenario.settings.health_timeout.unwrap_or(ClusterSettings::default().health_timeout);
    plan.links(source, timeout)?;
    plan.nodes(source, scenario)
}

#[derive(Default)]
struct Plan<'a> {
    faults: Vec<(usize, &'a Fault)>,
    expects_errors: bool,
}

impl<'a> Plan<'a> {
    fn steps(&mut self, steps: &'a [Step]) {
        for step in steps {
            match &step.action {
                Action::Fault(fault) => self.faults.push((step.line, fault)),
                Action::Job(job) => self.steps(&job.steps),
                Action::Parallel(lists) => lists.iter().for_each(|steps| self.steps(steps)),
                Action::FindActor(find) => self.expects_errors |= matches!(find.expect, Expect::Error(_)),
                Action::Get(get) => self.expects_errors |= matches!(get.expect, Expect::Error(_)),
                Action::Next(next) => self.expects_errors |= matches!(next.then, Then::Error(_)),
                Action::Dataset(dataset) => self.expects_errors |= dataset.expect_error.is_some(),
                _ => {}
            }
        }
    }

    /// What would keep messages away for ever, or for longer than a node may be silent.
    fn links(&self, source: &Source, timeout: Nanos) -> Result<()> {
        let refuse = |line: usize, why: String| Err(source.error(line, format!("no system survives this: {why}")));
        let healed = self.faults.iter().any(|(_, fault)| matches!(fault, Fault::Heal(None)));
        for (line, fault) in &self.faults {
            match fault {
                Fault::Rpc { fault, .. } if for_ever(fault) && !healed => {
                    let method = fault.method.as_deref().unwrap_or("any method");
                    return refuse(
                        *line,
                        format!("no call of {method} ever succeeds; give it a `count`, or `heal` all"),
                    );
                }
                Fault::Hold { a, b } if !healed && !self.releases(a, b) => {
                    let (a, b) = (&a.text, &b.text);
                    return refuse(*line, format!("what {a} and {b} say is never released; add `release_messages`"));
                }
                Fault::SlowLink { latency, .. } if *latency * 2 >= timeout => {
                    return refuse(*line, format!("healthy nodes die at {latency} each way: a silence of {timeout}"));
                }
                Fault::Loss { probability, .. } if *probability >= 1.0 && !healed => {
                    return refuse(*line, "everything is lost for ever; that is a `partition`".to_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn releases(&self, a: &Name, b: &Name) -> bool {
        let same =
            |c: &Name, d: &Name| (&c.text, &d.text) == (&a.text, &b.text) || (&c.text, &d.text) == (&b.text, &a.text);
        self.faults.iter().any(|(_, fault)| matches!(fault, Fault::ReleaseMessages { a, b } if same(a, b)))
    }

    /// A cluster in which nothing can run at the end.
    fn nodes(&self, source: &Source, scenario: &Scenario) -> Result<()> {
        let mut alive: BTreeSet<&str> = scenario.cluster.nodes.iter().map(|node| node.name.text.as_str()).collect();
        let mut last = None;
        let mut ends = |line: usize, node: &Name| {
            last = Some(line);
            node.text.clone()
        };
        let mut dead = BTreeSet::new();
        for (line, fault) in &self.faults {
            match fault {
                Fault::Kill(node) | Fault::PowerOff(node) => drop(dead.insert(ends(*line, node))),
                // Whatever the order will be, a node that comes back counts as alive.
                Fault::AddNode(node) => drop(alive.insert(&node.name.text)),
                _ => {}
            }
        }
        for (_, fault) in &self.faults {
            if let Fault::Restart(node) = fault {
                dead.remove(&node.text);
            }
        }
        let works =
            scenario.steps.iter().rposition(|step| matches!(step.action, Action::Submit(_) | Action::Dataset(_)));
        let after = works.and_then(|at| scenario.steps.get(at)).map_or(0, |step| step.line);
        match last {
            // What nothing is asked to run in may be gone: values live on elsewhere.
            Some(line) if line < after && alive.iter().all(|node| dead.contains(*node)) => {
                Err(source.error(line, "no system survives this: no node that could run a task is left"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the calls it names fail for ever. A reply that is lost is given again to the retry only if that one's is not.
fn for_ever(fault: &RpcFault) -> bool {
    let loses = matches!(fault.kind, RpcFaultKind::RequestLost | RpcFaultKind::ReplyLost | RpcFaultKind::InFlight);
    loses && fault.count.is_none() && fault.probability >= 1.0
}
