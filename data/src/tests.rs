//! The questions of the main job, answered from the committed data, against DuckDB's answers.

#[cfg(not(madsim))]
mod cluster;

use crate::exec::{Limits, OpInfo, OpProgress, ProgressSink};
use crate::testing::{csv, now, session};
use crate::{
    CsvOptions, Dataset, JoinKind, Session, asc, col, count, count_if, count_of, desc, lit, max, mean, stddev, sum,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/data/nycflights13");

fn flights(session: &Session) -> Dataset {
    session.read_parquet(format!("{DATA}/flights/*.parquet")).unwrap()
}

fn carriers(session: &Session) -> Dataset {
    let airlines = session.read_csv(format!("{DATA}/airlines.csv"), CsvOptions::default()).unwrap();
    flights(session)
        .join(airlines, "carrier", JoinKind::Inner)
        .group_by(["carrier", "name"])
        .agg([
            count().alias("flights"),
            count_of("arr_delay").alias("arrived"),
            mean("arr_delay").alias("mean_arr_delay"),
            max("arr_delay").alias("max_arr_delay"),
            sum("distance").alias("miles"),
        ])
        .sort([asc("carrier")])
}

fn worst_routes(session: &Session) -> Dataset {
    flights(session)
        .filter(col("dep_delay").is_not_null())
        .group_by(["origin", "dest"])
        .agg([count().alias("flights"), mean("dep_delay").alias("mean_dep_delay")])
        .filter(col("flights").gt_eq(lit(100)))
        .sort([desc("mean_dep_delay"), asc("origin"), asc("dest")])
        .limit(20)
}

fn months(session: &Session) -> Dataset {
    flights(session)
        .group_by(["month"])
        .agg([
            count().alias("flights"),
            count_if(col("dep_time").is_null()).alias("cancelled"),
            mean("dep_delay").alias("mean_dep_delay"),
            stddev("dep_delay").alias("sd_dep_delay"),
        ])
        .sort([asc("month")])
}

fn manufacturers(session: &Session) -> Dataset {
    let planes = session.read_csv(format!("{DATA}/planes.csv"), CsvOptions::default().null("NA")).unwrap();
    flights(session)
        .join(planes, "tailnum", JoinKind::Inner)
        .group_by(["manufacturer"])
        .agg([count().alias("flights"), sum("air_time").alias("air_time")])
        .sort([desc("flights"), asc("manufacturer")])
        .limit(10)
}

/// Equal text, except that numbers with a fraction may differ by 1e-9 of their size.
fn assert_same(name: &str, ours: &str) {
    let path = format!("{DATA}/expected/{name}.csv");
    #[allow(clippy::disallowed_methods, reason = "tests read the committed data")]
    let expected = std::fs::read_to_string(&path).unwrap();
    let rows = |text: &str| text.lines().map(|l| l.split(',').map(String::from).collect()).collect::<Vec<Vec<_>>>();
    let (ours, expected) = (rows(ours), rows(&expected));
    assert_eq!(ours.len(), expected.len(), "{name}: number of rows");
    for (ours, expected) in ours.iter().zip(&expected) {
        assert_eq!(ours.len(), expected.len(), "{name}: {ours:?}");
        for (a, b) in ours.iter().zip(expected) {
            let close = match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(x), Ok(y)) if b.contains('.') => (x - y).abs() <= 1e-9 * y.abs(),
                _ => a == b,
            };
            assert!(close, "{name}: {ours:?} instead of {expected:?}");
        }
    }
}

#[test]
fn the_four_questions() {
    let (session, _) = session(&[]);
    for (name, question) in [
        ("carriers", carriers(&session)),
        ("worst_routes", worst_routes(&session)),
        ("months", months(&session)),
        ("manufacturers", manufacturers(&session)),
    ] {
        assert_same(name, &csv(&question).unwrap());
    }
}

/// Remembers the most tasks of one operator that ran at the same time.
struct Peak(Arc<AtomicU64>);

impl ProgressSink for Peak {
    fn begin(&mut self, _operators: &[OpInfo]) {}
    fn update(&mut self, _op: usize, progress: OpProgress) {
        self.0.fetch_max(progress.running, Ordering::Relaxed);
    }
    fn end(&mut self) {}
}

#[test]
fn a_session_keeps_its_limits() {
    for most in [1, 3] {
        let peak = Arc::new(AtomicU64::new(0));
        let (seen, limits) = (peak.clone(), Limits { tasks_per_operator: most, ..Limits::default() });
        let session = session(&[]).0.with_limits(limits).with_progress(move || Box::new(Peak(seen.clone())));
        assert_same("months", &csv(&months(&session)).unwrap());
        assert_eq!(peak.load(Ordering::Relaxed), most as u64);
    }
}

#[test]
fn count_comes_from_the_footers() {
    let (session, _) = session(&[]);
    assert_eq!(now(flights(&session).count()).unwrap(), 336_776);
    assert_eq!(now(flights(&session).filter(col("dep_time").is_null()).count()).unwrap(), 8_255);
}

#[test]
fn only_used_columns_are_read() {
    let (session, _) = session(&[]);
    let plan = months(&session).explain().unwrap();
    assert!(plan.contains("[month, dep_time, dep_delay]"), "{plan}");
    assert!(plan.contains("0 read (12 tasks) -> PartialAggregate"), "{plan}");
    assert!(plan.contains("1 aggregate (1 task) -> FinalAggregate"), "{plan}");
}

#[test]
fn joins_stream_apart_from_reads() {
    let (session, _) = session(&[]);
    let plan = carriers(&session).explain().unwrap();
    let labels: Vec<&str> = plan.split("Physical plan\n").last().unwrap().lines().map(str::trim).collect();
    assert!(labels[0].starts_with("3 aggregate (1 task) -> FinalAggregate"), "{plan}");
    assert!(
        labels[1].starts_with("2 join (12 tasks) -> InnerJoin on carrier = carrier with broadcast 0 -> Partial"),
        "{plan}"
    );
    assert!(labels[2].starts_with("0 read (12 tasks)"), "{plan}");
    assert!(labels[3].starts_with("1 read (1 task)"), "{plan}");
}

#[test]
fn written_files_read_back() {
    let (session, files) = session(&[]);
    let written = now(months(&session).write_csv("out/months.csv")).unwrap();
    assert_eq!((written.files.as_slice(), written.rows), (["out/months.csv".to_string()].as_slice(), 12));
    assert_same("months", std::str::from_utf8(&files.get("out/months.csv").unwrap()).unwrap());

    let written =
        now(flights(&session).select(["carrier", "arr_delay", "time_hour"]).write_parquet("out/flights/")).unwrap();
    assert_eq!((written.files.len(), written.rows), (12, 336_776));
    assert_eq!(written.files[11], "out/flights/part-00011.parquet");
    let back = session.read_parquet("out/flights").unwrap();
    let (ours, theirs) =
        (back.limit(50_000), flights(&session).select(["carrier", "arr_delay", "time_hour"]).limit(50_000));
    assert_eq!(csv(&ours).unwrap(), csv(&theirs).unwrap());
}
