//! Semantics of expressions: one table, and the errors.

use super::*;
use crate::DataError;
use crate::testing::{csv, dataset};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use std::sync::Arc;

fn columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("a", Arc::new(Int64Array::from(vec![Some(7), None, Some(-7)]))),
        ("b", Arc::new(Int64Array::from(vec![2, 2, 2]))),
        ("x", Arc::new(Float64Array::from(vec![-0.0, f64::NAN, 1.5]))),
        ("s", Arc::new(StringArray::from(vec![Some("one"), Some(""), None]))),
        ("t", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
    ]
}

fn eval(expr: Expr) -> Result<String, DataError> {
    let text = csv(&dataset(columns(), &[]).select([expr.alias("v")]))?;
    Ok(text.lines().skip(1).map(|l| if l == "\"\"" { "" } else { l }).collect::<Vec<_>>().join("|"))
}

#[test]
fn values() {
    for (expr, expected) in [
        (col("a") + 1, "8||-6"),
        (col("a") - col("b"), "5||-9"),
        (col("a") * 3, "21||-21"),
        (col("a") / col("b"), "3.5||-3.5"),
        (col("a") / 2.0, "3.5||-3.5"),
        (col("a") + 0.5, "7.5||-6.5"),
        (col("a") + lit(Literal::Null), "||"),
        (col("a").gt(lit(0)), "true||false"),
        (col("a").eq(7), "true||false"),
        (col("a").not_eq(lit(7)), "false||true"),
        (col("a").lt(7.5), "true||true"),
        (col("a").is_null(), "false|true|false"),
        (col("a").is_not_null(), "true|false|true"),
        (col("t").and(false), "false|false|false"),
        (col("t").and(true), "true|false|"),
        (col("t").or(true), "true|true|true"),
        (col("t").or(lit(Literal::Null)), "true||"),
        (!col("t"), "false|true|"),
        // Minus zero equals zero; NaN equals itself and is larger than every number.
        (col("x").eq(0.0), "true|false|false"),
        (col("x").eq(f64::NAN), "false|true|false"),
        (col("x").gt(lit(1e300)), "false|true|false"),
        (col("x").lt(0.0), "false|false|false"),
        (col("a").cast(DataType::Float64), "7.0||-7.0"),
        (col("a").cast(DataType::Utf8), "7||-7"),
        (col("s").eq("one"), "true|false|"),
        (col("x") / 0.0, "NaN|NaN|inf"),
    ] {
        let text = expr.to_string();
        assert_eq!(eval(expr).unwrap(), expected, "{text}");
    }
}

#[test]
fn failures_name_the_expression() {
    for (expr, message) in [
        (col("zzz") + 1, "no column `zzz`; the columns are a, b, x, s, t"),
        (col("A") + 1, "no column `A` (did you mean `a`?); the columns are a, b, x, s, t"),
        (col("s") + 1, "`s + 1` has wrong types: `+` is not defined for Utf8 and Int64"),
        (col("s").gt(lit(5)), "`s > 5` has wrong types: `>` is not defined for Utf8 and Int64"),
        (col("a").and(true), "`a and true` has wrong types: Int64 where a boolean is needed"),
        (col("t").cast(DataType::Date32), "`cast(t as Date32)` has wrong types: Boolean cannot be converted to Date32"),
        (col("a") / (col("b") - 2), "`a / (b - 2) as v` failed: division by zero"),
    ] {
        assert_eq!(eval(expr).unwrap_err().to_string(), message);
    }
    let overflow = eval(col("a") + i64::MAX).unwrap_err().to_string();
    assert!(
        overflow.starts_with("`a + 9223372036854775807 as v` failed: ") && overflow.contains("verflow"),
        "{overflow}"
    );
    let cast = eval(col("s").cast(DataType::Int64)).unwrap_err().to_string();
    assert!(cast.contains("Cannot cast string 'one' to value of Int64"), "{cast}");
}

#[test]
fn a_filter_needs_a_boolean() {
    let error = dataset(columns(), &[]).filter(col("a") + 1).schema().unwrap_err();
    assert_eq!(error.to_string(), "`a + 1` has wrong types: a filter needs a boolean, not Int64");
}

#[test]
fn text_round_trips_through_serde() {
    let expr = (col("a") / 2 + lit(1.5)).gt(lit("x")).and(!col("t").is_null()).cast(DataType::Utf8).alias("y");
    let text = serde_json::to_string(&expr).unwrap();
    assert_eq!(serde_json::from_str::<Expr>(&text).unwrap(), expr);
    assert_eq!(expr.to_string(), "cast((((a / 2) + 1.5) > \"x\") and not t is null as Utf8) as y");
}
