//! Values on their way into a store in the states that timing alone would seldom bring about.

use super::*;
use mobula_env::{RealConfig, RealNode};
use mobula_protocol::{Incarnation, TaskId};
use mobula_store::codec::{Blob, encode};

const STORE: ByteSize = ByteSize(1 << 20);
/// Two of these do not fit.
const LARGE: usize = 600 << 10;

struct Bench {
    world: RealNode,
    objects: Objects,
    inbox: mpsc::UnboundedReceiver<Input>,
}

fn object(seq: u64) -> ObjectId {
    TaskId { owner: Incarnation::new(1, 1), seq }.result(0)
}

impl Bench {
    fn new() -> Self {
        let world = Env::real(RealConfig { threads: 1, ..RealConfig::default() }).unwrap();
        let settings = NodeSettings { store: STORE, ..NodeSettings::default() };
        let (sender, inbox) = mpsc::unbounded_channel();
        let objects = world.block_on(async { Objects::new(&world.env, &settings, sender) }).unwrap();
        Self { world, objects, inbox }
    }

    /// Stores a large value made of `fill`; none if that takes longer than anybody would wait.
    fn place(&self, object: ObjectId, fill: u8) -> Option<Result<Placed, Error>> {
        let value = encode(&Blob::from(vec![fill; LARGE])).unwrap();
        let env = &self.world.env;
        let placing = self.objects.place(env, object, &value, ByteSize::ZERO);
        self.world.block_on(env.timeout(Nanos::secs(10), placing)).ok()
    }

    fn hash(&self, object: ObjectId) -> u64 {
        value_hash(&self.objects.bytes(Nanos::ZERO, object).unwrap())
    }
}

#[test]
fn a_value_that_is_here_already_is_not_stored_twice_and_has_its_hash() {
    let bench = Bench::new();
    let first = bench.place(object(1), 1).unwrap().unwrap();
    let second = bench.place(object(1), 1).unwrap().unwrap();
    assert_eq!((first.hash, first.stored), (bench.hash(object(1)), true));
    assert_eq!((second.hash, second.stored), (first.hash, false));
}

#[test]
fn a_value_takes_the_place_of_a_copy_that_is_on_its_way_and_has_its_own_hash() {
    let bench = Bench::new();
    let fetched = bench.objects.create(Nanos::ZERO, object(1), ByteSize(1 << 10), CopyKind::Cached).unwrap();
    let placed = bench.place(object(1), 1).unwrap().unwrap();
    assert_ne!(placed.hash, 0, "nobody may take it for a result that differs");
    assert_eq!((placed.hash, placed.stored), (bench.hash(object(1)), true));
    assert!(bench.objects.table().seal(Nanos::ZERO, object(1), fetched).is_err(), "it comes too late");
}

#[test]
fn discarded_values_are_gone_and_the_loop_is_told() {
    let mut bench = Bench::new();
    bench.place(object(1), 1).unwrap().unwrap();
    bench.objects.discard(vec![object(1)]);
    assert_eq!(bench.objects.table().usage().total(), ByteSize::ZERO);
    let told = std::iter::from_fn(|| bench.inbox.try_recv().ok());
    assert!(told.into_iter().any(|input| matches!(input, Input::Discarded(objects) if objects == [object(1)])));
}

#[test]
fn nobody_waits_for_room_on_a_node_that_has_stopped() {
    let mut bench = Bench::new();
    bench.place(object(1), 1).unwrap().unwrap();
    // A batch is being written, and nobody will say that it was.
    assert!(bench.objects.create(Nanos::ZERO, object(2), ByteSize(LARGE as u64), CopyKind::Primary).is_err());
    let batch = bench.objects.table().work(Nanos::ZERO);
    assert_eq!(batch.len(), 1);
    bench.inbox.close();
    let error = bench.place(object(2), 2).expect("an answer").err().expect("an error");
    assert_eq!(error.kind, TaskErrorKind::Disconnected);
}
