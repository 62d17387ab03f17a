//! Describing and creating an actor; finding and ending one.

use super::actor::{Actor, ActorClass, ActorType, CallOptions, Handle};
use super::arguments::Arguments;
use super::call::{IntoArg, intern, short};
use super::context::Context;
use super::reference::ObjectRef;
use crate::node::{ActorInput, KnownReply};
use crate::{Error, Result};
use mobula_protocol::actor::{ActorDeath, ActorId, ActorName, ActorOptions, ActorSpec, Known, Place};
use mobula_protocol::{Durability, Labels, Nanos, Placement, Replay, Resources, Retries, TaskErrorKind, TaskSpec};
use std::marker::PhantomData;
use std::sync::Arc;
use tokio::sync::oneshot;

/// An actor that is described but not created. `Class::actor(constructor arguments)` returns one.
#[must_use = "an actor exists once it is created"]
pub struct ActorInit<T> {
    label: Option<Arc<str>>,
    args: Arguments,
    resources: Resources,
    placement: Placement,
    options: ActorOptions,
    class: PhantomData<fn() -> T>,
}

impl<T: ActorType> Default for ActorInit<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ActorType> ActorInit<T> {
    /// One cpu for life, no restarts, calls at most once.
    pub fn new() -> Self {
        Self {
            label: None,
            args: Arguments::new(),
            resources: Resources::cpus(1),
            placement: Placement::Any,
            options: ActorOptions::default(),
            class: PhantomData,
        }
    }

    /// Adds the constructor's next argument. What it refers to lives as long as the actor, but not longer than its owner:
    /// a detached actor that is started again after its creator died needs arguments that are small, or another's.
    pub fn arg<A: 'static>(mut self, value: impl IntoArg<A>) -> Self {
        self.args.push(value);
        self
    }

    /// What reports call it. Default: the class.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.into());
        self
    }

    /// How often it is started again after its worker or its node died. `u32::MAX` is without limit. Unless it is zero,
    /// the end of a node that was drained before is not counted.
    pub fn max_restarts(mut self, times: u32) -> Self {
        self.options.max_restarts = (times < u32::MAX).then_some(times);
        self
    }

    /// How often each call may be made again after the incarnation ended under it, or its result was lost: zero is at most
    /// once, anything else at least once. `u32::MAX` is without limit.
    pub fn max_task_retries(mut self, times: u32) -> Self {
        let budget = (times < u32::MAX).then_some(times);
        self.options.calls.crashes = budget;
        self.options.calls.losses = budget;
        self
    }

    /// Every call has its effect on the actor's state exactly once, however often the actor or its node dies, as long as
    /// it is started again. Needs `save` and `restore`; replies wait until a checkpoint with them is with the head.
    pub fn exactly_once(mut self) -> Self {
        self.options.exactly_once = true;
        self.options.calls = Retries { crashes: None, errors: Some(0), losses: Some(0), memory: Some(0) };
        self
    }

    /// A checkpoint after every `calls` calls, if the class has `save` and `restore` (default 1). Replies do not wait for
    /// it: after a restart the state may lack the latest calls. [`ActorInit::exactly_once`] has a rhythm of its own.
    pub fn checkpoint_every(mut self, calls: u32) -> Self {
        self.options.checkpoint_every = calls;
        self
    }

    /// How many unfinished calls one handle may have; the next one fails with `TooManyPending`.
    pub fn max_pending_calls(mut self, calls: u32) -> Self {
        self.options.max_pending_calls = Some(calls);
        self
    }

    /// How many calls of methods that take `&self` may run at the same time.
    pub fn concurrency(mut self, calls: u32) -> Self {
        self.options.concurrency = calls.max(1);
        self
    }

    /// Calls start as their arguments come, in no order.
    pub fn unordered(mut self) -> Self {
        self.options.ordered = false;
        self
    }

    /// Gives it a name in the default namespace. Only one living actor has a name; a second one is dead on arrival
    /// (`ActorDied`, `NAME_TAKEN`).
    pub fn name(self, name: &str) -> Self {
        self.name_in("", name)
    }

    /// The same in a namespace.
    pub fn name_in(mut self, namespace: &str, name: &str) -> Self {
        self.options.name = Some(ActorName { namespace: namespace.to_owned(), name: name.to_owned() });
        self
    }

    /// It lives until it is killed, whoever created it.
    pub fn detached(mut self) -> Self {
        self.options.detached = true;
        self
    }

    /// How many cpus it holds for life.
    pub fn cpus(self, cpus: f64) -> Self {
        self.resource(Resources::CPU, cpus)
    }

    /// How much of a named resource it holds for life.
    pub fn resource(mut self, name: &str, amount: f64) -> Self {
        self.args.resource(&mut self.resources, name, amount);
        self
    }

    /// Only on the node of this name.
    pub fn on(mut self, node: &str) -> Self {
        self.placement = Placement::Node { name: node.to_owned(), soft: false };
        self
    }

    /// On the node of this name while it lives, else anywhere.
    pub fn prefer(mut self, node: &str) -> Self {
        self.placement = Placement::Node { name: node.to_owned(), soft: true };
        self
    }

    /// As evenly over the nodes as they allow.
    pub fn spread(mut self) -> Self {
        self.placement = Placement::Spread;
        self
    }

    /// Only on nodes with all these labels.
    pub fn labels(mut self, labels: Labels) -> Self {
        self.placement = Placement::Labels(labels);
        self
    }

    pub(super) fn placed(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    pub(super) fn refused(mut self, error: Error) -> Self {
        self.args.refuse(error);
        self
    }

    /// Creates it and returns at once: calls wait until it is alive, and fail with the reason if it never is.
    ///
    /// # Errors
    /// When an argument cannot be stored, the options contradict each other, or the runtime is shut down.
    pub fn create(self, context: &Context) -> Result<Actor<T>> {
        self.launch(context, None)
    }

    /// The living actor of this name, or a new one: two that race for a name get the same actor.
    ///
    /// # Errors
    /// As [`ActorInit::create`], and without a name.
    pub async fn get_or_create(mut self, context: &Context) -> Result<Actor<T>> {
        if self.options.name.is_none() {
            return Err(Error::new(TaskErrorKind::WrongType, "only an actor with a name can exist already"));
        }
        self.options.get_if_exists = true;
        let (reply, answer) = oneshot::channel();
        let created = self.launch(context, Some(reply))?;
        let (actor, options) = answer.await.map_err(|_| super::context::gone())??;
        Ok(if actor == created.id() { created } else { found(context, (actor, options)) })
    }

    fn launch(mut self, context: &Context, reply: Option<KnownReply>) -> Result<Actor<T>> {
        let class = ActorClass::find(T::CLASS)?;
        self.options.checkpointed = class.checkpoint.is_some();
        validate(T::CLASS, &self.options)?;
        let (args, held) = self.args.finish(context)?;
        let task = TaskSpec {
            id: context.new_task(),
            label: self.label.unwrap_or_else(|| short(T::CLASS)),
            class: intern(T::CLASS, self.resources, self.placement, None),
            args,
            returns: 0,
            retries: Retries::default(),
            replay: Replay::Accept,
            durability: Durability::default(),
            stream: None,
            job: context.job(),
        };
        task.within_limits()?;
        let spec = Arc::new(ActorSpec { task: Arc::new(task), options: self.options });
        let (actor, options) = (spec.id(), CallOptions::from(&spec.options));
        let detached = spec.options.detached;
        context.send_actors(ActorInput::Create(spec, reply))?;
        drop(held);
        let life = (!detached).then(|| ObjectRef::adopt(actor.life(), context.detached_from_task()));
        Ok(Actor::new(Handle::new(context, actor, options, life)))
    }
}

/// Options that contradict each other.
fn validate(class: &str, options: &ActorOptions) -> Result<()> {
    let wrong = |why: &str| Err(Error::new(TaskErrorKind::WrongType, format!("an actor of class {class}: {why}")));
    if options.exactly_once && !options.checkpointed {
        return wrong("exactly-once calls need a state that can be saved: mark methods with #[save] and #[restore]");
    }
    if options.checkpointed && options.concurrency > 1 {
        return wrong("a state can only be saved between calls, so a class with #[save] runs one call at a time");
    }
    Ok(())
}

/// A handle to an actor that was found, not created, here.
fn found<T: ActorType>(context: &Context, (actor, options): Known) -> Actor<T> {
    let life = (!options.detached).then(|| {
        context.ref_added(actor.life());
        ObjectRef::adopt(actor.life(), context.detached_from_task())
    });
    Actor::new(Handle::new(context, actor, CallOptions::from(&*options), life))
}

/// Where an actor is, as far as this process was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActorState {
    /// Nowhere at the moment: it waits for arguments or room, or is being started (again).
    Pending,
    /// It takes calls.
    Alive {
        /// How often it was started, this time included.
        incarnation: u32,
        /// On which life of which node.
        at: mobula_protocol::Incarnation,
    },
    /// For ever nowhere, for this reason.
    Dead(Error),
}

impl Context {
    /// The living actor with this name in the default namespace.
    ///
    /// # Errors
    /// `ActorDied` with reason `UNKNOWN`, naming those that exist, if there is none.
    pub async fn find_actor<T: ActorType>(&self, name: &str) -> Result<Actor<T>> {
        self.find_actor_in("", name).await
    }

    /// The same in a namespace.
    ///
    /// # Errors
    /// As [`Context::find_actor`].
    pub async fn find_actor_in<T: ActorType>(&self, namespace: &str, name: &str) -> Result<Actor<T>> {
        let (reply, answer) = oneshot::channel();
        let name = ActorName { namespace: namespace.to_owned(), name: name.to_owned() };
        self.send_actors(ActorInput::Find(name, reply))?;
        let known = answer.await.map_err(|_| super::context::gone())??;
        Ok(found(self, known))
    }

    /// As [`Context::find_actor`], but gives up after `limit`: while the head is away nobody knows any name.
    ///
    /// # Errors
    /// Also `GetTimeout`, after which another try can still succeed.
    pub async fn find_actor_within<T: ActorType>(&self, name: &str, limit: Nanos) -> Result<Actor<T>> {
        let late = || Error::new(TaskErrorKind::GetTimeout, format!("nobody said who is named {name} within {limit}"));
        self.env().timeout(limit, self.find_actor(name)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Ends an actor now, for ever: calls that run fail with `ActorDied` (reason `KILLED`), and so do all others.
    ///
    /// A synchronous method that runs is not interrupted, since threads cannot be; its result is dropped.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn kill_actor(&self, actor: &impl AsRef<Handle>) -> Result<()> {
        self.end(actor.as_ref().actor(), true, false)
    }

    /// Ends an actor for ever after the calls that have reached it, or by force after thirty seconds.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn terminate_actor(&self, actor: &impl AsRef<Handle>) -> Result<()> {
        self.end(actor.as_ref().actor(), false, false)
    }

    /// Ends an actor's incarnation now, as a crash would: it is started again if restarts are left.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn restart_actor(&self, actor: &impl AsRef<Handle>) -> Result<()> {
        self.end(actor.as_ref().actor(), true, true)
    }

    fn end(&self, actor: ActorId, force: bool, restart: bool) -> Result<()> {
        self.send_actors(ActorInput::Kill { actor, force, restart })
    }

    /// Where an actor is, as far as this process was told.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn actor_state(&self, actor: &impl AsRef<Handle>) -> Result<ActorState> {
        let (reply, answer) = oneshot::channel();
        self.send_actors(ActorInput::Where(actor.as_ref().actor(), reply))?;
        Ok(match answer.await.map_err(|_| super::context::gone())? {
            Place::Pending => ActorState::Pending,
            Place::Alive { at, incarnation, .. } => ActorState::Alive { incarnation, at },
            Place::Dead(error) => ActorState::Dead(error),
        })
    }
}

/// The reason code of an actor's death, if that is what an error is.
pub fn death_of(error: &Error) -> Option<ActorDeath> {
    match error.kind {
        TaskErrorKind::ActorDied(death) => Some(death),
        _ => error.cause.as_ref().and_then(|cause| death_of(cause)),
    }
}
