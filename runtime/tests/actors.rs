//! Actors in an embedded cluster: what a program can rely on.

#![allow(missing_docs, reason = "tests")]
#![cfg(not(madsim))]

use mobula_runtime::{
    Actor, ActorDeath, ActorState, Context, Embedded, EmbeddedNode, Error, HeadSettings, Nanos, ObjectRef, Question,
    Result, TaskErrorKind, actor, crash, death_of, task,
};

/// Counts.
pub struct Counter {
    value: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Result<Self, String> {
        if start == 13 { Err("13 is unlucky".to_owned()) } else { Ok(Self { value: start }) }
    }

    pub fn add(&mut self, n: u64) -> u64 {
        self.value += n;
        self.value
    }

    pub fn get(&self) -> u64 {
        self.value
    }

    pub fn fail(&mut self) -> Result<u64, String> {
        Err(format!("at {}", self.value))
    }

    pub fn crash(&mut self) -> u64 {
        crash("told to")
    }

    pub async fn add_later(&mut self, context: Context, n: u64) -> u64 {
        context.env().sleep(Nanos::millis(5)).await;
        self.value += n;
        self.value
    }
}

/// Counts, and remembers.
#[derive(Default)]
pub struct Ledger {
    entries: Vec<u64>,
}

#[actor]
impl Ledger {
    pub fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub fn append(&mut self, entry: u64) -> u64 {
        self.entries.push(entry);
        self.entries.len() as u64
    }

    pub fn entries(&self) -> Vec<u64> {
        self.entries.clone()
    }

    #[save]
    fn save(&self) -> Vec<u64> {
        self.entries.clone()
    }

    #[restore]
    fn restore(entries: Vec<u64>) -> Self {
        Self { entries }
    }
}

/// Keeps references and handles.
pub struct Keeper {
    kept: Option<ObjectRef<u64>>,
    counter: Actor<Counter>,
}

#[actor]
impl Keeper {
    pub fn new(counter: Actor<Counter>) -> Self {
        Self { kept: None, counter }
    }

    pub fn keep(&mut self, what: Vec<ObjectRef<u64>>) {
        self.kept = what.into_iter().next();
    }

    pub async fn read(&self, context: Context) -> Result<u64, Error> {
        let kept = self.kept.as_ref().ok_or_else(|| Error::new(TaskErrorKind::WrongType, "nothing is kept"))?;
        context.get(kept).await
    }

    pub async fn forward(&self, context: Context, n: u64) -> Result<u64, Error> {
        let sum = self.counter.add(n).submit(&context)?;
        context.get(&sum).await
    }
}

#[task]
fn double(n: u64) -> u64 {
    n * 2
}

fn two_nodes() -> Embedded {
    let nodes = [EmbeddedNode::new("a", 2), EmbeddedNode::new("b", 2)];
    let members = mobula_runtime::HeadSettings::default().members;
    let head = HeadSettings { members, ..HeadSettings::default() };
    Embedded::with(&nodes, head, 7).expect("two nodes")
}

#[test]
fn calls_run_in_order_on_one_state_and_take_references() {
    let cluster = two_nodes();
    let context = cluster.context_of("a").expect("a").clone();
    cluster.block_on(async {
        let counter = Counter::actor(100).on("b").create(&context).expect("created");
        let slow = double(20).submit(&context).expect("submitted");
        let first = counter.add(&slow).submit(&context).expect("submitted");
        let rest: Vec<_> = (0..200).map(|_| counter.add(1).submit(&context).expect("submitted")).collect();
        assert_eq!(context.get(&first).await, Ok(140));
        assert_eq!(context.get_all(&rest).await, Ok((141..=340).collect()));
        assert_eq!(context.get(&counter.add_later(1).submit(&context).expect("submitted")).await, Ok(341));
        assert_eq!(context.get(&counter.get().submit(&context).expect("submitted")).await, Ok(341));
        let failed = context.get(&counter.fail().submit(&context).expect("submitted")).await.expect_err("it fails");
        assert!(failed.to_string().contains("at 341"), "{failed}");
        assert_eq!(context.get(&counter.get().submit(&context).expect("submitted")).await, Ok(341));
    });
}

#[test]
fn handles_travel_and_the_last_one_ends_the_actor() {
    let cluster = two_nodes();
    let context = cluster.context_of("a").expect("a").clone();
    cluster.block_on(async {
        let counter = Counter::actor(0).on("a").create(&context).expect("created");
        let keeper = Keeper::actor(counter.clone()).on("b").create(&context).expect("created");
        assert_eq!(context.get(&keeper.forward(5).submit(&context).expect("submitted")).await, Ok(5));
        let value = double(21).submit(&context).expect("submitted");
        context.get(&keeper.keep(vec![value.clone()]).submit(&context).expect("submitted")).await.expect("kept");
        drop(value);
        assert_eq!(context.get(&keeper.read().submit(&context).expect("submitted")).await, Ok(42));
        drop(counter);
        assert_eq!(context.get(&keeper.forward(5).submit(&context).expect("submitted")).await, Ok(10));
        drop(keeper);
        for _ in 0..1000 {
            let ledger = context.ask(Question::Ledger).await.expect("a ledger");
            if ledger.objects == 0 && ledger.foreign == 0 {
                return;
            }
            context.env().sleep(Nanos::millis(5)).await;
        }
        panic!("still there: {:?}", context.ask(Question::Ledger).await);
    });
}

#[test]
fn a_constructor_error_is_the_end() {
    let cluster = two_nodes();
    let context = cluster.context_of("a").expect("a").clone();
    cluster.block_on(async {
        let counter = Counter::actor(13).max_restarts(5).create(&context).expect("created");
        let error = context.get(&counter.add(1).submit(&context).expect("submitted")).await.expect_err("dead");
        assert_eq!(error.kind, TaskErrorKind::ActorDied(ActorDeath::Init), "{error}");
        assert!(error.to_string().contains("unlucky"), "{error}");
    });
}

#[test]
fn crashes_use_up_restarts_and_calls_are_made_as_often_as_asked() {
    let cluster = two_nodes();
    let context = cluster.context_of("a").expect("a").clone();
    cluster.block_on(async {
        let counter = Counter::actor(0).max_restarts(1).on("b").create(&context).expect("created");
        assert_eq!(context.get(&counter.add(3).submit(&context).expect("submitted")).await, Ok(3));
        let crashed = counter.crash().submit(&context).expect("submitted");
        let after = counter.add(1).submit(&context).expect("submitted");
        let error = context.get(&crashed).await.expect_err("at most once");
        assert_eq!(error.kind, TaskErrorKind::ActorUnavailable, "{error}");
        assert_eq!(context.get(&after).await, Ok(1), "the state is rebuilt by the constructor");
        let state = context.actor_state(&counter).await.expect("a state");
        assert!(matches!(state, ActorState::Alive { incarnation: 2, .. }), "{state:?}");
        let again = counter.crash().max_retries(3).submit(&context).expect("submitted");
        let error = context.get(&again).await.expect_err("dead");
        assert_eq!(death_of(&error), Some(ActorDeath::Crashed), "{error}");
    });
}

#[test]
fn names_are_unique_and_detached_actors_are_found() {
    let cluster = two_nodes();
    let (context, other) = (cluster.context_of("a").expect("a").clone(), cluster.context_of("b").expect("b").clone());
    cluster.block_on(async {
        let one = Counter::actor(1).name("it").detached().create(&context).expect("created");
        context.get(&one.ready().submit(&context).expect("submitted")).await.expect("alive");
        let two = Counter::actor(2).name("it").create(&other).expect("created");
        let error = other.get(&two.add(1).submit(&other).expect("submitted")).await.expect_err("taken");
        assert_eq!(error.kind, TaskErrorKind::ActorDied(ActorDeath::NameTaken), "{error}");
        drop(one);
        let found = other.find_actor::<Counter>("it").await.expect("found");
        assert_eq!(other.get(&found.add(1).submit(&other).expect("submitted")).await, Ok(2));
        let same = Counter::actor(9).name("it").get_or_create(&other).await.expect("the same");
        assert_eq!(same.id(), found.id());
        other.kill_actor(&found).expect("killed");
        let error = other.get(&found.add(1).submit(&other).expect("submitted")).await.expect_err("dead");
        assert_eq!(error.kind, TaskErrorKind::ActorDied(ActorDeath::Killed), "{error}");
        let error = context.find_actor::<Counter>("it").await.expect_err("gone");
        assert_eq!(error.kind, TaskErrorKind::ActorDied(ActorDeath::Unknown), "{error}");
    });
}

#[test]
fn exactly_once_survives_its_node() {
    let mut cluster = two_nodes();
    let context = cluster.context_of("a").expect("a").clone();
    let (ledger, before) = cluster.block_on(async {
        let init = Ledger::actor().exactly_once().max_restarts(3).prefer("b").cpus(1.0);
        let ledger = init.create(&context).expect("created");
        let lengths: Vec<_> = (0..50).map(|n| ledger.append(n).submit(&context).expect("submitted")).collect();
        assert_eq!(context.get_all(&lengths).await, Ok((1..=50).collect()));
        let more: Vec<_> = (50..100).map(|n| ledger.append(n).submit(&context).expect("submitted")).collect();
        (ledger, more)
    });
    assert!(cluster.kill("b"));
    cluster.block_on(async {
        assert_eq!(context.get_all(&before).await, Ok((51..=100).collect()));
        let entries = context.get(&ledger.entries().submit(&context).expect("submitted")).await;
        assert_eq!(entries, Ok((0..100).collect()));
    });
}

#[test]
fn a_handle_with_too_many_calls_says_so_and_loses_none() {
    let cluster = two_nodes();
    let context = cluster.context_of("a").expect("a").clone();
    cluster.block_on(async {
        let counter = Counter::actor(0).max_pending_calls(3).create(&context).expect("created");
        let calls: Vec<_> = (0..5).map(|_| counter.add_later(1).submit(&context).expect("submitted")).collect();
        for (index, call) in calls.iter().enumerate() {
            match context.get(call).await {
                Ok(value) => assert_eq!((value, index < 3), (index as u64 + 1, true)),
                Err(error) => assert_eq!((error.kind, index < 3), (TaskErrorKind::TooManyPending, false), "{error}"),
            }
        }
    });
}
