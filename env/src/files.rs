//! Storage outside the cluster: input data and results. Real files in every world, never lost with a node.
//!
//! The calls are synchronous: they are made inside [`Env::compute`](crate::Env::compute), which runs them on a thread
//! for blocking work in the real world. In simulation they charge the disk's modelled time to that computation.

use crate::compute::{Costs, Resource, charge};
use bytes::Bytes;
use mobula_protocol::ByteSize;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The files outside the cluster. Paths are those of the process: absolute, or relative to its directory.
#[derive(Clone, Debug)]
pub struct Files {
    /// Charged in simulation, absent in the real world.
    costs: Option<Costs>,
}

impl Files {
    pub(crate) fn new(costs: Option<Costs>) -> Self {
        Self { costs }
    }

    /// The bytes `offset..offset + len`, fewer at the end of the file.
    pub fn read_range(&self, path: &str, offset: u64, len: u64) -> io::Result<Bytes> {
        let mut file = fs::File::open(path).map_err(|e| naming(path, e))?;
        file.seek(SeekFrom::Start(offset)).map_err(|e| naming(path, e))?;
        let rest = file.metadata().map_err(|e| naming(path, e))?.len().saturating_sub(offset);
        let mut bytes = Vec::with_capacity(rest.min(len) as usize);
        file.take(len).read_to_end(&mut bytes).map_err(|e| naming(path, e))?;
        self.charge(Resource::DiskRead, bytes.len() as u64);
        Ok(bytes.into())
    }

    /// The length of a file in bytes.
    pub fn len(&self, path: &str) -> io::Result<u64> {
        Ok(fs::metadata(path).map_err(|e| naming(path, e))?.len())
    }

    /// The paths of the files a directory holds (not of its subdirectories), or of those that match a pattern with `*`
    /// in its last component, sorted. A path to one file lists that file.
    pub fn list(&self, pattern: &str) -> io::Result<Vec<String>> {
        let whole = Path::new(pattern);
        if whole.is_file() {
            return Ok(vec![pattern.to_owned()]);
        }
        let (dir, glob) = match whole.file_name().and_then(|name| name.to_str()) {
            Some(name) if name.contains('*') => (whole.parent().unwrap_or(Path::new("")), name),
            _ => (whole, "*"),
        };
        let shown = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let mut found = Vec::new();
        for entry in fs::read_dir(shown).map_err(|e| naming(pattern, e))? {
            let entry = entry.map_err(|e| naming(pattern, e))?;
            let name = entry.file_name();
            let is_match = name.to_str().is_some_and(|name| matches(glob, name));
            if is_match && entry.path().is_file() {
                found.push(dir.join(name).to_string_lossy().into_owned());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Writes a whole file so that readers see the old content or the new one, never a part, and so that the new one
    /// survives a power cut: a temporary file, fsync, rename, fsync of the directory. Creates parent directories.
    pub fn write_atomic(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let dir = match Path::new(path).parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let write = || {
            fs::create_dir_all(&dir)?;
            // Attempts of one task may overlap in time; each writes its own temporary file.
            static ATTEMPT: AtomicU64 = AtomicU64::new(0);
            let attempt = ATTEMPT.fetch_add(1, Ordering::Relaxed);
            let draft = PathBuf::from(format!("{path}.{}-{attempt}.tmp", std::process::id()));
            let mut file = fs::File::create(&draft)?;
            let renamed = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, path));
            if renamed.is_err() {
                // The first error is the one to report.
                let _ = fs::remove_file(&draft);
            }
            renamed?;
            fs::File::open(&dir)?.sync_all()
        };
        write().map_err(|e| naming(path, e))?;
        self.charge(Resource::DiskWrite, bytes.len() as u64);
        Ok(())
    }

    /// Removes a file. One that does not exist is no error: removal is often repeated.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(naming(path, e)),
            _ => Ok(()),
        }
    }

    fn charge(&self, resource: Resource, bytes: u64) {
        if let Some(costs) = self.costs {
            charge(costs.of(resource, ByteSize(bytes)));
        }
    }
}

/// Errors of the operating system do not say which file they are about.
pub(crate) fn naming(path: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// Whether `name` matches `glob`, where `*` stands for any characters.
fn matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
