//! Directories that belong to a living process, and removing those that no longer do.

use super::{Disk, check_path};
use crate::backend::Place;
use crate::log::lock;
use std::io;

/// A directory that is claimed for as long as this lives and the process does. Dropping it removes the directory with
/// all its files in the real world, unless they are to be [kept](Claim::keep); a process that is killed leaves it to the
/// next [`Disk::sweep`].
///
/// Shared storage has no locks: there the claim is a file that is written again and again, and a folder in which that file
/// is older than [ten minutes](LEASE) of the storage's own clock is nobody's. So several processes can claim one folder,
/// and what one has left another can [keep alive](Disk::claim_too).
#[derive(Debug)]
pub struct Claim {
    disk: Disk,
    held: Held,
}

/// What keeps a claim.
#[derive(Debug)]
enum Held {
    #[cfg(not(madsim))]
    Directory {
        _lock: real::Held,
    },
    Folder(leased::Lease),
    /// The simulated disk knows who lives.
    Simulated,
}

/// For how long a claim in shared storage is good after it was last written.
pub const LEASE: mobula_protocol::Nanos = mobula_protocol::Nanos::secs(600);

impl Claim {
    /// The disk below the claimed directory.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Removes the files now, where dropping this would: for a process that is about to end, and may have no time for
    /// what a drop leaves to the background. Nothing is to be written there any more.
    ///
    /// # Errors
    /// The disk's; then the next sweep has more to do.
    pub async fn end(&self) -> io::Result<()> {
        match &self.held {
            #[cfg(not(madsim))]
            Held::Directory { _lock: lock } => match self.disk.env.place() {
                Place::Real(real) => {
                    let path = lock.path().to_owned();
                    real.compute(move || real::remove(&path)).await
                }
                Place::Simulated(_) => Ok(()),
            },
            Held::Folder(lease) => lease.end().await,
            Held::Simulated => Ok(()),
        }
    }

    /// From now on, dropping this leaves the files where they are, if the storage is shared: others may need them. They go
    /// with the first [`Disk::sweep`] after the claim is over. In a directory of the machine it changes nothing.
    pub fn keep(&self) {
        if let Held::Folder(lease) = &self.held {
            lease.keep();
        }
    }
}

impl Disk {
    /// Creates the directory `name`, which must not exist, and claims it.
    ///
    /// # Errors
    /// It exists, or cannot be created.
    pub async fn claim(&self, name: &str) -> io::Result<Claim> {
        check_path(name)?;
        let held = match self.env.place() {
            _ if self.is_shared() => Held::Folder(leased::claim(self, name).await?),
            #[cfg(not(madsim))]
            Place::Real(real) => {
                let (dir, name_there) = (self.directory(real.disk_dir())?, name.to_owned());
                Held::Directory { _lock: real.compute(move || real::claim(&dir, &name_there)).await? }
            }
            Place::Simulated(sim) => {
                lock(sim.disk(false)).claim(&format!("{}{name}/", self.folder()))?;
                Held::Simulated
            }
        };
        Ok(Claim { disk: self.within(name), held })
    }

    /// Claims the directory `name` in shared storage besides whoever has claimed it, living or dead. Dropping this claim
    /// removes nothing.
    ///
    /// # Errors
    /// The storage's; this is no shared storage.
    pub async fn claim_too(&self, name: &str) -> io::Result<Claim> {
        check_path(name)?;
        if !self.is_shared() {
            let message = format!("`{}` is not shared: a claim there is for one process", self.name());
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let claim = Claim { disk: self.within(name), held: Held::Folder(leased::claim(self, name).await?) };
        claim.keep();
        Ok(claim)
    }

    /// In the real world a directory without files is one nevertheless.
    #[cfg_attr(madsim, allow(unused_variables, reason = "a simulated disk has no directories"))]
    async fn remove_empty(&self, name: &str) -> io::Result<()> {
        match self.env.place() {
            #[cfg(not(madsim))]
            Place::Real(real) if self.remote()?.is_none() => {
                let dir = self.directory(real.disk_dir())?.join(name);
                real.compute(move || real::remove_empty(&dir)).await
            }
            _ => Ok(()),
        }
    }

    /// Removes every directory whose name begins with `prefix` and that no living process claims, with all files in it.
    /// Returns their names, sorted.
    ///
    /// # Errors
    /// The first that could not be removed. That there is no directory to look in is none.
    pub async fn sweep(&self, prefix: &str) -> io::Result<Vec<String>> {
        check_path(prefix)?;
        match self.env.place() {
            _ if self.is_shared() => leased::sweep(self, prefix).await,
            #[cfg(not(madsim))]
            Place::Real(real) => {
                let (dir, prefix) = (self.directory(real.disk_dir())?, prefix.to_owned());
                real.compute(move || real::sweep(&dir, &prefix)).await
            }
            Place::Simulated(sim) => Ok(lock(sim.disk(false)).sweep(&self.folder(), prefix)),
        }
    }
}

/// In the real world a directory is claimed by a lock on a file in it, which the operating system releases when the
/// process ends, however it ends.
#[cfg(not(madsim))]
mod real {
    #![allow(clippy::disallowed_methods, reason = "this is the real world behind the seam")]

    use crate::files::naming;
    use std::fs::{self, File, TryLockError};
    use std::io;
    use std::path::{Path, PathBuf};

    const LOCK: &str = "lock";

    #[derive(Debug)]
    pub(super) struct Held {
        path: PathBuf,
        _lock: File,
    }

    impl Held {
        pub(super) fn path(&self) -> &Path {
            &self.path
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            // What cannot be removed now is swept by the next life.
            let _ = remove(&self.path);
        }
    }

    /// With all files in it. That it is gone already is no error.
    pub(super) fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(naming(&path.to_string_lossy(), why)),
            _ => Ok(()),
        }
    }

    /// The directory appears under its name only when it is locked, so that no sweep takes it for a dead one.
    pub(super) fn claim(dir: &Path, name: &str) -> io::Result<Held> {
        let (draft, path) = (dir.join(format!(".new-{name}")), dir.join(name));
        let make = || {
            if path.exists() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists already"));
            }
            fs::create_dir_all(&draft)?;
            let lock = File::create(draft.join(LOCK))?;
            lock.lock()?;
            fs::rename(&draft, &path)?;
            Ok(lock)
        };
        let lock = make().map_err(|why| naming(&path.to_string_lossy(), why))?;
        Ok(Held { path, _lock: lock })
    }

    pub(super) fn sweep(dir: &Path, prefix: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|why| naming(&dir.to_string_lossy(), why))?,
        };
        let mut swept = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) && is_dead(&entry.path()) {
                match fs::remove_dir_all(entry.path()) {
                    // Another process sweeps as well.
                    Err(why) if why.kind() != io::ErrorKind::NotFound => {
                        return Err(naming(&entry.path().to_string_lossy(), why));
                    }
                    _ => swept.push(name),
                }
            }
        }
        swept.sort();
        Ok(swept)
    }

    pub(super) fn remove_empty(dir: &Path) -> io::Result<()> {
        match fs::remove_dir(dir) {
            // Somebody has just written there, or was faster.
            Err(why) if !matches!(why.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => Err(why),
            _ => Ok(()),
        }
    }

    fn is_dead(path: &Path) -> bool {
        match File::open(path.join(LOCK)).map(|lock| lock.try_lock()) {
            Ok(Ok(())) => true,
            Ok(Err(TryLockError::WouldBlock)) => false,
            // It is being removed, or is none of ours.
            Ok(Err(TryLockError::Error(_))) | Err(_) => false,
        }
    }
}

/// In shared storage a directory is claimed by a file that is young.
mod leased {
    use super::{Disk, LEASE};
    use crate::env::Env;
    use crate::task::Task;
    use bytes::Bytes;
    use mobula_protocol::Nanos;
    use std::collections::BTreeSet;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    const LOCK: &str = "lock";
    /// How often the claim is written: many times within a lease, as some may fail.
    const RENEWAL: Nanos = Nanos::secs(60);
    /// Written to learn what time it is in the storage.
    const CLOCK: &str = ".clock";

    #[derive(Debug)]
    pub(super) struct Lease {
        env: Env,
        /// The folder that the claimed one is in.
        disk: Disk,
        name: String,
        renewal: Task<()>,
        keeps: AtomicBool,
    }

    impl Lease {
        pub fn keep(&self) {
            self.keeps.store(true, Ordering::Relaxed);
        }

        pub async fn end(&self) -> io::Result<()> {
            if self.keeps.swap(true, Ordering::Relaxed) { Ok(()) } else { remove(&self.disk, &self.name).await }
        }
    }

    impl Drop for Lease {
        fn drop(&mut self) {
            self.renewal.abort();
            if self.keeps.load(Ordering::Relaxed) || self.env.world() != crate::WorldKind::Real {
                return;
            }
            let (disk, name) = (self.disk.clone(), self.name.clone());
            // What a process that ends has no time for is swept when the lease is over.
            self.env.spawn("unclaim", async move {
                let _ = remove(&disk, &name).await;
            });
        }
    }

    pub(super) async fn claim(disk: &Disk, name: &str) -> io::Result<Lease> {
        let lock = format!("{name}/{LOCK}");
        disk.write(&lock, Bytes::new()).await?;
        let (env, renewed) = (disk.env.clone(), disk.clone());
        let renewal = env.clone().spawn("claim", async move {
            loop {
                renewed.env.sleep(RENEWAL).await;
                // A failure is made good by the next one.
                let _ = renewed.write(&lock, Bytes::new()).await;
            }
        });
        Ok(Lease { env, disk: disk.clone(), name: name.to_owned(), renewal, keeps: AtomicBool::new(false) })
    }

    pub(super) async fn sweep(disk: &Disk, prefix: &str) -> io::Result<Vec<String>> {
        let folders = folders(disk, prefix).await?;
        if folders.is_empty() {
            return Ok(Vec::new());
        }
        disk.write(CLOCK, Bytes::new()).await?;
        let Some(now) = disk.written(CLOCK).await? else { return Ok(Vec::new()) };
        let mut swept = Vec::new();
        for name in folders {
            // A folder loses its lock last: one without it was being removed.
            let written = disk.written(&format!("{name}/{LOCK}")).await?;
            if written.is_none_or(|written| now - written > LEASE.as_secs_f64() as i64) {
                remove(disk, &name).await?;
                swept.push(name);
            }
        }
        Ok(swept)
    }

    /// The names of the folders that begin with `prefix`, sorted.
    async fn folders(disk: &Disk, prefix: &str) -> io::Result<BTreeSet<String>> {
        #[cfg(not(madsim))]
        if let Some(remote) = disk.remote()? {
            return Ok(remote.folders(prefix).await?.into_iter().collect());
        }
        let files = disk.list(prefix).await?;
        Ok(files.iter().filter_map(|path| path.split_once('/')).map(|(folder, _)| folder.to_owned()).collect())
    }

    /// Removes a folder, its lock last.
    async fn remove(disk: &Disk, folder: &str) -> io::Result<()> {
        let last = format!("{folder}/{LOCK}");
        for path in disk.list(&format!("{folder}/")).await?.iter().filter(|path| **path != last).chain([&last]) {
            disk.remove(path).await?;
        }
        disk.remove_empty(folder).await
    }
}
