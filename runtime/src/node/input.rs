//! What the application, the workers, the peers and the clock tell a node.

use super::core::Core;
use super::words::{Input, Output, Question};
use crate::api::Placed;
use mobula_protocol::link::{self, Ack};
use mobula_protocol::member::view::Event as ViewEvent;
use mobula_protocol::memory;
use mobula_protocol::pull::{self, FetchFailure};
use mobula_protocol::sched::{dispatch, executor, group, local};
use mobula_protocol::{Attempt, Incarnation, Located, Machine, Message, Nanos, NodeId, ObjectId, TaskId, TaskOutcome};
use mobula_protocol::{ResultPlace, TaskResult, owner};
use mobula_store::Region;

impl Core {
    /// Takes one input. Follow a batch of inputs with [`Core::flush`].
    pub fn step(&mut self, now: Nanos, input: Input) {
        self.now = now;
        match input {
            Input::Put { object, place, hash, refs, job } => {
                self.log("put", format_args!("{object} {hash:016x}"));
                self.tell_owner(owner::Event::Put { object, place, refs });
                self.charge_to(object, job);
            }
            Input::PutBegun { object, refs, job } => {
                self.tell_owner(owner::Event::PutBegun { object, refs });
                self.charge_to(object, job);
            }
            Input::PutEnded { object, result } => {
                if let Ok(Placed { hash, .. }) = &result {
                    self.log("put", format_args!("{object} {hash:016x}"));
                }
                let result = result.map(|placed| placed.place);
                self.tell_owner(owner::Event::PutEnded { object, result });
            }
            Input::Submit { spec, parent } => {
                self.log("submit", format_args!("{} {}", spec.label, spec.id));
                let id = spec.id;
                self.tell_owner(owner::Event::Submit(spec));
                if let Some(parent) = parent {
                    self.adopt_child(parent, id);
                }
            }
            Input::Get { bundle, objects, priority, reply } => {
                self.get(bundle, objects, priority, reply);
            }
            Input::Drop(bundle) => self.drop_get(bundle),
            Input::Watch { watch, first, objects, reply } => {
                for object in self.follows.watch(watch, first, objects, reply) {
                    self.send(object.owner(), Message::Locate(object));
                }
            }
            Input::Unwatch(watch) => {
                for object in self.follows.unwatch(watch) {
                    self.send(object.owner(), Message::Unlocate(object));
                }
            }
            Input::RefAdded(object, _) if object.owner() == self.me => {
                self.tell_owner(owner::Event::RefAdded(object));
            }
            Input::RefAdded(object, by) => {
                self.hold(object);
                by.into_iter().for_each(|by| self.holds.read(object, by));
            }
            Input::RefDropped(object) if object.owner() == self.me => self.tell_owner(owner::Event::RefDropped(object)),
            Input::RefDropped(object) => self.unhold(object),
            Input::Cancel { object, recursive } => {
                self.log("cancel", format_args!("{object}"));
                self.send(object.owner(), Message::CancelObject { object, recursive });
            }
            Input::Free(object) => {
                self.log("free-by-hand", format_args!("{object}"));
                self.send(object.owner(), Message::FreeObject(object));
            }
            Input::Endure { object, durability } => {
                self.log("endure", format_args!("{object} {durability:?}"));
                self.send(object.owner(), Message::Endure { object, durability });
            }
            Input::Saved { object, size } => self.saved(object, size),
            Input::Loaded { object, size } => self.loaded(object, size),
            Input::Drain(node, reply) => {
                let node = self.view.by_name(&node).map(|member| member.incarnation);
                node.into_iter().for_each(|node| self.send(node, Message::Drain));
                // Whoever asked may have stopped waiting.
                let _ = reply.send(node.is_some());
            }
            Input::Leave => self.send(Incarnation::HEAD, Message::Leave),
            Input::Group(group, input) => self.group_input(group, input),
            Input::Ask(question) => self.answer(question),
            Input::Job(word, reply) => self.ask_about_job(word, reply),
            Input::Received { envelope, reply } => self.received(envelope, reply),
            Input::Acked { to, seq, ack } => {
                if to.node == NodeId::HEAD {
                    self.head_heard = now;
                }
                self.link.step(now, link::Event::Acked { to, seq, ack }, &mut self.wires.link);
            }
            Input::Lost { to, seq } if mobula_protocol::planted!("node-takes-loss-for-ack") => {
                self.link.step(now, link::Event::Acked { to, seq, ack: Ack::Taken }, &mut self.wires.link);
            }
            Input::Lost { to, seq } => self.link.step(now, link::Event::Lost { to, seq }, &mut self.wires.link),
            Input::Refused { to, seq, why } => {
                self.log("refused", format_args!("{to} #{seq}: {why}"));
                self.link.step(now, link::Event::Refused { to, seq }, &mut self.wires.link);
            }
            Input::Orphaned(why) => self.out.push(Output::Stop(why)),
            Input::Next { task, reply } => {
                self.consumers.insert(task, reply);
                self.tell_owner(owner::Event::Next(task));
            }
            Input::StreamDropped(task) => {
                self.consumers.remove(&task);
                self.tell_owner(owner::Event::StreamDropped(task));
            }
            Input::Item { task, attempt, index, result } => self.item_made(task, attempt, index, result),
            Input::Finished { task, attempt, outcome, spent } => self.finished(task, attempt, outcome, spent),
            Input::Skipped { task, attempt } => {
                self.log("skip", format_args!("{task} attempt {}", attempt.0));
                self.tell_executor(executor::Event::Skipped { task, attempt });
            }
            Input::Measured(resident) => self.measured(resident),
            Input::Claimed { task, attempt, bytes } => self.claimed((task, attempt), bytes),
            Input::WorkerKilled { begun, why } => self.worker_killed(begun, why),
            Input::WorkerGone { victim, begun } => self.worker_gone(victim, &begun),
            Input::Blocked(lease) => {
                self.tell_local(local::Event::Blocked { lease });
                self.tell_executor(executor::Event::Blocked { lease });
            }
            Input::Unblocked(lease) => {
                self.tell_local(local::Event::Unblocked { lease });
                self.tell_executor(executor::Event::Unblocked { lease });
            }
            Input::Sealed { object, size } => self.tell_pull(pull::Event::Local { object, size }),
            Input::Departed(objects) => objects.into_iter().for_each(|departed| self.departed(departed)),
            Input::Discarded(objects) => objects.into_iter().for_each(|object| self.absent(object)),
            Input::Spilled { file, result } => self.spilled(file, result),
            Input::Removed { file, done } => self.objects.table().removed(file, done),
            Input::SpillLost { object, place, why } => self.spill_lost(object, place, &why),
            Input::Fetched { object, attempt, result } => self.fetched(object, attempt, result),
            Input::Actor(input) => self.actor_input(input),
            Input::Tick => {}
        }
        self.route();
    }

    /// A put was made on this account.
    fn charge_to(&mut self, object: ObjectId, job: Incarnation) {
        if job != self.me {
            self.tell_owner(owner::Event::PutFor { object, job });
        }
    }

    /// Ends a batch of inputs: due deadlines are served, and what was gathered goes out.
    pub fn flush(&mut self, now: Nanos) -> Vec<Output> {
        self.now = now;
        self.ticks();
        self.tell_executor(executor::Event::Flush);
        self.route();
        // After the reports of finished tasks, so that an owner hears of a copy before it hears that it went.
        for (owner, message) in std::mem::take(&mut self.farewells) {
            self.send(owner, message);
        }
        self.weigh();
        self.relieve();
        self.route();
        self.tell_members();
        self.link.step(now, link::Event::Flush, &mut self.wires.link);
        self.route();
        if self.progress != self.owner.counters() {
            self.progress = self.owner.counters().to_vec();
            self.out.push(Output::Progress(self.progress.clone()));
        }
        self.out.extend(self.coverage.take().into_iter().map(Output::Covered));
        std::mem::take(&mut self.out)
    }

    fn ticks(&mut self) {
        let now = self.now;
        let due = |deadline: Option<Nanos>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.link.next_deadline()) {
            self.link.step(now, link::Event::Tick, &mut self.wires.link);
        }
        if due(self.dispatch.next_deadline()) {
            self.tell_dispatch(dispatch::Event::Tick);
        }
        if due(self.groups.next_deadline()) {
            self.tell_groups(group::Event::Tick);
        }
        if due(self.pull.next_deadline()) {
            self.tell_pull(pull::Event::Tick);
        }
        if due(self.owner.next_deadline()) {
            self.tell_owner(owner::Event::Tick);
        }
        if due(self.monitor.next_deadline()) {
            self.tell_monitor(memory::Event::Tick);
        }
        if self.next_heartbeat <= now {
            self.next_heartbeat = now + self.heartbeat;
            let load = self.load.clone();
            self.send(Incarnation::HEAD, Message::Heartbeat(load));
            if now.saturating_sub(self.head_heard) > self.head_grace {
                let silent = now.saturating_sub(self.head_heard);
                self.out.push(Output::Stop(format!("nothing was heard from the head for {silent}")));
            }
        }
    }

    fn received(&mut self, envelope: link::Envelope, reply: tokio::sync::oneshot::Sender<Ack>) {
        if envelope.from.node == NodeId::HEAD {
            self.head_heard = self.now;
        }
        if envelope.to != self.me {
            self.log("misaddressed", format_args!("{} #{} {}", envelope.from, envelope.seq, envelope.to));
        }
        self.replies.insert((envelope.from, envelope.seq), reply);
        self.link.step(self.now, link::Event::Received(envelope), &mut self.wires.link);
    }

    pub(super) fn reply(&mut self, from: Incarnation, seq: u64, ack: Ack) {
        self.log("recv", format_args!("{from} #{seq} {ack:?}"));
        if let Some(reply) = self.replies.remove(&(from, seq)) {
            // The caller is gone if its request ran out of time; it will ask again.
            let _ = reply.send(ack);
        }
    }

    fn finished(&mut self, task: TaskId, attempt: Attempt, outcome: TaskOutcome, spent: Nanos) {
        if !self.attempts.contains_key(&(task, attempt)) {
            return self.too_late(task, attempt, outcome);
        }
        if let TaskOutcome::Returned(results) = &outcome {
            self.hand_over(task, results);
            self.may_be_rebuilt(task, attempt, results);
        }
        assert!(!mobula_protocol::planted!("canary"), "the canary sings: {task} finished");
        self.log("finish", format_args!("{task} attempt {} {}", attempt.0, outcome_words(&outcome)));
        self.tell_executor(executor::Event::Finished { task, attempt, outcome, spent });
    }

    /// The results of an attempt are about to be reported. If their owner has died while they were made, nobody else
    /// would ever free them: [`Core::free_orphans`] has passed by already.
    pub(super) fn hand_over(&mut self, task: TaskId, results: &[TaskResult]) {
        if !self.pull.is_dead(task.owner) {
            self.announce_results(task, 0, results);
            return self.lend_results(task.owner, results);
        }
        self.drop_results(task, results);
    }

    /// Nobody will hear of these: frees what was stored for them.
    pub(super) fn drop_results(&mut self, task: TaskId, results: &[TaskResult]) {
        for (index, result) in (0..).zip(results) {
            if let ResultPlace::Stored(_) = result.place {
                self.drop_copy(task.result(index));
            }
        }
    }

    /// Registers the task's owner as a holder of the references inside its results, before it hears of them.
    pub(super) fn lend_results(&mut self, to: Incarnation, results: &[TaskResult]) {
        if to == self.me {
            return;
        }
        for object in results.iter().flat_map(|result| &result.refs).copied() {
            if object.owner() == self.me {
                self.tell_owner(owner::Event::Borrowed { object, by: to });
            } else if object.owner() != to {
                self.send(object.owner(), Message::BorrowAdd { object, by: to });
            }
        }
    }

    fn fetched(&mut self, object: ObjectId, attempt: Attempt, result: Result<Region, FetchFailure>) {
        match result {
            Ok(region) => {
                let size = region.size();
                let sealed = self.objects.table().seal(self.now, object, region);
                match sealed {
                    Ok(_) => {
                        self.tell_pull(pull::Event::Fetched { object, attempt });
                        // Of what was restored, the owner knows.
                        if self.objects.table().place(object).is_none() {
                            self.send(object.owner(), Message::CopyAdded { object, size });
                        }
                    }
                    // The creation was aborted or the object freed meanwhile.
                    Err(_) => {
                        let why = FetchFailure::NoMemory;
                        self.tell_pull(pull::Event::FetchFailed { object, attempt, why });
                    }
                }
            }
            Err(why) => {
                // The region is gone, and with it the creation; what is being created under this name now is another.
                self.log("fetch-failed", format_args!("{object} {why:?}"));
                self.tell_pull(pull::Event::FetchFailed { object, attempt, why });
            }
        }
    }

    /// Acts on a message from a peer, or from this node itself.
    pub(super) fn deliver(&mut self, from: Incarnation, message: Message) {
        if self.logging {
            self.coverage.note("node", self.attempts.len(), &message);
        }
        match message {
            Message::View { first, entries, loads } => {
                let before = self.view.version();
                self.view.step(self.now, ViewEvent::Update { first, entries, loads }, &mut self.wires.view);
                if self.view.version() != before {
                    self.cluster_changed();
                }
            }
            Message::LeaseRequest { lease, class, hops } => {
                self.tell_local(local::Event::Request { from, lease, class, hops });
            }
            Message::BundleReserve { bundle, resources } => {
                self.tell_local(local::Event::Reserve { from, bundle, resources });
            }
            Message::BundleReturn(bundle) => self.tell_local(local::Event::Unreserve { bundle }),
            Message::BundleReserved(bundle) => self.tell_groups(group::Event::Reserved { bundle, by: from }),
            Message::BundleRefused(bundle) => self.tell_groups(group::Event::Refused { bundle, by: from }),
            Message::Drain => {
                self.tell_local(local::Event::Drain);
                // The others should know soon.
                self.next_heartbeat = self.now;
            }
            Message::LeaseReturn(lease) => self.tell_local(local::Event::Return { lease }),
            Message::LeaseGranted(lease) => self.tell_dispatch(dispatch::Event::Granted { lease, by: from }),
            Message::LeaseSpillback { lease, to } => self.tell_dispatch(dispatch::Event::Spillback { lease, to }),
            Message::LeaseRefused { lease, why } => {
                self.tell_dispatch(dispatch::Event::Refused { lease, why, by: from })
            }
            Message::PushTask { lease, attempt, spec, inline } => {
                let rebuildable = spec.retries.losses != Some(0);
                self.arrive(spec.id, attempt, self.lent(&spec), rebuildable);
                self.tell_executor(executor::Event::Push { from, lease, attempt, spec, inline });
            }
            Message::TaskItem { task, attempt, index, result } => {
                self.tell_owner(owner::Event::Item { from, task, attempt, index, result });
            }
            Message::StreamCredit { task, attempt, credit } => self.credit(task, attempt, credit),
            Message::TaskStarted { task, attempt } => self.tell_owner(owner::Event::Started { task, attempt }),
            Message::TaskDone { lease, task, attempt, outcome, .. } if lease.owner == Incarnation::HEAD => {
                self.call_done(from, task, attempt, outcome);
            }
            Message::TaskDone { lease, task, attempt, outcome, spent } => {
                let started = !matches!(outcome, TaskOutcome::HandedBack(_));
                self.tell_dispatch(dispatch::Event::Finished { lease, task, spent, started });
                self.tell_owner(owner::Event::Done { from, task, attempt, outcome });
            }
            Message::CancelTask { task, attempt, recursive } => self.cancel_attempt(task, attempt, recursive),
            Message::CancelObject { object, recursive } => self.tell_owner(owner::Event::Cancel { object, recursive }),
            Message::FreeObject(object) => self.tell_owner(owner::Event::Free(object)),
            Message::Locate(object) => self.tell_owner(owner::Event::Subscribe { object, by: from }),
            Message::Unlocate(object) => self.tell_owner(owner::Event::Unsubscribe { object, by: from }),
            Message::Located { object, located } => self.located(object, located),
            Message::CopyAdded { object, size } => self.tell_owner(owner::Event::CopyAdded { object, at: from, size }),
            Message::CopyRemoved(object) => self.tell_owner(owner::Event::CopyRemoved { object, at: from }),
            Message::CopySpilled { object, place } => {
                self.tell_owner(owner::Event::CopySpilled { object, at: from, place });
            }
            Message::CopyDamaged { object, at } => self.tell_owner(owner::Event::CopyDamaged { object, at }),
            Message::Promote { object, rebuildable } => self.promote(object, rebuildable),
            Message::Endure { object, durability } => self.tell_owner(owner::Event::Endure { object, durability }),
            Message::Save(object) => self.out.push(Output::Save(object)),
            Message::Saved { object, size } => {
                self.log("persisted", format_args!("{object} {size}"));
                self.tell_owner(owner::Event::Saved { object, by: from, size });
            }
            Message::NotSaved(object) => self.tell_owner(owner::Event::NotSaved { object, by: from }),
            Message::Load { object, size } => self.out.push(Output::Load(object, size)),
            Message::NotLoaded(object) => self.tell_owner(owner::Event::NotLoaded { object, by: from }),
            Message::Replicate(object) => self.replicate(object),
            Message::ReplicaRefused(object) => self.tell_owner(owner::Event::ReplicaRefused { object, by: from }),
            Message::CopyEvicted(object) => self.tell_owner(owner::Event::CopyEvicted { object, at: from }),
            Message::Free(objects) => objects.into_iter().for_each(|object| self.drop_copy(object)),
            Message::BorrowAdd { object, by } => {
                self.tell_owner(owner::Event::Borrowed { object, by });
                if by == from {
                    self.send(from, Message::BorrowAdded(object));
                }
            }
            Message::BorrowAdded(object) => self.hold_confirmed(object),
            Message::BorrowRemove(object) => self.tell_owner(owner::Event::Returned { object, by: from }),
            Message::Actor(word) => self.actor_word(from, word),
            Message::Job(word) => self.job_word(from, word),
            Message::Heartbeat(_) | Message::Leave | Message::ResyncView(_) | Message::GroupPlaced { .. } => {
                self.log("stray", format_args!("{} from {from}: only the head takes that", message.name()));
            }
        }
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may have stopped waiting.
        match question {
            Question::Cluster(reply) => {
                let _ = reply.send(self.view.snapshot());
            }
            Question::Copies(object, reply) => {
                let names = match self.owner.locate(object) {
                    Located::Stored { copies, .. } => copies.into_iter().map(|at| self.name_of(at)).collect(),
                    _ => Vec::new(),
                };
                let _ = reply.send(names);
            }
            Question::Waits(reply) => {
                let _ = reply.send(self.waits());
            }
            Question::State(reply) => {
                let _ = reply.send(self.describe());
            }
            Question::Why(task, reply) => {
                let _ = reply.send(self.why(task));
            }
            Question::Group(group, reply) => {
                let _ = reply.send(self.group_state(group));
            }
            Question::Ledger(reply) => {
                let _ = reply.send(self.ledger());
            }
            Question::Evict(object, forced, reply) => {
                let _ = reply.send(self.evict(object, forced));
            }
            Question::Memory(reply) => {
                let _ = reply.send(self.memory());
            }
            Question::Shrink(budget, reply) => {
                self.shrink(budget);
                let _ = reply.send(());
            }
        }
    }
}

/// What happened, with the hashes of the results.
pub(super) fn outcome_words(outcome: &TaskOutcome) -> String {
    match outcome {
        TaskOutcome::Returned(results) => {
            // A star says that there are references inside: those are other ones in each attempt.
            let mark = |result: &TaskResult| if result.refs.is_empty() { "" } else { "*" };
            let hashes = results.iter().map(|result| format!(" {:016x}{}", result.hash, mark(result)));
            format!("returned{}", hashes.collect::<String>())
        }
        TaskOutcome::Raised(error) => format!("raised {:?}", error.kind),
        TaskOutcome::Crashed(_) => "crashed".to_owned(),
        TaskOutcome::OutOfMemory(_) => "out-of-memory".to_owned(),
        TaskOutcome::HandedBack(_) => "handed-back".to_owned(),
    }
}
