//! Functions that tasks run: registered at compile time, found by name (decision D8).

use super::context::Context;
use super::reference::decode;
use crate::Error;
use bytes::Bytes;
use mobula_protocol::TaskErrorKind;
use mobula_store::codec::{Encoded, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The results of one execution, one per declared return.
pub type Outputs = Result<Vec<Output>, Error>;

/// What a generator yields. Its own error ends it.
pub type Items = Box<dyn Iterator<Item = Result<Output, Error>> + Send>;

/// An encoded result of a task. The references inside it stay counted until it is dropped: after the task's owner was
/// told of them, or wherever an attempt ends early.
pub struct Output {
    encoded: Encoded,
    context: Context,
}

impl Output {
    /// The value.
    pub fn encoded(&self) -> &Encoded {
        &self.encoded
    }
}

impl Output {
    /// A value without references inside it.
    pub(crate) fn plain(encoded: Encoded, context: &Context) -> Self {
        Self { encoded, context: context.detached_from_task() }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.encoded.refs().iter().for_each(|object| self.context.ref_dropped(*object));
    }
}

/// What a task function is, behind its name.
pub enum Body {
    /// Runs to its end on a thread for computation.
    Sync(fn(&Input) -> Outputs),
    /// May await: it can submit tasks and get their results. Its cpu is given back while it waits in a get.
    Async(fn(Input) -> BoxFuture<Outputs>),
    /// Runs to its end in a worker process: `#[task(process)]`.
    Process(fn(&ProcessInput) -> Result<Vec<Encoded>, Error>),
    /// Yields results one by one, on a thread for computation, as far as its consumer lets it.
    Stream(fn(&Input) -> Result<Items, Error>),
}

/// A registered function. The `#[task]` macro submits one to the inventory per function it is put on.
pub struct TaskFunction {
    /// `module::path::name`, unique in the program.
    pub name: &'static str,
    /// The code.
    pub body: Body,
}

inventory::collect!(TaskFunction);

/// Finds a function by name.
///
/// # Errors
/// [`TaskErrorKind::UnknownFunction`] with the nearest name that exists.
pub fn find(name: &str) -> Result<&'static TaskFunction, Error> {
    static BY_NAME: OnceLock<BTreeMap<&'static str, &'static TaskFunction>> = OnceLock::new();
    let functions = BY_NAME.get_or_init(|| inventory::iter::<TaskFunction>().map(|f| (f.name, f)).collect());
    functions.get(name).copied().ok_or_else(|| {
        let near = nearest(name, functions.keys().copied());
        let hint = near.map_or_else(String::new, |near| format!("; the nearest one is `{near}`"));
        let message = format!("no task function `{name}` is compiled into this program{hint}");
        Error::new(TaskErrorKind::UnknownFunction, message)
    })
}

/// The candidate that takes the fewest single-letter edits to become `word`, if that is fewer than half of its letters.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= candidate.len().max(word.len()) / 2)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance, in O(a*b) time and O(b) space.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// The arguments of one execution.
pub struct Input {
    pub(crate) context: Context,
    pub(crate) args: Vec<Bytes>,
    pub(crate) returns: u32,
}

impl Input {
    /// On whose behalf the task runs: what it submits is owned by its node.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// How many results the caller asked for.
    pub fn returns(&self) -> usize {
        self.returns as usize
    }

    /// The argument at `position`, as a `T`.
    ///
    /// # Errors
    /// `WrongType` if there is no such argument or it is no `T`.
    pub fn arg<T: DeserializeOwned>(&self, position: usize) -> Result<T, Error> {
        argument(&self.args, position, |bytes| decode(bytes, &self.context))
    }

    /// The arguments from `position` on, each as a `T`.
    ///
    /// # Errors
    /// As [`Input::arg`].
    pub fn rest<T: DeserializeOwned>(&self, position: usize) -> Result<Rest<T>, Error> {
        (position..self.args.len()).map(|position| self.arg(position)).collect::<Result<_, _>>().map(Rest)
    }
}

/// The arguments of one execution in a worker process.
pub struct ProcessInput {
    pub(crate) args: Vec<Bytes>,
}

impl ProcessInput {
    /// The argument at `position`, as a `T`.
    ///
    /// # Errors
    /// As [`Input::arg`]; also if there is a reference in it.
    pub fn arg<T: DeserializeOwned>(&self, position: usize) -> Result<T, Error> {
        argument(&self.args, position, |bytes| {
            mobula_store::codec::decode(bytes).map_err(|why| Error::new(TaskErrorKind::WrongType, why.to_string()))
        })
    }

    /// The arguments from `position` on, each as a `T`.
    ///
    /// # Errors
    /// As [`ProcessInput::arg`].
    pub fn rest<T: DeserializeOwned>(&self, position: usize) -> Result<Rest<T>, Error> {
        (position..self.args.len()).map(|position| self.arg(position)).collect::<Result<_, _>>().map(Rest)
    }
}

/// One of several arguments; errors name its position.
fn argument<T>(args: &[Bytes], position: usize, decode: impl FnOnce(&Bytes) -> Result<T, Error>) -> Result<T, Error> {
    let bytes = args.get(position).ok_or_else(|| {
        let message = format!("argument {position} is missing: {} were given", args.len());
        Error::new(TaskErrorKind::WrongType, message)
    })?;
    decode(bytes).map_err(|mut error| {
        error.message = format!("argument {position}: {}", error.message);
        error
    })
}

/// The last parameter of a task that takes any number of arguments of one type.
pub struct Rest<T>(pub Vec<T>);

/// Encodes a value.
///
/// # Errors
/// `WrongType` when the value has no encoding.
pub fn encoded<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, Error> {
    encode(value).map_err(|why| {
        let what = std::any::type_name::<T>();
        Error::new(TaskErrorKind::WrongType, format!("cannot store a {what}: {why}"))
    })
}

/// Encodes one result of a task, and counts the references inside it.
///
/// # Errors
/// `WrongType` when the value has no encoding.
pub fn output_of<T: Serialize>(context: &Context, value: &T) -> Result<Output, Error> {
    let encoded = encoded(value)?;
    encoded.refs().iter().for_each(|object| context.ref_added(*object));
    Ok(Output { encoded, context: context.detached_from_task() })
}

/// The user's error as a task error. What the user's type says is all that travels.
pub fn raised(error: impl std::fmt::Display) -> Error {
    Error::new(TaskErrorKind::TaskFailed, error.to_string())
}
