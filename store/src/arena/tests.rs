use super::*;
use proptest::prelude::*;

fn heap(bytes: u64) -> Arena {
    Arena::heap(ByteSize(bytes)).unwrap()
}

#[test]
fn an_empty_arena_holds_one_object_of_exactly_its_capacity() {
    for capacity in [0, 1, 63, 64, 65, 1000, 4096, 100_000, 1_000_001, 99_999_999] {
        let arena = heap(capacity);
        let whole = capacity / ALIGN * ALIGN;
        let region = arena.allocate(ByteSize(whole)).unwrap_or_else(|| panic!("{whole} of {capacity}"));
        assert_eq!(arena.used(), ByteSize(whole));
        assert!(arena.allocate(ByteSize(ALIGN)).is_none(), "{capacity}");
        drop(region);
        assert_eq!(arena.used(), ByteSize::ZERO);
    }
}

#[test]
fn more_than_the_machine_has_is_refused_with_both_sizes() {
    for make in [Arena::memfd, Arena::heap] {
        let asked = ByteSize(200 << 30);
        let StoreError::TooLarge { asked: named, most, .. } = make(asked).unwrap_err() else { panic!() };
        assert_eq!(named, asked);
        assert!(most < asked && most > ByteSize(1 << 20));
        assert!(matches!(make(ByteSize(u64::MAX)), Err(StoreError::TooLarge { .. })));
    }
}

#[test]
fn the_range_returns_when_the_last_handle_goes() {
    let arena = heap(4096);
    let mut region = arena.allocate(ByteSize(100)).unwrap();
    region.as_mut_slice().fill(7);
    let view = region.seal();
    assert_eq!((view.readers(), arena.used()), (0, ByteSize(128)));
    let part = view.slice(10..=19);
    let bytes = part.bytes();
    let tail = bytes.slice(5..);
    assert_eq!(view.readers(), 2);
    drop((view, part, bytes));
    assert_eq!((&tail[..], arena.used()), (&[7; 5][..], ByteSize(128)));
    drop(tail);
    assert_eq!(arena.used(), ByteSize::ZERO);
}

#[test]
fn an_empty_object_takes_no_memory() {
    let arena = heap(64);
    let full = arena.allocate(ByteSize(64)).unwrap();
    let view = arena.allocate(ByteSize::ZERO).unwrap().seal();
    assert!(view.is_empty() && view.bytes().is_empty() && view.slice(..).is_empty());
    drop(full);
    assert_eq!(arena.used(), ByteSize::ZERO);
}

#[test]
#[should_panic(expected = "slice 3..9 of a view of 8 bytes")]
fn a_slice_beyond_the_end_panics() {
    let view = heap(64).allocate(ByteSize(8)).unwrap().seal();
    let _ = view.slice(3..9);
}

#[test]
fn another_mapping_of_the_descriptor_reads_the_same_bytes_and_cannot_write() {
    let arena = Arena::memfd(ByteSize(10_000)).unwrap();
    let _first = arena.allocate(ByteSize(1)).unwrap();
    let mut region = arena.allocate(ByteSize(500)).unwrap();
    region.as_mut_slice().fill(42);
    let view = region.seal();
    let fd = arena.descriptor().unwrap();
    // SAFETY: the test writes nothing to the arena while this mapping lives.
    let other = unsafe { MmapOptions::new().map(&fd) }.unwrap();
    let at = view.offset() as usize;
    assert_eq!((&other[at..at + 500], at % ALIGN as usize), (&view[..], 0));
    assert!(MmapOptions::new().map_raw(&fd).is_err(), "a second writable mapping must be refused");
}

#[test]
fn handles_may_be_dropped_by_any_thread() {
    let arena = heap(1 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let arena = &arena;
            scope.spawn(move || {
                for round in 0..500_u64 {
                    let Some(mut region) = arena.allocate(ByteSize(1 + round * 37 % 9000)) else { continue };
                    region.as_mut_slice().fill(thread);
                    let view = region.seal();
                    let other = view.clone();
                    scope.spawn(move || assert!(other.iter().all(|b| *b == thread)));
                    assert!(view.iter().all(|b| *b == thread));
                }
            });
        }
    });
    assert_eq!(arena.used(), ByteSize::ZERO);
    assert!(arena.allocate(ByteSize(1 << 20)).is_some(), "the free ranges were merged again");
}

proptest! {
    #[test]
    fn ranges_are_aligned_disjoint_and_within_budget(
        sizes in prop::collection::vec((0_u64..5000, any::<bool>()), 1..80),
    ) {
        let arena = heap(60_000);
        let mut held: Vec<(View, u8)> = Vec::new();
        for (n, (size, keep)) in sizes.into_iter().enumerate() {
            let room = arena.largest_free();
            match arena.allocate(ByteSize(size)) {
                None => prop_assert!(charge(size) > room.0, "{size} refused, {room} promised"),
                Some(mut region) => {
                    prop_assert_eq!(region.as_mut_slice().as_ptr() as u64 % ALIGN, 0);
                    region.as_mut_slice().fill(n as u8);
                    held.push((region.seal(), n as u8));
                }
            }
            if !keep && !held.is_empty() {
                held.swap_remove(n % held.len());
            }
            let sum: u64 = held.iter().map(|(view, _)| charge(view.len() as u64)).sum();
            prop_assert_eq!(arena.used().0, sum);
            prop_assert!(arena.used() <= arena.capacity());
            prop_assert!(held.iter().all(|(view, fill)| view.iter().all(|b| b == fill)));
        }
    }
}

#[test]
fn the_filled_part_of_a_region_can_be_read_while_the_rest_is_written() {
    let arena = Arena::heap(ByteSize(1000)).unwrap();
    let mut region = arena.allocate(ByteSize(100)).unwrap();
    region.as_mut_slice()[..10].fill(1);
    assert_eq!(region.filled().len(), 0);
    region.fill(10);
    let early = region.filled();
    assert_eq!(region.as_mut_slice().len(), 90);
    region.as_mut_slice().fill(2);
    region.fill(90);
    assert_eq!((early.len(), early[9]), (10, 1), "what was viewed did not change");
    let sealed = region.seal();
    assert_eq!((sealed[9], sealed[10], sealed.offset()), (1, 2, early.offset()));
    drop(sealed);
    assert!(arena.used() > ByteSize::ZERO, "a view of a part keeps all of it");
    drop(early);
    assert_eq!(arena.used(), ByteSize::ZERO);
}

#[test]
#[should_panic(expected = "filled 101 bytes beyond")]
fn no_more_can_be_filled_than_there_is() {
    let arena = Arena::heap(ByteSize(1000)).unwrap();
    arena.allocate(ByteSize(100)).unwrap().fill(101);
}

#[test]
fn what_one_object_leaves_fits_the_next_of_its_size() {
    let arena = heap(65_000_000);
    let size = ByteSize(30_000_000);
    let (first, second) = (arena.allocate(size).unwrap(), arena.allocate(size).unwrap());
    drop(first);
    let third = arena.allocate(size).expect("the range that was given back");
    drop((second, third));
    assert_eq!(arena.used(), ByteSize::ZERO);
}

#[test]
fn as_many_objects_of_one_size_fit_as_the_budget_says() {
    for units in [1, 9, 17, 25, 33, 100, 1001, 4097, 65_537] {
        let arena = heap(10 * units * ALIGN);
        let held: Vec<_> = (0..10)
            .map(|n| arena.allocate(ByteSize(units * ALIGN)).unwrap_or_else(|| panic!("{units}, {n}")))
            .collect();
        assert!(arena.allocate(ByteSize(ALIGN)).is_none());
        assert_eq!(held.len(), 10);
    }
}
