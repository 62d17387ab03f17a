//! The built-in actors. Each method takes and returns a [`Value`].

mod table;

pub use table::{CLASSES, COUNTER_ADD, Class, Method, Plan, class};

use crate::tasks::{busy, content};
use crate::value::Value;
use mobula_runtime::macros::Handle;
use mobula_runtime::{Context, Error, Nanos, actor, crash};

fn whole(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(n) => Ok(*n),
        other => Err(format!("a whole number is needed, not {other}")),
    }
}

/// Counts: `counter(start)`.
pub struct Counter {
    value: i64,
}

#[actor]
impl Counter {
    /// See the type.
    pub fn new(start: Value) -> Result<Self, String> {
        Ok(Self { value: whole(&start)? })
    }

    /// Adds and returns the sum.
    pub fn add(&mut self, n: Value) -> Result<Value, String> {
        self.value += whole(&n)?;
        Ok(Value::Int(self.value))
    }

    /// The sum.
    pub fn read(&self) -> Value {
        Value::Int(self.value)
    }

    /// Kills the worker.
    pub fn crash(&mut self) -> Value {
        crash("crashing on purpose")
    }

    /// So many bytes that depend on the seed alone, and counts one.
    pub fn produce(&mut self, bytes: Value, seed: Value) -> Result<Value, String> {
        self.value += 1;
        Ok(Value::Bytes(content(whole(&bytes)?.unsigned_abs(), whole(&seed)?.unsigned_abs())))
    }

    /// Yields `items` values of so many bytes, each after so many milliseconds of its cpu, and adds one with each. They
    /// depend on their position alone, as those of `generator`.
    #[stream]
    pub fn items(
        &mut self,
        context: Context,
        items: Value,
        bytes: Value,
        millis: Value,
    ) -> impl Iterator<Item = Result<Value, String>> {
        // What is no number fails as the first item.
        let sizes = whole(&items).and_then(|items| Ok((items, whole(&bytes)?, whole(&millis)?)));
        let count = sizes.as_ref().map_or(1, |(items, ..)| items.unsigned_abs());
        (0..count).map(move |index| {
            let (_, bytes, millis) = sizes.clone()?;
            busy(&context, Nanos::millis(millis.unsigned_abs()));
            self.value += 1;
            Ok(Value::Bytes(content(bytes.unsigned_abs(), index)))
        })
    }

    /// Adds one `items` times and yields each sum: others if it does not begin with the same one.
    #[stream]
    pub fn sums(&mut self, items: Value) -> impl Iterator<Item = Result<Value, String>> {
        let count = whole(&items).map(i64::unsigned_abs);
        (0..*count.as_ref().unwrap_or(&1)).map(move |_| {
            count.clone()?;
            self.value += 1;
            Ok(Value::Int(self.value))
        })
    }

    /// Waits so many milliseconds without using a cpu, adds one and returns the sum.
    pub async fn add_later(&mut self, context: Context, millis: Value) -> Result<Value, String> {
        context.env().sleep(Nanos::millis(whole(&millis)?.unsigned_abs())).await;
        self.value += 1;
        Ok(Value::Int(self.value))
    }
}

/// A linearizable cell: `register(first)`.
pub struct Register {
    value: Value,
}

#[actor]
impl Register {
    /// See the type.
    pub fn new(first: Value) -> Self {
        Self { value: first }
    }

    /// Replaces the value and returns the one before.
    pub fn write(&mut self, value: Value) -> Value {
        std::mem::replace(&mut self.value, value)
    }

    /// The value.
    pub fn read(&self) -> Value {
        self.value.clone()
    }

    /// Replaces the value if it is `old`; says whether it was.
    pub fn swap(&mut self, old: Value, new: Value) -> Value {
        let same = self.value == old;
        if same {
            self.value = new;
        }
        Value::Bool(same)
    }
}

/// Keeps references: `holder()`.
#[derive(Default)]
pub struct Holder {
    held: Vec<Value>,
}

#[actor]
impl Holder {
    /// See the type.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the references inside its argument; how many it has now.
    pub fn hold(&mut self, x: Value) -> Value {
        self.held.push(x);
        Value::Int(self.held.len() as i64)
    }

    /// Drops the value it was given as the `n`-th.
    pub fn forget(&mut self, n: Value) -> Result<Value, String> {
        let index = usize::try_from(whole(&n)?).map_err(|why| why.to_string())?;
        let held = self.held.len();
        let slot =
            self.held.get_mut(index).ok_or_else(|| format!("{held} values are held, none has number {index}"))?;
        *slot = Value::Null;
        Ok(Value::Null)
    }

    /// All it has, references as references.
    pub fn lend(&self) -> Value {
        Value::List(self.held.clone())
    }

    /// Reads all references; the hash of their values as text.
    pub async fn read(&self, context: Context) -> Result<Value, Error> {
        let mut read = Vec::new();
        for reference in self.held.iter().flat_map(Value::refs) {
            read.push(context.get(reference).await?);
        }
        Ok(Value::Text(format!("{:016x}", Value::List(read).hash())))
    }

    /// Puts so many bytes, which its own process then owns, and keeps the reference.
    pub async fn make(&mut self, context: Context, bytes: Value, seed: Value) -> Result<Value, Error> {
        let size = |value: &Value| whole(value).map(i64::unsigned_abs).unwrap_or_default();
        let made = context.put(&Value::Bytes(content(size(&bytes), size(&seed)))).await?;
        self.held.push(Value::Ref(made));
        Ok(Value::Int(self.held.len() as i64))
    }
}

/// A state that depends on the order of its calls: `merger()`.
#[derive(Default)]
pub struct Merger {
    merged: Vec<Value>,
}

#[actor]
impl Merger {
    /// See the type.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends; the hash of all so far as text.
    pub fn merge(&mut self, x: Value) -> Value {
        self.merged.push(x);
        self.digest()
    }

    /// The hash of all so far as text.
    pub fn digest(&self) -> Value {
        Value::Text(format!("{:016x}", Value::List(self.merged.clone()).hash()))
    }

    /// All so far.
    pub fn read(&self) -> Value {
        Value::List(self.merged.clone())
    }
}

/// Counts, remembers, and crashes in the middle of every `crash_every`-th call of an incarnation (0 is never):
/// `checkpointed_counter(start, crash_every)`.
pub struct CheckpointedCounter {
    value: i64,
    crash_every: i64,
    calls: i64,
    restored: bool,
}

#[actor]
impl CheckpointedCounter {
    /// See the type.
    pub fn new(start: Value, crash_every: Value) -> Result<Self, String> {
        Ok(Self { value: whole(&start)?, crash_every: whole(&crash_every)?, calls: 0, restored: false })
    }

    /// Adds and returns the sum.
    pub fn add(&mut self, n: Value) -> Result<Value, String> {
        self.calls += 1;
        self.value += whole(&n)?;
        if self.crash_every > 0 && self.calls >= self.crash_every {
            crash("crashing on purpose after the effect and before the reply");
        }
        Ok(Value::Int(self.value))
    }

    /// The sum.
    pub fn read(&self) -> Value {
        Value::Int(self.value)
    }

    /// Whether this incarnation took the place of one that is gone: 1 or 0.
    pub fn restored(&self) -> Value {
        Value::Int(self.restored.into())
    }

    #[save]
    fn save(&self) -> (i64, i64) {
        (self.value, self.crash_every)
    }

    #[restore]
    fn restore((value, crash_every): (i64, i64)) -> Self {
        Self { value, crash_every, calls: 0, restored: true }
    }
}

/// Takes so many milliseconds to be made: `slow_init(millis)`.
pub struct SlowInit;

#[actor]
impl SlowInit {
    /// See the type.
    pub async fn new(context: Context, millis: Value) -> Result<Self, String> {
        context.env().sleep(Nanos::millis(whole(&millis)?.unsigned_abs())).await;
        Ok(Self)
    }

    /// True.
    pub fn read(&self) -> Value {
        Value::Bool(true)
    }
}

/// Counts its calls, and kills its worker in the `n`-th of each incarnation: `crash_at(n)`.
pub struct CrashAt {
    n: i64,
    calls: i64,
}

#[actor]
impl CrashAt {
    /// See the type.
    pub fn new(n: Value) -> Result<Self, String> {
        Ok(Self { n: whole(&n)?, calls: 0 })
    }

    /// One more call: how many there were.
    pub fn count(&mut self) -> Value {
        self.calls += 1;
        if self.calls == self.n {
            crash("crashing on purpose");
        }
        Value::Int(self.calls)
    }
}

/// Calls another actor: `caller(actor)`.
pub struct Caller {
    other: Handle,
}

#[actor]
impl Caller {
    /// See the type.
    pub fn new(other: Value) -> Result<Self, String> {
        match other {
            Value::Actor(other) => Ok(Self { other }),
            other => Err(format!("an actor is needed, not {other}")),
        }
    }

    /// Adds to the other one, a counter, and returns its sum.
    pub async fn add(&mut self, context: Context, n: Value) -> Result<Value, Error> {
        let sum = self.other.call::<Value>(COUNTER_ADD).arg::<Value>(n).submit(&context)?;
        context.get(&sum).await
    }

    /// Kills its own worker.
    pub fn crash(&mut self) -> Value {
        crash("crashing on purpose")
    }
}
