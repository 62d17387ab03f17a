//! Tasks that do nothing, in the arrangements in which they are measured.
//!
//! Every measurement runs once for nothing, so that code and memory are warm, and ends when the runtime has forgotten
//! what it made: a repetition never works on what its predecessor left to do.

use crate::clock::Stopwatch;
use crate::lab::settle;
use crate::sample::Sample;
use mobula_runtime::{Context, ObjectRef, Rest, Result, task};

#[task]
fn empty() {}

#[task(process)]
fn empty_in_a_process() {}

#[task]
fn sum(numbers: Rest<u64>) -> u64 {
    numbers.0.iter().sum()
}

#[task]
fn next(number: u64) -> u64 {
    number + 1
}

/// Seconds to submit `count` empty tasks, get all their values and drop them.
pub async fn pipelined(context: &Context, repetitions: usize, count: usize) -> Result<Sample> {
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        let results = submit(context, count)?;
        context.get_all(&results).await?;
        drop(results);
        settle(context).await?;
        seconds.push(watch.seconds());
    }
    Ok(Sample::warm(seconds))
}

/// Microseconds to submit one empty task and get its value, one at a time.
pub async fn sync(context: &Context, calls: usize) -> Result<Sample> {
    one_at_a_time(context, calls, |context| empty().submit(context)).await
}

/// The same in a worker process, which is there already.
pub async fn sync_process(context: &Context, calls: usize) -> Result<Sample> {
    one_at_a_time(context, calls, |context| empty_in_a_process().submit(context)).await
}

async fn one_at_a_time(
    context: &Context,
    calls: usize,
    submit: impl Fn(&Context) -> Result<ObjectRef<()>>,
) -> Result<Sample> {
    let mut micros = Vec::new();
    for _ in 0..=calls {
        let watch = Stopwatch::start();
        context.get(&submit(context)?).await?;
        micros.push(watch.micros());
    }
    Ok(Sample::warm(micros))
}

/// Seconds for one task with `count` references as arguments, all of them there already.
pub async fn args(context: &Context, repetitions: usize, count: usize) -> Result<Sample> {
    let numbers = put(context, count).await?;
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        context.get(&sum(&numbers).submit(context)?).await?;
        seconds.push(watch.seconds());
    }
    drop(numbers);
    settle(context).await?;
    Ok(Sample::warm(seconds))
}

/// Seconds for one get of `count` values, all of them there already.
pub async fn get(context: &Context, repetitions: usize, count: usize) -> Result<Sample> {
    let numbers = put(context, count).await?;
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        context.get_all(&numbers).await?;
        seconds.push(watch.seconds());
    }
    drop(numbers);
    settle(context).await?;
    Ok(Sample::warm(seconds))
}

/// Seconds to submit `count` empty tasks and wait for all of them in one wait.
pub async fn wait(context: &Context, repetitions: usize, count: usize) -> Result<Sample> {
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        let results = submit(context, count)?;
        context.wait(&results, count, None).await?;
        seconds.push(watch.seconds());
        drop(results);
        settle(context).await?;
    }
    Ok(Sample::warm(seconds))
}

/// Seconds for `count` tasks of which each takes the result of the one before, submitted at once.
pub async fn chain(context: &Context, repetitions: usize, count: usize) -> Result<Sample> {
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        let mut last = next(0).submit(context)?;
        for _ in 1..count {
            last = next(&last).submit(context)?;
        }
        context.get(&last).await?;
        seconds.push(watch.seconds());
        drop(last);
        settle(context).await?;
    }
    Ok(Sample::warm(seconds))
}

/// Submits `count` empty tasks.
pub fn submit(context: &Context, count: usize) -> Result<Vec<ObjectRef<()>>> {
    (0..count).map(|_| empty().submit(context)).collect()
}

async fn put(context: &Context, count: usize) -> Result<Vec<ObjectRef<u64>>> {
    let mut numbers = Vec::with_capacity(count);
    for number in 0..count {
        numbers.push(context.put(&(number as u64)).await?);
    }
    Ok(numbers)
}
