//! Names: everything a file refers to exists, or is made by an earlier step.

use super::job::JobStep;
use super::model::*;
use super::source::{Result, Source, hint};
use super::stranger::Attempt;
use super::stream::Next;
use mobula_sim::{DRIVER, HEAD, SHARED};
use std::collections::BTreeMap;

/// Names by the line that makes them.
type Names = BTreeMap<String, usize>;

/// What exists at a place in the file.
#[derive(Clone, Default)]
struct Scope {
    nodes: Names,
    objects: Names,
    streams: Names,
    groups: Names,
    actors: Names,
    datasets: Names,
}

/// What exists somewhere in the file.
#[derive(Default)]
struct Everything {
    scope: Scope,
    labels: Names,
    jobs: Names,
    /// The machines of other drivers.
    drivers: Vec<Name>,
}

/// Checks all names of a scenario.
pub(super) fn check(source: &Source, scenario: &Scenario) -> Result<()> {
    let checker = Checker { source, actors: scenario.actors() };
    let mut scope = Scope::default();
    for node in &scenario.cluster.nodes {
        checker.define("node", &mut scope.nodes, &node.name)?;
    }
    let mut all = Everything { scope: scope.clone(), ..Everything::default() };
    // Nodes that a planned fault adds may be used by any step: only the run can know the order.
    for (_, fault) in scenario.faults.iter().flat_map(|fault| &fault.actions) {
        if let Fault::AddNode(node) = fault {
            checker.define("node", &mut scope.nodes, &node.name)?;
        }
    }
    gather(&scenario.steps, &checker.actors, &mut all);
    // So may the machines of other drivers, which come up beside other steps.
    for job in &all.drivers {
        checker.define("node", &mut scope.nodes, job)?;
    }
    all.scope.nodes.extend(scope.nodes.clone());
    checker.steps(&scenario.steps, &mut scope, &all)?;
    for fault in &scenario.faults {
        checker.planned(fault, &all)?;
    }
    scenario.expect.iter().try_for_each(|expect| checker.assert(expect, &all.scope, &all))
}

/// The class of each actor.
type Classes = BTreeMap<String, &'static crate::actors::Class>;

/// Whether a call is of a method that yields items.
fn streams(call: &CallStep, actors: &Classes) -> bool {
    let method = actors.get(&call.actor.text).and_then(|class| class.method(&call.method.text));
    method.is_some_and(|method| method.streams)
}

/// Collects all names without judging them.
fn gather(steps: &[Step], actors: &Classes, all: &mut Everything) {
    for step in steps {
        match &step.action {
            Action::Put(put) => drop(all.scope.objects.insert(put.name.text.clone(), put.name.line)),
            Action::Submit(submit) => {
                all.labels.insert(submit.label.clone(), step.line);
                let made = if submit.function.streams { &mut all.scope.streams } else { &mut all.scope.objects };
                made.extend(submit.names.iter().map(|name| (name.text.clone(), name.line)));
            }
            Action::Next(Next { name: Some(name), .. }) => drop(all.scope.objects.insert(name.text.clone(), name.line)),
            Action::Actor(actor) => drop(all.scope.actors.insert(actor.name.text.clone(), actor.name.line)),
            Action::FindActor(find) => drop(all.scope.actors.insert(find.name.text.clone(), find.name.line)),
            Action::Call(call @ CallStep { name: Some(name), .. }) => {
                all.labels.insert(name.text.clone(), step.line);
                let made = if streams(call, actors) { &mut all.scope.streams } else { &mut all.scope.objects };
                made.insert(name.text.clone(), name.line);
            }
            Action::Dataset(dataset) => {
                all.scope.datasets.insert(dataset.name.text.clone(), dataset.name.line);
            }
            Action::Fault(Fault::AddNode(node)) => drop(all.scope.nodes.insert(node.name.text.clone(), node.name.line)),
            Action::Job(job) => {
                all.drivers.push(job.name.clone());
                all.jobs.insert(job.name.text.clone(), job.name.line);
                gather(&job.steps, actors, all);
            }
            Action::Parallel(lists) => lists.iter().for_each(|steps| gather(steps, actors, all)),
            _ => {}
        }
    }
}

/// Whether one of these steps makes an object of this name.
fn made_by(steps: &[Step], actors: &Classes, name: &str) -> bool {
    let mut made = Everything::default();
    gather(steps, actors, &mut made);
    made.scope.objects.contains_key(name)
}

struct Checker<'a> {
    source: &'a Source,
    actors: Classes,
}

impl Checker<'_> {
    fn steps(&self, steps: &[Step], scope: &mut Scope, all: &Everything) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(step, scope, all))
    }

    fn step(&self, step: &Step, scope: &mut Scope, all: &Everything) -> Result<()> {
        match &step.action {
            Action::Put(put) => {
                self.literal(&put.value, scope, false)?;
                self.define("object", &mut scope.objects, &put.name)
            }
            Action::Submit(submit) => self.submit(submit, scope),
            Action::Actor(actor) => {
                actor.args.iter().try_for_each(|arg| self.literal(arg, scope, false))?;
                self.place(&actor.place, scope)?;
                self.define("actor", &mut scope.actors, &actor.name)
            }
            Action::FindActor(find) => self.define("actor", &mut scope.actors, &find.name),
            Action::Call(call) => self.call(call, scope),
            Action::KillActor(kill) => kill.actors.iter().try_for_each(|name| self.known("actor", &scope.actors, name)),
            Action::Get(get) => {
                self.objects(&get.objects, scope)?;
                match &get.expect {
                    Expect::SameAs(other) => self.object(other, scope, false),
                    Expect::Value(value) => self.literal(value, scope, false),
                    Expect::Ok | Expect::Hash(_) | Expect::Error(_) | Expect::Counting(_) => Ok(()),
                }
            }
            Action::Wait(wait) => {
                self.objects(&wait.objects, scope)?;
                match wait.count {
                    0 => Err(self.source.error(step.line, "`count` must be at least 1")),
                    _ => Ok(()),
                }
            }
            Action::Why(why) => self.object(&why.object, scope, false),
            Action::Stranger(stranger) => {
                if let Attempt::Read(object, _) = &stranger.attempt {
                    self.known("object", &scope.objects, object)?;
                }
                stranger.asked().map_or(Ok(()), |node| self.known("node", &scope.nodes, node))
            }
            Action::Group(group) => self.define("placement group", &mut scope.groups, &group.name),
            Action::Ready(ready) => self.known("placement group", &scope.groups, &ready.group),
            Action::Next(next) => {
                self.known("generator", &scope.streams, &next.stream)?;
                next.name.iter().try_for_each(|name| self.define("object", &mut scope.objects, name))
            }
            Action::Release(names) => names.iter().try_for_each(|name| {
                let others = [&mut scope.actors, &mut scope.streams, &mut scope.groups];
                if others.into_iter().any(|names| names.remove(&name.text).is_some()) {
                    return Ok(());
                }
                self.known("object", &scope.objects, name)?;
                scope.objects.remove(&name.text);
                Ok(())
            }),
            Action::Free(names) => names.iter().try_for_each(|name| self.known("object", &scope.objects, name)),
            Action::Cancel(names) => {
                let mut tasks = names.iter().filter(|name| !scope.streams.contains_key(&name.text));
                tasks.try_for_each(|name| self.known("object", &scope.objects, name))
            }
            Action::Dataset(dataset) => self.dataset(dataset, scope),
            Action::Job(job) => self.job(job, scope, all),
            Action::Parallel(lists) => self.parallel(lists, scope, all),
            Action::Fault(fault) => self.fault(fault, scope),
            Action::Assert(assert) => self.assert(assert, scope, all),
            Action::Sleep(_) | Action::Settle(_) => Ok(()),
        }
    }

    /// Its steps see nodes, what they make themselves, and, if it goes on with a job, what that one has made.
    fn job(&self, job: &JobStep, scope: &Scope, all: &Everything) -> Result<()> {
        let mut own = Scope { nodes: scope.nodes.clone(), ..Scope::default() };
        if let Some(other) = &job.attach {
            self.known("job", &all.jobs, other)?;
            own.objects.extend(all.scope.objects.clone());
            own.objects.retain(|name, _| !made_by(&job.steps, &self.actors, name));
        }
        self.steps(&job.steps, &mut own, all)
    }

    /// The lists cannot rely on each other's order, so each sees only what was there before.
    fn parallel(&self, lists: &[Vec<Step>], scope: &mut Scope, all: &Everything) -> Result<()> {
        let before = scope.clone();
        for steps in lists {
            let mut branch = before.clone();
            self.steps(steps, &mut branch, all)?;
            for (name, line) in &branch.objects {
                if !before.objects.contains_key(name) && scope.objects.contains_key(name) {
                    return Err(self.source.error(*line, format!("two parallel steps make an object `{name}`")));
                }
            }
            scope.nodes.extend(branch.nodes);
            scope.objects.extend(branch.objects);
            scope.streams.extend(branch.streams);
            scope.groups.extend(branch.groups);
            scope.actors.extend(branch.actors);
            scope.datasets.extend(branch.datasets);
        }
        Ok(())
    }

    fn submit(&self, submit: &Submit, scope: &mut Scope) -> Result<()> {
        for arg in &submit.args {
            if let Argument::Value(value) | Argument::Values(value) = arg {
                self.literal(value, scope, submit.count > 1)?;
            }
        }
        self.place(&submit.place, scope)?;
        let (what, names) = match submit.function.streams {
            true => ("generator", &mut scope.streams),
            false => ("object", &mut scope.objects),
        };
        submit.names.iter().try_for_each(|name| self.define(what, names, name))
    }

    fn place(&self, place: &Place, scope: &Scope) -> Result<()> {
        match place {
            Place::On(node) | Place::Prefer(node) => self.known("node", &scope.nodes, node),
            Place::Group(group, _) => self.known("placement group", &scope.groups, group),
            Place::Any | Place::Spread | Place::Labels(_) => Ok(()),
        }
    }

    fn call(&self, call: &CallStep, scope: &mut Scope) -> Result<()> {
        self.known("actor", &scope.actors, &call.actor)?;
        let class = self.actors.get(&call.actor.text);
        let methods = || class.into_iter().flat_map(|class| class.methods.iter());
        let Some(method) = methods().find(|method| method.name == call.method.text) else {
            let hint = hint(&call.method.text, methods().map(|method| method.name));
            let message = format!("`{}` has no method `{}`{hint}", call.actor.text, call.method.text);
            return Err(self.source.error(call.method.line, message));
        };
        if method.params != call.args.len() {
            let message = format!("`{}` takes {} arguments, not {}", method.name, method.params, call.args.len());
            return Err(self.source.error(call.method.line, message));
        }
        call.args.iter().try_for_each(|arg| self.literal(arg, scope, false))?;
        let wrong = |why: &str| Err(self.source.error(call.method.line, format!("`{}` {why}", method.name)));
        match (&call.name, method.streams) {
            (Some(name), true) if call.repeat == 1 => self.define("generator", &mut scope.streams, name),
            (_, true) => wrong("yields items: it needs a name in `as`, and no `repeat`"),
            (_, false) if call.backpressure.is_some() => {
                wrong("has one result; `backpressure` is for methods that yield")
            }
            (name, false) => name.iter().try_for_each(|name| self.define("object", &mut scope.objects, name)),
        }
    }

    fn literal(&self, value: &Literal, scope: &Scope, each: bool) -> Result<()> {
        match value {
            Literal::Object(object) if scope.actors.contains_key(&object.name.text) => Ok(()),
            Literal::Object(object) => self.object(object, scope, each),
            Literal::List(items) => items.iter().try_for_each(|item| self.literal(item, scope, each)),
            _ => Ok(()),
        }
    }

    fn objects(&self, objects: &[ObjectName], scope: &Scope) -> Result<()> {
        objects.iter().try_for_each(|object| self.object(object, scope, false))
    }

    fn object(&self, object: &ObjectName, scope: &Scope, each: bool) -> Result<()> {
        if matches!(object.index, Some(Index::Each | Index::Column(_))) && !each {
            return Err(self.source.error(object.name.line, "`[i]` is for the `args` of a `submit` with a `count`"));
        }
        self.known("object", &scope.objects, &object.name)
    }

    fn dataset(&self, dataset: &DatasetStep, scope: &mut Scope) -> Result<()> {
        if let Input::Dataset(name) = &dataset.from {
            self.known("Dataset", &scope.datasets, name)?;
        }
        for op in &dataset.ops {
            if let Op::Join { with, .. } = op {
                self.known("Dataset", &scope.datasets, with)?;
            }
        }
        self.define("Dataset", &mut scope.datasets, &dataset.name)
    }

    fn fault(&self, fault: &Fault, scope: &mut Scope) -> Result<()> {
        match fault {
            Fault::Kill(node)
            | Fault::PowerOff(node)
            | Fault::Pause(node)
            | Fault::Resume(node)
            | Fault::Restart(node) => self.machine(&scope.nodes, node),
            Fault::Drain(node) => self.known("node", &scope.nodes, node),
            Fault::ClockJump { node, .. } => self.machine(&scope.nodes, node),
            Fault::Rpc { nodes, .. } => nodes.iter().try_for_each(|node| self.machine(&scope.nodes, node)),
            Fault::Partition { a, b, .. }
            | Fault::Heal(Some((a, b)))
            | Fault::Hold { a, b }
            | Fault::ReleaseMessages { a, b }
            | Fault::SlowLink { a, b, .. }
            | Fault::Loss { a, b, .. } => {
                self.machine(&scope.nodes, a)?;
                self.machine(&scope.nodes, b)
            }
            Fault::Heal(None) | Fault::WipeHead => Ok(()),
            Fault::AddNode(node) => self.define("node", &mut scope.nodes, &node.name),
            Fault::Evict { object, node, .. } => {
                self.known("object", &scope.objects, object)?;
                self.machine(&scope.nodes, node)
            }
            Fault::ShrinkStore { node, .. } => self.machine(&scope.nodes, node),
            Fault::Disk(node, _) | Fault::DamageSpill(node, _) => self.disk(&scope.nodes, node),
        }
    }

    fn planned(&self, fault: &PlannedFault, all: &Everything) -> Result<()> {
        match &fault.trigger {
            Trigger::At(_) | Trigger::Moved(_) | Trigger::Probe { .. } | Trigger::Beginning => {}
            Trigger::Sealed(object) => self.known("object", &all.scope.objects, object)?,
            // The operators of a Dataset are known once it is planned.
            Trigger::Finished { .. } if !all.scope.datasets.is_empty() => {}
            Trigger::Finished { label, .. } => self.known("task", &all.labels, label)?,
        }
        for (_, action) in &fault.actions {
            match action {
                // Defined before, by `check`.
                Fault::AddNode(_) => {}
                action => self.fault(action, &mut all.scope.clone())?,
            }
        }
        Ok(())
    }

    fn assert(&self, assert: &Assert, scope: &Scope, all: &Everything) -> Result<()> {
        for (_, label, _) in &assert.counters {
            if let Some(label) = label
                && all.scope.datasets.is_empty()
            {
                self.known("task", &all.labels, label)?;
            }
        }
        assert.stores.iter().try_for_each(|(node, counter, _)| match counter {
            StoreCounter::FilesOnDisk => self.disk(&scope.nodes, node),
            _ => self.machine(&scope.nodes, node),
        })?;
        assert.refused.iter().try_for_each(|(node, _)| self.machine(&scope.nodes, node))?;
        assert.stopped.iter().try_for_each(|node| self.machine(&scope.nodes, node))?;
        assert.jobs.iter().try_for_each(|(job, _)| self.known("job", &all.jobs, job))?;
        assert.copies.iter().try_for_each(|(object, _)| self.known("object", &scope.objects, object))?;
        assert.held.iter().try_for_each(|(object, node, _)| {
            self.known("object", &scope.objects, object)?;
            self.known("node", &scope.nodes, node)
        })
    }

    /// A node, the head or the driver.
    fn machine(&self, nodes: &Names, name: &Name) -> Result<()> {
        match name.text.as_str() {
            HEAD | DRIVER => Ok(()),
            _ => self.known("node", nodes, name),
        }
    }

    /// A machine's disk, or the one that all machines share.
    fn disk(&self, nodes: &Names, name: &Name) -> Result<()> {
        if name.text == SHARED { Ok(()) } else { self.machine(nodes, name) }
    }

    fn known(&self, what: &str, names: &Names, name: &Name) -> Result<()> {
        if names.contains_key(&name.text) {
            return Ok(());
        }
        let hint = hint(&name.text, names.keys().map(String::as_str));
        Err(self.source.error(name.line, format!("no {what} `{}` here{hint}", name.text)))
    }

    fn define(&self, what: &str, names: &mut Names, name: &Name) -> Result<()> {
        match names.insert(name.text.clone(), name.line) {
            None => Ok(()),
            Some(line) => {
                let message = format!("there is {} {what} `{}` already, from line {line}", article(what), name.text);
                Err(self.source.error(name.line, message))
            }
        }
    }
}

fn article(what: &str) -> &'static str {
    if what.starts_with(['o', 'a']) { "an" } else { "a" }
}
