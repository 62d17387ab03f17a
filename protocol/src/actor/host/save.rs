//! Checkpoints and the reply cache of one incarnation.

use super::super::types::{ActorDeath, ActorOptions, CHECKPOINT_LIMIT};
use super::*;

/// A reply on its way.
#[derive(Debug)]
pub(super) struct Withheld {
    pub to: Incarnation,
    pub key: Key,
    pub outcome: TaskOutcome,
    pub spent: Nanos,
}

/// How far the checkpoint under way is.
#[derive(Debug)]
enum Step {
    Idle,
    /// The worker was asked for the state.
    Asked,
    /// The head was sent this one, which covers these replies.
    Sent(u64, Vec<Withheld>),
}

#[derive(Debug)]
pub(super) struct Saving {
    exactly_once: bool,
    /// Calls between checkpoints; none if the class cannot save.
    every: Option<u32>,
    /// Finished since the last state was asked for.
    since: u32,
    number: u64,
    step: Step,
    /// How calls ended whose caller may still ask, as of now.
    replies: BTreeMap<TaskId, TaskOutcome>,
    /// Replies that no checkpoint has yet.
    withheld: Vec<Withheld>,
}

impl Saving {
    pub(super) fn new(options: &ActorOptions, from: Option<Checkpoint>) -> Self {
        let from = from.unwrap_or_default();
        let every =
            options.checkpointed.then_some(if options.exactly_once { 1 } else { options.checkpoint_every.max(1) });
        Self {
            exactly_once: options.exactly_once,
            every,
            since: 0,
            number: from.number,
            step: Step::Idle,
            replies: from.replies.into_iter().collect(),
            withheld: Vec::new(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.withheld.is_empty() && matches!(self.step, Step::Idle)
    }

    /// The caller has the replies to its calls below `settled`.
    pub(super) fn settle(&mut self, caller: Incarnation, settled: u64) {
        let below = TaskId { owner: caller, seq: 0 }..TaskId { owner: caller, seq: settled };
        let over: Vec<TaskId> = self.replies.range(below).map(|(task, _)| *task).collect();
        over.iter().for_each(|task| drop(self.replies.remove(task)));
    }

    pub(super) fn forget(&mut self, caller: Incarnation) {
        self.replies.retain(|task, _| task.owner != caller);
    }

    /// Whether the call has had its effect already: if so its reply, unless it is still withheld and goes out later.
    pub(super) fn cached(&mut self, key: Key) -> Option<Option<TaskOutcome>> {
        let outcome = self.replies.get(&key.0)?;
        let sent = match &mut self.step {
            Step::Sent(_, covered) => covered.iter_mut(),
            Step::Idle | Step::Asked => [].iter_mut(),
        };
        if let Some(reply) = self.withheld.iter_mut().chain(sent).find(|reply| reply.key.0 == key.0) {
            reply.key = key;
            return Some(None);
        }
        Some(Some(outcome.clone()))
    }

    /// A call is over. Gives the reply back unless it has to wait.
    pub(super) fn finished(&mut self, reply: Withheld) -> Option<Withheld> {
        self.since += 1;
        if !self.exactly_once {
            return Some(reply);
        }
        self.replies.insert(reply.key.0, reply.outcome.clone());
        self.withheld.push(reply);
        None
    }

    /// Whether to ask the worker for its state now; if so, that is noted.
    pub(super) fn begin(&mut self) -> bool {
        let due = self.every.is_some_and(|every| self.since >= every) && matches!(self.step, Step::Idle);
        if due {
            self.step = Step::Asked;
        }
        due
    }

    /// The state came: the checkpoint to send.
    fn checkpoint(&mut self, state: Bytes) -> Option<Checkpoint> {
        if !matches!(self.step, Step::Asked) {
            return None;
        }
        self.number += 1;
        self.since = 0;
        self.step = Step::Sent(self.number, std::mem::take(&mut self.withheld));
        let replies = self.replies.iter().map(|(task, outcome)| (*task, outcome.clone())).collect();
        Some(Checkpoint { number: self.number, state, replies })
    }

    /// The head has it: the replies it covers.
    fn saved(&mut self, number: u64) -> Vec<Withheld> {
        match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Sent(sent, covered) if sent == number => covered,
            other => {
                self.step = other;
                Vec::new()
            }
        }
    }

    /// The incarnation ends: replies that nobody will get from it.
    pub(super) fn give_up(&mut self) -> Vec<Withheld> {
        let mut all = match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Sent(_, covered) => covered,
            Step::Idle | Step::Asked => Vec::new(),
        };
        all.append(&mut self.withheld);
        all
    }

    pub(super) fn check(&self, lease: LeaseId, alive: bool) -> Result<(), Violation> {
        let stuck = alive && matches!(self.step, Step::Idle) && !self.withheld.is_empty();
        Violation::unless(!stuck, "I14-withheld", || {
            format!("{lease}: {} replies wait for nothing", self.withheld.len())
        })?;
        let bounded = self.exactly_once || self.replies.is_empty();
        Violation::unless(bounded, "I14-cache", || format!("{lease} caches replies nobody asked to be kept"))
    }
}

impl Host {
    pub(super) fn saved_state(&mut self, lease: LeaseId, state: Result<Bytes, TaskError>, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease).filter(|actor| matches!(actor.stage, Stage::Alive)) else {
            return;
        };
        let label = actor.spec.task.label.clone();
        let fits = state.and_then(|state| {
            let Some(checkpoint) = actor.saving.checkpoint(state) else { return Ok(None) };
            let weight = checkpoint.weight();
            if weight > CHECKPOINT_LIMIT {
                let message = format!("a checkpoint of {label} takes {weight} bytes, the most is {CHECKPOINT_LIMIT}");
                return Err(ActorDeath::Checkpoint.error(message));
            }
            Ok(Some(checkpoint))
        });
        match fits {
            Ok(Some(checkpoint)) => out.push(say(Word::Save { lease, checkpoint })),
            Ok(None) => {}
            Err(error) => {
                let message = format!("the state of {label} could not be saved");
                let error = ActorDeath::Checkpoint.error(message).because(error);
                out.push(Effect::StopWorker(lease));
                self.wind_up(lease, End::Failed(error), "its state could not be saved", Begun::All, out);
            }
        }
    }

    pub(super) fn saved(&mut self, lease: LeaseId, number: u64, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        if actor.spec.options.exactly_once {
            actor.calls.widen();
        }
        for Withheld { to, key, outcome, spent } in actor.saving.saved(number) {
            out.push(done(to, lease, key, outcome, spent));
        }
        if matches!(actor.stage, Stage::Alive) && actor.saving.begin() {
            out.push(Effect::SaveState(lease));
        }
        self.fill(lease, out);
        self.rest(lease, out);
    }
}
