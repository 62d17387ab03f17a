//! Ratios, tables, documents.

use super::{Report, Row, Unit, figure};
use crate::sample::Sample;

fn sample(value: f64) -> Sample {
    Sample::of(vec![value])
}

#[test]
fn a_larger_ratio_is_better_in_every_unit() {
    let rate = Row::new("rate", Unit::TasksPerSecond, Ok(sample(50.0))).against("other", &sample(200.0));
    let time = Row::new("time", Unit::Seconds, Ok(sample(4.0))).against("other", &sample(1.0));
    assert_eq!((rate.ratio, time.ratio), (Some(0.25), Some(0.25)));
}

#[test]
fn a_figure_that_was_not_measured_says_why_and_has_no_value() {
    let row = Row::new("x", Unit::Micros, Err("no memory".to_owned())).against("memcpy", &sample(1.0));
    assert_eq!((row.value, row.ratio), (None, None));
    let document: serde_json::Value = serde_json::from_str(&Report::of("store", vec![row]).to_json()).unwrap();
    assert_eq!(document["rows"][0]["note"], "not measured: no memory");
    assert_eq!(document["rows"][0]["unit"], "us");
    assert!(document["rows"][0]["value"].is_null());
    assert!(document["machine"]["cores"].as_u64().is_some_and(|cores| cores > 0));
}

#[test]
fn columns_are_aligned() {
    let long = Row::new("a.long.name", Unit::Seconds, Ok(sample(1.5))).against("base", &sample(3.0)).noting("remark");
    let table = Report::of("tasks", vec![long, Row::new("x", Unit::Bytes, Ok(sample(12_345.0)))]).to_string();
    let lines: Vec<&str> = table.lines().skip(2).collect();
    assert_eq!(lines[0], "name         value  unit   baseline  ratio  of what, notes");
    assert_eq!(lines[1], "a.long.name  1.500  s         3.000  2.000  base; remark");
    assert_eq!(lines[2], "x            12345  bytes         -      -");
}

#[test]
fn four_digits_count() {
    assert_eq!([0.0, 123_456.7, 12.345, 0.012_345].map(figure), ["0", "123457", "12.35", "0.01235"]);
}
