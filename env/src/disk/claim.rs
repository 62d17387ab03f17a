//! Directories that belong to a living process, and removing those that no longer do.

use super::{Disk, check_path};
use crate::backend::Place;
use crate::log::lock;
use std::io;

/// A directory that is claimed for as long as this lives and the process does. Dropping it removes the directory with
/// all its files in the real world; a process that is killed leaves it to the next [`Disk::sweep`].
///
/// An object store has no locks: there the claim is a file that is written again and again, and a folder in which that
/// file is older than [ten minutes](LEASE) of the store's own clock is nobody's.
#[derive(Debug)]
pub struct Claim {
    disk: Disk,
    #[cfg(not(madsim))]
    _held: Option<Held>,
}

/// What keeps a claim.
#[cfg(not(madsim))]
#[derive(Debug)]
enum Held {
    Directory { _lock: real::Held },
    Folder { _lease: leased::Lease },
}

/// For how long a claim in an object store is good after it was last written.
#[cfg(not(madsim))]
pub const LEASE: mobula_protocol::Nanos = mobula_protocol::Nanos::secs(600);

impl Claim {
    /// The disk below the claimed directory.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }
}

impl Disk {
    /// Creates the directory `name`, which must not exist, and claims it.
    ///
    /// # Errors
    /// It exists, or cannot be created.
    pub async fn claim(&self, name: &str) -> io::Result<Claim> {
        check_path(name)?;
        match self.env.place() {
            #[cfg(not(madsim))]
            Place::Real(real) => {
                let held = if self.remote()?.is_some() {
                    Held::Folder { _lease: leased::claim(self, name).await? }
                } else {
                    let (dir, name_there) = (self.directory(real.disk_dir())?, name.to_owned());
                    Held::Directory { _lock: real.compute(move || real::claim(&dir, &name_there)).await? }
                };
                Ok(Claim { disk: self.within(name), _held: Some(held) })
            }
            Place::Simulated(sim) => {
                lock(sim.disk()).claim(&format!("{}{name}/", self.folder()))?;
                Ok(Claim {
                    disk: self.within(name),
                    #[cfg(not(madsim))]
                    _held: None,
                })
            }
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
            #[cfg(not(madsim))]
            Place::Real(real) => {
                if self.remote()?.is_some() {
                    return leased::sweep(self, prefix).await;
                }
                let (dir, prefix) = (self.directory(real.disk_dir())?, prefix.to_owned());
                real.compute(move || real::sweep(&dir, &prefix)).await
            }
            Place::Simulated(sim) => Ok(lock(sim.disk()).sweep(&self.folder(), prefix)),
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

    impl Drop for Held {
        fn drop(&mut self) {
            // What cannot be removed now is swept by the next life.
            let _ = fs::remove_dir_all(&self.path);
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

    fn is_dead(path: &Path) -> bool {
        match File::open(path.join(LOCK)).map(|lock| lock.try_lock()) {
            Ok(Ok(())) => true,
            Ok(Err(TryLockError::WouldBlock)) => false,
            // It is being removed, or is none of ours.
            Ok(Err(TryLockError::Error(_))) | Err(_) => false,
        }
    }
}

/// In an object store a directory is claimed by a file that is young.
#[cfg(not(madsim))]
mod leased {
    use super::{Disk, LEASE};
    use crate::env::Env;
    use crate::task::Task;
    use bytes::Bytes;
    use mobula_protocol::Nanos;
    use std::io;

    const LOCK: &str = "lock";
    /// How often the claim is written: many times within a lease, as some may fail.
    const RENEWAL: Nanos = Nanos::secs(60);
    /// Written to learn what time it is in the store.
    const CLOCK: &str = ".clock";

    #[derive(Debug)]
    pub(super) struct Lease {
        env: Env,
        /// The folder that the claimed one is in.
        disk: Disk,
        name: String,
        renewal: Task<()>,
    }

    impl Drop for Lease {
        fn drop(&mut self) {
            self.renewal.abort();
            let (disk, name) = (self.disk.clone(), self.name.clone());
            // What a process that ends has no time for is swept when the lease is over.
            self.env.spawn("unclaim", async move {
                if let Ok(Some(remote)) = disk.remote() {
                    let _ = remote.remove_folder(&name, LOCK).await;
                }
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
        Ok(Lease { env, disk: disk.clone(), name: name.to_owned(), renewal })
    }

    pub(super) async fn sweep(disk: &Disk, prefix: &str) -> io::Result<Vec<String>> {
        let Some(remote) = disk.remote()? else { return Ok(Vec::new()) };
        let folders = remote.folders(prefix).await?;
        if folders.is_empty() {
            return Ok(folders);
        }
        disk.write(CLOCK, Bytes::new()).await?;
        let Some(now) = remote.written(CLOCK).await? else { return Ok(Vec::new()) };
        let mut swept = Vec::new();
        for name in folders {
            // A folder loses its lock last: one without it was being removed.
            let written = remote.written(&format!("{name}/{LOCK}")).await?;
            if written.is_none_or(|written| now - written > LEASE.as_secs_f64() as i64) {
                remote.remove_folder(&name, LOCK).await?;
                swept.push(name);
            }
        }
        Ok(swept)
    }
}
