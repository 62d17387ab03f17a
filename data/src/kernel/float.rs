//! One form for every float: all NaN are one value, larger than any number, and minus zero is zero.
//!
//! Grouping, joining, sorting, comparing and min/max all go through here, so they agree with each other whatever bits a
//! file or a processor produced (x86 makes negative NaN, ARM positive).

use arrow_array::types::{ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, cast::AsArray};
use arrow_schema::DataType;
use std::sync::Arc;

/// `array` with canonical floats; any other type unchanged.
pub(crate) fn canonical(array: &ArrayRef) -> ArrayRef {
    fn each<T: ArrowPrimitiveType>(array: &ArrayRef, f: impl Fn(T::Native) -> T::Native) -> ArrayRef {
        Arc::new(array.as_primitive::<T>().unary::<_, T>(f))
    }
    match array.data_type() {
        DataType::Float64 => each::<Float64Type>(array, canonical_f64),
        DataType::Float32 => each::<Float32Type>(array, |x| if x.is_nan() { f32::NAN } else { x + 0.0 }),
        DataType::Float16 => {
            use arrow_array::types::ArrowPrimitiveType as P;
            let (nan, zero) = (<Float16Type as P>::Native::NAN, <Float16Type as P>::Native::ZERO);
            each::<Float16Type>(array, |x| {
                if x.is_nan() {
                    nan
                } else if x == zero {
                    zero
                } else {
                    x
                }
            })
        }
        _ => array.clone(),
    }
}

fn canonical_f64(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { x + 0.0 }
}

/// Float64 values as int64 in the same order (canonical first): what min and max compare.
pub(crate) fn to_ordered(floats: &PrimitiveArray<Float64Type>) -> PrimitiveArray<Int64Type> {
    floats.unary(|x| {
        let bits = canonical_f64(x).to_bits() as i64;
        // IEEE 754 floats compare like sign-magnitude integers; flipping the magnitude of negative ones makes them
        // two's complement.
        if bits < 0 { bits ^ i64::MAX } else { bits }
    })
}

/// The inverse of [`to_ordered`].
pub(crate) fn from_ordered(ordered: &PrimitiveArray<Int64Type>) -> PrimitiveArray<Float64Type> {
    ordered.unary(|bits| f64::from_bits((if bits < 0 { bits ^ i64::MAX } else { bits }) as u64))
}
