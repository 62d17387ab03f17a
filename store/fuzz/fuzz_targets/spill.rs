//! Arbitrary bytes as a spill file, and as an object in one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobula_protocol::{Incarnation, TaskId};
use mobula_store::spill::format::{BLOCK, Head, head_size};

fuzz_target!(|bytes: &[u8]| {
    // As a file: almost always refused. What is accepted is what would be written for the same object.
    if let Ok(head) = Head::parse(bytes) {
        assert_eq!(Head::parse(&head.to_bytes()).as_ref(), Ok(&head));
    }
    // As an object, with one bit of its record flipped at a place that the input chooses.
    let Some((choice, object)) = bytes.split_first_chunk::<4>() else { return };
    let id = TaskId { owner: Incarnation::new(1, 1), seq: 7 }.result(0);
    let head = Head::of(3, id, object);
    let mut record = head.to_bytes();
    assert_eq!(record.len() as u64, head_size(head.len));
    record.extend_from_slice(object);
    let at = u32::from_le_bytes(*choice) as usize % (record.len() * 8);
    record[at / 8] ^= 1 << (at % 8);
    let (flipped_head, flipped_object) = record.split_at(head_size(head.len) as usize);
    match Head::parse(flipped_head) {
        // A bit of the padding, or of the object: then exactly its block is refused.
        Ok(parsed) => {
            assert_eq!(parsed, head, "a head that is not the one written was accepted");
            for (block, bytes) in flipped_object.chunks(BLOCK as usize).enumerate() {
                let is_whole = bytes == &object[block * BLOCK as usize..][..bytes.len()];
                assert_eq!(parsed.check(block as u64, bytes).is_ok(), is_whole);
            }
        }
        Err(_) => assert!(at / 8 < flipped_head.len()),
    }
});
