//! Group `codec`: the four objects of "Fast Python Serialization with Ray and Apache Arrow" (2017), there and back.

mod objects;
mod pickle;

use crate::clock::Stopwatch;
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use mobula_runtime::{ByteSize, Tensor};
use mobula_store::{Arena, codec};
use pickle::Pickle;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hint::black_box;

/// The name of the baseline.
const PICKLE: &str = "Python's pickle, protocol 5, of the same object";

/// Milliseconds there and back.
struct Times {
    serialize: Sample,
    deserialize: Sample,
}

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let repetitions = effort.of(20, 5);
    let pickle = Pickle::run(repetitions);
    let mut rows = Vec::new();
    let (tensors, plain) = (objects::arrays::<Tensor<f64>>(), objects::arrays::<Vec<f64>>());
    rows.extend(object("arrays", (&tensors, &plain), repetitions, &pickle));
    let (tensors, plain) = (objects::dict_arrays::<Tensor<f64>>(), objects::dict_arrays::<Vec<f64>>());
    rows.extend(object("dict_arrays", (&tensors, &plain), repetitions, &pickle));
    let sets = objects::dict_sets();
    rows.extend(object("dict_sets", (&sets, &sets), repetitions, &pickle));
    let strings = objects::strings();
    rows.extend(object("strings", (&strings, &strings), repetitions, &pickle));
    rows
}

/// Both rows of one object: as our codec has it, and the same in types of the standard library.
fn object<T: Serialize + DeserializeOwned, P: Serialize + DeserializeOwned>(
    name: &str,
    (value, plain): (&T, &P),
    repetitions: usize,
    pickle: &Result<Pickle, String>,
) -> [Row; 2] {
    let theirs = pickle.as_ref().map_err(Clone::clone).and_then(|pickle| pickle.of(name));
    let (ours, postcard) = (in_store(value, repetitions), with_postcard(plain, repetitions));
    let part = |part: &str, pick: fn(&Times) -> &Sample| {
        let measured = ours.as_ref().map(|times| pick(times).clone()).map_err(Clone::clone);
        let row = Row::new(format!("seed4.{name}.{part}"), Unit::Millis, measured);
        let row = match &theirs {
            Ok(theirs) => row.against(PICKLE, pick(theirs)),
            Err(why) => row.noting(&format!("pickle not measured: {why}")),
        };
        match postcard.as_ref().map(|times| pick(times).median()) {
            Ok(Some(millis)) => row.noting(&format!("postcard {millis:.3} ms")),
            Ok(None) => row,
            Err(why) => row.noting(&format!("postcard not measured: {why}")),
        }
    };
    [part("serialize", |times| &times.serialize), part("deserialize", |times| &times.deserialize)]
}

/// Measures both directions, the first repetition left out.
fn measure<B, T>(
    repetitions: usize,
    mut there: impl FnMut() -> Result<B, String>,
    mut back: impl FnMut(&B) -> Result<T, String>,
) -> Result<Times, String> {
    let (mut serialize, mut deserialize) = (Vec::new(), Vec::new());
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        let bytes = there()?;
        serialize.push(watch.seconds() * 1e3);
        let watch = Stopwatch::start();
        // Dropped within the measurement, as Python does.
        drop(black_box(back(black_box(&bytes))?));
        deserialize.push(watch.seconds() * 1e3);
    }
    Ok(Times { serialize: Sample::warm(serialize), deserialize: Sample::warm(deserialize) })
}

/// Into a store and out of it: a region of shared memory that was written before, and a view of it.
fn in_store<T: Serialize + DeserializeOwned>(value: &T, repetitions: usize) -> Result<Times, String> {
    let arena = Arena::memfd(ByteSize::mb(200)).map_err(|why| why.to_string())?;
    let there = || {
        let encoded = codec::encode(black_box(value)).map_err(|why| why.to_string())?;
        let mut region = arena.allocate(ByteSize(encoded.len() as u64)).ok_or("the store is too small")?;
        encoded.write_into(region.as_mut_slice()).map_err(|why| why.to_string())?;
        Ok(region.seal().bytes())
    };
    measure(repetitions, there, |bytes| codec::decode::<T>(bytes).map_err(|why| why.to_string()))
}

/// A Rust format that is about size and speed and has no buffers out of band.
fn with_postcard<T: Serialize + DeserializeOwned>(value: &T, repetitions: usize) -> Result<Times, String> {
    let there = || postcard::to_stdvec(black_box(value)).map_err(|why| why.to_string());
    measure(repetitions, there, |bytes| postcard::from_bytes::<T>(bytes).map_err(|why| why.to_string()))
}
