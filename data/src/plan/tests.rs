//! Plans: their mistakes, their shape, and that rules keep the answer.

use crate::testing::{csv, dataset, now, session};
use crate::{CsvOptions, Dataset, JoinKind, RecordBatch, asc, col, count, lit, map_function, sum};
use arrow_array::{ArrayRef, Int64Array, StringArray};
use std::sync::Arc;

fn table() -> Dataset {
    let k: ArrayRef = Arc::new(Int64Array::from(vec![3, 1, 2, 1]));
    let v: ArrayRef = Arc::new(StringArray::from(vec!["c", "a", "b", "d"]));
    let w: ArrayRef = Arc::new(Int64Array::from(vec![30, 10, 20, 11]));
    dataset(vec![("k", k), ("v", v), ("w", w)], &[1, 2])
}

/// Every batch twice.
fn twice(batch: &RecordBatch) -> Result<RecordBatch, String> {
    arrow_select::concat::concat_batches(batch.schema_ref(), [batch, batch]).map_err(|e| e.to_string())
}
map_function!(twice);

/// Changes its mind about the schema when it sees rows.
fn fickle(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let columns: Vec<usize> = if batch.num_rows() == 0 { vec![0, 1] } else { vec![0] };
    batch.project(&columns).map_err(|e| e.to_string())
}
map_function!(fickle);

#[test]
fn columns_come_and_go() {
    let changed = table().with_column("w", col("w") * 2).with_column("z", lit(1)).rename("v", "name").drop(["k"]);
    assert_eq!(csv(&changed).unwrap(), "name,w,z\nc,60,1\na,20,1\nb,40,1\nd,22,1\n");
    assert_eq!(csv(&table().select([col("k") + 1, col("v")])).unwrap(), "k + 1,v\n4,c\n2,a\n3,b\n2,d\n");
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let small = table().select(["k", "v"]);
    for (plan, message) in [
        (table().filter(col("vv").is_null()), "no column `vv` (did you mean `v`?); the columns are k, v, w"),
        (table().select(["nope"]), "no column `nope`; the columns are k, v, w"),
        (table().drop(["nope"]), "no column `nope`; the columns are k, v, w"),
        (table().rename("k", "v"), "two columns would be named `v`; rename one of them first"),
        (table().sort([asc("nope")]), "no column `nope`; the columns are k, v, w"),
        (table().sort([]), "sort needs at least one key"),
        (table().group_by(["nope"]).agg([count()]), "no column `nope`; the columns are k, v, w"),
        (table().group_by(["k"]).agg([sum("v")]), "`sum(v)` has wrong types: sum is not defined for Utf8"),
        (table().group_by(["k"]).agg([count().alias("k")]), "two columns would be named `k`; rename one of them first"),
        (table().map_batches("twicee"), "no function `twicee` is registered (did you mean `twice`?)"),
        (table().join(small.clone(), "z", JoinKind::Inner), "no column `z`; the columns are k, v, w"),
        (
            table().join(small, [("k", "v")], JoinKind::Inner),
            "`join on k = v` has wrong types: Int64 cannot be compared with Utf8; cast one side first",
        ),
    ] {
        // The mistake outlives whatever is planned on top of it.
        assert_eq!(plan.limit(1).schema().unwrap_err().to_string(), message);
    }
}

#[test]
fn functions_are_applied_and_checked() {
    assert_eq!(csv(&table().select(["k"]).map_batches("twice")).unwrap(), "k\n3\n3\n1\n2\n1\n2\n1\n1\n");
    let error = csv(&table().map_batches("fickle")).unwrap_err().to_string();
    assert_eq!(
        error,
        "function `fickle` failed: returned (k: Int64) where an empty batch had given (k: Int64, v: Utf8)"
    );
}

#[test]
fn joins_rename_and_keep_names_when_pruned() {
    let joined = table().join(table(), "k", JoinKind::Inner).sort([asc("w"), asc("w_right")]);
    assert_eq!(
        csv(&joined).unwrap(),
        "k,v,w,v_right,w_right\n1,a,10,a,10\n1,a,10,d,11\n1,d,11,a,10\n1,d,11,d,11\n2,b,20,b,20\n3,c,30,c,30\n"
    );
    assert_eq!(csv(&joined.select(["v_right"]).limit(2)).unwrap(), "v_right\na\nd\n");
}

#[test]
fn explain_shows_three_trees() {
    let (session, _) = session(&[("t.csv", b"k,v,unused\n1,a,x\n")]);
    let names = session.read_csv("t.csv", CsvOptions::default()).unwrap();
    let plan = |names: Dataset| {
        table()
            .filter(col("w").gt(10))
            .join(names, "k", JoinKind::Left)
            .group_by(["v_right"])
            .agg([count(), sum("w").alias("total")])
            .sort([asc("v_right").nulls_first()])
            .limit(3)
    };
    let expected = "\
Logical plan
  Limit 3
    Sort [v_right asc nulls first]
      Aggregate by [v_right] [count, sum(w) as total]
        LeftJoin on k = k
          Filter w > 10
            Blocks 3 [k, v, w]
          ReadCsv t.csv [k, v, unused]
Optimized plan
  Sort [v_right asc nulls first] limit 3
    Aggregate by [v_right] [count, sum(w) as total]
      LeftJoin on k = k
        Filter w > 10
          Blocks 3 [k, v, w]
        ReadCsv t.csv [k, v]
Physical plan
  4 aggregate (1 task) -> FinalAggregate by [v_right] [count, sum(w) as total] -> Sort [v_right asc nulls first] limit 3
    3 join (3 tasks) -> LeftJoin on k = k with broadcast 0 -> PartialAggregate by [v_right] [count, sum(w) as total]
      1 map (3 tasks) -> Filter w > 10
        0 blocks (3 tasks)
      2 read (1 task)
";
    assert_eq!(plan(names.clone()).explain().unwrap(), expected);
    assert_eq!(csv(&plan(now(names.materialize()).unwrap())).unwrap(), "v_right,count,total\n,2,50\na,1,11\n");
}

#[test]
fn plans_are_data() {
    let plan = table().filter(col("w").gt(10)).sort([asc("k")]);
    let text = serde_json::to_string(plan.plan().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<super::LogicalPlan>(&text).unwrap(), *plan.plan().unwrap());
}

#[test]
fn stages_are_data() {
    let (session, _) = session(&[("t.csv", b"k,v\n1,a\n")]);
    let names = session.read_csv("t.csv", CsvOptions::default()).unwrap();
    let plan = names.filter(col("k").gt(lit(0.5))).group_by(["v"]).agg([sum("k")]).sort([asc("v")]);
    let physical = super::PhysicalPlan::new(plan.plan().unwrap()).unwrap();
    for op in 0..physical.operators.len() {
        let stage = physical.stage(op, 0, 1).unwrap();
        let text = serde_json::to_string(&stage).unwrap();
        assert_eq!(serde_json::from_str::<super::StageSpec>(&text).unwrap(), stage);
    }
}
