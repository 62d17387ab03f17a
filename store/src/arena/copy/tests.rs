use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_way_of_copying_copies(len in 0_usize..1000, from_at in 0_usize..70, to_at in 0_usize..70) {
        let from: Vec<u8> = (0..from_at + len).map(|n| (n * 31 / 7) as u8).collect();
        for store in [Store::Cached, Store::Streaming] {
            let mut to = vec![0xEE; to_at + len + 64];
            store.copy(&from[from_at..], &mut to[to_at..to_at + len]);
            prop_assert_eq!(&to[to_at..to_at + len], &from[from_at..]);
            prop_assert!(to[..to_at].iter().chain(&to[to_at + len..]).all(|b| *b == 0xEE), "nothing around it");
        }
    }
}
