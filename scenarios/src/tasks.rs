//! The built-in tasks. All are deterministic unless they say otherwise: run again, they return the same bytes.
//!
//! Sizes are bytes and times nanoseconds; files write them with units. [`FUNCTIONS`] says which parameters a file may name.

mod process;
mod shuffle;
mod table;

pub use shuffle::{in_order, merge, scatter};
pub use table::{FUNCTIONS, Function, Kind, Param, function};

use crate::actors::{COUNTER_ADD, Counter};
use crate::value::Value;
use mobula_runtime::{ActorInit, Blob, ByteSize, Context, Nanos, Rest, Result, TaskErrorKind, WorldKind, charge, task};

/// Bytes that depend on `seed` alone (SplitMix64, Steele et al. 2014).
pub fn content(bytes: u64, seed: u64) -> Blob {
    let mut state = seed;
    let mut out = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0) + 8);
    while (out.len() as u64) < bytes {
        out.extend_from_slice(&split_mix(&mut state).to_le_bytes());
    }
    out.truncate(usize::try_from(bytes).unwrap_or(0));
    out.into()
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Charges a pass over `bytes` at 1 GB/s in simulation; the real world takes the time it takes.
fn charge_pass(bytes: usize) {
    charge(Nanos(bytes as u64));
}

fn hex(value: &Value) -> Value {
    Value::Text(format!("{:016x}", value.hash()))
}

fn charge_reading(value: &Value) {
    if let Value::Bytes(bytes) = value {
        charge_pass(bytes.len());
    }
}

/// So many bytes that depend on the seed alone.
#[task]
pub fn produce(bytes: u64, seed: u64) -> Value {
    charge(Nanos(bytes));
    Value::Bytes(content(bytes, seed))
}

/// As many results as asked for, each of `bytes` bytes that depend on the seed and the result's position.
#[task(many)]
pub fn produce_many(bytes: u64, seed: u64, returns: u64) -> Vec<Value> {
    charge(Nanos(bytes.saturating_mul(returns)));
    (0..returns).map(|index| Value::Bytes(content(bytes, seed.wrapping_add(index)))).collect()
}

/// Reads all arguments; the hash of their contents as text.
#[task]
pub fn consume(xs: Rest<Value>) -> Value {
    xs.0.iter().for_each(charge_reading);
    match &xs.0[..] {
        [one] => hex(one),
        _ => hex(&Value::List(xs.0)),
    }
}

/// As many bytes as `x` has, derived from them.
#[task]
pub fn chain(x: Value) -> Result<Value, String> {
    let Value::Bytes(bytes) = &x else { return Err(format!("`chain` takes bytes, not {x}")) };
    charge_pass(bytes.len() * 2);
    Ok(Value::Bytes(content(bytes.len() as u64, x.hash())))
}

/// The sum of numbers: whole if all are.
#[task]
pub fn sum(xs: Rest<Value>) -> Result<Value, String> {
    let mut whole = Some(0_i64);
    let mut float = 0.0;
    for x in &xs.0 {
        match x {
            Value::Int(n) => {
                whole = whole.and_then(|sum| sum.checked_add(*n));
                float += *n as f64;
            }
            Value::Float(n) => {
                whole = None;
                float += n;
            }
            other => return Err(format!("`sum` takes numbers, not {other}")),
        }
    }
    Ok(whole.map_or(Value::Float(float), Value::Int))
}

/// The hash of `x` as text.
#[task]
pub fn hash(x: Value) -> Value {
    charge_reading(&x);
    hex(&x)
}

/// `x` itself.
#[task]
pub fn echo(x: Value) -> Value {
    x
}

/// Fails in its first `times` executions, then returns.
#[task]
pub fn fail(context: Context, times: u64) -> Result<Value, String> {
    match u64::from(context.attempt()) {
        attempt if attempt <= times => Err(format!("failing on purpose in execution {attempt} of {times}")),
        _ => Ok(Value::Text("done".to_owned())),
    }
}

/// Kills its worker in its first `times` executions, then returns.
#[task]
pub fn crash(context: Context, times: u64) -> Value {
    let attempt = u64::from(context.attempt());
    if attempt <= times {
        mobula_runtime::crash(&format!("crashing on purpose in execution {attempt} of {times}"));
    }
    Value::Text("done".to_owned())
}

/// Submits `crash(times)` with its own `max_retries`, waits for its end, and returns how often it was executed.
#[task]
pub async fn crash_inside(context: Context, times: u64, max_retries: u64) -> Result<Value, String> {
    let retries = u32::try_from(max_retries).unwrap_or(u32::MAX);
    let label = format!("crash_inside {times} {max_retries}");
    let inner = crash(times).label(&label).max_retries(retries).submit(&context).map_err(|e| e.to_string())?;
    // Its error is what was asked for; the counters say how often it ran.
    let _ = context.get(&inner).await;
    let mut progress = context.progress();
    loop {
        let counters = context.counters(&label);
        if counters.finished + counters.failed > 0 {
            return Ok(Value::Int(i64::try_from(counters.executions).unwrap_or(i64::MAX)));
        }
        progress.changed().await.map_err(|_| "the node was shut down".to_owned())?;
    }
}

/// Adds one to a counter, an actor, then kills its worker in its first `times` executions; the sum it saw.
#[task]
pub async fn add_and_crash(context: Context, x: Value, times: u64) -> Result<Value> {
    let Value::Actor(counter) = &x else {
        return Err(mobula_runtime::Error::new(TaskErrorKind::WrongType, format!("a counter is needed, not {x}")));
    };
    let sum = context.get(&counter.call::<Value>(COUNTER_ADD).arg::<Value>(Value::Int(1)).submit(&context)?).await?;
    if u64::from(context.attempt()) <= times {
        mobula_runtime::crash("crashing on purpose after the call");
    }
    Ok(sum)
}

/// Waits without using a cpu, then returns.
#[task]
pub async fn sleep(context: Context, time: u64) -> Value {
    context.env().sleep(Nanos(time)).await;
    Value::Text("slept".to_owned())
}

/// Waits without using a cpu, then returns so many bytes that depend on the seed alone.
#[task]
pub async fn produce_slowly(context: Context, bytes: u64, seed: u64, time: u64) -> Value {
    context.env().sleep(Nanos(time)).await;
    Value::Bytes(content(bytes, seed))
}

/// Yields `items` values of so many bytes, each after `time`, which depend on the seed and their position.
#[task(stream)]
pub fn generator(context: Context, items: u64, bytes: u64, seed: u64, time: u64) -> impl Iterator<Item = Value> {
    (0..items).map(move |index| {
        busy(&context, Nanos(time));
        Value::Bytes(content(bytes, seed.wrapping_add(index)))
    })
}

/// Yields `items` values of so many bytes in its first execution, and `again` in every later one.
#[task(stream)]
pub fn generator_differs(context: Context, items: u64, again: u64, bytes: u64) -> impl Iterator<Item = Value> {
    let count = if context.attempt() <= 1 { items } else { again };
    (0..count).map(move |index| Value::Bytes(content(bytes, index)))
}

/// Yields `items` values of so many bytes, and then fails.
#[task(stream)]
pub fn generator_fails(items: u64, bytes: u64) -> impl Iterator<Item = Result<Value, String>> {
    let item = move |index| match index < items {
        true => Ok(Value::Bytes(content(bytes, index))),
        false => Err(format!("failing on purpose after {items} items")),
    };
    (0..=items).map(item)
}

/// Keeps a cpu busy: charged in simulation, spun in the real world.
pub(crate) fn busy(context: &Context, cost: Nanos) {
    charge(cost);
    if context.env().world() == WorldKind::Real {
        let began = context.env().now();
        while context.env().now().saturating_sub(began) < cost {
            std::hint::spin_loop();
        }
    }
}

/// Keeps a cpu busy for `cost`: charged in simulation, spun in the real world.
#[task]
pub fn spin(context: Context, cost: u64) -> Value {
    busy(&context, Nanos(cost));
    Value::Text("spun".to_owned())
}

/// A tree of tasks, each of which waits for its `fanout` children; the number of tasks in it.
#[task]
pub async fn tree(context: Context, depth: u64, fanout: u64) -> Result<Value> {
    let mut tasks = 1_i64;
    if depth > 0 {
        let children = (0..fanout).map(|_| tree(depth - 1, fanout).submit(&context));
        let children = children.collect::<Result<Vec<_>>>()?;
        for child in context.get_all(&children).await? {
            if let Value::Int(below) = child {
                tasks = tasks.saturating_add(below);
            }
        }
    }
    Ok(Value::Int(tasks))
}

/// `x`, handed down through `depth` nested tasks and back up, each waiting for the next.
#[task]
pub async fn nest(context: Context, x: Value, depth: u64) -> Result<Value> {
    if depth == 0 {
        return Ok(x);
    }
    let inner = nest(x, depth - 1).submit(&context)?;
    context.get(&inner).await
}

/// A tree of tasks, each of which waits for its `fanout` children; the leaves wait for `time`. The number of leaves.
#[task]
pub async fn sleep_tree(context: Context, depth: u64, fanout: u64, time: u64) -> Result<Value> {
    if depth == 0 {
        context.env().sleep(Nanos(time)).await;
        return Ok(Value::Int(1));
    }
    let children = (0..fanout).map(|_| sleep_tree(depth - 1, fanout, time).submit(&context));
    let children = children.collect::<Result<Vec<_>>>()?;
    let mut leaves = 0_i64;
    for child in context.get_all(&children).await? {
        if let Value::Int(below) = child {
            leaves = leaves.saturating_add(below);
        }
    }
    Ok(Value::Int(leaves))
}

/// Puts so many bytes `refs` times and returns a list with the references: the node that ran the task owns them.
#[task]
pub async fn put_inside(context: Context, bytes: u64, seed: u64, refs: u64) -> Result<Value> {
    let mut inside = Vec::new();
    for n in 0..refs {
        let inner = context.put(&Value::Bytes(content(bytes, seed.wrapping_add(n)))).await?;
        inside.push(Value::Ref(inner));
    }
    Ok(Value::List(inside))
}

/// Waits without using a cpu, then reads the references inside its argument; the hash of their values as text.
#[task]
pub async fn read_later(context: Context, x: Value, time: u64) -> Result<Value> {
    context.env().sleep(Nanos(time)).await;
    read_all(&context, &x).await
}

/// Creates a counter of this name that starts at what the first reference inside its argument names, which need not exist
/// yet, or at the argument itself: the node that ran the task owns it. Returns a handle.
#[task]
pub async fn counter_inside(context: Context, x: Value, name: Value) -> Result<Value> {
    let Value::Text(name) = &name else {
        return Err(mobula_runtime::Error::new(TaskErrorKind::WrongType, format!("a name is needed, not {name}")));
    };
    let init = ActorInit::<Counter>::new().name(name);
    let init = match x.refs().first() {
        Some(start) => init.arg::<Value>(*start),
        None => init.arg::<Value>(x.clone()),
    };
    Ok(Value::Actor(init.get_or_create(&context).await?.untyped()))
}

/// Takes all items of a generator of its own (see [`generator`]) and keeps them to the end; their number.
#[task]
pub async fn stream_inside(context: Context, items: u64, bytes: u64, seed: u64, time: u64) -> Result<Value> {
    let mut stream = generator(items, bytes, seed, time).submit(&context)?;
    let mut taken = Vec::new();
    while let Some(item) = stream.next().await? {
        taken.push(item);
    }
    Ok(Value::Int(taken.len() as i64))
}

/// Gets what the references inside its argument name again and again for `time`, and waits for none longer than a
/// millisecond; the number of references.
#[task]
pub async fn get_briefly(context: Context, x: Value, time: u64) -> Result<Value> {
    const LIMIT: Nanos = Nanos::millis(1);
    let end = context.env().now() + Nanos(time);
    while context.env().now() < end {
        for reference in x.refs() {
            match context.get_within(reference, LIMIT).await {
                Err(why) if why.kind != TaskErrorKind::GetTimeout => return Err(why),
                _ => {}
            }
        }
        // What is in memory is had in no time at all.
        context.env().sleep(LIMIT).await;
    }
    Ok(Value::Int(x.refs().len() as i64))
}

/// Cancels the tasks that make what the references inside its argument name; the number of references.
#[task]
pub async fn cancel_inside(context: Context, x: Value) -> Result<Value> {
    x.refs().iter().try_for_each(|reference| context.cancel(reference))?;
    Ok(Value::Int(x.refs().len() as i64))
}

/// Frees what the references inside its argument name, whoever owns it; the number of references.
#[task]
pub async fn free_inside(context: Context, x: Value) -> Result<Value> {
    x.refs().iter().try_for_each(|reference| context.free(reference))?;
    Ok(Value::Int(x.refs().len() as i64))
}

async fn read_all(context: &Context, x: &Value) -> Result<Value> {
    let mut read = Vec::new();
    for reference in x.refs() {
        read.push(context.get(reference).await?);
    }
    Ok(hex(&Value::List(read)))
}

/// Reads the references inside its argument; the hash of their values as text.
#[task]
pub async fn read_inside(context: Context, x: Value) -> Result<Value> {
    read_all(&context, &x).await
}

/// Between 1 byte and 1 MiB, how many and which depending on the seed alone.
#[task]
pub fn random_size(seed: u64) -> Value {
    let bytes = 1 + split_mix(&mut seed.clone()) % (1 << 20);
    charge(Nanos(bytes));
    Value::Bytes(content(bytes, seed))
}

/// So many bytes, others in each execution.
#[task]
pub fn nondeterministic(context: Context, bytes: u64) -> Value {
    let seed = u64::from(context.attempt());
    Value::Bytes(content(bytes, seed))
}

/// Uses so much memory of its worker, and a cpu for `time`; the number of bytes. It cannot be stopped, unless it
/// runs in a process.
#[task]
pub fn allocate(context: Context, bytes: u64, time: u64) -> Value {
    let memory = used(&context, bytes);
    busy(&context, Nanos(time));
    Value::Int(std::hint::black_box(memory).0 as i64)
}

/// Uses so much memory of its worker for `time`, and no cpu: it can be stopped meanwhile. The number of bytes.
#[task]
pub async fn hoard(context: Context, bytes: u64, time: u64) -> Value {
    // Not in a computation of its own, which would run on when this is dropped.
    let memory = used(&context, bytes);
    context.env().sleep(Nanos(time)).await;
    Value::Int(std::hint::black_box(memory).0 as i64)
}

/// So many bytes, claimed; in the real world also taken, and written to.
fn used(context: &Context, bytes: u64) -> (u64, Vec<u8>) {
    context.claim(ByteSize(bytes));
    charge(Nanos(bytes));
    let real = context.env().world() == WorldKind::Real;
    (bytes, vec![1; if real { usize::try_from(bytes).unwrap_or(0) } else { 0 }])
}
