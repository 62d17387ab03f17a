use super::*;
use mobula_protocol::{Incarnation, TaskId};

mod model;
mod spill_model;
mod spilling;

const T: Nanos = Nanos(5);

fn object(seq: u64) -> ObjectId {
    TaskId { owner: Incarnation::new(1, 1), seq }.result(0)
}

fn table(capacity: u64) -> Table {
    Table::new(Arena::heap(ByteSize(capacity)).unwrap())
}

/// Creates and seals an object that nobody reads.
fn store(table: &mut Table, id: ObjectId, len: u64, copy: CopyKind) -> Vec<ObjectId> {
    let Created { region, evicted } = table.create(T, id, ByteSize(len), copy).unwrap();
    drop(table.seal(T, id, region).unwrap());
    table.check().unwrap();
    names(&evicted)
}

fn names(departed: &[Departed]) -> Vec<ObjectId> {
    departed.iter().map(|gone| gone.id).collect()
}

#[test]
fn a_partial_object_cannot_be_read_and_a_sealed_one_can() {
    let mut table = table(1000);
    let (id, len) = (object(1), ByteSize(10));
    let mut created = table.create(T, id, len, CopyKind::Primary).unwrap();
    created.region.as_mut_slice().fill(3);
    assert!(table.get(T, id).is_none() && !table.contains(id) && table.size(id).is_none());
    let again = table.create(T, id, len, CopyKind::Cached).unwrap_err();
    assert_eq!(again, StoreError::Duplicate { id, state: ObjectState::Creating });
    let view = table.seal(Nanos(9), id, created.region).unwrap();
    assert_eq!((&view[..], table.size(id)), (&[3; 10][..], Some(len)));
    assert_eq!(table.abort(id), Err(StoreError::Sealed { id }));
    let info = table.objects().next().unwrap();
    assert_eq!((info.id, info.size, info.views, info.created, info.last_used), (id, len, 1, T, Nanos(9)));
    assert_eq!(table.usage().sealed_primary, ByteSize(64));
}

#[test]
fn cached_copies_go_in_lru_order_and_only_as_many_as_needed() {
    let mut table = table(64 * 4);
    for seq in 1..=4 {
        assert!(store(&mut table, object(seq), 64, CopyKind::Cached).is_empty());
    }
    assert!(table.get(T, object(1)).is_some(), "now the most recently used");
    assert_eq!(store(&mut table, object(5), 64, CopyKind::Primary), [object(2)]);
    assert_eq!(store(&mut table, object(6), 100, CopyKind::Primary), [object(3), object(4)]);
    assert!(table.contains(object(1)) && !table.contains(object(4)));
}

#[test]
fn nothing_is_evicted_for_what_cannot_fit() {
    let mut table = table(64 * 4);
    store(&mut table, object(1), 128, CopyKind::Primary);
    store(&mut table, object(2), 64, CopyKind::Cached);
    let error = table.create(T, object(3), ByteSize(129), CopyKind::Primary).unwrap_err();
    let StoreError::Full { needed, capacity, in_use, evicted, .. } = &error else { panic!("{error}") };
    assert_eq!((needed.0, capacity.0, in_use.0, evicted.len()), (192, 256, 128, 0));
    assert!(error.may_pass() && table.contains(object(2)));
    let error = table.create(T, object(3), ByteSize(257), CopyKind::Primary).unwrap_err();
    assert!(!error.may_pass(), "larger than the store: no use in waiting");
}

#[test]
fn pinned_viewed_and_primary_copies_stay() {
    let mut table = table(64 * 3);
    store(&mut table, object(1), 64, CopyKind::Cached);
    store(&mut table, object(2), 64, CopyKind::Cached);
    store(&mut table, object(3), 64, CopyKind::Cached);
    table.pin(object(1)).unwrap();
    let view = table.get(T, object(2)).unwrap();
    table.promote(object(3)).unwrap();
    assert_eq!(table.headroom(), ByteSize::ZERO);
    assert!((1..=3).all(|seq| table.evict(T, object(seq), false).is_none()));
    assert!(table.create(T, object(4), ByteSize(1), CopyKind::Cached).is_err());
    table.unpin(object(1)).unwrap();
    drop(view);
    assert_eq!(table.headroom(), ByteSize(128));
    assert!(
        (1..=2).all(|seq| table.evict(T, object(seq), false).is_some()) && table.evict(T, object(3), false).is_none()
    );
    assert!(table.evict(T, object(3), true).is_some());
    assert_eq!(
        (table.usage().total(), table.unpin(object(1))),
        (ByteSize::ZERO, Err(StoreError::NotPinned { id: object(1) }))
    );
}

#[test]
fn deleted_bytes_linger_until_the_last_view_goes() {
    let mut table = table(64);
    store(&mut table, object(1), 64, CopyKind::Primary);
    let bytes = table.get(T, object(1)).unwrap().bytes();
    assert!(table.delete(object(1)) && !table.delete(object(1)));
    assert_eq!((table.usage().lingering, table.usage().objects), (ByteSize(64), 0));
    assert!(table.create(T, object(1), ByteSize(1), CopyKind::Primary).is_err(), "the bytes are still in use");
    table.check().unwrap();
    drop(bytes);
    assert_eq!(table.usage().lingering, ByteSize::ZERO);
    store(&mut table, object(1), 64, CopyKind::Primary);
}

#[test]
fn a_creator_that_vanishes_leaves_nothing() {
    let mut table = table(64);
    let id = object(1);
    drop(table.create(T, id, ByteSize(64), CopyKind::Primary).unwrap());
    table.check().unwrap();
    let nothing = Usage { capacity: ByteSize(64), peak: ByteSize(64), ..Usage::default() };
    assert_eq!((table.usage(), table.objects().count()), (nothing, 0));
    assert_eq!(table.pin(id), Err(StoreError::Unknown { id }));
    store(&mut table, id, 64, CopyKind::Primary);
}

#[test]
fn the_region_of_an_aborted_creation_cannot_be_sealed() {
    let mut table = table(1000);
    let (id, len) = (object(1), ByteSize(10));
    let old = table.create(T, id, len, CopyKind::Cached).unwrap().region;
    table.abort(id).unwrap();
    assert_eq!(table.usage().lingering, ByteSize(64), "its writer still has it");
    let new = table.create(T, id, len, CopyKind::Cached).unwrap().region;
    assert_eq!(table.seal(T, id, old).unwrap_err(), StoreError::Stale { id });
    assert!(table.seal(T, id, new).is_ok());
    let late = table.arena().allocate(ByteSize(1)).unwrap();
    assert_eq!(table.seal(T, id, late).unwrap_err(), StoreError::Sealed { id });
    assert_eq!(table.abort(object(2)), Err(StoreError::Unknown { id: object(2) }));
    table.check().unwrap();
}

#[test]
fn a_pin_outlives_the_copy_and_holds_its_successor() {
    let mut table = table(128);
    let id = object(1);
    store(&mut table, id, 64, CopyKind::Cached);
    table.pin(id).unwrap();
    assert!(table.evict(T, id, true).is_some(), "a fault plan may");
    store(&mut table, id, 64, CopyKind::Cached);
    assert!(table.evict(T, id, false).is_none(), "still pinned by who pinned the first copy");
    table.unpin(id).unwrap();
    assert!(table.evict(T, id, false).is_some());
}

#[test]
fn scattered_free_bytes_are_refused_with_the_longest_range() {
    let mut table = table(64 * 8);
    let held: Vec<View> = (0..8)
        .map(|seq| {
            store(&mut table, object(seq), 64, CopyKind::Cached);
            table.get(T, object(seq)).unwrap()
        })
        .enumerate()
        .filter_map(|(n, view)| (n % 2 == 1).then_some(view))
        .collect();
    assert_eq!(table.headroom(), ByteSize(256));
    let error = table.create(T, object(9), ByteSize(128), CopyKind::Cached).unwrap_err();
    let StoreError::Full { in_use, largest_free, evicted, .. } = error else { panic!("{error}") };
    assert_eq!((in_use.0, largest_free.0, evicted.len(), held.len()), (256, 64, 4, 4));
    table.check().unwrap();
}

#[test]
fn the_ledger_is_exact_while_other_threads_drop_views() {
    let mut table = table(1 << 16);
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel::<View>();
        scope.spawn(move || receive.iter().for_each(drop));
        for seq in 0..3000 {
            let created = table.create(T, object(seq), ByteSize(seq % 700), CopyKind::Cached);
            let Ok(Created { region, .. }) = created else { continue };
            send.send(table.seal(T, object(seq), region).unwrap()).unwrap();
            if seq % 3 == 0 {
                table.delete(object(seq));
            }
            table.check().unwrap();
        }
        drop(send);
    });
    assert_eq!(table.usage().lingering, ByteSize::ZERO);
}
