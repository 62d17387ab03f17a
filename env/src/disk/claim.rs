//! Directories that belong to a living process, and removing those that no longer do.

use super::{Disk, check_path};
use crate::backend::Place;
use crate::log::lock;
use std::io;

/// A directory that is claimed for as long as this lives and the process does. Dropping it removes the directory with
/// all its files in the real world; a process that is killed leaves it to the next [`Disk::sweep`].
#[derive(Debug)]
pub struct Claim {
    disk: Disk,
    #[cfg(not(madsim))]
    _held: Option<real::Held>,
}

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
                let (dir, name_there) = (self.directory(real.disk_dir())?, name.to_owned());
                let held = real.compute(move || real::claim(&dir, &name_there)).await?;
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
