//! Spilling I/O: batches to files, and records back into memory, for the decisions of [`mobula_store::Table`].
//!
//! Everything here runs in tasks of its own, off the node's loop. The files of one life of a node are in a directory of
//! their own in each spill directory, which the life claims when it first writes there; what dead lives have left is
//! swept when a node starts.

use bytes::{Bytes, BytesMut};
use mobula_env::{Claim, Disk, Env, FileWriter};
use mobula_protocol::{ByteSize, Incarnation, Nanos, ObjectId};
use mobula_store::Region;
use mobula_store::spill::format::{self, BLOCK, Head};
use mobula_store::spill::{Batch, FileName, Place, SpillFailure};
use std::io;
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;

/// How the directories of lives begin; what follows names the life.
const PREFIX: &str = "spill-";
/// Smaller objects are gathered until there is so much to write at once, in bytes.
const GATHER: usize = 1 << 20;
/// Larger ones are written in such pieces, so that no write keeps a slow disk for long. Also what is read at once.
const PIECE: usize = 16 * BLOCK as usize;
/// How often a read that fails for a reason that may pass is tried, and the pause after the first time.
const READS: u32 = 4;
const PAUSE: Nanos = Nanos::millis(50);

/// The spill directories of one life of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SpillDisk(Arc<Shared>);

struct Shared {
    env: Env,
    /// The name of this life's directory in each of them.
    name: OnceLock<String>,
    directories: Vec<Directory>,
}

struct Directory {
    path: String,
    claim: OnceCell<Claim>,
}

/// A spilled object, to be read in parts.
pub(crate) struct SpilledObject {
    env: Env,
    disk: Disk,
    place: Place,
    head: Arc<Head>,
}

impl SpillDisk {
    pub fn new(env: &Env, directories: &[String]) -> Self {
        let directory = |path: &String| Directory { path: path.clone(), claim: OnceCell::new() };
        let directories = directories.iter().map(directory).collect();
        Self(Arc::new(Shared { env: env.clone(), name: OnceLock::new(), directories }))
    }

    /// The node has its identity. What dead lives have left is removed in the background.
    pub fn born(&self, node: &str, me: Incarnation, nonce: u64) {
        if self.0.name.set(format!("{PREFIX}{node}-{me}-{nonce:016x}")).is_err() {
            return;
        }
        let (here, env) = (self.clone(), self.0.env.clone());
        env.clone().spawn("sweep", async move {
            for directory in &here.0.directories {
                match env.disk().within(&directory.path).sweep(PREFIX).await {
                    Ok(swept) if swept.is_empty() => {}
                    Ok(swept) => env.emit("swept", format_args!("{}", swept.join(", "))),
                    Err(why) => env.emit("sweep failed", format_args!("{}: {:?}", directory.path, why.kind())),
                }
            }
        });
    }

    /// This life's directory in directory number `at`.
    async fn disk(&self, at: usize) -> io::Result<&Disk> {
        let (Some(directory), Some(name)) = (self.0.directories.get(at), self.0.name.get()) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no spill directory {at} yet")));
        };
        let root = self.0.env.disk().within(&directory.path);
        let name = name.clone();
        directory.claim.get_or_try_init(move || claim(root, name)).await.map(Claim::disk)
    }

    /// Writes a batch, reads it back and compares.
    pub async fn write(&self, batch: Batch) -> Result<(), SpillFailure> {
        let disk = self.disk(batch.file.directory).await.map_err(failure)?;
        let file = batch.file;
        let objects: Vec<(ObjectId, Bytes)> = batch.objects.iter().map(|(id, view)| (*id, view.bytes())).collect();
        let hashed = objects.clone();
        let heads: Vec<Bytes> = self.0.env.compute(move || heads(file, &hashed)).await;
        let mut out = Appender { file: disk.create(&file.to_string()).map_err(failure)?, gathered: BytesMut::new() };
        for ((_, bytes), head) in objects.iter().zip(&heads) {
            out.add(head).await?;
            out.add(bytes).await?;
            let end = (head.len() + bytes.len()) as u64;
            let padding = format::record_size(ByteSize(bytes.len() as u64)) - end;
            out.gathered.resize(out.gathered.len() + padding as usize, 0);
        }
        out.flush().await?;
        out.file.finish().await.map_err(failure)?;
        let mut offset = 0;
        for (id, bytes) in objects {
            let place = Place { file, offset, len: ByteSize(bytes.len() as u64) };
            drop(bytes);
            offset += format::record_size(place.len);
            let written = open_at(&self.0.env, disk, id, place).await?;
            for start in (0..written.len()).step_by(PIECE) {
                written.read(start, start + PIECE).await?;
            }
        }
        Ok(())
    }

    /// Removes a file. Says whether it is gone.
    pub async fn remove(&self, file: FileName) -> bool {
        match self.disk(file.directory).await {
            Ok(disk) => disk.remove(&file.to_string()).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Finds a spilled object. Failures that may pass are waited out for a while.
    pub async fn open(&self, object: ObjectId, place: Place) -> Result<SpilledObject, SpillFailure> {
        let mut tries = Tries::new(&self.0.env);
        loop {
            let opened = match self.disk(place.file.directory).await {
                Ok(disk) => open_at(&self.0.env, disk, object, place).await,
                Err(why) => Err(failure(why)),
            };
            match opened {
                Err(why) if tries.again(&why).await => {}
                result => return result,
            }
        }
    }

    /// Fills `region` with a spilled object and compares it with what was written.
    pub async fn restore(&self, object: ObjectId, place: Place, mut region: Region) -> Result<Region, SpillFailure> {
        let spilled = self.open(object, place).await?;
        for start in (0..spilled.len()).step_by(PIECE) {
            let bytes = spilled.read(start, start + PIECE).await?;
            region.as_mut_slice()[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(region)
    }
}

fn heads(file: FileName, objects: &[(ObjectId, Bytes)]) -> Vec<Bytes> {
    objects.iter().map(|(id, bytes)| Head::of(file.number, *id, bytes).to_bytes().into()).collect()
}

async fn claim(root: Disk, name: String) -> io::Result<Claim> {
    root.claim(&name).await
}

async fn open_at(env: &Env, disk: &Disk, object: ObjectId, place: Place) -> Result<SpilledObject, SpillFailure> {
    let bytes =
        disk.read(&place.file.to_string(), place.offset, format::head_size(place.len)).await.map_err(failure)?;
    let head = Head::parse(&bytes)?;
    head.expect(object, &place)?;
    Ok(SpilledObject { env: env.clone(), disk: disk.clone(), place, head: Arc::new(head) })
}

impl SpilledObject {
    /// Which it is.
    pub fn object(&self) -> ObjectId {
        self.head.object
    }

    /// Where it lies.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How long it is.
    pub fn len(&self) -> usize {
        self.place.len.0 as usize
    }

    /// The bytes `from..to`, whole and as they were written.
    pub async fn read(&self, from: usize, to: usize) -> Result<Bytes, SpillFailure> {
        let (from, to) = (from.min(self.len()), to.min(self.len()));
        let start = from as u64 / BLOCK * BLOCK;
        let end = (to as u64).next_multiple_of(BLOCK).min(self.place.len.0);
        let mut tries = Tries::new(&self.env);
        loop {
            match self.blocks(start, end).await {
                Ok(blocks) => return Ok(blocks.slice(from - start as usize..to - start as usize)),
                Err(why) if tries.again(&why).await => {}
                Err(why) => return Err(why),
            }
        }
    }

    /// Whole blocks, compared with their hashes.
    async fn blocks(&self, start: u64, end: u64) -> Result<Bytes, SpillFailure> {
        let at = self.place.offset + format::head_size(self.place.len) + start;
        let bytes = self.disk.read(&self.place.file.to_string(), at, end - start).await.map_err(failure)?;
        if bytes.len() as u64 != end - start {
            let (wanted, found) = (end - start, bytes.len() as u64);
            return Err(format::FormatError::Truncated { wanted, found }.into());
        }
        let (head, checked) = (self.head.clone(), bytes.clone());
        let first = start / BLOCK;
        let check = move || {
            let mut blocks = (first..).zip(checked.chunks(BLOCK as usize));
            blocks.try_for_each(|(number, block)| head.check(number, block))
        };
        self.env.compute(check).await?;
        Ok(bytes)
    }
}

/// The end of a file that is being written.
struct Appender {
    file: FileWriter,
    gathered: BytesMut,
}

impl Appender {
    async fn add(&mut self, bytes: &Bytes) -> Result<(), SpillFailure> {
        if bytes.len() < GATHER {
            self.gathered.extend_from_slice(bytes);
            return if self.gathered.len() < GATHER { Ok(()) } else { self.flush().await };
        }
        self.flush().await?;
        for start in (0..bytes.len()).step_by(PIECE) {
            let piece = bytes.slice(start..bytes.len().min(start + PIECE));
            self.file.append(piece).await.map_err(failure)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SpillFailure> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.file.append(self.gathered.split().freeze()).await.map_err(failure)
    }
}

/// Counts how often a read was tried.
struct Tries<'a> {
    env: &'a Env,
    left: u32,
    pause: Nanos,
}

impl<'a> Tries<'a> {
    fn new(env: &'a Env) -> Self {
        Self { env, left: READS - 1, pause: PAUSE }
    }

    /// Whether to try once more, after a pause.
    async fn again(&mut self, why: &SpillFailure) -> bool {
        if why.is_loss() || self.left == 0 {
            return false;
        }
        self.env.sleep(self.pause).await;
        (self.left, self.pause) = (self.left - 1, self.pause * 2);
        true
    }
}

fn failure(why: io::Error) -> SpillFailure {
    match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpillFailure::DiskFull(why.to_string()),
        io::ErrorKind::NotFound => SpillFailure::Missing(why.to_string()),
        _ => SpillFailure::Io(why.to_string()),
    }
}
