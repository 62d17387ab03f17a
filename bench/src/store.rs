//! Group `store`: how fast values go into a node's store and come out again.

mod gets;
pub mod metadata;
mod puts;
pub mod reader;

use crate::baseline::{self, MEMCPY};
use crate::lab::Lab;
use crate::program::Effort;
use crate::report::{Row, Unit};
use crate::sample::Sample;
use crate::{child, machine};
use bytes::Bytes;
use mobula_runtime::{Blob, ByteSize};

/// The largest object.
const LARGE: usize = 800_000_000;
/// The store it is put into, with some room.
const STORE: ByteSize = ByteSize::mb(1000);
/// What the rows with [`LARGE`] objects need at the same time: the value, a store, the last store on its way out, and
/// the destination of the baseline.
const MEMORY: u64 = 4 * LARGE as u64;
/// A small object.
const SMALL: u64 = 7;

/// All rows.
pub fn rows(effort: Effort) -> Vec<Row> {
    let mut rows = vec![
        warm("put.1MB.warm", 1_000_000, effort.of(200, 50)),
        warm("put.100MB.warm", 100_000_000, effort.of(20, 5)),
    ];
    rows.extend(large(effort));
    rows.extend(small(effort));
    rows.push(in_place(effort.of(20, 5)));
    rows.extend([("1", 1, 1_000), ("1k", 1_000, 10), ("1M", 1_000_000, 1)].map(metadata_row));
    rows
}

/// Bytes whose value does not matter, except that no page of them is missing.
fn value(len: usize) -> Blob {
    Blob(Bytes::from(vec![7; len]))
}

fn rate(len: usize) -> impl Fn(f64) -> f64 {
    move |seconds| len as f64 / 1e9 / seconds
}

fn warm(name: &str, len: usize, repetitions: usize) -> Row {
    let (value, lab) = (value(len), Lab::with_store(STORE));
    let seconds = lab.drive(async |context| puts::warm(context, &value, repetitions).await);
    let copy = baseline::memcpy_warm(repetitions, &value);
    Row::new(name, Unit::GigabytesPerSecond, seconds.map(|seconds| seconds.map(rate(len))))
        .against(MEMCPY, &copy.map(rate(len)))
}

/// The rows about 800 MB.
fn large(effort: Effort) -> Vec<Row> {
    const WARM: &str = "put.800MB.warm";
    const COLD: &str = "put.800MB.cold";
    const SAME: &str = "get.800MB.same_process";
    const OTHER: &str = "get.800MB.other_process";
    if let Some(available) = machine::available().filter(|available| *available < MEMORY) {
        let why = format!("it needs {} of memory, {} are available", ByteSize(MEMORY), ByteSize(available));
        let row = |name: &str, unit| Row::new(name, unit, Err(why.clone()));
        let rate = Unit::GigabytesPerSecond;
        return vec![row(WARM, rate), row(COLD, rate), row(SAME, Unit::Micros), row(OTHER, Unit::Micros)];
    }
    let value = value(LARGE);
    let cold = Sample::repeat(effort.of(5, 2), || {
        // Every store is new: none of its pages exists.
        Lab::with_store(STORE).drive(async |context| puts::once(context, &value).await)
    });
    let cold_copy = baseline::memcpy_cold(effort.of(5, 2), &value);
    let get = Lab::with_store(STORE).drive(async |context| gets::again(context, &value, effort.of(2_000, 500)).await);
    let other = reader::other_process(STORE, &value, effort.of(2_000, 500));
    let warm_copy = baseline::memcpy_warm(effort.of(7, 3), &value);
    let micros = warm_copy.map(|seconds| seconds * 1e6);
    let cold = Row::new(COLD, Unit::GigabytesPerSecond, cold.map(|seconds| seconds.map(rate(LARGE))));
    vec![
        warm(WARM, LARGE, effort.of(7, 3)),
        cold.against(MEMCPY, &cold_copy.map(rate(LARGE))),
        Row::new(SAME, Unit::Micros, get).against(MEMCPY, &micros),
        other_row(Row::new(OTHER, Unit::Micros, other.clone().map(|read| read.gets())), other).against(MEMCPY, &micros),
    ]
}

/// The row with what else the other process measured.
fn other_row(row: Row, measured: Result<reader::Read, String>) -> Row {
    let Ok(read) = measured else { return row };
    let first = read.bytes as f64 / 1e9 / read.first_read;
    let again = read.bytes as f64 / 1e9 / read.second_read;
    row.noting(&format!("that process then reads all bytes at {first:.2} GB/s, again at {again:.2}"))
}

fn small(effort: Effort) -> [Row; 2] {
    let (repetitions, count) = (effort.of(7, 3), effort.of(100_000, 20_000));
    let lab = Lab::with_store(STORE);
    let per_second = |seconds: Sample| seconds.map(|seconds| count as f64 / seconds);
    let copy = per_second(baseline::memcpy_small(repetitions, count, &SMALL.to_le_bytes()));
    let put = lab.drive(async |context| puts::many(context, SMALL, repetitions, count).await);
    let get = lab.drive(async |context| gets::one_by_one(context, SMALL, repetitions, count).await);
    [
        Row::new("put.small", Unit::OpsPerSecond, put.map(per_second)).against(MEMCPY, &copy),
        Row::new("get.small", Unit::OpsPerSecond, get.map(per_second)).against(MEMCPY, &copy),
    ]
}

fn in_place(repetitions: usize) -> Row {
    const LEN: usize = 100_000_000;
    let source = value(LEN);
    let seconds = puts::in_place(&source, repetitions).map_err(|why| why.to_string());
    let copy = baseline::memcpy_warm(repetitions, &source);
    Row::new("create_seal.in_place", Unit::GigabytesPerSecond, seconds.map(|seconds| seconds.map(rate(LEN))))
        .against(MEMCPY, &copy.map(rate(LEN)))
}

fn metadata_row((count, objects, tables): (&str, u64, u64)) -> Row {
    let measured = child::ask::<metadata::Metadata>(&["metadata", &objects.to_string(), &tables.to_string()]);
    let name = format!("metadata_bytes_per_object.{count}");
    let bytes = measured.as_ref().map(|found| Sample::of(vec![found.bytes_per_object])).map_err(Clone::clone);
    let row = Row::new(name, Unit::Bytes, bytes);
    match measured {
        Ok(found) => row.noting(&format!(
            "and {} for the empty table; create and seal take {:.0} ns an object",
            ByteSize(found.empty_table as u64),
            found.nanos_per_object
        )),
        Err(_) => row,
    }
}
