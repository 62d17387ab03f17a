//! Which spill files there are, and when each can go.

use super::FileName;
use mobula_protocol::{ByteSize, Violation};
use std::collections::BTreeMap;

/// How often the removal of a file is tried. What is left then goes with its directory when the node's next life starts.
const REMOVALS: u32 = 5;

/// The spill files of one table.
#[derive(Debug, Default)]
pub(crate) struct Files {
    all: BTreeMap<FileName, File>,
    /// The number of the last file.
    last: u64,
    /// Of those in `all`, the ones to be removed that nobody was told to remove yet.
    doomed: Vec<FileName>,
}

#[derive(Debug, Default)]
struct File {
    /// Objects that refer to it.
    live: u32,
    /// Bytes of its objects, dead ones included.
    bytes: ByteSize,
    state: State,
    removals: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Writing,
    Written,
    Doomed,
}

impl Files {
    /// A file that is about to be written.
    pub fn create(&mut self, directory: usize) -> FileName {
        self.last += 1;
        let name = FileName { number: self.last, directory };
        self.all.insert(name, File::default());
        name
    }

    /// One more object refers to a file that another life of some node wrote.
    pub fn adopt(&mut self, name: FileName, bytes: ByteSize) {
        let file = self.all.entry(name).or_insert(File { state: State::Written, ..File::default() });
        file.live += 1;
        file.bytes += bytes;
    }

    /// Whether objects can still be added to `name` by [`Files::adopt`].
    pub fn is_doomed(&self, name: FileName) -> bool {
        self.all.get(&name).is_some_and(|file| file.state == State::Doomed)
    }

    /// The writing of `name` ended with so many live objects. A file without any is to be removed.
    pub fn written(&mut self, name: FileName, live: u32, bytes: ByteSize) {
        if let Some(file) = self.all.get_mut(&name) {
            *file = File { live, bytes, state: State::Written, removals: 0 };
        }
        self.doom_if_dead(name);
    }

    /// One object fewer refers to `name`.
    pub fn release(&mut self, name: FileName) {
        if let Some(file) = self.all.get_mut(&name) {
            file.live -= 1;
        }
        self.doom_if_dead(name);
    }

    fn doom_if_dead(&mut self, name: FileName) {
        let Some(file) = self.all.get_mut(&name) else { return };
        if file.live == 0 && file.state == State::Written {
            file.state = State::Doomed;
            self.doomed.push(name);
        }
    }

    /// The files to be removed now, each told once.
    pub fn take_doomed(&mut self) -> Vec<FileName> {
        std::mem::take(&mut self.doomed)
    }

    /// A removal ended.
    pub fn removed(&mut self, name: FileName, done: bool) {
        let Some(file) = self.all.get_mut(&name).filter(|file| file.state == State::Doomed) else { return };
        file.removals += 1;
        if done || file.removals >= REMOVALS {
            self.all.remove(&name);
        } else {
            self.doomed.push(name);
        }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Bytes of the objects in all files, those of dead objects in files that are still needed included.
    pub fn bytes(&self) -> ByteSize {
        self.all.values().map(|file| file.bytes).sum()
    }

    /// Compares with how many objects refer to each file.
    ///
    /// # Errors
    /// A file that is kept for nobody, or removed under somebody (invariant I23).
    pub fn check(&self, referred: &BTreeMap<FileName, u32>) -> Result<(), Violation> {
        let what = "a spill file is there iff an object refers to it (I23)";
        for (name, file) in &self.all {
            let found = referred.get(name).copied().unwrap_or(0);
            let right = match file.state {
                State::Writing => found == 0,
                State::Written => found == file.live && found > 0,
                State::Doomed => found == 0,
            };
            Violation::unless(right, what, || format!("{name} {file:?}, referred to by {found}"))?;
        }
        let stray = referred.keys().find(|name| !self.all.contains_key(name));
        Violation::unless(stray.is_none(), what, || format!("there is no file {stray:?}"))
    }
}
