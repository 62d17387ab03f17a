//! Generators on embedded clusters: real threads, no sockets.
#![cfg(not(madsim))]

use mobula_runtime::{
    ActorDeath, Blob, Context, Embedded, EmbeddedNode, HeadSettings, Nanos, TaskErrorKind, actor, crash, task,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many items `count` has made.
static MADE: AtomicU64 = AtomicU64::new(0);

#[task(stream)]
fn count(from: u64, to: u64) -> impl Iterator<Item = u64> {
    (from..to).inspect(|_| {
        MADE.fetch_add(1, Ordering::SeqCst);
    })
}

#[task(stream)]
fn chunks(n: u8, bytes: u64) -> impl Iterator<Item = Blob> {
    (0..n).map(move |n| Blob::from(vec![n; bytes as usize]))
}

#[task(stream)]
fn parse(text: String) -> impl Iterator<Item = Result<i64, std::num::ParseIntError>> {
    text.split(' ').map(str::parse).collect::<Vec<_>>().into_iter()
}

#[task]
fn size(blob: Blob) -> u64 {
    blob.len() as u64
}

#[task]
fn one(context: Context) -> u64 {
    u64::from(context.attempt())
}

fn cluster(nodes: &[(&str, u64)]) -> Embedded {
    let nodes: Vec<_> = nodes.iter().map(|(name, cpus)| EmbeddedNode::new(name, *cpus)).collect();
    Embedded::with(&nodes, HeadSettings::default(), 0).unwrap()
}

#[test]
fn a_generator_waits_for_its_consumer_and_leaves_its_cpu_to_others() {
    let cluster = cluster(&[("A", 1)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let mut stream = count(0, 1_000_000).backpressure(4).submit(context).unwrap();
        for n in 0..100 {
            assert_eq!(stream.next_value().await, Ok(Some(n)));
            let ahead = MADE.load(Ordering::SeqCst) - n;
            assert!(ahead <= 6, "{ahead} items ahead: four, the one just taken, and the one taken before it");
        }
        let other = one().submit(context).unwrap();
        assert_eq!(context.get_within(&other, Nanos::secs(20)).await, Ok(1));
        drop(stream);
        let after = one().submit(context).unwrap();
        assert_eq!(context.get_within(&after, Nanos::secs(20)).await, Ok(1));
    });
}

#[test]
fn items_are_objects_and_survive_the_node_that_makes_them() {
    let mut cluster = cluster(&[("A", 1), ("B", 1), ("driver", 0)]);
    let context = cluster.context_of("driver").unwrap().clone();
    let mut stream = chunks(6, 1 << 20).on("A").backpressure(1).submit(&context);
    let elsewhere = chunks(6, 1 << 20).prefer("A").backpressure(1).submit(&context);
    let (first, second) = cluster.block_on(async {
        let mut elsewhere = elsewhere.unwrap();
        let first = elsewhere.next().await.unwrap().unwrap();
        let second = stream.as_mut().unwrap().next().await.unwrap().unwrap();
        (first, (elsewhere, second))
    });
    cluster.kill("A");
    cluster.block_on(async {
        let (mut elsewhere, second) = second;
        assert_eq!(context.get(&size(&first).submit(&context).unwrap()).await, Ok(1 << 20));
        let mut values = vec![context.get(&first).await.unwrap()[0]];
        while let Some(value) = elsewhere.next_value().await.unwrap() {
            values.push(value[0]);
        }
        assert_eq!(values, [0, 1, 2, 3, 4, 5]);
        drop(second);
        let error = loop {
            match stream.as_mut().unwrap().next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the node it is bound to died before its end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, TaskErrorKind::Unschedulable);
    });
}

#[test]
fn a_generators_own_error_comes_after_its_items() {
    let cluster = cluster(&[("A", 1)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let mut stream = parse("1 2 three 4".to_owned()).submit(context).unwrap();
        assert_eq!(stream.next_value().await, Ok(Some(1)));
        assert_eq!(stream.next_value().await, Ok(Some(2)));
        let error = stream.next_value().await.unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::TaskFailed);
        assert!(error.message.contains("invalid digit"), "{error}");
        assert_eq!(stream.next_value().await, Ok(None));
    });
}

/// Counts what it yields.
#[derive(Default)]
pub struct Steps {
    made: u64,
}

#[actor]
impl Steps {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { made: 0 }
    }

    /// From 0; kills its worker at `crash_at` in its first attempt.
    #[stream]
    pub fn walk(&mut self, context: Context, to: u64, crash_at: u64) -> impl Iterator<Item = u64> {
        (0..to).inspect(move |step| {
            if *step == crash_at && context.attempt() == 1 {
                crash("told to");
            }
            self.made += 1;
        })
    }

    /// Sums up to here, each from the state.
    #[stream]
    pub fn look(&self, to: u64) -> impl Iterator<Item = Result<u64, String>> {
        (0..=to).map(move |n| if n < to { Ok(self.made + n) } else { Err("no further".to_owned()) })
    }

    /// How many steps it made.
    pub fn made(&self) -> u64 {
        self.made
    }

    #[save]
    fn save(&self) -> u64 {
        self.made
    }

    #[restore]
    fn restore(made: u64) -> Self {
        Self { made }
    }
}

const SOON: Nanos = Nanos::secs(20);

#[test]
fn a_method_streams_in_its_turn_as_far_as_its_consumer_lets_it() {
    let cluster = cluster(&[("A", 1)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let steps = Steps::actor().create(context).unwrap();
        let mut stream = steps.walk(1_000_000, u64::MAX).backpressure(2).submit(context).unwrap();
        for n in 0..100 {
            assert_eq!(stream.next_value().await, Ok(Some(n)));
        }
        let behind = steps.made().submit(context).unwrap();
        assert_eq!(context.get_within(&behind, Nanos::millis(50)).await.unwrap_err().kind, TaskErrorKind::GetTimeout);
        drop(stream);
        let made = context.get_within(&behind, SOON).await.unwrap();
        assert!((100..=102).contains(&made), "two ahead at most: {made}");
        let mut sums = steps.look(2).submit(context).unwrap();
        assert_eq!(sums.next_value().await, Ok(Some(made)));
        assert_eq!(sums.next_value().await, Ok(Some(made + 1)));
        let error = sums.next().await.map(|_| ()).unwrap_err();
        assert!(error.kind == TaskErrorKind::TaskFailed && error.message.contains("no further"), "{error}");
        let cancelled = steps.walk(1_000_000, u64::MAX).backpressure(1).submit(context).unwrap();
        cancelled.cancel().unwrap();
        let after = steps.made().submit(context).unwrap();
        assert!(context.get_within(&after, SOON).await.is_ok());
    });
}

#[test]
fn a_stream_goes_on_in_the_next_incarnation_or_ends_after_its_items() {
    let cluster = cluster(&[("A", 1)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let steps = Steps::actor().max_restarts(1).create(context).unwrap();
        let mut stream = steps.walk(10, 5).max_retries(1).submit(context).unwrap();
        for n in 0..10 {
            assert_eq!(stream.next_value().await, Ok(Some(n)));
        }
        assert_eq!(stream.next_value().await, Ok(None));
        let mut stream = steps.walk(10, 3).submit(context).unwrap();
        for n in 0..3 {
            assert_eq!(stream.next_value().await, Ok(Some(n)));
        }
        let error = stream.next().await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::ActorDied(ActorDeath::Crashed), "{error}");
    });
}

#[test]
fn an_exactly_once_call_is_no_stream() {
    let cluster = cluster(&[("A", 1)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let steps = Steps::actor().max_restarts(1).exactly_once().create(context).unwrap();
        let error = steps.walk(10, 5).submit(context).map(|_| ()).unwrap_err();
        assert!(error.kind == TaskErrorKind::WrongType && error.message.contains("exactly-once"), "{error}");
        let untyped = steps.untyped();
        let path = concat!(module_path!(), "::Steps::walk");
        let one = untyped.call::<u64>(path).arg::<u64>(1u64).arg::<u64>(5u64).submit(context).unwrap();
        let error = context.get_within(&one, SOON).await.unwrap_err();
        assert!(error.kind == TaskErrorKind::WrongType && error.message.contains("yields items"), "{error}");
    });
}
