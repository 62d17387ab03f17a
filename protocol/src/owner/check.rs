//! The owner's invariants.

use super::Owner;
use super::types::{Object, Origin, Stage, Task};
use crate::{Located, ObjectId, TaskId, Violation};
use std::collections::BTreeMap;

/// How often an object is used, by what uses it: submitted, lineage, contained.
type Uses = BTreeMap<ObjectId, [u32; 3]>;

impl Owner {
    /// Looks at everything once, in time proportional to all objects, tasks and arguments: a simulation with large
    /// tables does so every so many steps.
    pub(super) fn check_all(&self) -> Result<(), Violation> {
        self.directory.check()?;
        let told = self.news.is_empty() && !self.directory.has_promoted();
        let idle = told && self.agenda.is_empty() && self.idle.is_empty();
        Violation::unless(idle, "a step leaves nothing to do", String::new)?;
        self.replicas.check(|object| self.directory.state(object))?;
        self.persisted.check(|object| self.directory.state(object))?;
        let rest = self.replicas.is_at_rest() && self.persisted.is_at_rest();
        Violation::unless(rest, "a step leaves nothing to repair", String::new)?;
        let uses = self.count_uses();
        for (id, object) in &self.objects {
            self.check_object(*id, object, uses.get(id).copied().unwrap_or_default())?;
        }
        for (id, task) in &self.tasks {
            self.check_task(*id, task)?;
        }
        for (object, tasks) in &self.waiting {
            let waits = |id| self.tasks.get(id).is_some_and(|task| task.missing.contains(object));
            Violation::unless(!tasks.is_empty() && tasks.iter().all(waits), "I1 no waker without a waiter", || {
                format!("{object} is to wake {tasks:?}")
            })?;
        }
        for (until, id) in &self.resting {
            let rests = self.tasks.get(id).is_some_and(|task| task.stage == Stage::Resting { until: *until });
            Violation::unless(rests, "I1 no alarm without a sleeper", || format!("{id} is to wake at {until}"))?;
        }
        let finished = self.tasks.values().filter(|task| task.stage == Stage::Finished && !task.is_open());
        self.lineage.check(finished.map(|task| &*task.spec))?;
        self.check_foreign()
    }

    fn count_uses(&self) -> Uses {
        let mut uses = Uses::new();
        for task in self.tasks.values() {
            let kind = usize::from(task.stage == Stage::Finished);
            for object in task.spec.reachable() {
                uses.entry(object).or_default()[kind] += 1;
            }
        }
        for inner in self.objects.values().flat_map(|object| &object.contains) {
            uses.entry(*inner).or_default()[2] += 1;
        }
        uses
    }

    fn check_object(&self, id: ObjectId, object: &Object, uses: [u32; 3]) -> Result<(), Violation> {
        let counted = [object.submitted, object.lineage, object.contained];
        Violation::unless(counted == uses, "I29 counts are what they count", || {
            format!("{id} counts {counted:?}, is used {uses:?} times (submitted, lineage, contained)")
        })?;
        let told = object.awaited.is_empty() || matches!(self.directory.state(id), Located::Pending);
        Violation::unless(told, "I1 whoever waits for what exists is told", || format!("{id}: {object:?}"))?;
        let unfinished = self.tasks.get(&id.task).is_some_and(|task| task.stage != Stage::Finished);
        let needed = object.in_scope() || object.lineage > 0 || unfinished;
        Violation::unless(needed, "I27 nothing is kept without a reason", || format!("{id} is out of scope"))?;
        let made = object.origin != Origin::Task || self.tasks.contains_key(&id.task) || !self.is_rebuildable_kind(id);
        Violation::unless(made, "I31 lineage is kept while it is needed", || format!("{id} lost its task"))?;
        let pending = matches!(self.directory.state(id), Located::Pending | Located::Failed(_));
        let put = object.origin != Origin::Putting || pending;
        Violation::unless(put, "I31 a value is put before it exists", || format!("{id}: {object:?}"))?;
        let alive = object.borrowed.keys().all(|by| !self.dead.contains(by));
        Violation::unless(alive, "I28 the dead hold nothing", || format!("{id} is held by {:?}", object.borrowed))
    }

    fn check_task(&self, id: TaskId, task: &Task) -> Result<(), Violation> {
        let waits = task.stage == Stage::Waiting;
        Violation::unless(waits != task.missing.is_empty(), "I1 no waiter without a reason", || {
            format!("{id} is {:?} and misses {:?}", task.stage, task.missing)
        })?;
        for object in &task.missing {
            let registered = self.waiting.get(object).is_some_and(|tasks| tasks.contains(&id));
            Violation::unless(registered, "I1 no waiter without a waker", || format!("{id} waits for {object}"))?;
        }
        let alarm = !matches!(task.stage, Stage::Resting { until } if !self.resting.contains(&(until, id)));
        Violation::unless(alarm, "I1 no sleeper without an alarm", || format!("{id} is {:?}", task.stage))?;
        let alive = !matches!(task.stage, Stage::Running { to, .. } if self.dead.contains(&to));
        Violation::unless(alive, "I1 nothing runs on a dead node", || format!("{id} is {:?}", task.stage))?;
        self.check_stream(id, task)?;
        let needed = task.stage != Stage::Finished || self.is_lineage(id) || task.is_open();
        Violation::unless(needed, "I31 lineage is dropped when it is not needed", || format!("{id} is kept"))
    }

    /// Another owner is asked about exactly the arguments of unfinished tasks.
    fn check_foreign(&self) -> Result<(), Violation> {
        let mut uses = BTreeMap::new();
        for task in self.tasks.values().filter(|task| task.stage != Stage::Finished) {
            for object in task.spec.refs().filter(|object| object.owner() != self.me) {
                *uses.entry(object).or_insert(0) += 1;
            }
        }
        let followed: BTreeMap<ObjectId, u32> = self.foreign.iter().map(|(id, foreign)| (*id, foreign.uses)).collect();
        Violation::unless(followed == uses, "foreign arguments are followed while needed", || {
            format!("follows {followed:?}, needs {uses:?}")
        })
    }
}
