//! The log by itself, for measurements.

use super::core::{Core, Event, Turn};
use super::log::{Commit, Log, LogError, snapshot};
use mobula_env::Env;
use mobula_protocol::link::Envelope;
use mobula_protocol::member::{MemberSettings, NodeLoad};
use mobula_protocol::sched::SharedPolicy;
use mobula_protocol::{ClusterId, Incarnation, Message, Nanos};

/// Writes so many commits of so many turns each into a new log in `directory`, as a head does whose nodes send heartbeats,
/// and returns how many bytes that were. Each commit is durable before the next begins.
///
/// # Errors
/// There is a log already, or the disk's.
pub async fn append_turns(env: &Env, directory: &str, commits: u64, turns: u64) -> Result<u64, LogError> {
    let (mut log, found) = Log::open(env.disk().within(directory), &SharedPolicy::default()).await?;
    if let Some(core) = found {
        let why = format!("there is the log of cluster {} in {directory}", core.cluster());
        return Err(LogError::Disk(std::io::Error::new(std::io::ErrorKind::AlreadyExists, why)));
    }
    let mut core = Core::new(ClusterId(0), MemberSettings::default(), SharedPolicy::default(), String::new(), 0);
    log.begin(0, snapshot(&core)).await?;
    let from = Incarnation::new(1, 2);
    let heartbeat = |seq: u64| {
        let load = NodeLoad { version: seq, ..NodeLoad::default() };
        let envelope = Envelope { from, to: Incarnation::HEAD, seq: seq + 1, messages: vec![Message::Heartbeat(load)] };
        Turn { at: Nanos::micros(seq), events: vec![Event::Received(envelope)] }
    };
    let mut bytes = 0;
    for number in 0..commits {
        let mut commit = Commit::default();
        for turn in (number * turns..(number + 1) * turns).map(heartbeat) {
            commit.push(core.turns() + 1, &turn);
            core.take(turn, &mut Vec::new());
            commit.said(core.said());
        }
        bytes += log.append(&commit).await?;
    }
    Ok(bytes)
}
