//! The public API on embedded clusters: real threads, no sockets.
#![cfg(not(madsim))]

use mobula_runtime::{
    Blob, Context, Embedded, EmbeddedNode, Error, HeadSettings, Nanos, ObjectRef, Rest, Result, Tensor,
};
use mobula_runtime::{TaskErrorKind, UnreconstructableReason, task};

#[task]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[task]
fn total(xs: Tensor<f64>) -> f64 {
    xs.iter().sum()
}

#[task]
fn make(bytes: u64, seed: u8) -> Blob {
    Blob::from(vec![seed; bytes as usize])
}

#[task(process)]
fn in_a_process() -> u32 {
    std::process::id()
}

#[task]
fn size(blob: Blob) -> u64 {
    blob.len() as u64
}

#[task]
fn sum(xs: Rest<i64>) -> i64 {
    xs.0.iter().sum()
}

#[task(many)]
fn halves(n: i64) -> Vec<i64> {
    vec![n / 2, n - n / 2]
}

#[task]
fn refuse(why: String) -> std::result::Result<i64, String> {
    Err(why)
}

#[task]
#[allow(clippy::panic)]
fn panics() -> i64 {
    panic!("on purpose")
}

#[task]
async fn fib(context: Context, n: u32) -> Result<u64> {
    if n < 2 {
        return Ok(u64::from(n));
    }
    let (a, b) = (fib(n - 1).submit(&context)?, fib(n - 2).submit(&context)?);
    Ok(context.get(&a).await? + context.get(&b).await?)
}

#[task]
async fn lend(context: Context, bytes: u64) -> Result<Vec<ObjectRef<Blob>>> {
    Ok(vec![context.put(&Blob::from(vec![7; bytes as usize])).await?])
}

fn one() -> Embedded {
    Embedded::start().expect("an embedded cluster starts")
}

fn three() -> Embedded {
    let nodes = ["A", "B", "C"].map(|name| EmbeddedNode::new(name, 1));
    Embedded::with(&nodes, HeadSettings::default(), 1).expect("an embedded cluster starts")
}

fn driver(cluster: &Embedded) -> Context {
    cluster.context().expect("a node").clone()
}

#[test]
fn tasks_take_values_and_references() {
    let cluster = one();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let a = add(1, 2).submit(&ctx).unwrap();
        let b = add(&a, 10).submit(&ctx).unwrap();
        let c = sum(&[a.clone(), b.clone()]).submit(&ctx).unwrap();
        assert_eq!(ctx.get_all(&[a, b, c]).await.unwrap(), [3, 13, 16]);
        let halves = halves(7).returns(2).submit(&ctx).unwrap();
        assert_eq!(ctx.get_all(&halves).await.unwrap(), [3, 4]);
    });
}

#[test]
fn large_values_are_views_of_the_store() {
    let cluster = one();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let data = ctx.put(&Tensor::from(vec![1.5; 1_000_000])).await.unwrap();
        let result = total(&data).submit(&ctx).unwrap();
        assert_eq!(ctx.get(&result).await.unwrap(), 1_500_000.0);
        let (first, again) = (ctx.get(&data).await.unwrap(), ctx.get(&data).await.unwrap());
        assert_eq!(first.as_slice().as_ptr(), again.as_slice().as_ptr(), "one copy in, none out");
    });
}

#[test]
fn failures_are_values() {
    let cluster = one();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let error = ctx.get(&refuse("no".to_owned()).submit(&ctx).unwrap()).await.unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::TaskFailed);
        assert!(error.message.contains("refuse") && error.message.ends_with("no"), "{error}");
        let error: Error = ctx.get(&panics().submit(&ctx).unwrap()).await.unwrap_err();
        assert!(error.message.contains("on purpose"), "{error}");
        let dependent = add(&panics().submit(&ctx).unwrap(), 1).submit(&ctx).unwrap();
        let error = ctx.get(&dependent).await.unwrap_err();
        assert!(error.cause.is_some(), "{error}");
        let wrong = ctx.get(&add(1, 1).submit(&ctx).unwrap().cast::<String>()).await.unwrap_err();
        assert_eq!(wrong.kind, TaskErrorKind::WrongType);
    });
}

#[test]
fn nested_tasks_give_their_cpu_back() {
    let cluster = Embedded::with(&[EmbeddedNode::new("A", 1)], HeadSettings::default(), 1).unwrap();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let result = fib(7).submit(&ctx).unwrap();
        let result = ctx.get_within(&result, Nanos::secs(20)).await;
        assert_eq!(result.unwrap(), 13);
    });
}

#[test]
fn wait_returns_what_is_ready_in_order() {
    let cluster = one();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let quick = add(1, 1).submit(&ctx).unwrap();
        let never = add(1, 1).resource("unobtainium", 1.0).submit(&ctx).unwrap();
        let waited = ctx.wait(&[never.clone(), quick.clone()], 1, Some(Nanos::secs(5))).await.unwrap();
        assert_eq!((waited.ready, waited.pending), (vec![quick], vec![never.clone()]));
        let error = ctx.get_within(&never, Nanos::millis(50)).await.unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::GetTimeout);
    });
}

#[test]
fn references_travel_inside_values() {
    let cluster = three();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let outer = lend(1_000_000).on("B").submit(&ctx).unwrap();
        let inner = ctx.get(&outer).await.unwrap();
        assert_eq!(ctx.get(&inner[0]).await.unwrap().len(), 1_000_000);
    });
}

#[test]
fn a_lost_object_is_rebuilt_from_its_lineage() {
    let mut cluster = three();
    let ctx = driver(&cluster);
    let (made, put) = cluster.block_on(async {
        let made = make(2_000_000, 9).prefer("C").submit(&ctx).unwrap();
        let put = lend(500_000).on("C").submit(&ctx).unwrap();
        ctx.wait(std::slice::from_ref(&made), 1, None).await.unwrap();
        (made, ctx.get(&put).await.unwrap())
    });
    assert!(cluster.kill("C"));
    cluster.block_on(async {
        let bytes = size(&made).submit(&ctx).unwrap();
        assert_eq!(ctx.get_within(&bytes, Nanos::secs(20)).await.unwrap(), 2_000_000);
        assert_eq!(ctx.counters("make").executions, 2);
        let error = ctx.get_within(&put[0], Nanos::secs(20)).await.unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::OwnerDied, "{error}");
    });
}

#[test]
fn a_budget_of_zero_is_never_exceeded() {
    let mut cluster = three();
    let ctx = driver(&cluster);
    let made = cluster.block_on(async {
        let made = make(2_000_000, 9).on("C").max_retries(0).submit(&ctx).unwrap();
        ctx.wait(std::slice::from_ref(&made), 1, None).await.unwrap();
        made
    });
    assert!(cluster.kill("C"));
    cluster.block_on(async {
        let error = ctx.get_within(&made, Nanos::secs(20)).await.unwrap_err();
        assert_eq!(error.reason(), Some(UnreconstructableReason::RetriesDisabled), "{error}");
    });
}

#[test]
fn ten_thousand_tasks_and_nothing_left() {
    use mobula_runtime::Question;
    let cluster = one();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let refs: Vec<_> = (0..10_000).map(|n| add(n, n).submit(&ctx).unwrap()).collect();
        let values = ctx.get_all(&refs).await.unwrap();
        assert!(values.iter().enumerate().all(|(n, value)| *value == 2 * n as i64));
        drop((refs, values));
        let ledger = ctx.ask(Question::Ledger).await.unwrap();
        assert_eq!((ledger.objects, ledger.tasks, ledger.bundles), (0, 0, 0), "{ledger:?}");
    });
}

#[task(many)]
fn twice(bytes: u64) -> Vec<Blob> {
    vec![Blob::from(vec![1; bytes as usize]), Blob::from(vec![2; bytes as usize])]
}

#[test]
fn a_task_whose_second_result_finds_no_room_leaves_nothing_of_the_first() {
    use mobula_runtime::{ByteSize, Question};
    let small = EmbeddedNode { spill: Vec::new(), ..EmbeddedNode::new("A", 1).object_store_memory(ByteSize(1 << 20)) };
    let cluster = Embedded::with(&[small], HeadSettings::default(), 0).unwrap();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let results = twice(600 << 10).returns(2).submit(&ctx).unwrap();
        let error = ctx.get_within(&results[1], Nanos::secs(20)).await.unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::StoreFull, "{error}");
        let ledger = ctx.ask(Question::Ledger).await.unwrap();
        assert_eq!(ledger.usage.total(), ByteSize::ZERO, "{ledger:?}");
    });
}

#[test]
fn a_result_that_is_never_reported_gives_back_the_references_inside_it() {
    use mobula_runtime::Question;
    let cluster = one();
    let ctx = driver(&cluster);
    cluster.block_on(async {
        let inner = ctx.put(&7_i64).await.unwrap();
        let output = mobula_runtime::macros::output_of(&ctx, &vec![inner.clone()]).unwrap();
        drop(inner);
        let objects = async || ctx.ask(Question::Ledger).await.unwrap().objects;
        assert_eq!(objects().await, 1, "the result keeps it alive");
        drop(output);
        assert_eq!(objects().await, 0);
    });
}

#[test]
fn a_program_that_cannot_be_a_worker_process_says_so_and_is_not_started() {
    // The harness of this file has a main function of its own.
    let cluster = Embedded::start().unwrap();
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let error = context.get(&in_a_process().submit(context).unwrap()).await.unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::Unschedulable);
        assert!(error.message.contains("worker_main"), "{error}");
    });
}
