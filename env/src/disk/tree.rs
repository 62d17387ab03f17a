//! The simulated disk: files in memory, each with what is visible and what would survive a power cut.
//!
//! As on a Unix disk, names and contents are apart: a name points to an inode. Both tables exist twice.

use super::{Answer, Op};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The number of a file's content.
type Inode = u64;

#[derive(Debug, Default)]
struct Content {
    visible: Vec<u8>,
    /// As of the last sync; `None` before the first.
    durable: Option<Bytes>,
}

/// The disk of one machine.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    contents: BTreeMap<Inode, Content>,
    /// Removed since the last sync.
    removed: BTreeSet<String>,
    next: Inode,
}

impl Tree {
    pub(crate) fn run(&mut self, path: &str, op: Op) -> io::Result<Answer> {
        match op {
            Op::Write(bytes) => self.content(path).visible = bytes.to_vec(),
            Op::Append(bytes) => self.content(path).visible.extend_from_slice(&bytes),
            Op::AppendDurably(bytes) => {
                let content = self.content(path);
                content.visible.extend_from_slice(&bytes);
                content.durable = Some(Bytes::copy_from_slice(&content.visible));
            }
            Op::Sync => self.sync(path)?,
            Op::Read { offset, len } => {
                let visible = &self.existing(path)?.visible;
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(visible.len());
                let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(visible.len());
                return Ok(Answer::Bytes(Bytes::copy_from_slice(&visible[start..end])));
            }
            Op::Len => return Ok(Answer::Len(self.existing(path)?.visible.len() as u64)),
            Op::Written => return Err(io::Error::new(io::ErrorKind::Unsupported, "a tree has no clock")),
            Op::Remove => self.remove(path),
            Op::List => {
                let from = self.names.range(path.to_owned()..);
                let paths = from.map(|(name, _)| name).take_while(|name| name.starts_with(path)).cloned().collect();
                return Ok(Answer::Paths(paths));
            }
            Op::Rename(to) => {
                self.existing(path)?;
                if let Some(inode) = self.names.remove(path) {
                    self.removed.remove(&to);
                    self.names.insert(to, inode);
                }
                self.collect();
            }
        }
        Ok(Answer::Done)
    }

    pub(crate) fn remove(&mut self, path: &str) {
        if self.names.remove(path).is_some() {
            self.removed.insert(path.to_owned());
        }
        self.collect();
    }

    /// All files and their lengths, sorted by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        let len = |inode| self.contents.get(inode).map_or(0, |content| content.visible.len() as u64);
        self.names.iter().map(move |(path, inode)| (path.as_str(), len(inode)))
    }

    /// Changes what is visible of `path`, if it exists.
    pub(crate) fn change(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Ok(content) = self.existing(path) {
            change(&mut content.visible);
        }
    }

    /// Back to what was synced.
    pub(crate) fn power_cut(&mut self) {
        self.removed.clear();
        self.names = self.durable_names.clone();
        self.collect();
        for content in self.contents.values_mut() {
            content.visible = content.durable.as_deref().unwrap_or_default().to_vec();
        }
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        let content = self.existing(path)?;
        content.durable = Some(Bytes::copy_from_slice(&content.visible));
        let inode = self.names[path];
        // A rename is atomic: the old name goes when the new one becomes durable.
        let names = &self.names;
        self.durable_names.retain(|name, old| *old != inode || names.get(name) == Some(&inode));
        self.durable_names.insert(path.to_owned(), inode);
        for name in std::mem::take(&mut self.removed) {
            if !self.names.contains_key(&name) {
                self.durable_names.remove(&name);
            }
        }
        self.collect();
        Ok(())
    }

    /// The content of `path`, created if needed.
    fn content(&mut self, path: &str) -> &mut Content {
        let next = &mut self.next;
        let inode = *self.names.entry(path.to_owned()).or_insert_with(|| {
            *next += 1;
            *next
        });
        self.removed.remove(path);
        self.contents.entry(inode).or_default()
    }

    fn existing(&mut self, path: &str) -> io::Result<&mut Content> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file"));
        let inode = self.names.get(path).ok_or_else(missing)?;
        self.contents.get_mut(inode).ok_or_else(missing)
    }

    /// Drops contents without a name.
    fn collect(&mut self) {
        let named: BTreeSet<Inode> = self.names.values().chain(self.durable_names.values()).copied().collect();
        self.contents.retain(|inode, _| named.contains(inode));
    }
}

#[cfg(test)]
mod tests;
