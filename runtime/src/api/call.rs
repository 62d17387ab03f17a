//! Describing and submitting a task.

use super::arguments::{Argument, Arguments, Held};
use super::context::Context;
use super::function::encoded;
use super::keeper::Submission;
use super::reference::ObjectRef;
use crate::Error;
use mobula_protocol::{Durability, FunctionId, Labels, Placement, Replay, Resources, Retries, SchedulingClass, Share};
use mobula_protocol::{Streaming, TaskId, TaskSpec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock, Mutex};

/// A value for a task's parameter of type `T`: a `T` itself, or a reference to one, which is resolved before the task
/// starts. A value larger than [`NodeSettings::inline`](crate::NodeSettings::inline) becomes an object of the submitter.
pub trait IntoArg<T> {
    /// The argument as its call keeps it.
    ///
    /// # Errors
    /// When the value has no encoding.
    fn into_arg(self) -> Result<Argument, Error>;
}

impl<T: Serialize + Send + 'static> IntoArg<T> for T {
    fn into_arg(self) -> Result<Argument, Error> {
        Ok(Argument::value(encoded(&self)?, self))
    }
}

impl<T: 'static> IntoArg<T> for &ObjectRef<T> {
    fn into_arg(self) -> Result<Argument, Error> {
        Ok(Argument::reference(self))
    }
}

/// One result of type `T` per call.
pub struct One<T>(PhantomData<T>);

/// As many results of type `T` as the call asks for.
pub struct Many<T>(PhantomData<T>);

/// Items of type `T`, one after the other, as many as the function yields.
pub struct Streamed<T>(PhantomData<T>);

/// A task that is described but not submitted. Calling a `#[task]` function returns one.
#[must_use = "a task runs once it is submitted"]
pub struct TaskCall<R> {
    function: &'static str,
    label: Option<Arc<str>>,
    args: Arguments,
    resources: Resources,
    placement: Placement,
    share: Option<Share>,
    retries: Retries,
    replay: Replay,
    pub(super) durability: Durability,
    returns: u32,
    /// For generators: how many items may exist that nobody has taken.
    pub(super) ahead: Option<u32>,
    result: PhantomData<fn() -> R>,
}

impl<R> TaskCall<R> {
    /// A call of the function registered as `function`, with one cpu and the default budgets.
    pub fn new(function: &'static str) -> Self {
        Self {
            function,
            label: None,
            args: Arguments::new(),
            resources: Resources::cpus(1),
            placement: Placement::Any,
            share: None,
            retries: Retries::default(),
            replay: Replay::Strict,
            durability: Durability::default(),
            returns: 1,
            ahead: None,
            result: PhantomData,
        }
    }

    /// Adds the next argument.
    pub fn arg<T: 'static>(mut self, value: impl IntoArg<T>) -> Self {
        self.args.push(value);
        self
    }

    /// Adds the arguments of a [`Rest`](super::Rest) parameter.
    pub fn rest<T: 'static>(self, references: &[ObjectRef<T>]) -> Self {
        references.iter().fold(self, |call, reference| call.arg::<T>(reference))
    }

    /// What progress, scenarios and reports call it. Default: the function's own name.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.into());
        self
    }

    /// How many cpus it holds while it runs. Fractions are exact to a ten-thousandth.
    ///
    /// # Panics
    /// Never; an impossible number becomes an error at submission.
    pub fn cpus(self, cpus: f64) -> Self {
        self.resource(Resources::CPU, cpus)
    }

    /// How much of a named resource it holds while it runs.
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

    /// Its submission will fail with this.
    pub(super) fn refused(mut self, error: Error) -> Self {
        self.args.refuse(error);
        self
    }

    /// Whose part of a full node it uses: groups share what there is in proportion to their weights (0 counts as 1).
    /// All tasks of a job, say, are one group. Tasks that it submits itself inherit this. Without it, everything that
    /// says nothing is one group of weight 1.
    pub fn share(mut self, name: &str, weight: u32) -> Self {
        let share = self.share.take().unwrap_or_default();
        self.share = Some(Share { group: name.into(), weight: weight.max(1), ..share });
        self
    }

    /// Of tasks that wait for a node, those of the highest priority go first, always; 0 unless this is called. Tasks
    /// that it submits itself inherit this.
    pub fn priority(mut self, priority: i32) -> Self {
        self.share = Some(Share { priority, ..self.share.take().unwrap_or_default() });
        self
    }

    /// How often it may run again after a crash, and again after its results were lost. Two budgets of this size. If there
    /// is to be no retry, then none for want of memory either.
    pub fn max_retries(mut self, times: u32) -> Self {
        self.retries.crashes = Some(times);
        self.retries.losses = Some(times);
        if times == 0 {
            self.retries.memory = Some(0);
        }
        self
    }

    /// How often it may run again after its node ran out of memory and ended it, each time after a longer pause: 1 s, 2 s,
    /// 4 s, at most a minute. After that it fails with `OutOfMemory`.
    pub fn memory_retries(mut self, times: u32) -> Self {
        self.retries.memory = Some(times);
        self
    }

    /// How often it may run again after its own error or panic.
    pub fn retry_errors(mut self, times: u32) -> Self {
        self.retries.errors = Some(times);
        self
    }

    /// All budgets at once.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// When a lost result is rebuilt and comes out differently, the new value counts, and what this process's tasks
    /// made from the old one is made again. Without this it is a `NondeterministicReplay` error.
    pub fn accept_replay(mut self) -> Self {
        self.replay = Replay::Accept;
        self
    }

    /// As another process is to submit it; what must live until it has.
    pub(super) fn describe(self, context: &Context) -> Result<(Submission, Held), Error> {
        let label = self.label.unwrap_or_else(|| short(self.function)).to_string();
        let (args, held) = self.args.hand_over(context)?;
        let (function, returns) = (self.function.to_owned(), self.returns);
        let (resources, placement, share) = (self.resources, self.placement, self.share);
        let (retries, replay, durability) = (self.retries, self.replay, self.durability);
        let task =
            Submission { label, function, args, resources, placement, share, retries, replay, durability, returns };
        Ok((task, held))
    }

    pub(super) fn launch(self, context: &Context, returns: u32, stream: Option<Streaming>) -> Result<TaskId, Error> {
        let share = self.share.map(Arc::new).or_else(|| context.share().cloned());
        let class = intern(self.function, self.resources, self.placement, share);
        let label = self.label.unwrap_or_else(|| short(self.function));
        let (args, held) = self.args.finish(context)?;
        let (retries, replay, durability, job) = (self.retries, self.replay, self.durability, context.job());
        context.persistable(durability)?;
        let spec = |id| TaskSpec { id, label, class, args, returns, retries, replay, durability, stream, job };
        let id = context.submit(spec)?;
        drop(held);
        Ok(id)
    }
}

impl<T> TaskCall<One<T>> {
    /// Submits it and returns at once: the result is a promise. Never waits for a slot.
    ///
    /// # Errors
    /// When an argument has no encoding, `TooLarge` when there are too many of them, or the runtime is shut down. That a
    /// large one finds no room in the store is in the result.
    pub fn submit(self, context: &Context) -> Result<ObjectRef<T>, Error> {
        let id = self.launch(context, 1, None)?;
        Ok(ObjectRef::adopt(id.result(0), context.clone()))
    }
}

impl<T> TaskCall<Many<T>> {
    /// How many results it returns, at most about a million; the function must return exactly as many.
    pub fn returns(mut self, count: u32) -> Self {
        self.returns = count;
        self
    }

    /// Submits it and returns a promise per result.
    ///
    /// # Errors
    /// As for one result.
    pub fn submit(self, context: &Context) -> Result<Vec<ObjectRef<T>>, Error> {
        let returns = self.returns;
        let id = self.launch(context, returns, None)?;
        Ok((0..returns).map(|index| ObjectRef::adopt(id.result(index), context.clone())).collect())
    }
}

/// The last segment of a path: what a person would call the function.
pub(super) fn short(function: &'static str) -> Arc<str> {
    remember(function, function.rsplit("::").next().unwrap_or(function))
}

/// One shared label per function.
pub(super) fn remember(function: &'static str, label: &str) -> Arc<str> {
    static LABELS: LazyLock<Mutex<BTreeMap<&'static str, Arc<str>>>> = LazyLock::new(Default::default);
    let mut known = LABELS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    known.entry(function).or_insert_with(|| label.into()).clone()
}

/// One shared class per distinct triple, so that the scheduler can compare pointers before it compares contents.
pub(super) fn intern(
    function: &'static str,
    resources: Resources,
    placement: Placement,
    share: Option<Arc<Share>>,
) -> Arc<SchedulingClass> {
    static PLAIN: LazyLock<Mutex<BTreeMap<&'static str, Arc<SchedulingClass>>>> = LazyLock::new(Default::default);
    let class = || {
        Arc::new(SchedulingClass {
            function: FunctionId::from(function),
            resources: resources.clone(),
            placement: placement.clone(),
            share: share.clone(),
        })
    };
    if share.is_some() || placement != Placement::Any || resources != Resources::cpus(1) {
        return class();
    }
    let mut known = PLAIN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    known.entry(function).or_insert_with(class).clone()
}
