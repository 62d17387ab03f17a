//! Input that is not what `encode` made.

use super::*;

proptest! {
    #[test]
    fn every_truncation_and_extension_is_an_error(
        value in value(),
        cut in any::<prop::sample::Index>(),
        more in 1_usize..100,
    ) {
        let bytes = encode(&value).unwrap().to_bytes();
        let part = bytes.slice(..cut.index(bytes.len()));
        let refused = decode::<Value>(&part).unwrap_err();
        prop_assert!(matches!(refused, CodecError::Truncated { .. }), "{}", refused);
        prop_assert!(refs(&part).is_err() && verify(&part).is_err());
        let mut long = bytes.to_vec();
        long.resize(bytes.len() + more, 0);
        let refused = decode::<Value>(&long.into()).unwrap_err();
        prop_assert!(matches!(refused, CodecError::Trailing { .. }), "{}", refused);
    }

    #[test]
    fn a_flipped_byte_is_found_outside_the_padding(value in value(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = encode(&value).unwrap().to_bytes().to_vec();
        let (head, layout) = parts(&bytes.clone().into());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let bytes = Bytes::from(bytes);
        if at < head {
            prop_assert!(decode::<Value>(&bytes).is_err());
            prop_assert!(verify(&bytes).is_err());
        } else if let Some(index) = layout.slots.iter().position(|slot| slot.range.contains(&at)) {
            prop_assert!(decode::<Value>(&bytes).is_ok(), "buffers are not read");
            let found = verify(&bytes).unwrap_err();
            prop_assert!(matches!(found, CodecError::DamagedBuffer { index: i, .. } if i == index), "{}", found);
        } else {
            prop_assert_eq!(decode::<Value>(&bytes).unwrap(), value, "padding says nothing");
            prop_assert!(verify(&bytes).is_ok());
        }
    }

    #[test]
    fn a_head_that_lies_with_a_right_checksum_never_panics(
        value in value(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encode(&value).unwrap().to_bytes().to_vec();
        let (head, _) = parts(&bytes.clone().into());
        for (at, new) in flips {
            bytes[at.index(head)] = new;
        }
        layout::reseal(&mut bytes);
        // Either outcome is right; what counts is that there is one, and that a value can be encoded again.
        let _ = exercise(&bytes);
        if let Ok(value) = decode::<Value>(&Bytes::from(bytes)) {
            prop_assert!(encode(&value).is_ok());
        }
    }

    #[test]
    fn any_structure_with_a_right_checksum_never_panics(structure in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = exercise(&with_structure(&structure));
        let _ = decode::<Value>(&with_structure(&structure));
        let _ = decode::<Vec<Tensor<f64>>>(&with_structure(&structure));
    }

    #[test]
    fn noise_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(exercise(&bytes).is_err());
    }
}

/// A value with one buffer, one reference and this structure.
fn with_structure(structure: &[u8]) -> Bytes {
    let (buffers, refs) = (vec![Bytes::from_static(&[5; 24]).into()], vec![object(1)]);
    let len = layout::aligned(layout::head_length(structure.len(), 1, 1)) + 24;
    Encoded { structure: structure.to_vec(), buffers, refs, len }.to_bytes()
}

#[test]
fn pointers_out_of_the_tables_are_errors() {
    for (structure, complaint) in [
        (&b"\xd6\x01\x01\0\0\0"[..], "the value has no buffer 1"),
        (b"\xd6\x02\0\0\0\0", "extension type 2 with 4 bytes, where type 1"),
        (b"\xd5\x01\0\0", "extension type 1 with 2 bytes, where type 1 with 4"),
        (b"\xc4\x01\x07", "the value is not a"),
    ] {
        let error = decode::<Blob>(&with_structure(structure)).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
    let error = decode::<Reference>(&with_structure(b"\xd6\x02\x09\0\0\0")).unwrap_err().to_string();
    assert!(error.contains("the value has no reference 9"), "{error}");
}

#[test]
fn lengths_that_overflow_are_errors() {
    let good = with_structure(b"\xd6\x01\0\0\0\0").to_vec();
    for field in [8..16, 32..40, 40..48] {
        for lie in [u64::MAX, u64::MAX - 63, 1 << 63, good.len() as u64 + 1] {
            let mut bytes = good.clone();
            bytes[field.clone()].copy_from_slice(&lie.to_le_bytes());
            layout::reseal(&mut bytes);
            assert!(decode::<Blob>(&bytes.into()).is_err(), "{field:?} = {lie}");
        }
    }
    for field in [16..20, 20..24] {
        let mut bytes = good.clone();
        bytes[field].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(decode::<Blob>(&bytes.into()), Err(CodecError::Truncated { .. })));
    }
}

#[test]
fn other_magic_version_and_flags_are_named() {
    let good = encode(&1).unwrap().to_bytes();
    for (at, expected) in [
        (0, CodecError::Magic { found: *b"NOB1" }),
        (4, CodecError::Version { version: 0, flags: 0 }),
        (6, CodecError::Version { version: 1, flags: 1 }),
    ] {
        let mut bytes = good.to_vec();
        bytes[at] ^= if at == 0 { b'M' ^ b'N' } else { 1 };
        assert_eq!(decode::<u8>(&bytes.into()), Err(expected));
    }
}

#[test]
fn a_huge_announced_sequence_allocates_nothing() {
    assert!(matches!(
        decode::<Vec<u64>>(&with_structure(b"\xdd\xff\xff\xff\xff\x01")),
        Err(CodecError::Structure { what: "an early end", at: 6 })
    ));
    assert!(decode::<String>(&with_structure(b"\xdb\xff\xff\xff\xffa")).is_err());
    assert!(matches!(
        decode::<u8>(&with_structure(&[1, 2])),
        Err(CodecError::Structure { what: "more than one value", at: 1 })
    ));
}

#[test]
fn depth_is_limited_on_both_sides_and_fits_a_small_stack() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    enum Chain {
        #[default]
        End,
        Link(Box<Chain>),
    }
    let chain = |levels| (0..levels).fold(Chain::End, |chain, _| Chain::Link(chain.into()));
    let deepest = encode(&chain(MAX_DEPTH)).unwrap().to_bytes();
    assert_eq!(decode::<Chain>(&deepest).unwrap(), chain(MAX_DEPTH));
    assert_eq!(encode(&chain(MAX_DEPTH + 1)).unwrap_err(), CodecError::TooDeep);
    // {"Link": {"Link": ... }}, a million levels: deep enough to overflow any stack if anybody recursed.
    let hostile = b"\x81\xa4Link".repeat(1_000_000);
    assert_eq!(decode::<Chain>(&with_structure(&hostile)).unwrap_err(), CodecError::TooDeep);
}
