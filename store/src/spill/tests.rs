use super::format::{BLOCK, FormatError, Head, head_size, record_size};
use super::*;
use mobula_protocol::{Incarnation, Nanos, TaskId};
use proptest::prelude::*;

fn object(seq: u64) -> ObjectId {
    TaskId { owner: Incarnation::new(3, 4), seq }.result(2)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) as u8).collect()
}

fn place(head: &Head) -> Place {
    Place { file: FileName { number: head.file, directory: 0 }, offset: 0, len: head.len }
}

#[test]
fn a_head_is_read_back_as_it_was_written() {
    for len in [0, 1, 63, 64, BLOCK as usize - 1, BLOCK as usize, BLOCK as usize + 1, 3 * BLOCK as usize] {
        let data = bytes(len);
        let head = Head::of(7, object(9), &data);
        let written = head.to_bytes();
        assert_eq!(written.len() as u64, head_size(head.len));
        assert_eq!(record_size(head.len) % format::ALIGN, 0);
        let read = Head::parse(&written).unwrap();
        assert_eq!(read, head);
        read.expect(object(9), &place(&head)).unwrap();
        for (number, block) in data.chunks(BLOCK as usize).enumerate() {
            read.check(number as u64, block).unwrap();
        }
    }
}

#[test]
fn a_head_is_not_that_of_another_object_or_file() {
    let head = Head::of(7, object(9), &bytes(100));
    let other = Place { file: FileName { number: 8, directory: 0 }, ..place(&head) };
    assert!(matches!(head.expect(object(9), &other), Err(FormatError::Other { file: 7, .. })));
    assert!(matches!(head.expect(object(10), &place(&head)), Err(FormatError::Other { .. })));
}

proptest! {
    #[test]
    fn any_single_damage_is_noticed(len in 0_usize..2000, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let data = bytes(len);
        let head = Head::of(1, object(1), &data);
        let mut file = head.to_bytes();
        // The padding carries nothing: everything else does.
        let hashed = (0..48).chain(64..64 + len.div_ceil(BLOCK as usize) * 8);
        let meaningful: Vec<usize> = hashed.chain(file.len()..file.len() + len).collect();
        file.extend_from_slice(&data);
        file[meaningful[at.index(meaningful.len())]] ^= 1 << bit;
        let read = Head::parse(&file).and_then(|head| {
            head.expect(object(1), &place(&Head::of(1, object(1), &data)))?;
            file[head_size(head.len) as usize..].chunks(BLOCK as usize).enumerate()
                .try_for_each(|(number, block)| head.check(number as u64, block))
        });
        prop_assert!(read.is_err());
    }

    #[test]
    fn any_truncation_is_noticed(len in 1_usize..2000, keep in any::<prop::sample::Index>()) {
        let head = Head::of(1, object(1), &bytes(len)).to_bytes();
        let keep = keep.index(head.len());
        prop_assert!(Head::parse(&head[..keep]).is_err());
    }

    #[test]
    fn hostile_bytes_are_an_error(mut hostile in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        if magic && hostile.len() >= 4 {
            hostile[..4].copy_from_slice(b"SPL1");
        }
        prop_assert!(Head::parse(&hostile).is_err());
    }
}

#[test]
fn directories_take_turns_and_rest_after_failures() {
    let mut directories = Directories::new(2);
    let (now, full) = (Nanos::ZERO, SpillFailure::DiskFull("no space".into()));
    assert_eq!(directories.take(now), Some(0));
    assert_eq!(directories.take(now), Some(1));
    assert_eq!(directories.take(now), None, "each takes one batch at a time");
    directories.failed(0, now, full.clone());
    directories.succeeded(1);
    assert_eq!(directories.take(now), Some(1), "the one that failed rests");
    assert!(directories.is_healthy());
    directories.failed(1, now, full.clone());
    assert!(!directories.is_healthy());
    assert_eq!(directories.complaint(), Some(&full));
    assert_eq!(directories.take(now), None);
    assert_eq!(directories.rests_until(now), Some(REST_FIRST));
    assert_eq!(directories.take(REST_FIRST), Some(0), "then it is tried again");
    directories.failed(0, REST_FIRST, full);
    assert_eq!(directories.rests_until(REST_FIRST), Some(REST_FIRST * 3), "and rests twice as long");
}

#[test]
fn a_file_goes_with_its_last_object() {
    let mut files = Files::default();
    let name = files.create(0);
    files.written(name, 2, ByteSize(10));
    files.release(name);
    assert_eq!(files.take_doomed(), []);
    files.release(name);
    assert_eq!(files.take_doomed(), [name]);
    assert_eq!(files.take_doomed(), [], "once");
    files.removed(name, false);
    assert_eq!(files.take_doomed(), [name], "and again after a failure");
    files.removed(name, true);
    assert_eq!((files.len(), files.bytes()), (0, ByteSize::ZERO));
    let next = files.create(1);
    assert!(next.number > name.number, "names are not used again");
    files.written(next, 0, ByteSize::ZERO);
    assert_eq!(files.take_doomed(), [next], "a file of dead objects goes at once");
}
