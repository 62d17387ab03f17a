//! Arbitrary bytes as a stored value. `cargo test` runs the same function on mutated values
//! (`store/src/codec/tests/hostile.rs`); here libFuzzer looks for more, for as long as it is let.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mobula_store::codec;

fuzz_target!(|bytes: &[u8]| {
    // As they are: almost always refused by the checksum. Then with the checksum made right, so that what is behind it
    // is reached as well.
    let _ = codec::exercise(bytes);
    let _ = codec::exercise(&codec::resealed(bytes));
});
