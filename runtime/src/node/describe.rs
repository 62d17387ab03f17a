//! What the machines of a node say about themselves, for people: what they wait for, and what they know.

use super::core::{Core, Wish};
use mobula_protocol::TaskId;
use mobula_protocol::pull::{Waiting, WaitingFor};

impl Core {
    /// Everything that waits here: for what, since when, and thereby who will wake it (no wait is silent).
    pub(super) fn waits(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.owner.unfinished().into_iter().filter_map(|task| self.why_owned(task)).collect();
        lines.extend(self.actors.callers.waits());
        lines.extend(self.groups.waits());
        lines.extend(self.owner.not_durable());
        lines.extend(self.pull.waiting().map(|waiting| self.wait_of(&waiting)));
        for object in self.holds.unconfirmed() {
            let owner = self.name_of(object.owner());
            lines.push(format!("whoever read {object} here waits for its owner, {owner}, to confirm it"));
        }
        for lease in self.local.leases() {
            lines.extend(self.local.why(lease).map(|why| format!("{lease} waits to be granted: {why}")));
        }
        lines
    }

    /// What this node knows of what a task waits for: as its owner, and as the node that is to run it.
    pub(super) fn why(&self, task: TaskId) -> Vec<String> {
        let mut lines: Vec<String> = self.why_owned(task).into_iter().collect();
        let its =
            |waiting: &Waiting| matches!(self.wishes.get(&waiting.bundle), Some(Wish::Args(of, _)) if *of == task);
        lines.extend(self.pull.waiting().filter(its).map(|waiting| self.wait_of(&waiting)));
        lines
    }

    /// What a task of this process waits for.
    fn why_owned(&self, task: TaskId) -> Option<String> {
        let why = self.owner.why(task, &|at| self.name_of(at))?;
        let more = self.dispatch.why(task).map_or_else(String::new, |more| format!(": {more}"));
        Some(why + &more)
    }

    /// A bundle of values that are not all here, in words.
    fn wait_of(&self, waiting: &Waiting) -> String {
        let who = match self.wishes.get(&waiting.bundle) {
            Some(Wish::Args(task, attempt)) => format!("attempt {} of {task}", attempt.0),
            Some(Wish::Replica) => "a replica".to_owned(),
            Some(Wish::Get(..) | Wish::Await(_) | Wish::Answered) => "a get".to_owned(),
            None => format!("{:?}", waiting.bundle),
        };
        let what = match waiting.on {
            WaitingFor::Owner => format!("its owner, {}, to answer", self.name_of(waiting.object.owner())),
            WaitingFor::Creation => "it to be made".to_owned(),
            WaitingFor::Source => "its owner to name a node that lives".to_owned(),
            WaitingFor::Others => "the other arguments".to_owned(),
            WaitingFor::Room => "room in the store".to_owned(),
            WaitingFor::Transfer { .. } => "its transfer to end".to_owned(),
            WaitingFor::Retry { at } => format!("the next try at {at}"),
        };
        format!("{who} waits since {} for {}: {what}", waiting.since, waiting.object)
    }

    /// The state of every machine, a line or more each.
    pub(super) fn describe(&self) -> Vec<String> {
        let mut lines = vec![format!("node {} at {}", self.me, self.now)];
        let members: Vec<String> = self.view.alive().map(|member| member.name.clone()).collect();
        lines.push(format!("view: version {}, living: {}", self.view.version(), members.join(", ")));
        lines.push(format!("link: {} messages unconfirmed, {:?}", self.link.backlog(), self.link.counters()));
        lines.push(format!("owner: {} objects, {} tasks", self.owner.objects(), self.owner.tasks()));
        lines.extend(self.owner.describe().into_iter().map(|line| format!("  {line}")));
        lines.push(format!("dispatch: {} tasks queued", self.dispatch.queued()));
        lines.extend(self.dispatch.leases().map(|(lease, at, tasks)| match tasks {
            Some(tasks) => format!("  {lease} at {at}: {tasks} tasks"),
            None => format!("  {lease} at {at}: asked for"),
        }));
        lines.push(format!("groups: {}", self.groups.len()));
        lines.push(format!("local: {} in use", self.local.used()));
        let aside = self.local.reserved().map(|(bundle, resources)| format!("  {bundle}: {resources} set aside"));
        lines.extend(aside);
        lines.extend(self.local.leases().map(|lease| format!("  {lease}")));
        lines.push(format!("executor: {} attempts", self.executor.len()));
        lines.extend(self.attempts.keys().map(|(task, attempt)| format!("  {task} attempt {}", attempt.0)));
        lines.push(format!("monitor: {} attempts ended for want of memory", self.monitor.kills()));
        lines.push(format!("pull: {} held, {} wishes", self.pull.held(), self.wishes.len()));
        lines.push(format!("references to others' objects: {}", self.holds.len()));
        lines.push(format!("store: {:?}", self.objects.table().usage()));
        lines.extend(self.waits().into_iter().map(|wait| format!("wait: {wait}")));
        lines
    }
}
