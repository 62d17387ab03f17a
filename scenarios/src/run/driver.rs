//! The driver: executes steps in order, planned faults beside them, and cleans up.

use super::Options;
use super::faults::Armed;
use super::journal::Journal;
use super::report::{Failure, PROGRESS};
use crate::file::{Action, Scenario, Step};
use crate::value::Value;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select, try_join_all};
use mobula_data::Dataset;
use mobula_runtime::macros::Handle;
use mobula_runtime::{Context, Env, Job, Nanos, ObjectRef, ObjectStream, PlacementGroup};
use mobula_sim::{Cluster, HEAD, NodeState, check};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long everything may take to be given back after the last step.
const CLEAN_UP: Nanos = Nanos::secs(30);
/// How long planned faults that began may go on after the last step.
const LAST_FAULTS: Nanos = Nanos::secs(30);
/// How often it is looked whether they are over.
const LOOK: Nanos = Nanos::millis(10);

/// The driver of one run.
pub(super) struct Driver {
    pub cluster: Cluster,
    pub scenario: Arc<Scenario>,
    pub journal: Arc<Journal>,
    /// Where files are written.
    pub out: PathBuf,
    /// Stop when the event log has so many lines, and keep the state of every machine.
    pub until: Option<u64>,
    /// The plan was drawn from a seed: see [`super::Options::drawn`].
    pub drawn: bool,
    /// When the first step began.
    pub began: Nanos,
    pub state: Mutex<State>,
    /// Number of tasks of each Dataset operator, as planned.
    pub announced: Arc<Mutex<BTreeMap<String, u64>>>,
    /// Another process than the one that injects the faults, and the job that it drives.
    beside: Option<(Context, Arc<Job>)>,
}

/// What a driver in another process begins from.
pub(super) struct Beside {
    cluster: Cluster,
    scenario: Arc<Scenario>,
    journal: Arc<Journal>,
    out: PathBuf,
    began: Nanos,
}

impl Beside {
    /// The driver of that job in the process of that node.
    pub fn driver(self, context: Context, job: Arc<Job>) -> Driver {
        let Self { cluster, scenario, journal, out, began } = self;
        let beside = Some((context, job));
        Driver {
            cluster,
            scenario,
            journal,
            out,
            began,
            until: None,
            drawn: false,
            state: Mutex::default(),
            announced: Arc::default(),
            beside,
        }
    }
}

/// What the steps have made so far.
#[derive(Default)]
pub(super) struct State {
    pub objects: BTreeMap<String, Vec<ObjectRef<Value>>>,
    /// Taken out while a step waits for their next item.
    pub streams: BTreeMap<String, ObjectStream<Value>>,
    /// Shared with the steps that wait for them.
    pub groups: BTreeMap<String, Vec<Arc<PlacementGroup>>>,
    pub actors: BTreeMap<String, Handle>,
    pub datasets: BTreeMap<String, Dataset>,
}

/// The result of a step: words for people, or what did not hold.
pub(super) type Done = Result<String, Failure>;

impl Driver {
    pub fn new(
        cluster: Cluster,
        scenario: Arc<Scenario>,
        journal: Arc<Journal>,
        out: PathBuf,
        options: &Options,
    ) -> Self {
        let (began, until, drawn) = (cluster.env().now(), options.until, options.drawn);
        Self {
            cluster,
            scenario,
            journal,
            out,
            until,
            drawn,
            began,
            state: Mutex::default(),
            announced: Arc::default(),
            beside: None,
        }
    }

    /// What a driver in another process begins from.
    pub fn beside(&self) -> Beside {
        Beside {
            cluster: self.cluster.clone(),
            scenario: self.scenario.clone(),
            journal: self.journal.clone(),
            out: self.out.clone(),
            began: self.began,
        }
    }

    /// The job it drives, if it does.
    pub fn drives(&self) -> Option<&Job> {
        self.beside.as_ref().map(|(_, job)| &**job)
    }

    /// The clock of the machine that runs the steps.
    pub fn env(&self) -> &Env {
        self.context().env()
    }

    pub fn context(&self) -> &Context {
        self.beside.as_ref().map_or_else(|| self.cluster.context(), |(context, _)| context)
    }

    /// Time since the first step.
    pub fn now(&self) -> Nanos {
        self.env().now().saturating_sub(self.began)
    }

    /// What the steps have made so far. Never held while waiting.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays the whole scenario, within `bound`.
    pub async fn play(self, bound: Nanos) -> Result<(), Failure> {
        let play = self.cluster.env().timeout(bound, self.play_all());
        let until = self.until;
        let stop = async {
            match until {
                Some(event) => self.cluster.env().events_reach(event).await,
                None => std::future::pending().await,
            }
        };
        let played = match select(std::pin::pin!(play), std::pin::pin!(stop)).await {
            Either::Left((Ok(played), _)) => played,
            Either::Left((Err(_), _)) => Err(self.stuck(bound).await),
            Either::Right(_) => {
                self.journal.states(self.cluster.states().await);
                Ok(())
            }
        };
        self.journal.progress(&self.context().progress().borrow());
        played
    }

    async fn play_all(&self) -> Result<(), Failure> {
        let armed = self.arm();
        let steps = std::pin::pin!(self.steps(&self.scenario.steps));
        let faults = try_join_all(armed.iter().map(Armed::run));
        match select(steps, faults).await {
            Either::Left((played, faults)) => {
                played?;
                self.no_fault_left(&armed)?;
                // Of a drawn plan some may never come.
                let under_way = async {
                    while !self.drawn || armed.iter().any(Armed::is_under_way) {
                        self.cluster.env().sleep(LOOK).await;
                    }
                };
                let last = async {
                    match select(faults, std::pin::pin!(under_way)).await {
                        Either::Left((ended, _)) => ended.map(drop),
                        Either::Right(((), _)) => Ok(()),
                    }
                };
                let ended = self.cluster.env().timeout(LAST_FAULTS, last).await;
                ended.map_err(|_| Failure::new("fault", format!("a fault was not over after {LAST_FAULTS}")))??;
            }
            Either::Right((injected, steps)) => {
                injected?;
                steps.await?;
                self.no_fault_left(&armed)?;
            }
        }
        drop(armed);
        if let Some(expect) = &self.scenario.expect {
            self.assert(expect).await.map_err(|why| why.at(&self.scenario.file, expect.line))?;
        }
        self.clean_up().await
    }

    /// Steps in order, up to the first that fails.
    pub fn steps<'a>(&'a self, steps: &'a [Step]) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            for step in steps {
                self.step(step).await?;
            }
            Ok(())
        }
        .boxed()
    }

    async fn step(&self, step: &Step) -> Result<(), Failure> {
        if let Action::Parallel(lists) = &step.action {
            try_join_all(lists.iter().map(|steps| self.steps(steps))).await?;
            return Ok(());
        }
        self.journal.started(step.line);
        let done = self.act(&step.action).await.map_err(|why| why.at(&self.scenario.file, step.line));
        let shown = done.as_ref().map(String::as_str).map_err(|why| why.message.as_str());
        self.journal.ended(step.line, self.now(), &step.action.to_string(), shown);
        self.journal.progress(&self.context().progress().borrow());
        done.map(drop)
    }

    /// What everybody waits for when nothing more happens.
    async fn stuck(&self, bound: Nanos) -> Failure {
        let mut failure = Failure::new(PROGRESS, format!("stuck: the steps were not over after {bound}"));
        failure.causal_chain = self.cluster.waits().await;
        failure
    }

    /// Heals everything, drops all references, and waits until nothing is left anywhere.
    async fn clean_up(&self) -> Result<(), Failure> {
        let failed = |why: mobula_sim::FaultError| Failure::new("fault", format!("cannot heal the cluster: {why}"));
        self.cluster.heal_all().await.map_err(failed)?;
        for node in self.cluster.nodes().into_iter().chain([HEAD.to_owned()]) {
            if self.cluster.state_of(&node).map_err(failed)? == NodeState::Paused {
                self.cluster.resume(&node).await.map_err(failed)?;
            }
        }
        // Taken out of the lock before they are dropped.
        let state = std::mem::take(&mut *self.state());
        drop(state);
        check::quiesce(&self.cluster, CLEAN_UP).await.map_err(|leaks| {
            let invariant = leaks.leaks.first().map_or("I27", |leak| leak.invariant);
            let mut failure =
                Failure::new(invariant, format!("something is left {} after the last step", leaks.waited));
            failure.causal_chain = leaks.leaks.iter().map(ToString::to_string).collect();
            failure
        })
    }
}
