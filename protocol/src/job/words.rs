//! What drivers and the head say to each other about jobs.

use crate::{Incarnation, Nanos};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a job, chosen by whoever begins it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub String);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobStatus {
    /// Nobody has said that it is over.
    Running,
    /// Its driver said that it is done.
    Succeeded,
    /// Its driver said that it failed, or its keeper's node died; and why.
    Failed(String),
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// A job as the head knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its name.
    pub job: JobId,
    /// What became of it.
    pub status: JobStatus,
    /// The node that keeps what it made.
    pub keeper: Incarnation,
    /// Its living drivers, in id order; none if all have died, and it runs on.
    pub drivers: Vec<Incarnation>,
    /// When it began, in the head's time, which does not pass while the head is down.
    pub began: Nanos,
    /// When it ended.
    pub ended: Option<Nanos>,
    /// The last lines of its log.
    pub lines: Vec<String>,
    /// How many lines came before them.
    pub dropped: u64,
}

/// What cannot be done to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JobError {
    /// A name means one job for ever.
    #[error("there is a job `{job}` already, {status}; attach to it or take another name")]
    Exists {
        /// The name.
        job: JobId,
        /// What became of it.
        status: JobStatus,
    },
    /// Nobody began it, or it ended so long ago that it is forgotten.
    #[error("there is no job `{job}`; there are: {}", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
    Unknown {
        /// The name.
        job: JobId,
        /// Some that there are.
        known: Vec<String>,
    },
}

/// A message about a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// Driver to head: I begin it.
    Begin {
        /// Number of the request.
        request: u64,
        /// Its name.
        job: JobId,
        /// Who keeps what it makes.
        keeper: Incarnation,
    },
    /// Driver to head: I go on with it.
    Attach {
        /// Number of the request.
        request: u64,
        /// Its name.
        job: JobId,
    },
    /// Driver to head: it is over.
    End {
        /// Number of the request.
        request: u64,
        /// Its name.
        job: JobId,
        /// How it ended.
        status: JobStatus,
    },
    /// Head to driver: so it is.
    Answer {
        /// Number of the request.
        request: u64,
        /// The job, or why not.
        result: Result<Box<JobInfo>, JobError>,
    },
    /// Driver to head: a line for its log.
    Line {
        /// Its name.
        job: JobId,
        /// The line.
        line: String,
    },
    /// Anyone to head: which jobs are there?
    List {
        /// Number of the request.
        request: u64,
    },
    /// Head: these.
    Listed {
        /// Number of the request.
        request: u64,
        /// In the order of their names.
        jobs: Vec<JobInfo>,
    },
}

impl Word {
    /// What [`Word::name`] can be, in the order of the definition.
    pub const NAMES: [&'static str; 7] =
        ["BeginJob", "AttachJob", "EndJob", "JobAnswer", "JobLine", "ListJobs", "JobsListed"];

    /// The method name that scenario files use in `rpc = { method = ... }`.
    pub fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Self::Begin { .. } => 0,
            Self::Attach { .. } => 1,
            Self::End { .. } => 2,
            Self::Answer { .. } => 3,
            Self::Line { .. } => 4,
            Self::List { .. } => 5,
            Self::Listed { .. } => 6,
        }]
    }
}
