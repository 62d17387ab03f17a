//! The superaccumulator against integers of unlimited width.

use crate::kernel::exact::ExactSum;
use proptest::prelude::*;

fn any_finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite()),
        (-1000i32..1000).prop_map(f64::from),
        (-1e3..1e3f64),
        Just(f64::MIN_POSITIVE),
        Just(5e-324),
    ]
}

fn sum(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    values.iter().for_each(|x| sum.add(*x));
    sum
}

proptest! {
    #[test]
    fn any_cut_and_order_gives_the_same_bits(
        values in prop::collection::vec(any_finite(), 0..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = sum(&values);
        let (a, b) = values.split_at(if values.is_empty() { 0 } else { cut.index(values.len()) });
        let mut merged = sum(b);
        merged.merge(&ExactSum::from_bytes(&sum(a).to_bytes()).unwrap());
        prop_assert_eq!(merged.to_bytes(), whole.to_bytes());
        prop_assert_eq!(merged.round().to_bits(), whole.round().to_bits());
        let reversed: Vec<f64> = values.iter().rev().copied().collect();
        prop_assert_eq!(sum(&reversed).to_bytes(), whole.to_bytes());
    }

    #[test]
    fn two_values_round_as_the_processor_does(a in any_finite(), b in any_finite()) {
        prop_assert_eq!(sum(&[a, b]).round(), a + b);
        let mut square = ExactSum::default();
        square.add_square(a);
        prop_assert_eq!(square.round(), a * a);
    }

    #[test]
    fn scaled_integers_are_summed_exactly(values in prop::collection::vec(any::<i64>(), 0..50), power in -100..100i32) {
        // The low 11 bits are cleared so that every value is a double.
        let values: Vec<i64> = values.into_iter().map(|v| v >> 11 << 11).collect();
        let factor = 2f64.powi(power);
        let floats: Vec<f64> = values.iter().map(|v| *v as f64 * factor).collect();
        let exact: i128 = values.iter().map(|v| i128::from(*v)).sum();
        prop_assert_eq!(sum(&floats).round(), exact as f64 * factor);
        let (high, low) = sum(&floats).pair();
        prop_assert_eq!((high / factor) as i128 + (low / factor) as i128, exact);
    }

    #[test]
    fn opposite_values_cancel(values in prop::collection::vec(any_finite(), 0..30)) {
        let both: Vec<f64> = values.iter().copied().chain(values.iter().map(|x| -x)).collect();
        prop_assert_eq!(sum(&both).to_bytes(), ExactSum::default().to_bytes());
    }
}

#[test]
fn special_values() {
    assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).round().is_nan());
    assert_eq!(sum(&[f64::INFINITY, 1.0]).round(), f64::INFINITY);
    assert!(sum(&[f64::NAN, f64::INFINITY]).round().is_nan());
    assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]).round(), f64::MAX, "no overflow in between");
    assert_eq!(sum(&[f64::MAX, f64::MAX]).round(), f64::INFINITY);
    assert_eq!(sum(&[]).round(), 0.0);
    assert!(ExactSum::from_bytes(&[1, 2, 3]).is_none());
}
