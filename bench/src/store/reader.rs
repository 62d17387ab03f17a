//! A second process that reads the store of the first.

use crate::child;
use crate::clock::Stopwatch;
use crate::lab::{Lab, settle};
use crate::sample::Sample;
use mobula_protocol::{ObjectId, TaskId};
use mobula_runtime::{Blob, ByteSize, Incarnation, attach};
use mobula_store::codec;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::path::PathBuf;

/// What to read, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct ReaderArgs {
    socket: PathBuf,
    node: u32,
    epoch: u32,
    task: u64,
    /// How many times to get it.
    calls: usize,
}

/// What the second process measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Read {
    /// Microseconds of each get, the first not left out.
    micros: Vec<f64>,
    /// Bytes of the value.
    pub bytes: u64,
    /// Seconds to read all of them once, and once more.
    pub first_read: f64,
    pub second_read: f64,
}

impl Read {
    /// Microseconds of a get.
    pub fn gets(self) -> Sample {
        Sample::warm(self.micros)
    }
}

/// Measures it, in the second process.
///
/// # Errors
/// No store is shared there, or the object is not in it.
pub fn measure(args: &ReaderArgs) -> Result<Read, String> {
    let client = attach(&args.socket).map_err(|why| why.to_string())?;
    let owner = Incarnation::new(args.node, args.epoch);
    let object: ObjectId = TaskId { owner, seq: args.task }.result(0);
    let get = || -> Result<Blob, String> {
        let bytes = client.get(object).map_err(|why| why.to_string())?;
        codec::decode(&bytes.ok_or("the object is not there")?).map_err(|why| why.to_string())
    };
    let mut micros = Vec::new();
    for _ in 0..=args.calls {
        let watch = Stopwatch::start();
        let blob = get()?;
        micros.push(watch.micros());
        drop(blob);
    }
    let blob = get()?;
    let read = || {
        let watch = Stopwatch::start();
        let (words, _) = blob.as_chunks::<8>();
        black_box(words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word))));
        watch.seconds()
    };
    Ok(Read { micros, bytes: blob.len() as u64, first_read: read(), second_read: read() })
}

/// Puts `value` into a store of `store` bytes here and has a second process get it.
///
/// # Errors
/// No cluster, no socket, or what the second process said.
pub fn other_process(store: ByteSize, value: &Blob, calls: usize) -> Result<Read, String> {
    let folder = tempfile::tempdir().map_err(|why| why.to_string())?;
    let socket = folder.path().join("store");
    let measured = Lab::with_store(store).drive(async |context| {
        let put = context.put(value).await?;
        let TaskId { owner, seq } = put.id().task;
        let read = context.share_store(&socket).map_err(|why| why.to_string()).and_then(|server| {
            let path = socket.to_str().ok_or("the folder for temporary files has no name in UTF-8")?;
            let [node, epoch] = [owner.node.0, owner.epoch.0].map(|number| number.to_string());
            let read = child::ask(&["reader", path, &node, &epoch, &seq.to_string(), &calls.to_string()]);
            drop(server);
            read
        });
        drop(put);
        settle(context).await?;
        Ok(read)
    });
    measured?
}
