//! Jobs: work that has a name, and outlives the process that began it.

use super::actor::Actor;
use super::call::{Many, One, TaskCall};
use super::context::{Context, gone};
use super::keeper::Keeper;
use super::reference::ObjectRef;
use crate::node::{Input, Question, REQUEST_TIMEOUT};
use crate::{ActorInit, Error, wire};
use mobula_env::{Env, RpcError, RpcStatus};
use mobula_protocol::job::{self, JobError, JobId, JobInfo, JobStatus, Word};
use mobula_protocol::{Incarnation, Placement, Resources, TaskErrorKind};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// The namespace of keepers.
const NAMESPACE: &str = "mobula job";

/// A job as one of its drivers holds it.
///
/// What is submitted through it is owned by a node of the cluster, the job's *keeper*: it goes on when this process dies,
/// and another process that [attaches](Context::attach) finds it by name. A job ends when a driver says so; then what it
/// kept is released.
pub struct Job {
    info: JobInfo,
    /// None if it was over when this process attached.
    keeper: Option<Actor<Keeper>>,
    context: Context,
}

/// What cannot be done with a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobFailure {
    /// The head says no.
    #[error(transparent)]
    Refused(#[from] JobError),
    /// It is over.
    #[error("the job `{job}` is over ({status}): nothing can be submitted to it, and what it kept is gone")]
    Over {
        /// The job.
        job: JobId,
        /// How it ended.
        status: JobStatus,
    },
    /// It keeps nothing under that name.
    #[error("the job `{job}` keeps nothing called `{name}`; it keeps: {}", .known.join(", "))]
    NotKept {
        /// The job.
        job: JobId,
        /// What was asked for.
        name: String,
        /// Some of what there is.
        known: Vec<String>,
    },
    /// The runtime says no.
    #[error(transparent)]
    Runtime(#[from] Error),
}

impl Context {
    /// Begins a job under a name that no job had before.
    ///
    /// # Errors
    /// [`JobError::Exists`], and `Unschedulable` if no node with a cpu lives.
    pub async fn begin_job(&self, name: &str) -> Result<Job, JobFailure> {
        let (job, keeper) = (named(name)?, self.keeper_for().await?);
        let info = self.ask_head(move |request| Word::Begin { request, job, keeper }).await?;
        self.with_keeper(info).await
    }

    /// Goes on with a job that this or another process has begun, whether any of its drivers lives or not.
    ///
    /// # Errors
    /// [`JobError::Unknown`] naming those there are.
    pub async fn attach(&self, name: &str) -> Result<Job, JobFailure> {
        let job = named(name)?;
        let info = self.ask_head(move |request| Word::Attach { request, job }).await?;
        self.with_keeper(info).await
    }

    /// All jobs that the head knows, in the order of their names.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn jobs(&self) -> Result<Vec<JobInfo>, Error> {
        match self.say(|request| Word::List { request }).await? {
            Word::Listed { jobs, .. } => Ok(jobs),
            other => Err(Error::new(TaskErrorKind::WrongType, format!("{} is no list of jobs", other.name()))),
        }
    }

    /// The node with the most free cpus: it will own what the job submits. A driver's node has none, and will not.
    async fn keeper_for(&self) -> Result<Incarnation, Error> {
        let view = self.ask(Question::Cluster).await?;
        let cpus = |resources: &Resources| resources.get(Resources::CPU).0;
        let lasting = view.nodes.iter().filter(|node| cpus(&node.member.total) > 0 && !node.load.draining);
        let most = lasting.rev().max_by_key(|node| cpus(&node.load.available));
        let none = || Error::new(TaskErrorKind::Unschedulable, "no node with a cpu lives that could keep a job");
        most.map(|node| node.member.incarnation).ok_or_else(none)
    }

    async fn with_keeper(&self, info: JobInfo) -> Result<Job, JobFailure> {
        let mut keeper = None;
        if info.status == JobStatus::Running {
            let view = self.ask(Question::Cluster).await?;
            let node = view.nodes.iter().find(|node| node.member.incarnation == info.keeper);
            let lost =
                || Error::new(TaskErrorKind::OwnerDied, format!("the keeper of {}, {}, died", info.job, info.keeper));
            let name = node.ok_or_else(lost)?.member.name.clone();
            // Whoever began the job may have died before this.
            let init = ActorInit::<Keeper>::new().detached().cpus(0.0).on(&name).name_in(NAMESPACE, &info.job.0);
            keeper = Some(init.get_or_create(self).await?);
        }
        Ok(Job { info, keeper, context: self.clone() })
    }

    async fn ask_head(&self, word: impl FnOnce(u64) -> Word + Send + 'static) -> Result<JobInfo, JobFailure> {
        match self.say(word).await? {
            Word::Answer { result, .. } => Ok(*result?),
            other => Err(Error::new(TaskErrorKind::WrongType, format!("{} answers no question", other.name())).into()),
        }
    }

    async fn say(&self, word: impl FnOnce(u64) -> Word + Send + 'static) -> Result<Word, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Job(Box::new(word), reply))?;
        answer.await.map_err(|_| gone())
    }
}

fn named(name: &str) -> Result<JobId, Error> {
    if (1..=job::NAME).contains(&name.len()) {
        return Ok(JobId(name.to_owned()));
    }
    let message = format!("a job has a name of 1 to {} bytes, not of {}", job::NAME, name.len());
    Err(Error::new(TaskErrorKind::WrongType, message))
}

/// All jobs that the head at this address knows, or the one of this name with its log, asked from outside of the cluster.
///
/// # Errors
/// No head answers there.
pub async fn jobs_of(env: &Env, head: &str, job: Option<&str>) -> Result<Vec<JobInfo>, RpcError> {
    let client = env.rpc_connect(head).await?;
    let status = |status: RpcStatus| RpcError::Status(status.code, status.message);
    let body = wire::write(&job).map_err(status)?;
    let reply = client.call(wire::JOBS, body, REQUEST_TIMEOUT).await?;
    wire::read(&reply).map_err(status)
}

impl Job {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.info.job.0
    }

    /// What the head knew of it when this process began it or attached.
    pub fn info(&self) -> &JobInfo {
        &self.info
    }

    fn keeper(&self) -> Result<&Actor<Keeper>, JobFailure> {
        let over = || JobFailure::Over { job: self.info.job.clone(), status: self.info.status.clone() };
        self.keeper.as_ref().ok_or_else(over)
    }

    /// Submits a task under a name and keeps its result until the job ends. A name means one task: submitting it again, from
    /// any driver, returns the result of the first.
    ///
    /// The arguments travel in one message: at most [`NodeSettings::inline`](crate::NodeSettings::inline) each.
    ///
    /// # Errors
    /// The job is over, an argument is too large, the keeper died, or the task is to run in a placement group, which only
    /// the process that made it can use.
    pub async fn submit<T>(&self, name: &str, call: TaskCall<One<T>>) -> Result<ObjectRef<T>, JobFailure> {
        let results = self.hand_over(name, call).await?;
        self.only(name, results)
    }

    /// The same for a task with several results.
    ///
    /// # Errors
    /// As [`Job::submit`].
    pub async fn submit_many<T>(&self, name: &str, call: TaskCall<Many<T>>) -> Result<Vec<ObjectRef<T>>, JobFailure> {
        let results = self.hand_over(name, call).await?;
        Ok(results.iter().map(ObjectRef::cast).collect())
    }

    async fn hand_over<R>(&self, name: &str, call: TaskCall<R>) -> Result<Vec<ObjectRef<()>>, JobFailure> {
        let (task, held) = call.describe(&self.context)?;
        if let Placement::Group { group, .. } = task.placement
            && group.owner != self.info.keeper
        {
            let message =
                format!("placement group {group} is of the process that made it, and the job's tasks are not");
            return Err(Error::new(TaskErrorKind::Unschedulable, message).into());
        }
        let results = self.keeper()?.submit(name.to_owned(), task).submit(&self.context)?;
        let results = self.context.get(&results).await?;
        drop(held);
        Ok(results)
    }

    /// The result that is kept under a name.
    ///
    /// # Errors
    /// [`JobFailure::NotKept`], and as [`Job::submit`].
    pub async fn result<T>(&self, name: &str) -> Result<ObjectRef<T>, JobFailure> {
        let results = self.kept().await?.remove(name).unwrap_or_default();
        self.only(name, results)
    }

    fn only<T>(&self, name: &str, results: Vec<ObjectRef<()>>) -> Result<ObjectRef<T>, JobFailure> {
        let none = || JobFailure::NotKept { job: self.info.job.clone(), name: name.to_owned(), known: Vec::new() };
        results.first().map(ObjectRef::cast).ok_or_else(none)
    }

    /// All results that are kept, by name.
    ///
    /// # Errors
    /// As [`Job::submit`].
    pub async fn kept(&self) -> Result<BTreeMap<String, Vec<ObjectRef<()>>>, JobFailure> {
        let kept = self.keeper()?.kept().submit(&self.context)?;
        Ok(self.context.get(&kept).await?)
    }

    /// Writes a line into the job's log, which the head keeps.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn log(&self, line: &str) -> Result<(), Error> {
        let (job, line) = (self.info.job.clone(), job::cut(line.to_owned()));
        let (nobody, _) = oneshot::channel();
        self.context.send(Input::Job(Box::new(move |_| Word::Line { job, line }), nobody))
    }

    /// Ends the job: its status is `outcome` for ever, unless it has ended before, and what it kept is released. Returns
    /// what the head knows of it then.
    ///
    /// # Errors
    /// When the head has forgotten the job, or the runtime is shut down.
    pub async fn end(self, outcome: Result<(), String>) -> Result<JobInfo, JobFailure> {
        let status = outcome.map_or_else(|why| JobStatus::Failed(job::cut(why)), |()| JobStatus::Succeeded);
        let job = self.info.job.clone();
        let info = self.context.ask_head(move |request| Word::End { request, job, status }).await?;
        if let Some(keeper) = &self.keeper {
            self.context.kill_actor(keeper)?;
        }
        Ok(info)
    }
}
