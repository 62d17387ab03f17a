//! Jobs at the head: what was begun under which name, who drives it, and how it ended.
//!
//! # States
//! ```text
//!   Begin --> running, driven by those who began it or attached --End--> succeeded or failed, for ever
//!                |                                                          ^
//!                +-- its keeper's node died -------------------------------+
//! ```
//! A job is not its driver: what it has submitted and what it has made are *kept* by a node of the cluster, so that a
//! job whose drivers have all died runs on, and waits for somebody to attach.
//!
//! # Guarantees
//! - a name means one job for ever; beginning it again is refused, also when it is over;
//! - a job ends once. Whoever ends it again is told how it ended the first time (invariant I44);
//! - a job whose keeper is gone has failed, and says so; it never stays running for ever;
//! - the last [`LINES`] lines of each log are kept, and the last [`ENDED`] jobs that ended.
//!
//! # Where we differ from Ray
//! Ray's job is its driver: "driver is a single point of failure" (#64104), and what it made dies with it. Its job
//! manager infers the end from a supervisor actor and has marked healthy jobs as failed (#65025); marking one finished
//! twice crashed the GCS (#53645). Here the driver says how its job ended, and silence means nothing.

mod words;

#[cfg(test)]
mod tests;

use crate::{Incarnation, Machine, Nanos, Violation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
pub use words::{JobError, JobId, JobInfo, JobStatus, Word};

/// Lines kept of a job's log.
pub const LINES: usize = 200;

/// Jobs that ended and are remembered.
pub const ENDED: usize = 1000;

/// The longest line, in bytes; a longer one is cut.
pub const LINE: usize = 1024;

/// The longest name of a job, in bytes.
pub const NAME: usize = 256;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A node said something about a job.
    Said {
        /// Who.
        from: Incarnation,
        /// What.
        word: Word,
    },
    /// Membership declared a node dead.
    NodeDied(Incarnation),
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send this.
    Say {
        /// Whom to.
        to: Incarnation,
        /// What.
        word: Word,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    keeper: Incarnation,
    drivers: BTreeSet<Incarnation>,
    status: JobStatus,
    began: Nanos,
    ended: Option<Nanos>,
    lines: VecDeque<String>,
    /// Lines that were dropped because there were more.
    dropped: u64,
}

/// All jobs. See the module's documentation.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    /// Those that ended, the first to end first.
    ended: VecDeque<JobId>,
}

impl Jobs {
    /// All that are remembered, in the order of their names, without their logs.
    pub fn list(&self) -> Vec<JobInfo> {
        self.jobs.iter().map(|(id, job)| JobInfo { lines: Vec::new(), ..info(id, job) }).collect()
    }

    /// One with its log.
    pub fn find(&self, id: &JobId) -> Option<JobInfo> {
        self.jobs.get(id).map(|job| info(id, job))
    }

    fn said(&mut self, now: Nanos, from: Incarnation, word: Word, out: &mut Vec<Effect>) {
        let (request, result) = match word {
            Word::Begin { request, job, keeper } => (request, self.begin(now, from, job, keeper)),
            Word::Attach { request, job } => (request, self.attach(from, &job)),
            Word::End { request, job, status } => (request, self.end(now, &job, status)),
            Word::Line { job, line } => return self.line(&job, line),
            Word::List { request } => {
                let word = Word::Listed { request, jobs: self.list() };
                return out.push(Effect::Say { to: from, word });
            }
            // Words for drivers.
            Word::Answer { .. } | Word::Listed { .. } => return,
        };
        out.push(Effect::Say { to: from, word: Word::Answer { request, result } });
    }

    fn begin(
        &mut self,
        now: Nanos,
        from: Incarnation,
        id: JobId,
        keeper: Incarnation,
    ) -> Result<Box<JobInfo>, JobError> {
        if let Some(job) = self.jobs.get(&id) {
            let status = job.status.clone();
            return Err(JobError::Exists { job: id, status });
        }
        let job = Job {
            keeper,
            drivers: BTreeSet::from([from]),
            status: JobStatus::Running,
            began: now,
            ended: None,
            lines: VecDeque::new(),
            dropped: 0,
        };
        let begun = info(&id, &job);
        self.jobs.insert(id, job);
        Ok(Box::new(begun))
    }

    fn known(&mut self, id: &JobId) -> Result<&mut Job, JobError> {
        let nearest = || self.jobs.keys().take(8).map(|id| id.0.clone()).collect();
        match self.jobs.contains_key(id) {
            false => Err(JobError::Unknown { job: id.clone(), known: nearest() }),
            true => self.jobs.get_mut(id).ok_or_else(|| JobError::Unknown { job: id.clone(), known: Vec::new() }),
        }
    }

    fn attach(&mut self, from: Incarnation, id: &JobId) -> Result<Box<JobInfo>, JobError> {
        let job = self.known(id)?;
        if job.status == JobStatus::Running {
            job.drivers.insert(from);
        }
        Ok(Box::new(info(id, job)))
    }

    /// The first word counts.
    fn end(&mut self, now: Nanos, id: &JobId, status: JobStatus) -> Result<Box<JobInfo>, JobError> {
        let job = self.known(id)?;
        if status == JobStatus::Running || job.status != JobStatus::Running {
            return Ok(Box::new(info(id, job)));
        }
        job.status = status;
        job.ended = Some(now);
        job.drivers.clear();
        let over = info(id, job);
        self.ended.push_back(id.clone());
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.jobs.remove(&oldest);
        }
        Ok(Box::new(over))
    }

    fn line(&mut self, id: &JobId, line: String) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let line = cut(line);
        if job.lines.len() == LINES {
            job.lines.pop_front();
            job.dropped += 1;
        }
        job.lines.push_back(line);
    }

    fn node_died(&mut self, now: Nanos, dead: Incarnation) {
        let mut orphans = Vec::new();
        for (id, job) in &mut self.jobs {
            job.drivers.remove(&dead);
            if job.keeper == dead && job.status == JobStatus::Running {
                orphans.push(id.clone());
            }
        }
        for id in orphans {
            let why = format!("the node that kept what it made, {dead}, died");
            // It is known and runs.
            let _ = self.end(now, &id, JobStatus::Failed(why));
        }
    }
}

/// A line or a reason, cut to what is kept of it.
pub fn cut(mut line: String) -> String {
    let mut end = LINE.min(line.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

fn info(id: &JobId, job: &Job) -> JobInfo {
    JobInfo {
        job: id.clone(),
        status: job.status.clone(),
        keeper: job.keeper,
        drivers: job.drivers.iter().copied().collect(),
        began: job.began,
        ended: job.ended,
        lines: job.lines.iter().cloned().collect(),
        dropped: job.dropped,
    }
}

impl Machine for Jobs {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Said { from, word } => self.said(now, from, word, out),
            Event::NodeDied(dead) => self.node_died(now, dead),
        }
    }

    fn check(&self) -> Result<(), Violation> {
        for (id, job) in &self.jobs {
            let over = job.status != JobStatus::Running;
            Violation::unless(over == job.ended.is_some(), "I44-job-ends-once", || format!("{id}: {job:?}"))?;
            Violation::unless(!over || job.drivers.is_empty(), "job-drivers", || format!("{id}: {:?}", job.drivers))?;
        }
        let ended = self.jobs.iter().filter(|(_, job)| job.ended.is_some()).map(|(id, _)| id);
        let listed: BTreeSet<&JobId> = self.ended.iter().collect();
        let same = listed.len() == self.ended.len() && ended.eq(listed.iter().copied());
        Violation::unless(same, "I44-job-ends-once", || format!("ended: {:?}", self.ended))
    }
}
