//! Semantics of grouping, joining, sorting and limits, by table and against a naive row interpreter.

mod exact;
mod oracle;

use crate::testing::{csv, dataset};
use crate::{Dataset, JoinKind, asc, col, count, count_if, count_of, desc, max, mean, min, stddev, sum};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray};
use std::sync::Arc;

fn ints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(values))
}

fn floats(values: impl IntoIterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(values))
}

/// The column of the engines' disagreements (`SEMANTICS.md`), with row numbers.
fn odd() -> Dataset {
    let x = [Some(2.0), None, Some(f64::NAN), Some(1.0), Some(-0.0), Some(0.0)];
    dataset(vec![("x", floats(x)), ("row", ints((0..6).map(Some)))], &[1, 2])
}

fn column(dataset: &Dataset, name: &str) -> String {
    csv(&dataset.clone().select([name])).unwrap().lines().skip(1).collect::<Vec<_>>().join(",")
}

#[test]
fn sort_places_nan_and_null() {
    for (key, expected) in [
        (asc("x"), "4,5,3,0,2,1"),
        (desc("x"), "2,0,3,4,5,1"),
        (asc("x").nulls_first(), "1,4,5,3,0,2"),
        (desc("x").nulls_first(), "1,2,0,3,4,5"),
    ] {
        assert_eq!(column(&odd().sort([key.clone()]), "row"), expected, "{key}");
        let first: Vec<&str> = expected.split(',').take(3).collect();
        assert_eq!(column(&odd().sort([key]).limit(3), "row"), first.join(","));
    }
}

#[test]
fn aggregates_of_odd_values() {
    let all = odd().aggregate([
        count().alias("rows"),
        count_of("x").alias("n"),
        min("x").alias("min"),
        max("x").alias("max"),
        sum("x").alias("sum"),
        mean("x").alias("mean"),
    ]);
    assert_eq!(csv(&all).unwrap(), "rows,n,min,max,sum,mean\n6,5,0.0,NaN,NaN,NaN\n");
    let groups = odd().group_by(["x"]).agg([count().alias("n")]).sort([asc("x")]);
    assert_eq!(csv(&groups).unwrap(), "x,n\n0.0,2\n1.0,1\n2.0,1\nNaN,1\n,1\n");
}

#[test]
fn aggregates_of_nothing() {
    let functions = || {
        [
            count().alias("rows"),
            count_of("v").alias("n"),
            count_if(col("v").gt(0)).alias("positive"),
            sum("v").alias("sum"),
            mean("v").alias("mean"),
            min("v").alias("min"),
            max("v").alias("max"),
            stddev("v").alias("sd"),
        ]
    };
    let header = "rows,n,positive,sum,mean,min,max,sd\n";
    let empty = dataset(vec![("v", ints([]))], &[]);
    assert_eq!(csv(&empty.clone().aggregate(functions())).unwrap(), format!("{header}0,0,0,,,,,\n"));
    assert_eq!(csv(&empty.group_by(["v"]).agg([count().alias("n")])).unwrap(), "v,n\n");
    let nulls = dataset(vec![("v", ints([None, None]))], &[1]);
    assert_eq!(csv(&nulls.aggregate(functions())).unwrap(), format!("{header}2,0,0,,,,,\n"));
    let one = dataset(vec![("v", ints([None, Some(5), None]))], &[1, 0, 1]);
    assert_eq!(csv(&one.aggregate(functions())).unwrap(), format!("{header}3,1,1,5,5.0,5,5,\n"));
    let floats = dataset(vec![("v", floats([]))], &[]);
    assert_eq!(csv(&floats.aggregate([sum("v").alias("s"), max("v").alias("m")])).unwrap(), "s,m\n,\n");
}

#[test]
fn integer_sums_are_exact_or_errors() {
    let v = [Some(i64::MAX), Some(i64::MAX), Some(-i64::MAX)];
    assert_eq!(
        csv(&dataset(vec![("v", ints(v))], &[1]).aggregate([sum("v").alias("s")])).unwrap(),
        format!("s\n{}\n", i64::MAX)
    );
    let over = dataset(vec![("v", ints([Some(i64::MAX), Some(1)]))], &[1]);
    let error = csv(&over.clone().aggregate([sum("v").alias("s")])).unwrap_err().to_string();
    assert_eq!(error, "`sum(v) as s` failed: the sum overflows int64");
    assert_eq!(csv(&over.aggregate([mean("v").alias("m")])).unwrap(), "m\n4.611686018427388e18\n");
}

#[test]
fn float_results_do_not_depend_on_cuts() {
    let values = [1e16, 1.0, -1e16, 0.1, 0.2, 0.3, 1e300, -1e300, 1e-300, 3.7];
    let answer = |cuts: &[usize]| {
        let data = dataset(vec![("v", floats(values.map(Some)))], cuts);
        csv(&data.aggregate([sum("v").alias("s"), mean("v").alias("m")])).unwrap()
    };
    assert_eq!(answer(&[]), "s,m\n5.3,0.53\n");
    for cuts in [&[1, 1, 1, 1][..], &[5], &[0, 9], &[2, 0, 3]] {
        assert_eq!(answer(cuts), answer(&[]), "{cuts:?}");
    }
}

#[test]
fn stddev_keeps_its_digits_far_from_zero() {
    for cuts in [&[][..], &[1, 1], &[3]] {
        let v = [4.0, 7.0, 13.0, 16.0].map(|x| Some(1e9 + x));
        let text = csv(&dataset(vec![("v", floats(v))], cuts).aggregate([stddev("v").alias("sd")])).unwrap();
        assert_eq!(text, "sd\n5.477225575051661\n");
    }
    let v = (0..100).map(|i| Some(f64::from(i)));
    let text = csv(&dataset(vec![("v", floats(v))], &[7]).aggregate([stddev("v").alias("sd")])).unwrap();
    assert_eq!(text, "sd\n29.011491975882016\n");
    let same = dataset(vec![("v", floats([Some(0.1); 10]))], &[3]);
    assert_eq!(csv(&same.aggregate([stddev("v").alias("sd")])).unwrap(), "sd\n0.0\n");
}

#[test]
fn extrema_of_every_ordered_type() {
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("abc")]));
    let small: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), Some(-3), None]));
    let single: ArrayRef = Arc::new(arrow_array::Float32Array::from(vec![f32::NEG_INFINITY, -1.5, f32::INFINITY]));
    let data = dataset(vec![("t", text), ("i", small), ("f", single)], &[1]);
    let all = data.aggregate(["t", "i", "f"].into_iter().flat_map(|c| [min(c), max(c)]));
    assert_eq!(csv(&all).unwrap(), "min(t),max(t),min(i),max(i),min(f),max(f)\nabc,b,-3,3,-inf,inf\n");
}

#[test]
fn groups_by_several_keys_with_nulls() {
    let a: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("x"), None, Some("y")]));
    let b: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(true), Some(false), None]));
    let data = dataset(vec![("a", a), ("b", b)], &[2, 1]);
    let groups = data.group_by(["a", "b"]).agg([count()]);
    // Order of first appearance.
    assert_eq!(csv(&groups).unwrap(), "a,b,count\nx,true,2\n,,1\n,false,1\ny,,1\n");
}

#[test]
fn joins_of_odd_keys() {
    let keys = [Some(f64::NAN), Some(f64::NAN), None, None, Some(1.0)];
    let data = || dataset(vec![("k", floats(keys)), ("row", ints((0..5).map(Some)))], &[2]);
    let inner = data().join(data(), "k", JoinKind::Inner);
    assert_eq!(csv(&inner.select(["row", "row_right"])).unwrap(), "row,row_right\n0,0\n0,1\n1,0\n1,1\n4,4\n");
    let left = data().join(data().filter(col("row").gt(3)), "k", JoinKind::Left);
    assert_eq!(csv(&left.select(["row", "row_right"])).unwrap(), "row,row_right\n0,\n1,\n2,\n3,\n4,4\n");
    let zero = |z: f64| dataset(vec![("k", floats([Some(z)]))], &[]);
    assert_eq!(csv(&zero(0.0).join(zero(-0.0), "k", JoinKind::Inner)).unwrap(), "k\n0.0\n");
}

#[test]
fn joins_of_other_widths_and_empty_sides() {
    let left = || dataset(vec![("k", ints([Some(1), Some(2)]))], &[1]);
    let right = |values: Vec<i32>| {
        let v = Int64Array::from_iter_values(values.iter().map(|k| i64::from(*k) * 10));
        dataset(vec![("id", Arc::new(Int32Array::from(values))), ("v", Arc::new(v))], &[1])
    };
    assert_eq!(csv(&left().join(right(vec![2, 3]), [("k", "id")], JoinKind::Inner)).unwrap(), "k,v\n2,20\n");
    assert_eq!(csv(&left().join(right(vec![]), [("k", "id")], JoinKind::Inner)).unwrap(), "k,v\n");
    assert_eq!(csv(&left().join(right(vec![]), [("k", "id")], JoinKind::Left)).unwrap(), "k,v\n1,\n2,\n");
}

#[test]
fn sorts_are_stable() {
    let keys = dataset(vec![("k", ints([1, 0, 1, 0].map(Some))), ("id", ints((0..4).map(Some)))], &[1, 1]);
    assert_eq!(column(&keys.clone().sort([asc("k")]), "id"), "1,3,0,2");
    assert_eq!(column(&keys.sort([desc("k")]), "id"), "0,2,1,3");
}

#[test]
fn partitions_agree_whatever_the_nulls() {
    let whole = ints([Some(7), None, Some(8)]);
    let part = ints([Some(7), Some(8)]);
    let (a, b) = (super::groups::partition(&[whole], 16).unwrap(), super::groups::partition(&[part], 16).unwrap());
    assert_eq!([a[0], a[2]], [b[0], b[1]]);
    // Pinned: a change here moves rows between the partitions of existing Datasets.
    let pinned = super::groups::partition(&[ints((0..8).map(Some))], 1000).unwrap();
    assert_eq!(pinned, PINNED);
}

/// Partitions of 0..8 among 1000.
const PINNED: [u64; 8] = [418, 100, 428, 608, 612, 105, 8, 289];
