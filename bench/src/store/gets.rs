//! Values on their way out.

use crate::clock::Stopwatch;
use crate::lab::settle;
use crate::sample::Sample;
use mobula_runtime::{Blob, Context, Result};

/// Microseconds of a get of a value in this node's store.
pub async fn again(context: &Context, value: &Blob, calls: usize) -> Result<Sample> {
    let put = context.put(value).await?;
    let mut micros = Vec::new();
    for _ in 0..=calls {
        let watch = Stopwatch::start();
        let view = context.get(&put).await?;
        micros.push(watch.micros());
        drop(view);
    }
    drop(put);
    settle(context).await?;
    Ok(Sample::warm(micros))
}

/// Seconds to get a small value `count` times, one after the other.
pub async fn one_by_one(context: &Context, value: u64, repetitions: usize, count: usize) -> Result<Sample> {
    let put = context.put(&value).await?;
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        for _ in 0..count {
            context.get(&put).await?;
        }
        seconds.push(watch.seconds());
    }
    Ok(Sample::warm(seconds))
}
