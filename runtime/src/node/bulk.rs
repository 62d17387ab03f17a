//! Object bytes between nodes: framed byte streams, received straight into the destination's region (decision D10).
//!
//! ```text
//! request:  node (4) epoch (4) task number (8) result index (4)      all little-endian
//! reply:    1, size (8), the object's bytes                          or: 0, when there is no sealed copy here
//! ```
//! One connection serves any number of requests, one after the other.

use crate::objects::Objects;
use mobula_env::{Env, Listener, Resource, Stream};
use mobula_protocol::pull::FetchFailure;
use mobula_protocol::{ByteSize, Incarnation, Nanos, ObjectId, TaskId};
use mobula_store::{Region, codec};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REQUEST: usize = 20;
/// Bytes are moved, and in simulation charged, in steps of this size.
const STEP: usize = 256 << 10;
/// A source that sends nothing for this long is given up; the pull machine asks another one or the same again.
const SILENCE: Nanos = Nanos::secs(5);

/// Serves the objects of this node until the node ends.
pub(super) async fn serve(env: Env, listener: Listener, objects: Objects) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let (here, objects) = (env.clone(), objects.clone());
                // A connection that breaks is its reader's business.
                env.spawn("bulk send", async move {
                    let _ = answer(&here, stream, &objects).await;
                });
            }
            Err(why) => {
                env.emit("bulk", format_args!("accept failed: {:?}", why.kind()));
                env.sleep(Nanos::millis(10)).await;
            }
        }
    }
}

async fn answer(env: &Env, mut stream: Stream, objects: &Objects) -> io::Result<()> {
    loop {
        let mut request = [0; REQUEST];
        stream.read_exact(&mut request).await?;
        let Some(bytes) = objects.bytes(env.now(), parse(&request)) else {
            stream.write_all(&[0]).await?;
            stream.flush().await?;
            continue;
        };
        stream.write_all(&[1]).await?;
        stream.write_all(&(bytes.len() as u64).to_le_bytes()).await?;
        for step in bytes.chunks(STEP) {
            env.charge(Resource::NicSend, ByteSize(step.len() as u64)).await;
            stream.write_all(step).await?;
            stream.flush().await?;
        }
        stream.flush().await?;
    }
}

/// Fills `region` with the object's bytes from the node at `address`.
///
/// # Errors
/// As the pull machine distinguishes them; after any of them another attempt may succeed.
pub(super) async fn fetch(env: &Env, address: &str, object: ObjectId, region: Region) -> Result<Region, FetchFailure> {
    let unreachable = |_: io::Error| FetchFailure::Unreachable;
    let mut stream = env.connect(address).await.map_err(unreachable)?;
    stream.write_all(&frame(object)).await.map_err(unreachable)?;
    stream.flush().await.map_err(unreachable)?;
    let mut region = region;
    read(env, &mut stream, &mut region).await?;
    // End to end: what was sealed at the source is what is sealed here (opening N5 of the field: nobody checks this).
    let (region, intact) = env
        .compute(move || {
            let mut region = region;
            let intact = codec::verify(region.as_mut_slice()).is_ok();
            (region, intact)
        })
        .await;
    if intact { Ok(region) } else { Err(FetchFailure::Corrupt) }
}

async fn read(env: &Env, stream: &mut Stream, region: &mut Region) -> Result<(), FetchFailure> {
    let mut found = [0; 1];
    read_some(env, stream, &mut found).await?;
    if found != [1] {
        return Err(FetchFailure::NotThere);
    }
    let mut size = [0; 8];
    read_some(env, stream, &mut size).await?;
    if u64::from_le_bytes(size) != region.size().0 {
        return Err(FetchFailure::Corrupt);
    }
    for step in region.as_mut_slice().chunks_mut(STEP) {
        read_some(env, stream, step).await?;
        env.charge(Resource::NicReceive, ByteSize(step.len() as u64)).await;
    }
    Ok(())
}

async fn read_some(env: &Env, stream: &mut Stream, into: &mut [u8]) -> Result<(), FetchFailure> {
    match env.timeout(SILENCE, stream.read_exact(into)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(FetchFailure::Unreachable),
    }
}

fn frame(object: ObjectId) -> [u8; REQUEST] {
    let mut frame = [0; REQUEST];
    frame[..4].copy_from_slice(&object.task.owner.node.0.to_le_bytes());
    frame[4..8].copy_from_slice(&object.task.owner.epoch.0.to_le_bytes());
    frame[8..16].copy_from_slice(&object.task.seq.to_le_bytes());
    frame[16..].copy_from_slice(&object.index.to_le_bytes());
    frame
}

fn parse(frame: &[u8; REQUEST]) -> ObjectId {
    let word = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let seq = u64::from(word(8)) | u64::from(word(12)) << 32;
    ObjectId { task: TaskId { owner: Incarnation::new(word(0), word(4)), seq }, index: word(16) }
}
