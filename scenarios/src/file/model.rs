//! What a scenario file says, typed and checked.

use super::actor::FindActor;
pub use super::assertion::{Assert, Counter, StoreCounter};
use super::group::{GroupStep, Ready};
use super::job::JobStep;
use super::results::Why;
use super::stranger::Stranger;
use super::stream::Next;
pub use super::trouble::{DiskChange, Fault, Goal, PlannedFault, Trigger};
use crate::actors::Class;
use crate::condition::Condition;
use crate::expr::AggText;
use crate::tasks::Function;
use mobula_data::{Expr, JoinKind};
use mobula_runtime::{ByteSize, Durability, Labels, MemoryPolicy, Nanos, Resources, SharedPolicy};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file, as the user named it.
    pub file: String,
    /// What it shows, in words.
    pub name: String,
    /// Where it comes from.
    pub source: Option<String>,
    /// Why it cannot pass yet, if it cannot.
    pub known_failing: Option<String>,
    /// The worlds it makes sense in; empty means all.
    pub worlds: Vec<mobula_runtime::WorldKind>,
    /// The record of a real run that a simulation plays again, as it is found from here.
    pub as_recorded: Option<PathBuf>,
    /// The nodes it begins with, and the links between them.
    pub cluster: Cluster,
    /// Settings of the runtime.
    pub settings: Settings,
    /// What the driver does.
    pub steps: Vec<Step>,
    /// What goes wrong beside it.
    pub faults: Vec<PlannedFault>,
    /// What must be true at the end.
    pub expect: Option<Assert>,
}

/// The cluster before the first step.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// The capacity of the store of every node that does not say otherwise, also of those added later.
    pub store: ByteSize,
    /// One-way latency of every link, in simulation.
    pub latency: Option<Nanos>,
    /// Bytes a second of every node's network card, in simulation.
    pub bandwidth: Option<ByteSize>,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// What tasks may use there.
    pub resources: Resources,
    /// Its free-form properties.
    pub labels: Labels,
    /// The capacity of its store; if not said, that of the cluster.
    pub store: Option<ByteSize>,
    /// What its tasks may use of memory; if not said, what the world has.
    pub memory: Option<ByteSize>,
}

/// Settings of the runtime that a file may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How often nodes say that they live.
    pub health_period: Option<Nanos>,
    /// How long a silence is death.
    pub health_timeout: Option<Nanos>,
    /// The largest result that lives with its owner.
    pub inline: Option<ByteSize>,
    /// How long a value waits for room in a full store.
    pub store_grace: Option<Nanos>,
    /// Bytes of lineage that each owner keeps.
    pub lineage: Option<ByteSize>,
    /// What happens to referenced primary copies when a store is full.
    pub memory_policy: Option<MemoryPolicy>,
    /// Directories for spilled objects, on each node's disk.
    pub spill: Option<Vec<String>>,
    /// Where tasks and actors go.
    pub policy: Option<SharedPolicy>,
    /// The capacity of the driver's store.
    pub driver_store: Option<ByteSize>,
    /// The smallest object that receivers pass on while it arrives.
    pub relay_from: Option<ByteSize>,
    /// How long a node goes on without its head.
    pub head_grace: Option<Nanos>,
    /// Whether the head keeps a log.
    pub head_log: Option<bool>,
    /// The model time after which a run counts as stuck.
    pub max_time: Option<Nanos>,
    /// The step of turmoil's clock.
    pub tick: Option<Nanos>,
    /// Whether the code under test takes unlikely paths, in simulation.
    pub buggify: bool,
}

/// A name in the file, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Its line.
    pub line: usize,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its line in the file.
    pub line: usize,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Store a value.
    Put(Put),
    /// Submit tasks.
    Submit(Box<Submit>),
    /// Create an actor.
    Actor(Box<ActorStep>),
    /// Another driver.
    Job(Box<JobStep>),
    /// Find one by its name in the cluster.
    FindActor(Box<FindActor>),
    /// Call a method of one.
    Call(CallStep),
    /// End actors.
    KillActor(KillActor),
    /// Get results.
    Get(Get),
    /// Make a placement group.
    Group(GroupStep),
    /// Wait until a placement group is placed.
    Ready(Ready),
    /// Take items from a generator.
    Next(Next),
    /// Wait for some of several results.
    Wait(Wait),
    /// Ask what a task waits for.
    Why(Why),
    /// Somebody without the cluster's key tries something.
    Stranger(Stranger),
    /// Drop references.
    Release(Vec<Name>),
    /// Free values by hand.
    Free(Vec<Name>),
    /// Cancel tasks.
    Cancel(Vec<Name>),
    /// Build, run, write and compare a Dataset.
    Dataset(Box<DatasetStep>),
    /// Run lists of steps concurrently.
    Parallel(Vec<Vec<Step>>),
    /// Let model time pass.
    Sleep(Nanos),
    /// Wait until nothing is in flight, at most so long.
    Settle(Nanos),
    /// Something goes wrong, or is mended.
    Fault(Fault),
    /// Something must be true.
    Assert(Assert),
}

/// Store a value.
#[derive(Clone, Debug)]
pub struct Put {
    /// Its name from now on.
    pub name: Name,
    /// What is stored.
    pub value: Literal,
    /// What it outlives, if the file says.
    pub durability: Option<Durability>,
}

/// A value as the file writes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text that does not begin with `$`.
    Text(String),
    /// So many bytes that depend on a seed.
    Bytes(ByteSize, u64),
    /// A list, whose references stay references.
    List(Vec<Literal>),
    /// `$name`: an object.
    Object(ObjectName),
}

/// `$x`: the objects called `x`. `$x[2]`: the third of them. `$x[i]`: the one with the number of the submission;
/// `$x[i::4]`: that one and every fourth after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The name.
    pub name: Name,
    /// Which of several.
    pub index: Option<Index>,
}

/// Which of several objects of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The one with this number, from 0.
    Number(u64),
    /// The one with the number of the submission.
    Each,
    /// The same and every so many after it: a column of a table that was written row by row.
    Column(u64),
}

/// Submit tasks.
#[derive(Clone, Debug)]
pub struct Submit {
    /// Which function.
    pub function: &'static Function,
    /// The names of the results: one name, or one for each of several results. None: the results are dropped at once.
    pub names: Vec<Name>,
    /// What the tasks are counted under.
    pub label: String,
    /// One argument a parameter, in order.
    pub args: Vec<Argument>,
    /// How many times it is submitted.
    pub count: u64,
    /// Where it may run.
    pub place: Place,
    /// What each holds while it runs.
    pub resources: Resources,
    /// Budget for crashes and for losses.
    pub max_retries: Option<u32>,
    /// Budget for its own errors.
    pub retry_exceptions: Option<u32>,
    /// Budget for memory kills.
    pub memory_retries: Option<u32>,
    /// Whether it runs in a worker process.
    pub process: bool,
    /// Whether another value is accepted when it runs again.
    pub accept_replay: bool,
    /// Whose part of a full node it uses: the group's name and weight.
    pub share: Option<(String, u32)>,
    /// Who goes first.
    pub priority: Option<i32>,
    /// For generators: how many items may exist that nobody has taken.
    pub backpressure: Option<u32>,
    /// What each result outlives, if the file says.
    pub durability: Option<Durability>,
    /// Number of results.
    pub returns: u32,
}

/// Create an actor.
#[derive(Clone, Debug)]
pub struct ActorStep {
    /// Of which class.
    pub class: &'static Class,
    /// What the file calls it.
    pub name: Name,
    /// The constructor's arguments.
    pub args: Vec<Literal>,
    /// Where it may live.
    pub place: Place,
    /// What it holds for life.
    pub resources: Resources,
    /// Restarts; `u32::MAX` without limit.
    pub max_restarts: Option<u32>,
    /// Repetitions of each call; `u32::MAX` without limit.
    pub max_task_retries: Option<u32>,
    /// Most unfinished calls of a handle.
    pub max_pending_calls: Option<u32>,
    /// Calls between checkpoints.
    pub checkpoint_every: Option<u32>,
    /// Calls at the same time.
    pub concurrency: Option<u32>,
    /// Its name in the cluster.
    pub public_name: Option<String>,
    /// Whether each call has its effect exactly once.
    pub exactly_once: bool,
    /// Whether calls have no order.
    pub unordered: bool,
    /// Whether it outlives its creator.
    pub detached: bool,
    /// Whether an actor of the same name will do.
    pub get_if_exists: bool,
}

/// Call a method.
#[derive(Clone, Debug)]
pub struct CallStep {
    /// Whose.
    pub actor: Name,
    /// Which.
    pub method: Name,
    /// Its arguments.
    pub args: Vec<Literal>,
    /// The name of the results.
    pub name: Option<Name>,
    /// How many times.
    pub repeat: u64,
    /// Whether these calls have no place in the handle's order.
    pub unordered: bool,
    /// Repetitions of each; `u32::MAX` without limit.
    pub max_retries: Option<u32>,
    /// How many items of a method that yields may exist that nobody has taken.
    pub backpressure: Option<u32>,
}

/// End actors.
#[derive(Clone, Debug)]
pub struct KillActor {
    /// Which.
    pub actors: Vec<Name>,
    /// After the calls they have.
    pub graceful: bool,
    /// They may be started again.
    pub restart: bool,
}

/// One argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A number parameter.
    Number(u64),
    /// A seed, to which the number of the submission is added.
    Seed(u64),
    /// One value or one reference.
    Value(Literal),
    /// A value, a reference, or all objects of a name, each an argument of its own.
    Values(Literal),
}

/// Where tasks may run.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Anywhere.
    Any,
    /// On this node only.
    On(Name),
    /// On this node while it lives.
    Prefer(Name),
    /// On nodes with these labels.
    Labels(Labels),
    /// Evenly over the nodes.
    Spread,
    /// In a placement group, or in one of its bundles.
    Group(Name, Option<u32>),
}

/// Get results.
#[derive(Clone, Debug)]
pub struct Get {
    /// Whose.
    pub objects: Vec<ObjectName>,
    /// What each must be.
    pub expect: Expect,
    /// How long.
    pub timeout: Option<Nanos>,
}

/// What a result must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// A value.
    Ok,
    /// This value.
    Value(Literal),
    /// A value with this content hash.
    Hash(u64),
    /// The same value or the same error as another object.
    SameAs(ObjectName),
    /// All together: each whole number is one more than the one before it, or 1 again, so many times.
    Counting(Condition),
    /// An error.
    Error(ExpectedError),
}

/// What an error must be.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedError {
    /// Its kind's name.
    pub kind: String,
    /// Its reason code, if the kind has one.
    pub reason: Option<String>,
    /// The kind of the error it follows from.
    pub cause: Option<String>,
    /// A part of its message.
    pub message: Option<String>,
}

/// Wait for some of several results.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Which.
    pub objects: Vec<ObjectName>,
    /// How many must be ready.
    pub count: u64,
    /// How long.
    pub timeout: Option<Nanos>,
    /// How many must be ready at the end. Default: `count`.
    pub ready: u64,
}

/// A Dataset: where its rows come from, what is done to them, and what becomes of the result.
#[derive(Clone, Debug)]
pub struct DatasetStep {
    /// Its name from now on.
    pub name: Name,
    /// Where the rows come from.
    pub from: Input,
    /// What is done to them.
    pub ops: Vec<Op>,
    /// Whether it is executed now and kept in the cluster.
    pub materialize: bool,
    /// A CSV file to write, below the output directory.
    pub write_csv: Option<String>,
    /// A directory of Parquet files to write, below the output directory.
    pub write_parquet: Option<String>,
    /// A CSV file that the result must equal.
    pub expect_csv: Option<String>,
    /// How many rows it must have.
    pub expect_rows: Option<Condition>,
    /// Text that the error must contain, if it must fail.
    pub expect_error: Option<String>,
    /// How many rows are printed.
    pub show: Option<u64>,
}

/// Where the rows of a Dataset come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Another Dataset.
    Dataset(Name),
    /// Parquet files: the path as the file is found from here.
    Parquet(String),
    /// CSV files.
    Csv {
        /// The path as the file is found from here.
        path: String,
        /// Text that means null.
        null: Option<String>,
        /// What separates fields.
        delimiter: Option<u8>,
        /// Whether the first row holds names.
        header: bool,
    },
}

/// One Dataset operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Keep rows.
    Filter(Expr),
    /// Keep or compute columns.
    Select(Vec<Expr>),
    /// Leave columns out.
    Drop(Vec<String>),
    /// Give columns other names.
    Rename(Vec<(String, String)>),
    /// Add or replace columns.
    WithColumn(Vec<(String, Expr)>),
    /// Look rows up in a small Dataset.
    Join {
        /// The small Dataset.
        with: Name,
        /// Left and right key columns.
        on: Vec<(String, String)>,
        /// Which rows without a match are kept.
        how: JoinKind,
    },
    /// Group and aggregate.
    GroupBy {
        /// The grouping columns.
        keys: Vec<String>,
        /// Column names and aggregates.
        agg: Vec<(String, AggText)>,
    },
    /// Sort; true means descending.
    Sort(Vec<(String, bool)>),
    /// Keep the first rows.
    Limit(u64),
}

impl Scenario {
    /// The class of each actor the file creates.
    pub fn actors(&self) -> BTreeMap<String, &'static Class> {
        let mut all = BTreeMap::new();
        classes(&self.steps, &mut all);
        all
    }

    /// How many tasks the file submits under each label.
    pub fn submitted(&self) -> BTreeMap<String, u64> {
        let mut totals = BTreeMap::new();
        count(&self.steps, &mut totals);
        totals
    }
}

fn classes(steps: &[Step], all: &mut BTreeMap<String, &'static Class>) {
    for step in steps {
        match &step.action {
            Action::Actor(actor) => drop(all.insert(actor.name.text.clone(), actor.class)),
            Action::FindActor(find) => drop(all.insert(find.name.text.clone(), find.class)),
            Action::Job(job) => classes(&job.steps, all),
            Action::Parallel(lists) => lists.iter().for_each(|steps| classes(steps, all)),
            _ => {}
        }
    }
}

fn count(steps: &[Step], totals: &mut BTreeMap<String, u64>) {
    for step in steps {
        match &step.action {
            Action::Submit(submit) => *totals.entry(submit.label.clone()).or_default() += submit.count,
            Action::Call(CallStep { name: Some(name), repeat, .. }) => {
                *totals.entry(name.text.clone()).or_default() += repeat;
            }
            Action::Job(job) => count(&job.steps, totals),
            Action::Parallel(lists) => lists.iter().for_each(|steps| count(steps, totals)),
            _ => {}
        }
    }
}
