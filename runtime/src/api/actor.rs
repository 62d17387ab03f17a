//! Actors as a program sees them: classes, handles, calls.

use super::arguments::Arguments;
use super::call::{IntoArg, One, Streamed, short};
use super::context::Context;
use super::function::BoxFuture;
use super::reference::{ObjectRef, reading};
use super::stream::ObjectStream;
use super::{Input, Output, Outputs};
use crate::Error;
use crate::node::ActorInput;
use mobula_protocol::actor::{ActorId, ActorOptions};
use mobula_protocol::{Durability, FunctionId, Placement, Replay, Resources, Retries, SchedulingClass};
use mobula_protocol::{Streaming, TaskErrorKind, TaskId, TaskSpec};
use mobula_store::codec::Encoded;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// An actor's state behind its type.
pub type Instance = dyn Any + Send + Sync;

/// What a method returns that may await.
pub type MethodFuture<'a> = Pin<Box<dyn Future<Output = Outputs> + Send + 'a>>;

/// What a method yields. It may borrow the actor.
pub type MethodItems<'a> = Box<dyn Iterator<Item = Result<Output, Error>> + Send + 'a>;

/// A constructor's result.
pub type Constructed = Result<Box<Instance>, Error>;

/// How an actor is made.
pub enum Constructor {
    /// On a thread for computation.
    Sync(fn(&Input) -> Constructed),
    /// It may await.
    Async(fn(Input) -> BoxFuture<Constructed>),
}

/// The code of a method. Methods that take `&mut self` run alone; those that take `&self` may run together.
pub enum MethodBody {
    /// `fn(&mut self, ...)`.
    Sync(fn(&mut Instance, &Input) -> Outputs),
    /// `fn(&self, ...)`.
    SharedSync(fn(&Instance, &Input) -> Outputs),
    /// `async fn(&mut self, ...)`.
    Async(for<'a> fn(&'a mut Instance, Input) -> MethodFuture<'a>),
    /// `async fn(&self, ...)`.
    SharedAsync(for<'a> fn(&'a Instance, Input) -> MethodFuture<'a>),
    /// `#[stream] fn(&mut self, ...)`: has the actor until the last item.
    Stream(for<'a> fn(&'a mut Instance, &Input) -> Result<MethodItems<'a>, Error>),
    /// `#[stream] fn(&self, ...)`.
    SharedStream(for<'a> fn(&'a Instance, &Input) -> Result<MethodItems<'a>, Error>),
}

impl MethodBody {
    /// Whether it yields items.
    pub(crate) fn streams(&self) -> bool {
        matches!(self, Self::Stream(_) | Self::SharedStream(_))
    }
}

/// A method of a registered class.
pub struct Method {
    /// `module::path::Class::method`.
    pub name: &'static str,
    /// The code.
    pub body: MethodBody,
}

/// A registered class of actors. The `#[actor]` macro submits one to the inventory per `impl` it is put on.
pub struct ActorClass {
    /// `module::path::Class`, unique in the program.
    pub name: &'static str,
    /// How one is made.
    pub construct: Constructor,
    /// What can be called.
    pub methods: &'static [Method],
    /// The state as a value, and an actor from it; both or neither.
    pub checkpoint: Option<Hooks>,
}

/// The checkpoint hooks of a class.
pub struct Hooks {
    /// `fn save(&self) -> State`.
    pub save: fn(&Instance) -> Result<Encoded, Error>,
    /// `fn restore(state: State) -> Self`.
    pub restore: fn(&Input) -> Constructed,
}

inventory::collect!(ActorClass);

impl ActorClass {
    /// Finds a class by name.
    ///
    /// # Errors
    /// `UnknownFunction` with the nearest name that exists.
    pub fn find(name: &str) -> Result<&'static ActorClass, Error> {
        static BY_NAME: OnceLock<BTreeMap<&'static str, &'static ActorClass>> = OnceLock::new();
        let classes =
            BY_NAME.get_or_init(|| inventory::iter::<ActorClass>().map(|class| (class.name, class)).collect());
        classes.get(name).copied().ok_or_else(|| unknown("actor class", name, classes.keys().copied()))
    }

    /// Finds a method by its full name.
    ///
    /// # Errors
    /// As for classes.
    pub fn method(&self, name: &str) -> Result<&Method, Error> {
        let found = self.methods.iter().find(|method| method.name == name);
        found.ok_or_else(|| unknown("method", name, self.methods.iter().map(|method| method.name)))
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let hint = super::nearest(name, known).map_or_else(String::new, |near| format!("; the nearest one is `{near}`"));
    Error::new(TaskErrorKind::UnknownFunction, format!("no {what} `{name}` is compiled into this program{hint}"))
}

/// A type whose values can be actors. Implemented by `#[actor]`.
pub trait ActorType: Sized + Send + Sync + 'static {
    /// What a handle can call.
    type Methods: From<Handle> + AsRef<Handle> + Send + Sync;
    /// The registered name of the class.
    const CLASS: &'static str;
}

/// A handle to an actor of type `T`: `handle.method(args).submit(&context)` calls it.
///
/// It is a value: it travels in arguments, results, puts and the state of other actors. Calls through one handle and its
/// clones in this process start in the order in which they are submitted; a handle that was read from a value has an order
/// of its own. The actor ends when the last handle anywhere is gone, unless it is detached.
pub struct Actor<T: ActorType> {
    methods: T::Methods,
}

impl<T: ActorType> AsRef<Handle> for Actor<T> {
    fn as_ref(&self) -> &Handle {
        self.methods.as_ref()
    }
}

impl<T: ActorType> Actor<T> {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { methods: T::Methods::from(handle) }
    }

    /// The actor's name in the cluster.
    pub fn id(&self) -> ActorId {
        self.methods.as_ref().guard.actor
    }

    /// A call of no method: its result is there when the actor lives, and fails when it is dead.
    pub fn ready(&self) -> ActorCall<()> {
        let retries = Retries { crashes: None, errors: Some(0), losses: None, memory: None };
        self.methods.as_ref().call::<()>(READY).retries(retries).unordered()
    }

    /// The same handle without its type.
    pub fn untyped(&self) -> Handle {
        self.methods.as_ref().clone()
    }
}

/// The name of the call that every actor answers: see [`Actor::ready`].
pub(crate) const READY: &str = "mobula::ready";

impl<T: ActorType> Deref for Actor<T> {
    type Target = T::Methods;

    fn deref(&self) -> &T::Methods {
        &self.methods
    }
}

impl<T: ActorType> Clone for Actor<T> {
    fn clone(&self) -> Self {
        Self::new(self.untyped())
    }
}

impl<T: ActorType> fmt::Debug for Actor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Actor({})", self.id())
    }
}

/// What every typed handle wraps: the actor, without the names of its methods. It travels like a typed one.
#[derive(Clone)]
pub struct Handle {
    guard: Arc<Guard>,
}

struct Guard {
    actor: ActorId,
    /// Its place in the order of calls.
    number: u64,
    options: CallOptions,
    context: Context,
    /// Keeps the actor alive; none if it is detached.
    life: Option<ObjectRef<()>>,
}

/// What a handle knows of its actor's calls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct CallOptions {
    retries: Retries,
    limit: Option<u32>,
    ordered: bool,
    exactly_once: bool,
}

impl From<&ActorOptions> for CallOptions {
    fn from(options: &ActorOptions) -> Self {
        let (limit, ordered, exactly_once) = (options.max_pending_calls, options.ordered, options.exactly_once);
        Self { retries: options.calls, limit, ordered, exactly_once }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.context.tell_actors(ActorInput::HandleDropped(self.actor));
    }
}

impl Handle {
    pub(crate) fn new(context: &Context, actor: ActorId, options: CallOptions, life: Option<ObjectRef<()>>) -> Self {
        let context = context.detached_from_task();
        context.tell_actors(ActorInput::HandleAdded { actor, counted: life.is_some() });
        // From the counter of tasks: unique in this process, and the same in every run of a simulation.
        let number = context.new_task().seq;
        Self { guard: Arc::new(Guard { actor, number, options, context, life }) }
    }

    /// A call of a method by its full name, without arguments yet.
    pub fn call<T>(&self, method: &'static str) -> ActorCall<T> {
        self.begin(method)
    }

    /// The same of a method that yields items.
    pub fn stream<T>(&self, method: &'static str) -> ActorCall<T, Streamed<T>> {
        self.begin(method)
    }

    fn begin<T, R>(&self, method: &'static str) -> ActorCall<T, R> {
        ActorCall {
            method,
            handle: self.clone(),
            label: None,
            args: Arguments::new(),
            retries: self.guard.options.retries,
            ordered: self.guard.options.ordered,
            ahead: None,
            result: PhantomData,
        }
    }

    /// The actor's name in the cluster.
    pub fn actor(&self) -> ActorId {
        self.guard.actor
    }
}

impl<T: ActorType> Serialize for Actor<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.methods.as_ref().serialize(to)
    }
}

impl<'de, T: ActorType> Deserialize<'de> for Actor<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Handle::deserialize(from).map(Self::new)
    }
}

impl AsRef<Handle> for Handle {
    fn as_ref(&self) -> &Handle {
        self
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.guard.actor)
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        self.guard.actor == other.guard.actor
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let guard = &self.guard;
        (guard.actor, guard.options, &guard.life).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (actor, options, life) = <(ActorId, CallOptions, Option<ObjectRef<()>>)>::deserialize(from)?;
        let context = reading().ok_or_else(|| {
            serde::de::Error::custom("a handle can only be read by the runtime, from an argument or an object")
        })?;
        Ok(Self::new(&context, actor, options, life))
    }
}

/// A call that is described but not submitted. Calling a method of a handle returns one.
///
/// Its result can be cancelled like a task's: a call that has not begun never does; one that runs goes on to its end
/// unless it asks [`Context::is_cancelled`], for half of a method is no state an actor should be in. One that yields items
/// ends at the next of them.
#[must_use = "a call is made once it is submitted"]
pub struct ActorCall<T, R = One<T>> {
    method: &'static str,
    handle: Handle,
    label: Option<Arc<str>>,
    args: Arguments,
    retries: Retries,
    ordered: bool,
    /// For methods that yield: how many items may exist that nobody has taken.
    ahead: Option<u32>,
    result: PhantomData<fn() -> (T, R)>,
}

impl<T, R> ActorCall<T, R> {
    /// Adds the next argument.
    pub fn arg<A: 'static>(mut self, value: impl IntoArg<A>) -> Self {
        self.args.push(value);
        self
    }

    /// What progress, scenarios and reports call it. Default: `Class::method`.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.into());
        self
    }

    /// How often it may be made again after its actor's incarnation ended under it, and after its result was lost. Zero is
    /// at most once, anything else at least once.
    pub fn max_retries(mut self, times: u32) -> Self {
        self.retries.crashes = Some(times);
        self.retries.losses = Some(times);
        self
    }

    /// How often it may be made again after its own error or panic. It then goes behind the calls submitted meanwhile.
    pub fn retry_errors(mut self, times: u32) -> Self {
        self.retries.errors = Some(times);
        self
    }

    /// All three budgets at once.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// It has no place in the order of the handle's calls.
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    fn launch(self, context: &Context, returns: u32, stream: Option<Streaming>) -> Result<TaskId, Error> {
        let guard = &self.handle.guard;
        let class = Arc::new(SchedulingClass {
            function: FunctionId::from(self.method),
            resources: Resources::none(),
            placement: Placement::Actor(guard.actor),
            share: None,
        });
        let label = self.label.unwrap_or_else(|| method_label(self.method));
        let (args, held) = self.args.finish(context)?;
        let id = context.new_task();
        // What a method returns may depend on the actor's state. Of a stream the consumer has the beginning already.
        let replay = if stream.is_some() { Replay::Strict } else { Replay::Accept };
        let (retries, durability, job) = (self.retries, Durability::default(), context.job());
        let spec = TaskSpec { id, label, class, args, returns, retries, replay, durability, stream, job };
        spec.within_limits()?;
        let handle = if self.ordered { guard.number } else { 0 };
        let (actor, limit) = (guard.actor, guard.options.limit);
        let parent = context.counted();
        context.send_actors(ActorInput::Call { spec: Arc::new(spec), actor, handle, limit, parent })?;
        drop(held);
        Ok(id)
    }
}

impl<T> ActorCall<T> {
    /// Submits it and returns at once: the result is a promise, owned by this process like a task's.
    ///
    /// # Errors
    /// When an argument cannot be stored or the runtime is shut down. What becomes of the call is in the result.
    pub fn submit(self, context: &Context) -> Result<ObjectRef<T>, Error> {
        let id = self.launch(context, 1, None)?;
        Ok(ObjectRef::adopt(id.result(0), context.clone()))
    }
}

impl<T: 'static> ActorCall<T, Streamed<T>> {
    /// How many items may exist that the consumer has not taken; at least 1, without limit unless this is called. A method
    /// that is so far ahead waits; one that takes `&mut self` has the actor meanwhile, so a consumer must not wait for
    /// another call of that actor before it takes the next item.
    pub fn backpressure(mut self, items: u32) -> Self {
        self.ahead = Some(items.max(1));
        self
    }

    /// Submits it and returns at once. If the actor's incarnation ends under it, the next one runs it again from its
    /// beginning if the call's budget ([`ActorCall::max_retries`]) allows, and the consumer goes on where it was: items
    /// that it was given are not given again, and if the method makes others this time the stream ends with
    /// `NondeterministicReplay`. Without a budget it ends with `ActorUnavailable` or `ActorDied` after the items that were
    /// made.
    ///
    /// # Errors
    /// As for one result; and `WrongType` if calls of the actor are exactly once: what a consumer was given cannot be taken
    /// back with the state that it belongs to, and held back until there is a checkpoint it would be no stream.
    pub fn submit(self, context: &Context) -> Result<ObjectStream<T>, Error> {
        if self.handle.guard.options.exactly_once {
            let (method, actor) = (method_label(self.method), self.handle.actor());
            let why = "an exactly-once call cannot stream, because items cannot wait for the checkpoint after the last";
            return Err(Error::new(TaskErrorKind::WrongType, format!("{method} of {actor}: {why}")));
        }
        let streaming = Streaming { ahead: self.ahead };
        let task = self.launch(context, 0, Some(streaming))?;
        Ok(ObjectStream::new(context.clone(), task))
    }
}

/// `Class::method` of a full name.
fn method_label(name: &'static str) -> Arc<str> {
    let class = name.rfind("::").and_then(|end| name[..end].rfind("::"));
    match class {
        Some(start) => super::call::remember(name, &name[start + 2..]),
        None => short(name),
    }
}

/// What the macros call: the actor's own type behind an instance.
///
/// # Errors
/// `WrongType` if the instance is another class's.
pub fn this<T: 'static>(instance: &Instance) -> Result<&T, Error> {
    instance.downcast_ref::<T>().ok_or_else(wrong::<T>)
}

/// The same, to change it.
///
/// # Errors
/// As [`this`].
pub fn this_mut<T: 'static>(instance: &mut Instance) -> Result<&mut T, Error> {
    instance.downcast_mut::<T>().ok_or_else(wrong::<T>)
}

fn wrong<T>() -> Error {
    Error::new(TaskErrorKind::WrongType, format!("the actor is no {}", std::any::type_name::<T>()))
}

/// What the macros call: the state of an actor as a value.
///
/// # Errors
/// `WrongType` when the state has no encoding, or holds references, which a checkpoint cannot keep alive.
pub fn saved<S: Serialize>(state: &S) -> Result<Encoded, Error> {
    let encoded = super::function::encoded(state)?;
    match encoded.refs().first() {
        None => Ok(encoded),
        Some(object) => {
            let message = format!("a saved state holds a reference to {object}; a checkpoint cannot keep it alive");
            Err(Error::new(TaskErrorKind::WrongType, message))
        }
    }
}
