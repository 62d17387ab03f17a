//! The built-in tasks that can run in a worker process: `process = true`. Same names, parameters and results as those that
//! run on threads.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a worker process is no node and has no `Env`: its time is the machine's"
)]

use super::{charge_reading, content, hex};
use crate::value::Value;
use mobula_runtime::process::{attempt, claim, in_worker_process};
use mobula_runtime::{ByteSize, Nanos, Rest, charge, task};
use std::time::{Duration, Instant};

/// See [`produce`](super::produce).
#[task(process)]
pub fn produce(bytes: u64, seed: u64) -> Value {
    charge(Nanos(bytes));
    Value::Bytes(content(bytes, seed))
}

/// See [`consume`](super::consume).
#[task(process)]
pub fn consume(xs: Rest<Value>) -> Value {
    xs.0.iter().for_each(charge_reading);
    match &xs.0[..] {
        [one] => hex(one),
        _ => hex(&Value::List(xs.0)),
    }
}

/// See [`echo`](super::echo).
#[task(process)]
pub fn echo(x: Value) -> Value {
    x
}

/// See [`fail`](super::fail).
#[task(process)]
pub fn fail(times: u64) -> Result<Value, String> {
    match u64::from(attempt()) {
        attempt if attempt <= times => Err(format!("failing on purpose in execution {attempt} of {times}")),
        _ => Ok(Value::Text("done".to_owned())),
    }
}

/// See [`crash`](super::crash): an abort of the process.
#[task(process)]
pub fn crash(times: u64) -> Value {
    let attempt = u64::from(attempt());
    if attempt <= times {
        mobula_runtime::crash(&format!("crashing on purpose in execution {attempt} of {times}"));
    }
    Value::Text("done".to_owned())
}

/// See [`spin`](super::spin).
#[task(process)]
pub fn spin(cost: u64) -> Value {
    busy(Nanos(cost));
    Value::Text("spun".to_owned())
}

/// See [`allocate`](super::allocate).
#[task(process)]
pub fn allocate(bytes: u64, time: u64) -> Value {
    claim(ByteSize(bytes));
    charge(Nanos(bytes));
    let memory = vec![1_u8; if in_worker_process() { usize::try_from(bytes).unwrap_or(0) } else { 0 }];
    busy(Nanos(time));
    drop(std::hint::black_box(memory));
    Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Keeps a cpu busy: charged in simulation, spun in a process.
fn busy(cost: Nanos) {
    charge(cost);
    if in_worker_process() {
        let began = Instant::now();
        while began.elapsed() < Duration::from(cost) {
            std::hint::spin_loop();
        }
    }
}
