//! Directories that outlive the process that writes to them, and that only one process may write to at a time.

use super::Disk;
use crate::backend::Place;
#[cfg(not(madsim))]
use mobula_protocol::Nanos;
use std::io;

/// How long a process that was killed may take to be gone.
#[cfg(not(madsim))]
const DYING: Nanos = Nanos::secs(2);
/// How often it is looked whether it is.
#[cfg(not(madsim))]
const LOOK: Nanos = Nanos::millis(20);

/// The right to write to a directory, until this is dropped or the process ends; see [`Disk::hold`].
#[derive(Debug)]
pub struct DiskHold {
    #[cfg(not(madsim))]
    _lock: Option<std::fs::File>,
}

impl Disk {
    /// Makes sure that no other process writes to this disk's directory, which is made if it is not there. Unlike a
    /// [`Claim`](super::Claim) it says nothing about the files in it, which stay for the next life. One whose process
    /// was killed is over a moment after that, for which this waits.
    ///
    /// # Errors
    /// `ResourceBusy` if another process still holds it after two seconds; `Unsupported` for a folder of an object store,
    /// which has no locks.
    pub async fn hold(&self) -> io::Result<DiskHold> {
        match self.env.place() {
            #[cfg(not(madsim))]
            Place::Real(real) => {
                if self.remote()?.is_some() {
                    return Err(io::Error::new(io::ErrorKind::Unsupported, "an object store has no locks"));
                }
                let dir = self.directory(real.disk_dir())?;
                let until = self.env.now() + DYING;
                loop {
                    let dir = dir.clone();
                    match real.compute(move || real::hold(&dir)).await {
                        Err(why) if why.kind() == io::ErrorKind::ResourceBusy && self.env.now() < until => {
                            self.env.sleep(LOOK).await;
                        }
                        done => return done,
                    }
                }
            }
            // A simulated machine runs one process at a time.
            Place::Simulated(_) => Ok(DiskHold {
                #[cfg(not(madsim))]
                _lock: None,
            }),
        }
    }
}

#[cfg(not(madsim))]
mod real {
    use super::DiskHold;
    use crate::files::naming;
    use std::fs::{self, File, TryLockError};
    use std::io;
    use std::path::Path;

    /// The name of the file that is locked. It stays when the hold is over.
    const LOCK: &str = "lock";

    pub(super) fn hold(dir: &Path) -> io::Result<DiskHold> {
        let lock = || {
            fs::create_dir_all(dir)?;
            let lock = File::create(dir.join(LOCK))?;
            match lock.try_lock() {
                Ok(()) => Ok(lock),
                Err(TryLockError::WouldBlock) => {
                    Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process writes to it"))
                }
                Err(TryLockError::Error(why)) => Err(why),
            }
        };
        let lock = lock().map_err(|why| naming(&dir.to_string_lossy(), why))?;
        Ok(DiskHold { _lock: Some(lock) })
    }
}
