//! Whole pipelines against a slow interpreter that works row by row on plain values.

use super::{floats, ints};
use crate::testing::{csv, dataset};
use crate::{Dataset, JoinKind, asc, col, count, count_if, count_of, desc, max, mean, min, sum};
use arrow_array::{ArrayRef, StringArray};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::sync::Arc;

/// `k`: a small text key, `v`: an integer, `x`: a float of eighths, so that sums are exact however they are done.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    k: Option<String>,
    v: Option<i64>,
    x: Option<f64>,
}

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let key = prop::option::weighted(0.8, prop::sample::select(vec!["a", "b", "c", "dd"]).prop_map(String::from));
    let x = prop_oneof![4 => (-80..80i32).prop_map(|e| f64::from(e) / 8.0), 1 => Just(f64::NAN), 1 => Just(-0.0)];
    let row = (key, prop::option::weighted(0.8, -5..5i64), prop::option::weighted(0.8, x));
    prop::collection::vec(row.prop_map(|(k, v, x)| Row { k, v, x }), 0..most)
}

fn layouts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..9usize, 0..6)
}

fn table(rows: &[Row], cuts: &[usize]) -> Dataset {
    let k: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|r| r.k.clone())));
    let columns = vec![("k", k), ("v", ints(rows.iter().map(|r| r.v))), ("x", floats(rows.iter().map(|r| r.x)))];
    dataset(columns, cuts)
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// As the CSV writer writes a float.
fn float(value: Option<f64>) -> String {
    value.map(|x| format!("{x:?}")).unwrap_or_default()
}

fn lines(header: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    rows.into_iter().fold(format!("{header}\n"), |all, row| all + &row.join(",") + "\n")
}

/// NaN is the largest value and equals itself; minus zero is zero.
fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn last<T>(a: Option<T>, b: Option<T>, compare: impl Fn(T, T) -> Ordering) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

fn aggregate(group: &[&Row]) -> Vec<String> {
    let v: Vec<i64> = group.iter().filter_map(|r| r.v).collect();
    let x: Vec<f64> = group.iter().filter_map(|r| r.x).collect();
    let some = |value: f64| (!x.is_empty()).then_some(value);
    let zero = |value: f64| value + 0.0;
    let total = x.iter().fold(0.0, |a, b| a + b);
    let extremum =
        |wanted: Ordering| x.iter().copied().reduce(|a, b| if compare(b, a) == wanted { b } else { a }).map(zero);
    vec![
        group.len().to_string(),
        v.len().to_string(),
        v.iter().filter(|v| **v > 0).count().to_string(),
        text((!v.is_empty()).then(|| v.iter().sum::<i64>())),
        float((!v.is_empty()).then(|| v.iter().sum::<i64>() as f64 / v.len() as f64)),
        float(some(zero(total))),
        float(some(zero(total / x.len() as f64))),
        float(extremum(Ordering::Less)),
        float(extremum(Ordering::Greater)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn group_by(rows in rows(40), cuts in layouts(), keyless in any::<bool>()) {
        let aggregates = [
            count().alias("n"), count_of("v").alias("nv"), count_if(col("v").gt(0)).alias("pos"), sum("v").alias("sv"),
            mean("v").alias("mv"), sum("x").alias("sx"), mean("x").alias("mx"), min("x").alias("lo"),
            max("x").alias("hi"),
        ];
        let header = "n,nv,pos,sv,mv,sx,mx,lo,hi";
        if keyless {
            let expected = lines(header, [aggregate(&rows.iter().collect::<Vec<_>>())]);
            prop_assert_eq!(csv(&table(&rows, &cuts).aggregate(aggregates)).unwrap(), expected);
            return Ok(());
        }
        let mut keys: Vec<Option<String>> = Vec::new();
        rows.iter().for_each(|r| if !keys.contains(&r.k) { keys.push(r.k.clone()) });
        let expected = lines(&format!("k,{header}"), keys.into_iter().map(|k| {
            let group: Vec<&Row> = rows.iter().filter(|r| r.k == k).collect();
            [vec![text(k)], aggregate(&group)].concat()
        }));
        prop_assert_eq!(csv(&table(&rows, &cuts).group_by(["k"]).agg(aggregates)).unwrap(), expected);
    }

    #[test]
    fn join(left in rows(25), right in rows(10), cuts in (layouts(), layouts()), keep in any::<bool>()) {
        let mut expected = Vec::new();
        for l in &left {
            let same = |r: &&Row| l.k.is_some() && l.v.is_some() && (&l.k, l.v) == (&r.k, r.v);
            let matches: Vec<&Row> = right.iter().filter(same).collect();
            let mut line = |x: Option<f64>| expected.push(vec![text(l.k.clone()), text(l.v), float(l.x), float(x)]);
            if matches.is_empty() && keep {
                line(None);
            }
            matches.into_iter().for_each(|r| line(r.x));
        }
        let kind = if keep { JoinKind::Left } else { JoinKind::Inner };
        let joined = table(&left, &cuts.0).join(table(&right, &cuts.1), ["k", "v"], kind);
        prop_assert_eq!(csv(&joined).unwrap(), lines("k,v,x,x_right", expected));
    }

    #[test]
    fn sort_and_limit(rows in rows(40), cuts in layouts(), keep in 0..50u64, first in any::<bool>()) {
        let mut expected: Vec<&Row> = rows.iter().collect();
        expected.sort_by(|a, b| {
            let by_x = last(a.x, b.x, |a, b| compare(b, a));
            by_x.then_with(|| last(a.k.as_ref(), b.k.as_ref(), |a, b| a.cmp(b)))
        });
        let sorted = table(&rows, &cuts).sort([desc("x"), asc("k")]);
        let limited = if first { table(&rows, &cuts).limit(keep) } else { sorted.limit(keep) };
        let chosen: Vec<&Row> = if first { rows.iter().collect() } else { expected };
        let chosen = chosen.into_iter().take(keep as usize);
        let expected = lines("k,v,x", chosen.map(|r| vec![text(r.k.clone()), text(r.v), float(r.x)]));
        prop_assert_eq!(csv(&limited).unwrap(), expected);
    }

    #[test]
    fn filter_and_project(rows in rows(40), cuts in layouts()) {
        let kept = table(&rows, &cuts).filter(col("v").gt(0).or(col("k").is_null()));
        let changed = kept.select([(col("v") * 2).alias("w")]);
        let kept = rows.iter().filter(|r| r.k.is_none() || r.v.is_some_and(|v| v > 0));
        // A lone empty field is written in quotes, so that the line is not blank.
        let field = |v: Option<i64>| v.map_or("\"\"".into(), |v| (v * 2).to_string());
        prop_assert_eq!(csv(&changed).unwrap(), lines("w", kept.map(|r| vec![field(r.v)])));
    }
}
