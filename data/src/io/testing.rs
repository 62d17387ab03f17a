//! Files for tests: a directory of the real file system, and a map.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests read the committed data")]

use super::{Sink, Source};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

/// Files in memory, over the real ones below the crate's directory.
#[derive(Default)]
pub(crate) struct TestFiles {
    pub(crate) files: Mutex<BTreeMap<String, Bytes>>,
}

impl TestFiles {
    pub(crate) fn with(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(p, b)| (p.to_string(), Bytes::copy_from_slice(b))).collect();
        Self { files: Mutex::new(files) }
    }

    pub(crate) fn get(&self, path: &str) -> Option<Bytes> {
        self.files.lock().unwrap().get(path).cloned()
    }

    fn content(&self, path: &str) -> io::Result<Bytes> {
        match self.get(path) {
            Some(bytes) => Ok(bytes),
            None => std::fs::read(path).map(Bytes::from),
        }
    }
}

impl Source for TestFiles {
    fn read_range(&self, path: &str, offset: u64, len: u64) -> io::Result<Bytes> {
        let bytes = self.content(path)?;
        let (from, to) = (offset as usize, (offset + len) as usize);
        if to > bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes.slice(from..to))
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        Ok(self.content(path)?.len() as u64)
    }

    fn list(&self, pattern: &str) -> io::Result<Vec<String>> {
        if self.content(pattern).is_ok() {
            return Ok(vec![pattern.into()]);
        }
        let (dir, name) = match pattern.rsplit_once('/') {
            Some((dir, name)) if name.contains('*') => (dir, name),
            _ => (pattern, "*"),
        };
        let glob = glob::Pattern::new(&format!("{dir}/{name}")).unwrap();
        let known: Vec<String> = self.files.lock().unwrap().keys().cloned().collect();
        let inside: Vec<String> = known.into_iter().filter(|p| p.starts_with(&format!("{dir}/"))).collect();
        let all = if inside.is_empty() {
            let entries = std::fs::read_dir(dir)?;
            entries.map(|e| Ok(format!("{dir}/{}", e?.file_name().to_string_lossy()))).collect::<io::Result<_>>()?
        } else {
            inside
        };
        Ok(all.into_iter().filter(|p| glob.matches(p)).collect())
    }
}

impl Sink for TestFiles {
    fn write_atomic(&self, path: &str, bytes: Bytes) -> io::Result<()> {
        self.files.lock().unwrap().insert(path.into(), bytes);
        Ok(())
    }
}
