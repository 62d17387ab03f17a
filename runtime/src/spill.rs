//! Spilling I/O: batches to files, and records back into memory, for the decisions of [`mobula_store::Table`].
//!
//! No operation is waited for longer than [`PATIENCE`]: a disk that hangs is one that fails, and then another directory is
//! written to, or what was to be read is lost.
//!
//! Everything here runs in tasks of its own, off the node's loop. The files of one life of a node are in a directory of
//! their own in each spill directory, which the life claims when it first writes there; what dead lives have left is
//! swept when a node starts, and in shared storage now and then.
//!
//! A file in shared storage outlives its node. The owner of its objects then *adopts* it: it reads and removes the file
//! where it lies, and keeps the dead life's claim alive as long as it has a file there.

use bytes::{Bytes, BytesMut};
use mobula_env::{CLAIM_LEASE, Claim, Disk, Env, FileWriter};
use mobula_protocol::{ByteSize, Incarnation, Nanos, ObjectId, SharedPlace};
use mobula_store::Region;
use mobula_store::spill::format::{self, BLOCK, Head};
use mobula_store::spill::{Batch, FileName, Place, SpillFailure};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{OnceCell, RwLock};

/// How the directories of lives begin; what follows names the life.
const PREFIX: &str = "spill-";
/// Smaller objects are gathered until there is so much to write at once, in bytes.
const GATHER: usize = 1 << 20;
/// Larger ones are written in such pieces, so that no write keeps a slow disk for long. Also what is read at once.
const PIECE: usize = 16 * BLOCK as usize;
/// How often a read that fails for a reason that may pass is tried, and the pause after the first time.
const READS: u32 = 4;
const PAUSE: Nanos = Nanos::millis(50);
/// A disk that takes longer for one operation hangs. Above what a slow one takes for a piece of a file, with all that
/// stands in line before it.
const PATIENCE: Nanos = Nanos::secs(30);
/// How long until a dead life's claim that could not be kept alive is tried again: many times within a lease.
const CLAIM_AGAIN: Nanos = Nanos::secs(10);

/// The spill directories of one life of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SpillDisk(Arc<Shared>);

struct Shared {
    env: Env,
    /// The name of this life's directory in each of them.
    life: OnceLock<Life>,
    directories: Vec<Directory>,
    /// Whether the node is about to end; locked to be read while a file is being written.
    ended: RwLock<bool>,
    /// Directories of dead lives, numbered behind the own ones.
    adopted: Mutex<Vec<Adopted>>,
}

struct Life {
    me: Incarnation,
    name: Arc<str>,
}

struct Directory {
    path: Arc<str>,
    shared: bool,
    claim: OnceCell<Claim>,
}

struct Adopted {
    root: Arc<str>,
    life: Arc<str>,
    /// The numbers of the files that are still needed here.
    files: BTreeSet<u64>,
    /// Kept while there are some.
    claim: Option<Claim>,
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
        let directory = |path: &String| Directory {
            path: path.as_str().into(),
            shared: env.disk().within(path).is_shared(),
            claim: OnceCell::new(),
        };
        let directories = directories.iter().map(directory).collect();
        let (life, ended, adopted) = (OnceLock::new(), RwLock::new(false), Mutex::default());
        Self(Arc::new(Shared { env: env.clone(), life, directories, ended, adopted }))
    }

    /// The node has its identity. What dead lives have left is removed in the background.
    pub fn born(&self, node: &str, me: Incarnation, nonce: u64) {
        if self.0.life.set(Life { me, name: format!("{PREFIX}{node}-{me}-{nonce:016x}").into() }).is_err() {
            return;
        }
        let (here, env) = (self.clone(), self.0.env.clone());
        env.clone().spawn("sweep", async move {
            here.sweep(|_| true).await;
            // Elsewhere whoever dies leaves something only to the next life on the machine.
            while here.has_shared() {
                env.sleep(CLAIM_LEASE).await;
                here.sweep(|directory| directory.shared).await;
            }
        });
    }

    async fn sweep(&self, which: impl Fn(&Directory) -> bool) {
        let env = &self.0.env;
        for directory in self.0.directories.iter().filter(|directory| which(directory)) {
            match env.disk().within(&directory.path).sweep(PREFIX).await {
                Ok(swept) if swept.is_empty() => {}
                Ok(swept) => env.emit("swept", format_args!("{}", swept.join(", "))),
                Err(why) => env.emit("sweep failed", format_args!("{}: {:?}", directory.path, why.kind())),
            }
        }
    }

    /// Whether anything is written where other nodes can read it.
    pub fn has_shared(&self) -> bool {
        self.0.directories.iter().any(|directory| directory.shared)
    }

    /// What other nodes are told of a place in shared storage; none of one that only this machine sees.
    pub fn shared(&self, place: Place) -> Option<SharedPlace> {
        let directory = self.0.directories.get(place.file.directory).filter(|directory| directory.shared)?;
        let life = self.0.life.get()?.name.clone();
        Some(SharedPlace { root: directory.path.clone(), life, file: place.file.number, offset: place.offset })
    }

    /// What a place in a dead node's file is called here.
    pub fn locate(&self, shared: &SharedPlace, len: ByteSize) -> Place {
        let mut adopted = self.adopted();
        let known = adopted.iter().position(|known| known.root == shared.root && known.life == shared.life);
        let at = known.unwrap_or_else(|| {
            let (root, life) = (shared.root.clone(), shared.life.clone());
            adopted.push(Adopted { root, life, files: BTreeSet::new(), claim: None });
            adopted.len() - 1
        });
        let directory = self.0.directories.len() + at;
        Place { file: FileName { number: shared.file, directory }, offset: shared.offset, len }
    }

    /// Keeps a dead node's file from being swept, until it is [removed](SpillDisk::remove).
    pub fn adopt(&self, file: FileName) {
        let Some(at) = file.directory.checked_sub(self.0.directories.len()) else { return };
        let mut all = self.adopted();
        let Some(adopted) = all.get_mut(at) else { return };
        if adopted.files.is_empty() {
            let (here, env) = (self.clone(), self.0.env.clone());
            env.spawn("adopt", async move { here.keep_claim(at).await });
        }
        adopted.files.insert(file.number);
    }

    /// An adopted file is gone.
    fn disown(&self, file: FileName) {
        let Some(at) = file.directory.checked_sub(self.0.directories.len()) else { return };
        if let Some(adopted) = self.adopted().get_mut(at) {
            adopted.files.remove(&file.number);
            if adopted.files.is_empty() {
                adopted.claim = None;
            }
        }
    }

    /// Claims an adopted directory besides the dead who did. Storage that does not answer is asked again.
    async fn keep_claim(&self, at: usize) {
        loop {
            let (root, life) = match self.adopted().get(at) {
                Some(adopted) if !adopted.files.is_empty() => (adopted.root.clone(), adopted.life.clone()),
                _ => return,
            };
            match self.0.env.disk().within(&root).claim_too(&life).await {
                Ok(claim) => {
                    let mut adopted = self.adopted();
                    if let Some(adopted) = adopted.get_mut(at).filter(|adopted| !adopted.files.is_empty()) {
                        adopted.claim = Some(claim);
                    }
                    return;
                }
                Err(_) => self.0.env.sleep(CLAIM_AGAIN).await,
            }
        }
    }

    fn adopted(&self) -> MutexGuard<'_, Vec<Adopted>> {
        self.0.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This life's directory in directory number `at`, or the one of a dead life of that number.
    async fn disk(&self, at: usize) -> io::Result<Disk> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no spill directory {at} yet"));
        if let Some(behind) = at.checked_sub(self.0.directories.len()) {
            let found = self.adopted().get(behind).map(|adopted| (adopted.root.clone(), adopted.life.clone()));
            let (root, life) = found.ok_or_else(missing)?;
            return Ok(self.0.env.disk().within(&root).within(&life));
        }
        self.claim(at).await.map(|claim| claim.disk().clone())
    }

    async fn claim(&self, at: usize) -> io::Result<&Claim> {
        let (Some(directory), Some(life)) = (self.0.directories.get(at), self.0.life.get()) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no spill directory {at} yet")));
        };
        let (root, name) = (self.0.env.disk().within(&directory.path), life.name.to_string());
        directory.claim.get_or_try_init(move || claim(root, name)).await
    }

    /// Writes a batch, reads it back and compares.
    pub async fn write(&self, batch: Batch) -> Result<(), SpillFailure> {
        let env = &self.0.env;
        let ended = self.0.ended.read().await;
        if *ended {
            return Err(SpillFailure::Io("the node is about to end".to_owned()));
        }
        let claim = in_time(env, self.claim(batch.file.directory)).await?;
        let (disk, file) = (claim.disk(), batch.file);
        // Their owner may need them when this node is gone.
        if self.0.life.get().is_some_and(|life| batch.objects.iter().any(|(id, _)| id.owner() != life.me)) {
            claim.keep();
        }
        let objects: Vec<(ObjectId, Bytes)> = batch.objects.iter().map(|(id, view)| (*id, view.bytes())).collect();
        let hashed = objects.clone();
        let heads: Vec<Bytes> = self.0.env.compute(move || heads(file, &hashed)).await;
        let begun = disk.create(&file.to_string()).map_err(failure)?;
        let mut out = Appender { env, file: begun, gathered: BytesMut::new() };
        for ((_, bytes), head) in objects.iter().zip(&heads) {
            out.add(head).await?;
            out.add(bytes).await?;
            let end = (head.len() + bytes.len()) as u64;
            let padding = format::record_size(ByteSize(bytes.len() as u64)) - end;
            out.gathered.resize(out.gathered.len() + padding as usize, 0);
        }
        out.flush().await?;
        in_time(env, out.file.finish()).await?;
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
        let done = match self.disk(file.directory).await {
            Ok(disk) => in_time(&self.0.env, disk.remove(&file.to_string())).await.is_ok(),
            Err(_) => false,
        };
        if done {
            self.disown(file);
        }
        done
    }

    /// Waits until nothing is being written, and removes what this node has on disk for its own process: nobody will read
    /// it. What the owner of is another process stays where that can read it, if it is in shared storage.
    pub async fn end(&self) {
        *self.0.ended.write().await = true;
        for claim in self.0.directories.iter().filter_map(|directory| directory.claim.get()) {
            // What cannot be removed now is swept by somebody's next life.
            let _ = in_time(&self.0.env, claim.end()).await;
        }
        let all =
            self.adopted().iter().enumerate().map(|(at, adopted)| (at, adopted.files.clone())).collect::<Vec<_>>();
        for (at, files) in all {
            for number in files {
                self.remove(FileName { number, directory: self.0.directories.len() + at }).await;
            }
        }
    }

    /// Finds a spilled object. Failures that may pass are waited out for a while.
    pub async fn open(&self, object: ObjectId, place: Place) -> Result<SpilledObject, SpillFailure> {
        let mut tries = Tries::new(&self.0.env);
        loop {
            let opened = match in_time(&self.0.env, self.disk(place.file.directory)).await {
                Ok(disk) => open_at(&self.0.env, &disk, object, place).await,
                Err(why) => Err(why),
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
    let (file, head) = (place.file.to_string(), format::head_size(place.len));
    let bytes = in_time(env, disk.read(&file, place.offset, head)).await?;
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
        let file = self.place.file.to_string();
        let bytes = in_time(&self.env, self.disk.read(&file, at, end - start)).await?;
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
struct Appender<'a> {
    env: &'a Env,
    file: FileWriter,
    gathered: BytesMut,
}

impl Appender<'_> {
    async fn add(&mut self, bytes: &Bytes) -> Result<(), SpillFailure> {
        if bytes.len() < GATHER {
            self.gathered.extend_from_slice(bytes);
            return if self.gathered.len() < GATHER { Ok(()) } else { self.flush().await };
        }
        self.flush().await?;
        for start in (0..bytes.len()).step_by(PIECE) {
            let piece = bytes.slice(start..bytes.len().min(start + PIECE));
            in_time(self.env, self.file.append(piece)).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SpillFailure> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        in_time(self.env, self.file.append(self.gathered.split().freeze())).await
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

/// Gives up an operation of a disk that hangs. What it does later nobody looks at: a file that was not finished is
/// removed, and its name is not used again.
async fn in_time<T>(env: &Env, operation: impl Future<Output = io::Result<T>>) -> Result<T, SpillFailure> {
    match env.timeout(PATIENCE, operation).await {
        Ok(result) => result.map_err(failure),
        Err(_) => Err(SpillFailure::Hung(PATIENCE)),
    }
}

fn failure(why: io::Error) -> SpillFailure {
    match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpillFailure::DiskFull(why.to_string()),
        io::ErrorKind::NotFound => SpillFailure::Missing(why.to_string()),
        _ => SpillFailure::Io(why.to_string()),
    }
}
