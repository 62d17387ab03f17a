//! Waiting, cancelling and bounded submission on embedded clusters: real threads, no sockets.
#![cfg(not(madsim))]

use futures_util::StreamExt;
use mobula_runtime::{
    Context, Embedded, EmbeddedNode, HeadSettings, Incarnation, Nanos, Result, TaskErrorKind, TaskId, task,
};
use std::sync::atomic::{AtomicU64, Ordering};

#[task]
fn double(n: u64) -> u64 {
    n * 2
}

#[task]
async fn sleep_then(context: Context, n: u64, time: u64) -> u64 {
    context.env().sleep(Nanos(time)).await;
    n
}

/// How many `linger` tasks are inside their loop.
static LINGERING: AtomicU64 = AtomicU64::new(0);

#[task]
fn linger(context: Context, n: u64) -> u64 {
    LINGERING.fetch_add(1, Ordering::SeqCst);
    while !context.is_cancelled() {
        std::thread::yield_now();
    }
    LINGERING.fetch_sub(1, Ordering::SeqCst);
    n
}

/// Submits as many sleepers, and waits for them.
#[task]
async fn parent(context: Context, children: u64) -> Result<u64> {
    let children: Result<Vec<_>> = (0..children).map(|n| sleep_then(n, HOUR.0).submit(&context)).collect();
    Ok(context.get_all(&children?).await?.len() as u64)
}

/// How many `travel` tasks have begun, and how many came to their end.
static SET_OUT: AtomicU64 = AtomicU64::new(0);
static ARRIVED: AtomicU64 = AtomicU64::new(0);

#[task]
async fn travel(context: Context, n: u64) -> u64 {
    SET_OUT.fetch_add(1, Ordering::SeqCst);
    context.env().sleep(Nanos::secs(1)).await;
    ARRIVED.fetch_add(1, Ordering::SeqCst);
    n
}

/// Submits as many travellers, and waits for them.
#[task]
async fn send_out(context: Context, children: u64) -> Result<u64> {
    let children: Result<Vec<_>> = (0..children).map(|n| travel(n).submit(&context)).collect();
    Ok(context.get_all(&children?).await?.len() as u64)
}

const HOUR: Nanos = Nanos::secs(3600);
const SOON: Nanos = Nanos::secs(20);

fn cluster(nodes: &[(&str, u64)]) -> Embedded {
    let nodes: Vec<_> = nodes.iter().map(|(name, cpus)| EmbeddedNode::new(name, *cpus)).collect();
    Embedded::with(&nodes, HeadSettings::default(), 0).unwrap()
}

#[test]
fn a_wait_set_gives_every_reference_once() {
    let cluster = cluster(&[("A", 2)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let mut set = context.wait_set();
        for n in 0..5_000_u64 {
            set.add(double(n).submit(context).unwrap()).unwrap();
        }
        set.extend((5_000..10_000_u64).map(|n| double(n).submit(context).unwrap())).unwrap();
        assert_eq!(set.len(), 10_000);
        let (mut sum, mut count) = (0, 0);
        while let Some(reference) = set.next_within(SOON).await.unwrap() {
            sum += context.get(&reference).await.unwrap();
            count += 1;
        }
        assert_eq!((count, sum, set.is_empty()), (10_000_u64, 9_999 * 10_000, true));
        set.add(sleep_then(1, HOUR.0).submit(context).unwrap()).unwrap();
        let late = set.next_within(Nanos::millis(10)).await.map(|_| ()).unwrap_err();
        assert_eq!((late.kind, set.len()), (TaskErrorKind::GetTimeout, 1));
    });
}

#[test]
fn values_stream_as_they_become_ready_with_their_positions() {
    let cluster = cluster(&[("A", 4)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let slow = sleep_then(7, Nanos::millis(300).0).submit(context).unwrap();
        let fast = double(4).submit(context).unwrap();
        let cancelled = sleep_then(9, HOUR.0).submit(context).unwrap();
        context.cancel(&cancelled).unwrap();
        let mut values: Vec<_> = context.get_stream(&[slow, fast, cancelled]).collect().await;
        assert_eq!(values.last(), Some(&(0, Ok(7))), "the slow one comes last");
        values.sort_by_key(|(position, _)| *position);
        assert_eq!(values[1], (1, Ok(8)));
        assert_eq!(values[2].1.as_ref().map_err(|error| error.kind), Err(TaskErrorKind::Cancelled));
    });
}

#[test]
fn a_cancelled_task_and_its_children_give_their_cpus_back() {
    let cluster = cluster(&[("A", 2), ("B", 2)]);
    let context = cluster.context_of("A").unwrap();
    cluster.block_on(async {
        let root = parent(3).submit(context).unwrap();
        let sitting = linger(1).submit(context).unwrap();
        while LINGERING.load(Ordering::SeqCst) == 0 {
            context.env().sleep(Nanos::millis(1)).await;
        }
        context.env().sleep(Nanos::millis(200)).await;
        context.cancel(&root).unwrap();
        context.cancel(&sitting).unwrap();
        assert_eq!(context.get(&root).await.unwrap_err().kind, TaskErrorKind::Cancelled);
        // Needs every cpu of both nodes at once.
        let all: Vec<_> = ["A", "B"].map(|node| double(1).cpus(2.0).on(node).submit(context).unwrap()).into();
        assert_eq!(context.get_all_within(&all, SOON).await, Ok(vec![2, 2]));
        assert_eq!(LINGERING.load(Ordering::SeqCst), 0, "it asked whether it was cancelled");
    });
}

#[test]
fn a_task_that_is_cancelled_alone_leaves_its_children_running() {
    let cluster = cluster(&[("A", 4)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        for (alone, arrive) in [(false, 0), (true, 3)] {
            let before = [&SET_OUT, &ARRIVED].map(|count| count.load(Ordering::SeqCst));
            let root = send_out(3).submit(context).unwrap();
            while SET_OUT.load(Ordering::SeqCst) < before[0] + 3 {
                context.env().sleep(Nanos::millis(1)).await;
            }
            if alone { context.cancel_alone(&root) } else { context.cancel(&root) }.unwrap();
            assert_eq!(context.get(&root).await.unwrap_err().kind, TaskErrorKind::Cancelled);
            // Needs every cpu of the node, so it runs when all of them have ended.
            let last = double(1).cpus(4.0).submit(context).unwrap();
            assert_eq!(context.get_all_within(&[last], SOON).await, Ok(vec![2]));
            assert_eq!(ARRIVED.load(Ordering::SeqCst) - before[1], arrive, "alone: {alone}");
        }
    });
}

#[test]
fn a_driver_that_asks_for_room_never_has_more_tasks_than_that() {
    let cluster = cluster(&[("A", 2)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let mut most = 0;
        let mut done = Vec::new();
        for n in 0..500_u64 {
            context.room(10).await.unwrap();
            done.push(double(n).submit(context).unwrap());
            let counters = context.counters("double");
            most = most.max(n + 1 - counters.finished);
        }
        assert!(most <= 10, "{most} at once");
        assert_eq!(context.get_all(&done).await.unwrap().len(), 500);
    });
}

#[test]
fn a_task_that_cannot_run_says_why() {
    let cluster = cluster(&[("A", 1)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let stuck = double(1).resource("gpu", 1.0).submit(context).unwrap();
        let why = loop {
            let why = context.why(&stuck).await.unwrap().unwrap();
            if why.contains("gpu") {
                break why;
            }
            context.env().sleep(Nanos::millis(5)).await;
        };
        assert!(why.contains("needs 1 gpu; no node has any gpu"), "{why}");
        let after = double(2).submit(context).unwrap();
        assert_eq!(context.get(&after).await, Ok(4));
        assert_eq!(context.why(&after).await, Ok(None));
    });
}

#[test]
fn whoever_waits_for_the_next_of_many_hears_that_the_node_has_stopped() {
    let mut cluster = cluster(&[("A", 1), ("B", 1)]);
    let context = cluster.context_of("B").unwrap().clone();
    let (mut set, mut stream) = cluster.block_on(async {
        let sleeper = sleep_then(1, HOUR.0).submit(&context).unwrap();
        let mut set = context.wait_set();
        set.add(sleeper.clone()).unwrap();
        (set, Box::pin(context.get_stream(&[double(4).submit(&context).unwrap(), sleeper])))
    });
    assert!(cluster.kill("B"));
    cluster.block_on(async {
        let env = cluster.context().unwrap().env();
        let error = env.timeout(SOON, set.next()).await.unwrap().unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::Disconnected);
        let mut items = Vec::new();
        while let Some((_, item)) = env.timeout(SOON, stream.next()).await.unwrap() {
            items.push(item);
        }
        let error = items.pop().unwrap().unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::Disconnected, "an end without an error would pass for all of them");
    });
}

#[test]
fn any_process_may_ask_what_a_task_waits_for() {
    let cluster = cluster(&[("A", 1), ("B", 1)]);
    let (a, b) = (cluster.context_of("A").unwrap(), cluster.context_of("B").unwrap());
    cluster.block_on(async {
        let stuck = double(1).resource("gpu", 1.0).label("needs a gpu").submit(a).unwrap();
        let reader = double(&stuck).label("reads it").submit(a).unwrap();
        let known = loop {
            let known = b.why_task(stuck.id().task).await.unwrap();
            if known.iter().any(|(_, line)| line.contains("no node has any gpu")) {
                break known;
            }
            b.env().sleep(Nanos::millis(5)).await;
        };
        assert!(known.len() == 1 && known[0].0 == "A" && known[0].1.starts_with("needs a gpu"), "{known:?}");
        let known = b.why_task(reader.id().task).await.unwrap();
        assert!(known[0].1.contains(&format!("waits for {}", stuck.id())), "{known:?}");
        let other = TaskId { owner: Incarnation::new(77, 77), seq: 1 };
        assert_eq!(b.why_task(other).await.unwrap_err().kind, TaskErrorKind::OwnerDied);
    });
}
