//! From the files of a log to the core it leads to.

use super::frame::{self, Kind};
use super::{Core, LogError, Turn, Version};
use bytes::Bytes;
use mobula_protocol::sched::SharedPolicy;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Contents by path.
pub(super) type Files = BTreeMap<String, Bytes>;

/// Whether a file is part of a log.
pub(super) fn is_ours(path: &str) -> bool {
    [".snapshot", ".log", ".draft"].iter().any(|end| number(path, end).is_some())
}

fn number(path: &str, end: &str) -> Option<u64> {
    path.strip_suffix(end).filter(|name| name.len() == 20)?.parse().ok()
}

/// The core that took all turns in `files`; none if there is no log. Drafts and what a newer snapshot has replaced are
/// passed over.
///
/// # Errors
/// See [`LogError`].
pub(super) fn recover(files: &Files, policy: &SharedPolicy) -> Result<Option<Core>, LogError> {
    let newest = |end: &str| files.keys().filter_map(|path| Some((number(path, end)?, path))).max();
    let (snapshot, log) = (newest(".snapshot"), newest(".log"));
    if let Some((number, path)) = log
        && snapshot.is_none_or(|(newest, _)| newest < number)
    {
        return Err(damaged(path, 0, "the snapshot that it follows is missing"));
    }
    let Some((number, path)) = snapshot else { return Ok(None) };
    let core = read_snapshot(path, &files[path], number)?.decide_by(policy);
    let mut core = core.map_err(|found| LogError::Policy { found, mine: policy.to_string() })?;
    if let Some((_, path)) = log.filter(|(follows, _)| *follows == number) {
        replay(path, &files[path], &mut core)?;
    }
    Ok(Some(core))
}

fn read_snapshot(path: &str, bytes: &[u8], number: u64) -> Result<Core, LogError> {
    let frame = frame::decode(Kind::Snapshot, bytes).map_err(|what| damaged(path, 0, what))?;
    if frame.number != number || frame.len != bytes.len() {
        return Err(damaged(path, 0, "it is another snapshot than its name says"));
    }
    let mut values = frame::reader(frame.body);
    let unreadable = |why: rmp_serde::decode::Error| damaged(path, 0, why);
    let found = Version::deserialize(&mut values).map_err(unreadable)?;
    if found != Version::MINE {
        return Err(LogError::Version { file: path.to_owned(), found, mine: Version::MINE });
    }
    Core::deserialize(&mut values).map_err(unreadable)
}

fn replay(path: &str, bytes: &[u8], core: &mut Core) -> Result<(), LogError> {
    let mut at = 0;
    while at < bytes.len() {
        let frame = match frame::decode(Kind::Turns, &bytes[at..]) {
            Ok(frame) => frame,
            // The end of the last commit is torn, unless another one follows.
            Err(_) if !frame::any(Kind::Turns, &bytes[at + 1..]) => return Ok(()),
            Err(what) => return Err(damaged(path, at, what)),
        };
        if frame.number != core.turns() + 1 {
            let what = format!("turn {} follows turn {}", frame.number, core.turns());
            return Err(damaged(path, at, what));
        }
        take(path, at, frame.body, core)?;
        at += frame.len;
    }
    Ok(())
}

/// Takes the turns of one commit. What they lead to has been done, or was never promised to anybody.
fn take(path: &str, at: usize, body: &[u8], core: &mut Core) -> Result<(), LogError> {
    let unreadable = |why: rmp_serde::decode::Error| damaged(path, at, why);
    let (mut values, mut ignored) = (frame::reader(body), Vec::new());
    while values.get_ref().position() < body.len() as u64 {
        let turn = Turn::deserialize(&mut values).map_err(unreadable)?;
        let said = u64::deserialize(&mut values).map_err(unreadable)?;
        core.take(turn, &mut ignored);
        ignored.clear();
        if said != core.said() {
            return Err(LogError::Diverged { turn: core.turns(), said, now: core.said() });
        }
    }
    Ok(())
}

fn damaged(path: &str, at: usize, what: impl ToString) -> LogError {
    LogError::Damaged { file: path.to_owned(), at: at as u64, what: what.to_string() }
}
