//! Values that are too large for a message, given to tasks, actors and their calls.
#![cfg(not(madsim))]

use mobula_runtime::{
    Blob, ByteSize, Context, Embedded, EmbeddedNode, HeadSettings, ObjectRef, Question, Result, TaskErrorKind,
};
use mobula_runtime::{actor, task};

/// More than travels in a message, less than any store here has.
const LARGE: usize = 5 << 20;

#[task]
fn size(blob: Blob) -> u64 {
    blob.len() as u64
}

#[task]
fn all_sizes(a: Blob, b: Blob, c: Blob) -> u64 {
    (a.len() + b.len() + c.len()) as u64
}

#[task(many)]
fn pieces(count: usize, each: usize) -> Vec<Blob> {
    (0..count).map(|_| blob(each)).collect()
}

#[task]
async fn read_all(context: Context, inside: Vec<ObjectRef<u64>>, _ballast: Blob) -> Result<u64> {
    Ok(context.get_all(&inside).await?.into_iter().sum())
}

struct Keeper(Blob);

#[actor]
impl Keeper {
    pub fn new(blob: Blob) -> Self {
        Self(blob)
    }

    /// How large it would be with this too.
    pub fn grow(&mut self, by: Blob) -> u64 {
        (self.0.len() + by.len()) as u64
    }
}

fn blob(bytes: usize) -> Blob {
    Blob::from(vec![7; bytes])
}

/// A cluster whose tasks run on B, and the context of A, which has no cpu.
fn cluster() -> (Embedded, Context) {
    let nodes = [EmbeddedNode::new("A", 0), EmbeddedNode::new("B", 1)];
    let nodes = nodes.map(|node| node.object_store_memory(ByteSize(16 << 20)));
    let cluster = Embedded::with(&nodes, HeadSettings::default(), 1).expect("an embedded cluster starts");
    let context = cluster.context_of("A").expect("a node").clone();
    (cluster, context)
}

/// Waits until nothing is left of what was submitted.
async fn nothing_left(context: &Context) {
    for _ in 0..500 {
        let ledger = context.ask(Question::Ledger).await.expect("the node runs");
        if (ledger.objects, ledger.usage.sealed_primary, ledger.usage.creating) == (0, ByteSize(0), ByteSize(0)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{:?}", context.ask(Question::State).await);
}

#[test]
fn large_values_of_calls_travel_as_objects_and_go_with_them() {
    let (cluster, ctx) = cluster();
    cluster.block_on(async {
        let result = size(blob(LARGE)).submit(&ctx).unwrap();
        assert_eq!(
            ctx.ask(Question::Ledger).await.unwrap().objects,
            2,
            "the argument is an object, and so is the result"
        );
        assert_eq!(ctx.get(&result).await.unwrap(), LARGE as u64);
        let keeper = Keeper::actor(blob(LARGE)).create(&ctx).unwrap();
        assert_eq!(ctx.get(&keeper.grow(blob(LARGE)).submit(&ctx).unwrap()).await.unwrap(), 2 * LARGE as u64);
        drop((result, keeper));
        nothing_left(&ctx).await;
    });
}

#[test]
fn a_value_that_no_store_can_hold_is_an_error_and_blocks_nothing() {
    let (cluster, ctx) = cluster();
    cluster.block_on(async {
        let result = size(blob(64 << 20)).submit(&ctx).unwrap();
        let error = ctx.get(&result).await.unwrap_err();
        assert_eq!(error.cause.map(|cause| cause.kind), Some(TaskErrorKind::StoreFull));
        assert_eq!(ctx.get(&size(blob(1)).submit(&ctx).unwrap()).await.unwrap(), 1);
        drop(result);
        nothing_left(&ctx).await;
    });
}

#[test]
fn arguments_that_are_small_one_by_one_are_not_sent_in_one_message() {
    let (cluster, ctx) = cluster();
    cluster.block_on(async {
        let each = 100 << 10;
        let call = (0..12).fold(all_sizes(blob(1), blob(1), blob(1)), |call, _| call.arg::<Blob>(blob(each - 200)));
        let result = call.submit(&ctx).unwrap();
        let objects = ctx.ask(Question::Ledger).await.unwrap().objects;
        assert_eq!(objects, 3, "the result, and the two arguments beyond a mebibyte");
        assert_eq!(ctx.get(&result).await.unwrap(), 3);
        let results = pieces(16, each - 200).returns(16).submit(&ctx).unwrap();
        assert!(ctx.get_all(&results).await.unwrap().iter().all(|piece| piece.len() == each - 200));
        let usage = cluster.context_of("B").expect("a node").ask(Question::Ledger).await.unwrap().usage;
        assert!(usage.sealed_primary > ByteSize(0), "results beyond a mebibyte stay where they were made");
    });
}

#[test]
fn references_inside_a_value_live_until_the_call_has_them() {
    let (cluster, ctx) = cluster();
    cluster.block_on(async {
        for ballast in [1, LARGE] {
            let mut inside = Vec::new();
            for n in 1..=3_u64 {
                inside.push(ctx.put(&n).await.unwrap());
            }
            // The last references are given away with the value.
            let call = read_all(inside, blob(ballast));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert_eq!(ctx.get(&call.submit(&ctx).unwrap()).await.unwrap(), 6);
        }
        nothing_left(&ctx).await;
    });
}
