//! The codec alone: values to bytes and back.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mobula_store::codec::{Encoded, Tensor, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::hint::black_box;

/// Elements of the tensor: 8 MB of them.
const ELEMENTS: usize = 1_000_000;

/// Measures a value there and back.
fn both<T: Serialize + DeserializeOwned>(criterion: &mut Criterion, name: &str, value: &T) {
    let bytes = bytes_of(value);
    let mut group = criterion.benchmark_group(format!("codec/{name}"));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut room = vec![0; bytes.len()];
    group.bench_function("encode", |bencher| {
        bencher.iter(|| written(black_box(value), &mut room));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode::<T>(black_box(&bytes)).expect("it was encoded from this type"));
    });
    group.finish();
}

fn encoded<T: Serialize>(value: &T) -> Encoded {
    encode(value).expect("numbers, texts and maps can be encoded")
}

/// Encodes a value as a put does: into memory that is there.
fn written<T: Serialize>(value: &T, room: &mut [u8]) {
    encoded(value).write_into(room).expect("the room is as long as the value");
}

fn bytes_of<T: Serialize>(value: &T) -> Bytes {
    encoded(value).to_bytes()
}

fn codec(criterion: &mut Criterion) {
    both(criterion, "unit", &());
    both(criterion, "number", &7_u64);
    let texts: Vec<String> = (0..1_000).map(|n| format!("text number {n}")).collect();
    both(criterion, "1000 texts", &texts);
    let map: BTreeMap<String, f64> = texts.iter().cloned().zip((0..1_000).map(f64::from)).collect();
    both(criterion, "map of 1000", &map);
    both(criterion, "tensor of 8 MB", &Tensor::from(vec![1.5_f64; ELEMENTS]));
}

criterion_group!(benches, codec);
criterion_main!(benches);
