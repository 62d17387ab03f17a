//! Spilling, case by case.

use super::*;
use crate::spill::{Batch, REST_FIRST, SpillFailure, Work};

const GRACE: Nanos = Nanos::secs(2);

fn spilling(units: u64, directories: usize) -> Table {
    let capacity = ByteSize(64 * units);
    let settings =
        SpillSettings { fuse: ByteSize(64), ..SpillSettings::for_store(capacity, MemoryPolicy::Spill, directories) };
    Table::with(Arena::heap(capacity).unwrap(), settings)
}

fn batches(work: Vec<Work>) -> Vec<Batch> {
    let batch = |work| match work {
        Work::Write(batch) => Some(batch),
        Work::Remove(_) => None,
    };
    work.into_iter().filter_map(batch).collect()
}

fn removals(work: Vec<Work>) -> usize {
    work.iter().filter(|work| matches!(work, Work::Remove(_))).count()
}

/// Writes whatever there is to write.
fn write_all(table: &mut Table) -> usize {
    let mut objects = 0;
    loop {
        let batches = batches(table.work(T));
        if batches.is_empty() {
            return objects;
        }
        for Batch { file, objects: written } in batches {
            objects += written.len();
            drop(written);
            table.written(T, file, Ok(()));
            table.check().unwrap();
        }
    }
}

/// As a creator does that waits in the queue.
fn admit(table: &mut Table, now: Nanos, ticket: Ticket, id: ObjectId, len: u64) -> Admission {
    table.admit(now, ticket, (id, ByteSize(len)), GRACE)
}

#[test]
fn primaries_are_written_above_the_threshold_and_leave_when_room_is_needed() {
    let mut table = spilling(10, 1);
    for seq in 0..8 {
        store(&mut table, object(seq), 64, CopyKind::Primary);
    }
    assert_eq!(write_all(&mut table), 0, "80 % are allowed");
    store(&mut table, object(8), 64, CopyKind::Primary);
    assert_eq!(write_all(&mut table), 1, "the least recently used one");
    assert!(table.contains(object(0)) && table.place(object(0)).is_some(), "clean, and still in memory");
    store(&mut table, object(9), 64, CopyKind::Primary);
    write_all(&mut table);
    assert_eq!(store(&mut table, object(10), 64, CopyKind::Primary), [object(0)]);
    assert!(!table.contains(object(0)) && table.place(object(0)).is_some());
    assert_eq!(table.departures().map(|gone| gone.why).collect::<Vec<_>>(), [Departure::Spilled]);
    let usage = table.usage();
    assert_eq!((usage.spilled, usage.spilled_objects), (ByteSize(64), 1));
}

#[test]
fn cached_copies_go_before_primaries_on_disk() {
    let mut table = spilling(4, 1);
    for seq in 0..4 {
        store(&mut table, object(seq), 64, CopyKind::Primary);
    }
    write_all(&mut table);
    assert_eq!(store(&mut table, object(4), 64, CopyKind::Cached), [object(0)]);
    assert!(table.get(T, object(4)).is_some(), "used last");
    assert_eq!(store(&mut table, object(5), 64, CopyKind::Primary), [object(4)]);
}

#[test]
fn a_spilled_object_is_restored_and_its_file_goes_with_it() {
    let mut table = spilling(2, 1);
    store(&mut table, object(1), 128, CopyKind::Primary);
    assert!(table.create(T, object(2), ByteSize(64), CopyKind::Primary).is_err(), "nothing is written yet");
    assert_eq!(write_all(&mut table), 1);
    store(&mut table, object(2), 64, CopyKind::Cached);
    assert_eq!(table.pin(object(1)), Err(StoreError::Unknown { id: object(1) }), "not in memory");
    let restore = table.restore(T, object(1)).unwrap();
    assert_eq!((names(&restore.evicted), restore.place.len.0), (vec![object(2)], 128));
    assert!(matches!(table.restore(T, object(1)), Err(StoreError::Duplicate { state: ObjectState::Restoring, .. })));
    assert!(!table.contains(object(1)));
    drop(restore.region);
    table.check().unwrap();
    assert_eq!(table.objects().next().unwrap().state, ObjectState::Spilled, "given up: as before");
    let restore = table.restore(T, object(1)).unwrap();
    drop(table.seal(T, object(1), restore.region).unwrap());
    assert!(table.contains(object(1)));
    assert_eq!(write_all(&mut table), 0, "it is on disk already");
    table.delete(object(1));
    assert_eq!(removals(table.work(T)), 1);
    table.check().unwrap();
}

#[test]
fn an_object_that_is_read_is_not_chosen_and_one_read_meanwhile_stays() {
    let mut table = spilling(4, 1);
    store(&mut table, object(1), 128, CopyKind::Primary);
    store(&mut table, object(2), 128, CopyKind::Primary);
    let reader = table.get(T, object(1)).unwrap();
    assert!(table.create(T, object(3), ByteSize(128), CopyKind::Primary).is_err());
    let batch = batches(table.work(T)).remove(0);
    assert_eq!(batch.objects.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [object(2)]);
    let late = table.get(T, object(2)).unwrap();
    let file = batch.file;
    drop(batch);
    table.written(T, file, Ok(()));
    assert!(table.create(T, object(3), ByteSize(128), CopyKind::Primary).is_err(), "both are read");
    assert_eq!((late.len(), reader.len()), (128, 128));
    drop(late);
    assert_eq!(store(&mut table, object(3), 128, CopyKind::Primary), [object(2)]);
}

#[test]
fn what_is_deleted_while_it_is_written_leaves_no_file() {
    let mut table = spilling(1, 1);
    store(&mut table, object(1), 64, CopyKind::Primary);
    let batch = batches(table.work(T)).remove(0);
    assert_eq!(table.usage().spilling, ByteSize(64));
    table.delete(object(1));
    table.check().unwrap();
    let file = batch.file;
    drop(batch);
    // The same name again, as a task that is run again makes it: another object to the table.
    store(&mut table, object(1), 64, CopyKind::Primary);
    table.written(T, file, Ok(()));
    assert!(table.place(object(1)).is_none());
    assert_eq!(removals(table.work(T)), 1);
}

#[test]
fn a_failed_write_changes_nothing_and_is_tried_in_another_directory() {
    let mut table = spilling(1, 2);
    store(&mut table, object(1), 64, CopyKind::Primary);
    let first = batches(table.work(T)).remove(0).file;
    table.written(T, first, Err(SpillFailure::Io("broken".into())));
    table.check().unwrap();
    let mut work = table.work(T);
    assert!(matches!(work.remove(0), Work::Remove(file) if file == first), "what was written of it goes");
    let second = batches(work).remove(0).file;
    assert_ne!(first.directory, second.directory);
    table.written(T, second, Err(SpillFailure::Io("broken too".into())));
    assert_eq!(batches(table.work(T)).len(), 0, "both rest");
    assert_eq!(table.next_deadline(T), Some(T + REST_FIRST));
    assert_eq!(batches(table.work(T + REST_FIRST)).len(), 1);
    assert!(table.contains(object(1)));
}

#[test]
fn a_creation_waits_for_the_disk_but_not_for_ever() {
    let mut table = spilling(1, 1);
    store(&mut table, object(1), 64, CopyKind::Primary);
    let ticket = table.enqueue(T, ByteSize(64));
    let Admission::Wait(..) = admit(&mut table, T, ticket, object(2), 64) else { panic!("there is no room") };
    let late = T + GRACE * 100;
    let batch = batches(table.work(T)).remove(0).file;
    let Admission::Wait(..) = admit(&mut table, late, ticket, object(2), 64) else {
        panic!("a slow disk is no reason")
    };
    table.written(late, batch, Err(SpillFailure::DiskFull("no space left".into())));
    let Admission::Refused(why) = admit(&mut table, late, ticket, object(2), 64) else { panic!("it waited enough") };
    assert!(matches!(why, StoreError::OutOfDisk { full: true, .. }), "{why}");
    assert!(!table.is_queueing() && table.contains(object(1)), "what is there stays readable");

    let ticket = table.enqueue(late, ByteSize(64));
    let batch = batches(table.work(late + REST_FIRST)).remove(0).file;
    table.written(late, batch, Ok(()));
    let Admission::Granted(created) = admit(&mut table, late, ticket, object(2), 64) else { panic!("there is room") };
    assert_eq!(names(&created.evicted), [object(1)]);
}

#[test]
fn creations_are_served_in_order_and_refused_when_nothing_can_go() {
    let mut table = spilling(4, 1);
    store(&mut table, object(1), 192, CopyKind::Primary);
    let reader = table.get(T, object(1)).unwrap();
    let (large, small) = (table.enqueue(T, ByteSize(128)), table.enqueue(T, ByteSize(64)));
    assert!(matches!(admit(&mut table, T, small, object(3), 64), Admission::Wait(..)), "it would fit, but is second");
    assert!(matches!(admit(&mut table, T, large, object(2), 128), Admission::Wait(..)));
    assert_eq!(batches(table.work(T)).len(), 0, "what is read is not written");
    let Admission::Refused(why) = admit(&mut table, T + GRACE, large, object(2), 128) else { panic!("over") };
    assert!(matches!(why, StoreError::Full { .. }), "{why}");
    assert!(matches!(admit(&mut table, T + GRACE, small, object(3), 64), Admission::Granted(_)));
    drop(reader);
    let ticket = table.enqueue(T, ByteSize(64 * 5));
    assert!(matches!(admit(&mut table, T, ticket, object(4), 64 * 5), Admission::Refused(_)), "it never fits");
    table.check().unwrap();
}

#[test]
fn a_damaged_copy_is_lost_only_if_it_was_the_only_one() {
    let mut table = spilling(2, 1);
    store(&mut table, object(1), 64, CopyKind::Primary);
    store(&mut table, object(2), 64, CopyKind::Primary);
    write_all(&mut table);
    let place = table.place(object(1)).unwrap();
    assert_eq!(table.lose_spilled(T, object(1), place), None, "it is in memory");
    table.check().unwrap();
    assert_eq!(write_all(&mut table), 1, "and is written again");
    let again = table.place(object(1)).unwrap();
    assert_ne!(again.file, place.file);
    table.evict(T, object(1), false).unwrap();
    assert_eq!(table.lose_spilled(T, object(1), place), None, "that is not where it is");
    let restore = table.restore(T, object(1)).unwrap();
    assert_eq!(table.lose_spilled(T, object(1), again).map(|gone| gone.why), Some(Departure::Lost));
    assert_eq!(table.seal(T, object(1), restore.region).unwrap_err(), StoreError::Unknown { id: object(1) });
    table.check().unwrap();
    assert_eq!(table.objects().map(|info| info.id).collect::<Vec<_>>(), [object(2)]);
}

#[test]
fn small_objects_share_a_file_and_a_small_batch_waits_for_the_one_before() {
    let capacity = ByteSize(64 * 100);
    let settings = SpillSettings { fuse: ByteSize(640), ..SpillSettings::for_store(capacity, MemoryPolicy::Spill, 2) };
    let mut table = Table::with(Arena::heap(capacity).unwrap(), settings);
    for seq in 0..95 {
        store(&mut table, object(seq), 64, CopyKind::Primary);
    }
    let written = batches(table.work(T));
    assert_eq!(written.iter().map(|batch| batch.objects.len()).collect::<Vec<_>>(), [10, 10]);
    assert_ne!(written[0].file.directory, written[1].file.directory, "in turn");
}

#[test]
fn the_policy_that_evicts_drops_what_can_be_made_again_and_nothing_else() {
    let capacity = ByteSize(64 * 4);
    let settings = SpillSettings::for_store(capacity, MemoryPolicy::Evict, 1);
    let mut table = Table::with(Arena::heap(capacity).unwrap(), settings);
    store(&mut table, object(0), 64, CopyKind::Primary);
    for seq in 1..4 {
        store(&mut table, object(seq), 64, CopyKind::Rebuildable);
    }
    assert_eq!(table.work(T).len(), 0, "nothing is written");
    assert_eq!(store(&mut table, object(4), 64, CopyKind::Rebuildable), [object(1)]);
    assert_eq!(table.departures().next().unwrap().why, Departure::Rebuildable);
    assert!(table.create(T, object(5), ByteSize(256), CopyKind::Primary).is_err(), "the put stays");
    assert!(table.contains(object(0)));
}

#[test]
fn a_store_that_shrinks_gives_up_what_it_can_and_writes_the_rest() {
    let mut table = spilling(10, 1);
    for seq in 0..4 {
        store(&mut table, object(seq), 64, CopyKind::Primary);
        store(&mut table, object(10 + seq), 64, CopyKind::Cached);
    }
    assert_eq!(names(&table.shrink(T, ByteSize(128))).len(), 4, "the cached ones");
    assert_eq!(table.usage().capacity, ByteSize(128));
    assert!(write_all(&mut table) >= 2);
    table.shrink(T, ByteSize(128));
    assert_eq!(table.usage().total(), ByteSize(128));
    table.check().unwrap();
}
