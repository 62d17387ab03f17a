//! Readers against eviction, in every order that their steps can happen in: `cargo loom`.
#![cfg(loom)]

use loom::sync::{Arc, Mutex};
use loom::thread;
use mobula_protocol::{ByteSize, Incarnation, Nanos, ObjectId, TaskId};
use mobula_store::spill::{MemoryPolicy, Work};
use mobula_store::{Arena, CopyKind, SpillSettings, Table};
use std::sync::atomic::{AtomicUsize, Ordering};

fn object(seq: u64) -> ObjectId {
    TaskId { owner: Incarnation::new(1, 1), seq }.result(0)
}

/// Puts a cached object of 64 bytes of `fill`, if there is room; evicts what it may.
fn put(table: &Mutex<Table>, seq: u64, fill: u8) {
    let created = table.lock().unwrap().create(Nanos::ZERO, object(seq), ByteSize(64), CopyKind::Cached);
    let Ok(mut created) = created else { return };
    created.region.as_mut_slice().fill(fill);
    table.lock().unwrap().seal(Nanos::ZERO, object(seq), created.region).unwrap();
}

/// A store with room for one object, which holds object 1.
fn full() -> (Arena, Arc<Mutex<Table>>) {
    let arena = Arena::heap(ByteSize(64)).unwrap();
    let table = Arc::new(Mutex::new(Table::new(arena.clone())));
    put(&table, 1, 0x11);
    (arena, table)
}

#[test]
fn a_reader_never_sees_the_bytes_of_the_object_that_needs_its_room() {
    loom::model(|| {
        let (arena, table) = full();
        let writer = {
            let table = table.clone();
            thread::spawn(move || put(&table, 2, 0x22))
        };
        let view = table.lock().unwrap().get(Nanos::ZERO, object(1));
        if let Some(view) = view {
            let bytes = view.bytes();
            drop(view);
            assert_eq!(&bytes[..], &[0x11; 64]);
            thread::yield_now();
            assert_eq!(&bytes[..], &[0x11; 64]);
        }
        writer.join().unwrap();
        let mut table = table.lock().unwrap();
        assert!(table.check().is_ok());
        table.delete(object(1));
        table.delete(object(2));
        assert_eq!(arena.used(), ByteSize::ZERO, "nothing is leaked in any order");
    });
}

#[test]
fn a_view_dropped_while_its_object_is_deleted_frees_its_bytes_once() {
    loom::model(|| {
        let (arena, table) = full();
        let view = table.lock().unwrap().get(Nanos::ZERO, object(1)).unwrap();
        let reader = thread::spawn(move || {
            assert_eq!(&view[..], &[0x11; 64]);
            drop(view);
        });
        assert!(table.lock().unwrap().delete(object(1)));
        assert!(table.lock().unwrap().check().is_ok(), "the ledger is exact at every moment");
        // The room is free now, or will be when the reader is done; what is put into it is whole.
        put(&table, 2, 0x22);
        reader.join().unwrap();
        assert!(table.lock().unwrap().check().is_ok());
        let second = table.lock().unwrap().get(Nanos::ZERO, object(2));
        assert!(second.is_none_or(|view| view.iter().all(|byte| *byte == 0x22)));
        table.lock().unwrap().delete(object(2));
        assert_eq!(arena.used(), ByteSize::ZERO);
    });
}

/// A store with room for one object, whose primary copy 1 is to be written to disk.
fn spilling() -> (Arena, Arc<Mutex<Table>>) {
    let arena = Arena::heap(ByteSize(64)).unwrap();
    let settings = SpillSettings::for_store(ByteSize(64), MemoryPolicy::Spill, 1);
    let mut table = Table::with(arena.clone(), settings);
    let mut created = table.create(Nanos::ZERO, object(1), ByteSize(64), CopyKind::Primary).unwrap();
    created.region.as_mut_slice().fill(0x11);
    table.seal(Nanos::ZERO, object(1), created.region).unwrap();
    (arena, Arc::new(Mutex::new(table)))
}

/// What a node's thread for a spill directory does: take a batch, write its bytes outside the lock, report.
fn write_batches(table: &Mutex<Table>) -> usize {
    let mut written = 0;
    let work = table.lock().unwrap().work(Nanos::ZERO);
    for work in work {
        let Work::Write(batch) = work else { continue };
        for (_, view) in &batch.objects {
            assert_eq!(&view[..], &[0x11; 64], "what goes to disk is what was sealed");
            written += 1;
        }
        let file = batch.file;
        drop(batch);
        table.lock().unwrap().written(Nanos::ZERO, file, Ok(()));
    }
    written
}

#[test]
fn a_reader_of_an_object_on_its_way_to_disk_keeps_its_bytes() {
    // Outside the model, hence counted over all orders.
    static SPILLED: AtomicUsize = AtomicUsize::new(0);
    static KEPT: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let (arena, table) = spilling();
        let writer = {
            let table = table.clone();
            thread::spawn(move || {
                let written = write_batches(&table);
                put(&table, 2, 0x22);
                written
            })
        };
        let view = table.lock().unwrap().get(Nanos::ZERO, object(1));
        if let Some(view) = view {
            assert_eq!(&view[..], &[0x11; 64]);
            thread::yield_now();
            assert_eq!(&view[..], &[0x11; 64]);
        }
        let written = writer.join().unwrap();
        let mut table = table.lock().unwrap();
        assert!(table.check().is_ok());
        let on_disk = table.place(object(1)).is_some();
        assert_eq!(on_disk, written == 1, "what was reported written is known to be on disk");
        assert!(on_disk || table.contains(object(1)), "a referenced primary is never dropped");
        if on_disk { &SPILLED } else { &KEPT }.fetch_add(1, Ordering::Relaxed);
        table.delete(object(1));
        table.delete(object(2));
        assert_eq!(arena.used(), ByteSize::ZERO, "nothing is leaked in any order");
    });
    let both = [&SPILLED, &KEPT].map(|count| count.load(Ordering::Relaxed));
    assert!(both.iter().all(|count| *count > 0), "spilled and kept by its reader: {both:?}");
}
