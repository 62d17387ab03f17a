//! Medians and spreads.

use super::Sample;

#[test]
fn the_median_is_the_middle_whatever_the_order() {
    assert_eq!(Sample::of(vec![3.0, 1.0, 2.0]).median(), Some(2.0));
    assert_eq!(Sample::of(vec![4.0, 1.0, 3.0, 2.0]).median(), Some(3.0));
    assert_eq!(Sample::of(vec![]).median(), None);
    assert_eq!(Sample::warm(vec![9.0, 2.0, 1.0]), Sample::of(vec![1.0, 2.0]));
    assert_eq!(Sample::of(vec![1.0, 2.0, 4.0]).map(|seconds| 8.0 / seconds).spread(), Some((2.0, 8.0, 3)));
}

#[test]
fn only_a_noisy_sample_has_a_spread() {
    assert_eq!(Sample::of(vec![100.0, 101.0, 105.0]).spread(), None);
    assert_eq!(Sample::of(vec![100.0, 120.0, 90.0]).spread(), Some((90.0, 120.0, 3)));
}

#[test]
fn the_first_failure_ends_the_repetitions() {
    let mut left = 2;
    let sample = Sample::repeat(5, || {
        left -= 1;
        if left == 0 { Err("no more") } else { Ok(1.0) }
    });
    assert_eq!(sample, Err("no more"));
    assert_eq!(left, 0);
}
