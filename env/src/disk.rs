//! The disk of a node: for spilled objects and whatever else may be lost with the node.
//!
//! Paths are relative, with `/` between components. An operation that returned is visible at once; it survives a power
//! cut only after [`Disk::sync`] of that path returned:
//! - content written before the sync, and the file's name (its creation or its last rename) are durable;
//! - without it a power cut restores the content and the name as they were at the last sync, or no file at all;
//! - a removal is durable after the next sync of any file; before, the file may come back.
//!
//! Killing a node is no power cut: the operating system lives on and keeps everything written.
//!
//! Directories that mean something only as long as one life of one node lasts, such as those of spilled objects, are
//! [claimed](Disk::claim): the next life on the machine finds those that nobody claims any more and
//! [removes](Disk::sweep) them.
//!
//! A disk may also be *shared* ([`Disk::is_shared`]): the same files for all nodes, which outlive the machine. It is a
//! folder of an object store, named by a URL, where a file appears when it is whole, and what was taken is durable at
//! once; or a directory that all machines mount, `shared:/mnt/pool`. In simulation either is a folder of the one disk that
//! all machines share, and no power cut reaches it. There is no lock of the operating system that all of them see, so a
//! claim there is a file that is written again and again.

mod claim;
#[cfg(not(madsim))]
mod directory;
mod faults;
mod hold;
#[cfg(all(feature = "object-store", not(madsim)))]
mod remote;
#[cfg(all(not(feature = "object-store"), not(madsim)))]
#[path = "disk/remote_none.rs"]
mod remote;
mod tree;
mod writer;

use crate::backend::Place;
use crate::compute::Resource;
use crate::env::Env;
use crate::log::lock;
use bytes::Bytes;
use mobula_protocol::ByteSize;
use std::io;
use std::path::{Component, Path};

pub use claim::{Claim, LEASE};
pub(crate) use faults::FaultyDisk;
pub use faults::{DiskDamage, DiskFaults};
pub use hold::DiskHold;
pub(crate) use tree::Tree;
pub use writer::FileWriter;

/// The disk of a node; see [`Env::disk`].
#[derive(Clone, Debug)]
pub struct Disk {
    env: Env,
    /// See [`Disk::within`].
    root: Option<String>,
    /// The object store that `root` names, once it was needed; or why it cannot be had.
    #[cfg(not(madsim))]
    remote: std::sync::Arc<std::sync::OnceLock<Result<remote::Remote, String>>>,
}

impl Disk {
    pub(crate) fn new(env: Env) -> Self {
        Self::at(env, None)
    }

    fn at(env: Env, root: Option<String>) -> Self {
        Self {
            env,
            root,
            #[cfg(not(madsim))]
            remote: Default::default(),
        }
    }

    /// The part of the machine's storage below `root`: in the real world a directory, relative to this disk's unless it
    /// is absolute, and possibly on another device, or shared storage (`s3://bucket/folder`, `shared:/directory`); in
    /// simulation a folder of the machine's one disk, or of the shared one. Made when the first file is written there.
    pub fn within(&self, root: &str) -> Self {
        let root = match &self.root {
            Some(outer) if !root.starts_with('/') && !is_shared(root) => format!("{outer}/{root}"),
            _ => root.to_owned(),
        };
        Self::at(self.env.clone(), Some(root))
    }

    /// Whether other nodes see the same files here.
    pub fn is_shared(&self) -> bool {
        self.root.as_deref().is_some_and(is_shared)
    }

    /// Whether there can be such a disk at all: in the real world its URL, if it has one, names an object store that this
    /// program was built for and that the environment says how to reach. Nothing is asked of the store.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> io::Result<()> {
        #[cfg(not(madsim))]
        if let Place::Real(real) = self.env.place()
            && self.remote()?.is_none()
        {
            self.directory(real.disk_dir())?;
        }
        Ok(())
    }

    /// Replaces the content of `path`, creating it if needed.
    pub async fn write(&self, path: &str, bytes: Bytes) -> io::Result<()> {
        let size = bytes.len();
        self.run(path, Resource::DiskWrite, size, Op::Write(bytes)).await.map(drop)
    }

    /// Adds to the end of `path`, creating it if needed.
    pub async fn append(&self, path: &str, bytes: Bytes) -> io::Result<()> {
        let size = bytes.len();
        self.run(path, Resource::DiskWrite, size, Op::Append(bytes)).await.map(drop)
    }

    /// Adds to the end of `path` and returns when all of its content is durable: what a log does all day. The file's name
    /// becomes durable by [`Disk::sync`] alone, which the first append to a new file must be followed by.
    ///
    /// After an error nobody knows how much of it is durable (a second try may report success for pages that the first
    /// one dropped: Rebello et al., ATC'20): go on in another file.
    pub async fn append_durably(&self, path: &str, bytes: Bytes) -> io::Result<()> {
        let size = bytes.len();
        self.run(path, Resource::DiskWrite, size, Op::AppendDurably(bytes)).await.map(drop)
    }

    /// Makes the content and the name of `path` durable.
    pub async fn sync(&self, path: &str) -> io::Result<()> {
        self.run(path, Resource::DiskWrite, 0, Op::Sync).await.map(drop)
    }

    /// The bytes `offset..offset + len`, fewer at the end of the file.
    pub async fn read(&self, path: &str, offset: u64, len: u64) -> io::Result<Bytes> {
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        match self.run(path, Resource::DiskRead, size, Op::Read { offset, len }).await? {
            Answer::Bytes(bytes) => Ok(bytes),
            other => unreachable!("read answered {other:?}"),
        }
    }

    /// The length of `path` in bytes.
    pub async fn len(&self, path: &str) -> io::Result<u64> {
        match self.run(path, Resource::DiskRead, 0, Op::Len).await? {
            Answer::Len(len) => Ok(len),
            other => unreachable!("len answered {other:?}"),
        }
    }

    /// Removes `path`. One that does not exist is no error: removal is often repeated.
    pub async fn remove(&self, path: &str) -> io::Result<()> {
        self.run(path, Resource::DiskWrite, 0, Op::Remove).await.map(drop)
    }

    /// The paths of all files that start with `prefix`, sorted.
    pub async fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        match self.run_checked(prefix, Resource::DiskRead, 0, Op::List).await? {
            Answer::Paths(paths) => Ok(paths),
            other => unreachable!("list answered {other:?}"),
        }
    }

    /// Gives the file `from` the name `to`, replacing what has that name.
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_path(to)?;
        self.run(from, Resource::DiskWrite, 0, Op::Rename(to.to_owned())).await.map(drop)
    }

    /// When `path` was last written, in seconds by the clock of the storage; none if there is no such file.
    async fn written(&self, path: &str) -> io::Result<Option<i64>> {
        match self.run(path, Resource::DiskRead, 0, Op::Written).await {
            Ok(Answer::Written(at)) => Ok(Some(at)),
            Ok(other) => unreachable!("written answered {other:?}"),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    async fn run(&self, path: &str, resource: Resource, bytes: usize, op: Op) -> io::Result<Answer> {
        check_path(path)?;
        self.run_checked(path, resource, bytes, op).await
    }

    async fn run_checked(&self, path: &str, resource: Resource, bytes: usize, op: Op) -> io::Result<Answer> {
        match self.env.place() {
            #[cfg(not(madsim))]
            Place::Real(real) => {
                if let Some(remote) = self.remote()? {
                    return remote.run(path, op).await;
                }
                let dir = self.directory(real.disk_dir())?;
                let path = path.to_owned();
                real.compute(move || directory::run(&dir, &path, op).map_err(|e| crate::files::naming(&path, e))).await
            }
            Place::Simulated(sim) => {
                let disk = sim.disk(self.is_shared());
                // The time passes first: a node killed meanwhile has not written.
                let slower = lock(disk).slower();
                self.env.charge(resource, ByteSize(bytes as u64) * slower).await;
                let folder = self.folder();
                lock(disk).run(self.env.now(), &folder, path, op)
            }
        }
    }

    /// The object store behind this disk, if one is: in the real world only.
    #[cfg(not(madsim))]
    fn remote(&self) -> io::Result<Option<&remote::Remote>> {
        match (&self.root, self.env.place()) {
            (Some(url), Place::Real(_)) if is_url(url) => match self.remote.get_or_init(|| remote::Remote::open(url)) {
                Ok(remote) => Ok(Some(remote)),
                Err(why) => Err(io::Error::new(io::ErrorKind::Unsupported, why.clone())),
            },
            _ => Ok(None),
        }
    }

    /// The directory behind this disk, in the real world.
    #[cfg(not(madsim))]
    fn directory(&self, own: Option<&std::path::PathBuf>) -> io::Result<std::path::PathBuf> {
        match (self.root.as_deref().map(unmarked), own) {
            (Some(root), _) if root.starts_with('/') => Ok(root.into()),
            _ if self.is_shared() => {
                let message = format!("`{}`: a directory that all machines share has an absolute path", self.name());
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
            (root, Some(own)) => Ok(root.iter().fold(own.clone(), |own, root| own.join(root))),
            (_, None) => {
                let message = format!("node {} has no disk directory", self.env.node());
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }

    /// What its paths begin with on the simulated disk: nothing, or a folder with a `/` at its end.
    fn folder(&self) -> String {
        let trimmed = self.root.as_deref().map_or("", unmarked).trim_matches('/');
        if trimmed.is_empty() { String::new() } else { format!("{trimmed}/") }
    }

    fn name(&self) -> &str {
        self.root.as_deref().unwrap_or_default()
    }
}

/// How the names of shared directories begin.
const SHARED: &str = "shared:";

/// Whether this names storage that all nodes see.
fn is_shared(root: &str) -> bool {
    root.starts_with(SHARED) || is_url(root)
}

/// The path in a name.
fn unmarked(root: &str) -> &str {
    root.strip_prefix(SHARED).unwrap_or(root)
}

/// Whether this names a folder of an object store.
fn is_url(root: &str) -> bool {
    root.contains("://")
}

/// One operation on one path.
#[derive(Debug)]
pub(crate) enum Op {
    Write(Bytes),
    Append(Bytes),
    AppendDurably(Bytes),
    Sync,
    Read { offset: u64, len: u64 },
    Len,
    Written,
    Remove,
    List,
    Rename(String),
}

/// What an operation returns.
#[derive(Debug)]
pub(crate) enum Answer {
    Done,
    Bytes(Bytes),
    Len(u64),
    Written(i64),
    Paths(Vec<String>),
}

/// A path that leaves the disk's directory is refused in every world.
fn check_path(path: &str) -> io::Result<()> {
    let inside = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if inside {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{path}` is not a relative path without `..`")))
    }
}
