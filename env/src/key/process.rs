//! Where a real process has its key from: its environment, or a file of its user, as Erlang's `~/.erlang.cookie`.

use super::{ClusterKey, KEY, KeyError};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Below the user's home directory.
const FILE: &str = ".mobula/key";

impl ClusterKey {
    /// A key from the randomness of the operating system, for a process that begins a real cluster.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn random() -> Result<Self, KeyError> {
        let secret = crate::backend::real::nonce().map_err(KeyError::File)?;
        Ok(Self::of(&blake3::Hash::from_bytes(secret).to_hex()))
    }

    /// The key of this process: [`KEY`] in its environment, else that in `~/.mobula/key`, else none.
    ///
    /// # Errors
    /// It is too short, or its file is not this user's alone.
    pub fn of_process() -> Result<Option<Self>, KeyError> {
        match std::env::var(KEY) {
            Ok(secret) => return Self::new(&secret).map(Some),
            Err(std::env::VarError::NotUnicode(_)) => return Err(KeyError::NoText),
            Err(std::env::VarError::NotPresent) => {}
        }
        home().map_or(Ok(None), |home| Self::read(&home.join(FILE)))
    }

    /// The same, and if there is none, the file is made with a new one: then all processes of this user on this machine
    /// have it.
    ///
    /// # Errors
    /// As [`ClusterKey::of_process`]; there is no home, or nothing can be written there.
    pub fn of_process_or_new() -> Result<Self, KeyError> {
        if let Some(key) = Self::of_process()? {
            return Ok(key);
        }
        let file = home().ok_or(KeyError::NoHome)?.join(FILE);
        Self::make(&file)?;
        // Whoever was first made it.
        Self::read(&file)?.ok_or_else(|| KeyError::File(io::ErrorKind::NotFound.into()))
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, KeyError> {
        let failed = |why| KeyError::File(crate::files::naming(&path.display().to_string(), why));
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(failed(why)),
        };
        let found = file.metadata().map_err(failed)?;
        if found.mode() & 0o077 != 0 || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(KeyError::Exposed(path.display().to_string()));
        }
        let mut secret = String::new();
        file.read_to_string(&mut secret).map_err(failed)?;
        Self::new(&secret).map(Some)
    }

    /// Makes the file, unless there is one. It appears whole, under its name, or not at all.
    pub(super) fn make(path: &Path) -> Result<(), KeyError> {
        let key = Self::random()?;
        let draft = path.with_extension(format!("{}", std::process::id()));
        let made = || {
            path.parent().map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder))?;
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(format!("{}\n", key.secret()).as_bytes())?;
            file.sync_all()?;
            match std::fs::hard_link(&draft, path) {
                Err(why) if why.kind() != io::ErrorKind::AlreadyExists => Err(why),
                _ => Ok(()),
            }
        };
        let result = made();
        // There is nothing to remove if it could not be made.
        let _ = std::fs::remove_file(&draft);
        result.map_err(|why| KeyError::File(crate::files::naming(&path.display().to_string(), why)))
    }
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}
