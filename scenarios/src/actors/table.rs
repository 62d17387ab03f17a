//! What a file may say of each built-in actor, and how it is created.

use super::{Caller, CheckpointedCounter, Counter, CrashAt, Holder, Merger, Register, SlowInit};
use crate::file::{ActorStep, Place};
use crate::value::Value;
use futures_util::future::BoxFuture;
use mobula_runtime::macros::Handle;
use mobula_runtime::{ActorInit, ActorType, Context, Error, Nanos, ObjectRef, PlacementGroup, Resources};
use std::sync::Arc;

/// A handle, or why there is none.
type Found = BoxFuture<'static, Result<Handle, Error>>;

/// An actor that files may create.
pub struct Class {
    /// What files call it.
    pub name: &'static str,
    /// How many arguments its constructor takes.
    pub params: usize,
    /// Its methods.
    pub methods: &'static [Method],
    /// Creates one.
    pub create: fn(Plan, Context) -> Found,
    /// Finds one by its name in the cluster, within a time.
    pub find: fn(String, Option<Nanos>, Context) -> Found,
}

/// A method that files may call.
#[derive(Debug)]
pub struct Method {
    /// What files call it.
    pub name: &'static str,
    /// What the runtime calls it.
    pub path: &'static str,
    /// How many arguments it takes.
    pub params: usize,
    /// Whether it yields its results one by one.
    pub streams: bool,
}

/// What a file says of one actor, with the values its arguments name.
pub struct Plan {
    /// The step.
    pub step: ActorStep,
    /// Values, and references to be resolved.
    pub args: Vec<Result<Value, ObjectRef<Value>>>,
    /// The placement group that its place names.
    pub group: Option<Arc<PlacementGroup>>,
}

/// What the runtime calls [`Counter::add`].
pub const COUNTER_ADD: &str = "mobula_scenarios::actors::Counter::add";

macro_rules! class {
    // Methods with one result; behind a semicolon those that yield items.
    ($name:literal, $class:ident($params:literal), $($method:ident($count:literal)),+ $(; $($stream:ident($items:literal)),+)?) => {
        Class {
            name: $name,
            params: $params,
            methods: &[
                $(class!(@method $class $method $count false),)+
                $($(class!(@method $class $stream $items true),)+)?
            ],
            create: |plan, context| Box::pin(create::<$class>(plan, context)),
            find: |name, limit, context| Box::pin(find::<$class>(name, limit, context)),
        }
    };
    (@method $class:ident $method:ident $count:literal $streams:literal) => {
        Method {
            name: stringify!($method),
            path: concat!("mobula_scenarios::actors::", stringify!($class), "::", stringify!($method)),
            params: $count,
            streams: $streams,
        }
    };
}

/// All of them.
pub static CLASSES: &[Class] = &[
    class!("counter", Counter(1), add(1), read(0), crash(0), produce(2), add_later(1); items(3), sums(1)),
    class!("register", Register(1), write(1), read(0), swap(2)),
    class!("holder", Holder(0), hold(1), forget(1), lend(0), read(0), make(2)),
    class!("merger", Merger(0), merge(1), digest(0), read(0)),
    class!("checkpointed_counter", CheckpointedCounter(2), add(1), read(0), restored(0)),
    class!("slow_init", SlowInit(1), read(0)),
    class!("crash_at", CrashAt(1), count(0)),
    class!("caller", Caller(1), add(1), crash(0)),
];

/// Finds a class by name.
pub fn class(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.name == name)
}

impl Class {
    /// Finds a method by name.
    pub fn method(&self, name: &str) -> Option<&'static Method> {
        self.methods.iter().find(|method| method.name == name)
    }
}

impl std::fmt::Debug for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

async fn find<T: ActorType>(name: String, limit: Option<Nanos>, context: Context) -> Result<Handle, Error> {
    let found = match limit {
        Some(limit) => context.find_actor_within::<T>(&name, limit).await,
        None => context.find_actor::<T>(&name).await,
    };
    found.map(|actor| actor.untyped())
}

async fn create<T: ActorType>(plan: Plan, context: Context) -> Result<Handle, Error> {
    let Plan { step, args, group } = plan;
    let mut init = ActorInit::<T>::new().label(&step.name.text).resource(Resources::CPU, 0.0);
    for arg in args {
        init = match arg {
            Ok(value) => init.arg::<Value>(value),
            Err(reference) => init.arg::<Value>(&reference),
        };
    }
    for (name, amount) in step.resources.iter() {
        init = init.resource(name, amount.0 as f64 / 10_000.0);
    }
    init = match (&step.place, &group) {
        (Place::Any, _) | (Place::Group(..), None) => init,
        (Place::On(node), _) => init.on(&node.text),
        (Place::Prefer(node), _) => init.prefer(&node.text),
        (Place::Labels(labels), _) => init.labels(labels.clone()),
        (Place::Spread, _) => init.spread(),
        (Place::Group(_, None), Some(group)) => init.in_group(group),
        (Place::Group(_, Some(index)), Some(group)) => init.in_bundle(group, *index),
    };
    if let Some(times) = step.max_restarts {
        init = init.max_restarts(times);
    }
    if let Some(times) = step.max_task_retries {
        init = init.max_task_retries(times);
    }
    if let Some(calls) = step.max_pending_calls {
        init = init.max_pending_calls(calls);
    }
    if let Some(calls) = step.checkpoint_every {
        init = init.checkpoint_every(calls);
    }
    if let Some(calls) = step.concurrency {
        init = init.concurrency(calls);
    }
    if let Some(name) = &step.public_name {
        init = init.name(name);
    }
    if step.exactly_once {
        init = init.exactly_once();
    }
    if step.unordered {
        init = init.unordered();
    }
    if step.detached {
        init = init.detached();
    }
    match step.get_if_exists {
        true => init.get_or_create(&context).await.map(|actor| actor.untyped()),
        false => init.create(&context).map(|actor| actor.untyped()),
    }
}
