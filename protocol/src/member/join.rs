//! How a process becomes a member: what it asks, and what it is told.

use super::{Member, NodeLoad};
use crate::{Incarnation, Labels, Nanos, NodeId, Resources};
use serde::{Deserialize, Serialize};

/// The version of everything that travels between nodes. Only equal versions talk.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest node name, in bytes.
pub const LONGEST_NAME: usize = 64;

/// How the cluster watches its members. Set on the head, told to every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSettings {
    /// How often a node sends its heartbeat, and the head looks at who is silent and passes on loads.
    pub health_period: Nanos,
    /// After how long a silence a node is declared dead.
    pub health_timeout: Nanos,
}

impl Default for MemberSettings {
    fn default() -> Self {
        Self { health_period: Nanos::millis(250), health_timeout: Nanos::secs(2) }
    }
}

/// Settings under which healthy nodes would be declared dead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a health timeout of {timeout} leaves no room for a lost heartbeat every {period}; \
     set the period above zero and the timeout to at least {least}"
)]
pub struct SettingsError {
    /// The period given.
    pub period: Nanos,
    /// The timeout given.
    pub timeout: Nanos,
    /// The shortest timeout that goes with the period.
    pub least: Nanos,
}

impl MemberSettings {
    /// Checks that a node survives two lost heartbeats.
    ///
    /// # Errors
    /// If the period is zero or the timeout shorter than three periods.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let least = (self.health_period * 3).max(Nanos(1));
        let holds = self.health_period > Nanos::ZERO && self.health_timeout >= least;
        let error = SettingsError { period: self.health_period, timeout: self.health_timeout, least };
        if holds { Ok(()) } else { Err(error) }
    }
}

/// A process asks to become a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Drawn at random once per life. `(name, nonce)` is the request id: asking again names the same life.
    pub nonce: u64,
    /// The wanted name: 1 to [`LONGEST_NAME`] ASCII letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// Where its rpc service listens.
    pub rpc: String,
    /// Where its byte streams listen.
    pub bulk: String,
    /// What it has in all.
    pub total: Resources,
    /// Its properties.
    pub labels: Labels,
    /// Its [`PROTOCOL_VERSION`].
    pub protocol_version: u32,
}

/// Welcome: who you are, and the cluster as of one position of the membership log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Who you are from now on.
    pub incarnation: Incarnation,
    /// Who the head is.
    pub head: Incarnation,
    /// The living after entry `seq`, in id order, including yourself and the head.
    pub members: Vec<Member>,
    /// Their loads, in id order, for those that differ from an idle node's.
    pub loads: Vec<(NodeId, NodeLoad)>,
    /// How many log entries the above includes.
    pub seq: u64,
    /// How the cluster watches you.
    pub settings: MemberSettings,
}

/// Why a process may not become a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinError {
    /// Somebody living has the name. If that is an earlier life of yours, ask again after the health timeout.
    #[error("the name `{name}` is taken by the living node {by}; wait until it is declared dead or take another name")]
    NameTaken {
        /// The wanted name.
        name: String,
        /// Who has it.
        by: Incarnation,
    },
    /// The request named a life that was declared dead before its answer arrived. Ask again with a new nonce.
    #[error("{life}, registered by this very request, was declared dead meanwhile; ask again with a new nonce")]
    LifeOver {
        /// That life.
        life: Incarnation,
    },
    /// The two sides would misunderstand each other.
    #[error("this node speaks protocol version {yours}, the head speaks {mine}; run the same release on both")]
    Version {
        /// The asking process's.
        yours: u32,
        /// The head's.
        mine: u32,
    },
    /// Not a name.
    #[error(
        "`{name}` is no node name; use 1 to {LONGEST_NAME} ASCII letters, digits, `-`, `_` or `.`, as in `{nearest}`"
    )]
    BadName {
        /// What was asked for.
        name: String,
        /// The nearest valid name.
        nearest: String,
    },
}

impl JoinError {
    /// Whether asking again later (after [`JoinError::LifeOver`]: with a new nonce) can succeed.
    pub fn can_retry(&self) -> bool {
        matches!(self, Self::NameTaken { .. } | Self::LifeOver { .. })
    }
}

/// Refuses what is no node name.
pub(super) fn check_name(name: &str) -> Result<(), JoinError> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(valid) {
        return Ok(());
    }
    let nearest: String = name.chars().map(|c| if valid(c) { c } else { '-' }).take(LONGEST_NAME).collect();
    let nearest = if nearest.is_empty() { "node-1".to_owned() } else { nearest };
    Err(JoinError::BadName { name: name.to_owned(), nearest })
}
