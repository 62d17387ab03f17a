//! Nothing that a turn leads to leaves the head before the turn is in the log.

use super::core::{Core, Output, Turn};
use super::log::{Commit, Log, snapshot};
use super::shell::Input;
use bytes::Bytes;
use mobula_env::Env;
use mobula_protocol::Nanos;
use std::collections::VecDeque;
use std::io;
use tokio::sync::mpsc;

/// Bytes of turns after which a snapshot is due, at the least.
const LONG: u64 = 4 << 20;

/// Between two tries to begin a new snapshot on a disk that fails.
const PAUSE: Nanos = Nanos::millis(200);

/// The turns that are not in the log yet, and what they led to.
///
/// One write is under way at a time; what comes meanwhile is committed together by the next one. After an error of the
/// disk a snapshot is begun in new files, until that succeeds or the head's patience ends; until then the head is silent,
/// which the nodes take for a slow head.
pub(super) struct Journal {
    env: Env,
    inbox: mpsc::UnboundedSender<Input>,
    /// None while a write is under way.
    idle: Option<Log>,
    commit: Commit,
    /// The last turn of the write under way.
    writing: u64,
    /// What turns led to that are not durable, with their numbers.
    held: VecDeque<(u64, Vec<Output>)>,
    /// Since when writes fail, and the last reason.
    failing: Option<(Nanos, io::Error)>,
    patience: Nanos,
}

/// A write is over.
pub(super) struct Wrote {
    log: Log,
    result: io::Result<()>,
}

impl Journal {
    pub fn new(env: Env, inbox: mpsc::UnboundedSender<Input>, log: Log, patience: Nanos) -> Self {
        let (commit, held) = (Commit::default(), VecDeque::new());
        Self { env, inbox, idle: Some(log), commit, writing: 0, held, failing: None, patience }
    }

    /// Lets the core take a turn, which waits for its commit then.
    pub fn take(&mut self, turn: Turn, core: &mut Core) {
        self.commit.push(core.turns() + 1, &turn);
        let mut outputs = Vec::new();
        core.take(turn, &mut outputs);
        self.commit.said(core.said());
        self.held.push_back((core.turns(), outputs));
    }

    /// Begins the next write, if there is something to write and no write is under way.
    pub fn write(&mut self, core: &Core) {
        if self.commit.is_empty() && self.failing.is_none() {
            return;
        }
        let Some(mut log) = self.idle.take() else { return };
        self.writing = core.turns();
        let commit = std::mem::take(&mut self.commit);
        let state = (self.failing.is_some() || log.is_long(LONG)).then(|| snapshot(core));
        let pause = if self.failing.is_some() { PAUSE } else { Nanos::ZERO };
        let (env, inbox, turns) = (self.env.clone(), self.inbox.clone(), self.writing);
        self.env.spawn("log", async move {
            if pause > Nanos::ZERO {
                env.sleep(pause).await;
            }
            let result = write(&mut log, &commit, turns, state).await;
            // The head has stopped if nobody listens.
            let _ = inbox.send(Input::Wrote(Wrote { log, result }));
        });
    }

    /// What may leave the head now that a write is over.
    ///
    /// # Errors
    /// The disk has failed for longer than the head's patience.
    pub fn wrote(&mut self, wrote: Wrote) -> Result<Vec<Output>, io::Error> {
        self.idle = Some(wrote.log);
        match wrote.result {
            Ok(()) => {
                self.failing = None;
                let durable = self.held.partition_point(|(turn, _)| *turn <= self.writing);
                Ok(self.held.drain(..durable).flat_map(|(_, outputs)| outputs).collect())
            }
            Err(why) => {
                self.env.emit("log-failed", format_args!("{why}"));
                let since = self.failing.as_ref().map_or(self.env.now(), |(since, _)| *since);
                if self.env.now().saturating_sub(since) >= self.patience {
                    return Err(why);
                }
                self.failing = Some((since, why));
                Ok(Vec::new())
            }
        }
    }
}

/// Turns are in a snapshot or behind one, not both.
async fn write(log: &mut Log, commit: &Commit, turns: u64, state: Option<Bytes>) -> io::Result<()> {
    match state {
        Some(state) => log.begin(turns, state).await,
        None => log.append(commit).await.map(drop),
    }
}
