use super::*;
use crate::codec::{Blob, encode, verify};
use proptest::prelude::*;

fn encoded(lengths: &[usize]) -> Vec<u8> {
    let blob = |(n, len): (usize, &usize)| Blob::from(vec![n as u8; *len]);
    let blobs: Vec<Blob> = lengths.iter().enumerate().map(blob).collect();
    encode(&(blobs, "and some text".to_owned())).unwrap().to_bytes().to_vec()
}

/// What a verifier says of bytes that arrive in pieces of these sizes.
fn in_pieces(bytes: &[u8], pieces: &[usize]) -> Result<bool, CodecError> {
    let mut verifier = Verifier::new(bytes.len());
    let mut here = 0;
    for piece in pieces.iter().cycle() {
        here = (here + piece).min(bytes.len());
        verifier.read(&bytes[..here])?;
        if here == bytes.len() {
            break;
        }
        assert!(!verifier.is_complete(), "complete after {here} of {}", bytes.len());
    }
    Ok(verifier.is_complete())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn it_says_of_the_pieces_what_is_said_of_the_whole(
        lengths in prop::collection::vec(1..200_000usize, 0..4),
        pieces in prop::collection::vec(1..70_000usize, 1..6),
        damage in prop::option::of((any::<prop::sample::Index>(), 1..=255u8)),
    ) {
        let mut bytes = encoded(&lengths);
        if let Some((at, by)) = damage {
            let at = at.index(bytes.len());
            bytes[at] ^= by;
        }
        let found = in_pieces(&bytes, &pieces);
        match verify(&bytes) {
            Ok(()) => prop_assert_eq!(found, Ok(true)),
            Err(_) => prop_assert_ne!(found, Ok(true)),
        }
    }
}

#[test]
fn damage_is_found_before_the_end() {
    let mut bytes = encoded(&[100_000, 100_000]);
    bytes[50_000] ^= 1;
    let mut verifier = Verifier::new(bytes.len());
    let found = verifier.read(&bytes[..150_000]);
    assert!(matches!(found, Err(CodecError::DamagedBuffer { index: 0, .. })), "{found:?}");
}
