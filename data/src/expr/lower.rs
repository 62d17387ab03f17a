//! From [`Expr`] to DataFusion's physical expressions, with our type rules.
//!
//! Coercion is DataFusion's where both agree. Three things differ, and are decided here: comparisons between text and
//! numbers are refused rather than done on text; division is always done on floats; floats are canonical before they
//! are compared, so that every NaN is one value and minus zero equals zero.

use super::guard::{Guard, GuardKind};
use super::{BinaryOp, Expr, Literal};
use crate::{DataError, Result};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{DataType, Schema};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_expr::type_coercion::binary::{BinaryTypeCoercer, comparison_coercion};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{self, BinaryExpr, CastExpr, Column};
use std::sync::Arc;

/// A lowered expression and the text it came from, for messages.
pub(crate) struct Lowered {
    physical: Arc<dyn PhysicalExpr>,
    text: String,
}

/// Conversions that cannot be done are errors, never nulls.
fn strict() -> CastOptions<'static> {
    CastOptions { safe: false, ..Default::default() }
}

/// `expr` over rows of `schema`.
///
/// # Errors
/// [`DataError::UnknownColumn`]; [`DataError::Type`] if an operator is not defined for its operands.
pub(crate) fn lower(expr: &Expr, schema: &Schema) -> Result<Lowered> {
    Ok(Lowered { physical: physical(expr, schema)?, text: expr.to_string() })
}

/// The type of `expr` over rows of `schema`.
///
/// # Errors
/// As [`lower`].
pub(crate) fn type_of(expr: &Expr, schema: &Schema) -> Result<DataType> {
    Ok(physical(expr, schema)?.data_type(schema)?)
}

/// One value a row of `batch`.
///
/// # Errors
/// [`DataError::Evaluate`] if a value makes it fail.
pub(crate) fn evaluate(expr: &Lowered, batch: &RecordBatch) -> Result<ArrayRef> {
    let failed =
        |e: datafusion_common::DataFusionError| DataError::Evaluate { expr: expr.text.clone(), detail: plain(&e) };
    expr.physical.evaluate(batch).and_then(|v| v.into_array(batch.num_rows())).map_err(failed)
}

/// `array` as `to`; `what` names it in the error.
///
/// # Errors
/// [`DataError::Evaluate`] if a value has no counterpart in `to`.
pub(crate) fn cast_array(array: &ArrayRef, to: &DataType, what: &str) -> Result<ArrayRef> {
    cast_with_options(array, to, &strict())
        .map_err(|e| DataError::Evaluate { expr: what.into(), detail: e.to_string() })
}

/// The message without DataFusion's prefixes.
fn plain(e: &datafusion_common::DataFusionError) -> String {
    match e.find_root() {
        datafusion_common::DataFusionError::ArrowError(arrow, _) => arrow.to_string(),
        datafusion_common::DataFusionError::Execution(text) => text.clone(),
        other => other.strip_backtrace(),
    }
}

fn physical(expr: &Expr, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(match expr {
        Expr::Column(name) => match schema.index_of(name) {
            Ok(index) => Arc::new(Column::new(name, index)),
            Err(_) => {
                let names = schema.fields().iter().map(|f| f.name().as_str());
                return Err(DataError::unknown_column(name, names));
            }
        },
        Expr::Literal(value) => Arc::new(expressions::Literal::new(scalar(value))),
        Expr::Binary { left, op, right } => {
            let operands = (physical(left, schema)?, physical(right, schema)?);
            return binary(expr, operands.0, *op, operands.1, schema);
        }
        Expr::Not(e) => expressions::not(boolean(expr, physical(e, schema)?, schema)?)?,
        Expr::IsNull(e) => expressions::is_null(physical(e, schema)?)?,
        Expr::IsNotNull(e) => expressions::is_not_null(physical(e, schema)?)?,
        Expr::Cast(e, to) => {
            let operand = physical(e, schema)?;
            let from = operand.data_type(schema)?;
            if !can_cast_types(&from, to) {
                return Err(mismatch(expr, format!("{from} cannot be converted to {to}")));
            }
            cast(operand, to, schema)?
        }
        Expr::Alias(e, _) => return physical(e, schema),
    })
}

fn scalar(value: &Literal) -> ScalarValue {
    match value {
        Literal::Null => ScalarValue::Null,
        Literal::Bool(b) => ScalarValue::Boolean(Some(*b)),
        Literal::Int(i) => ScalarValue::Int64(Some(*i)),
        Literal::Float(x) => ScalarValue::Float64(Some(*x)),
        Literal::Text(s) => ScalarValue::Utf8(Some(s.clone())),
    }
}

fn mismatch(expr: &Expr, detail: String) -> DataError {
    DataError::Type { expr: expr.to_string(), detail }
}

fn cast(e: Arc<dyn PhysicalExpr>, to: &DataType, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    if e.data_type(schema)? == *to {
        return Ok(e);
    }
    Ok(Arc::new(CastExpr::new(e, to.clone(), Some(strict()))))
}

/// `e` if it is boolean, or null as a boolean.
fn boolean(whole: &Expr, e: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    match e.data_type(schema)? {
        DataType::Boolean => Ok(e),
        DataType::Null => cast(e, &DataType::Boolean, schema),
        other => Err(mismatch(whole, format!("{other} where a boolean is needed"))),
    }
}

fn is_text(t: &DataType) -> bool {
    matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn binary(
    whole: &Expr,
    left: Arc<dyn PhysicalExpr>,
    op: BinaryOp,
    right: Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Result<Arc<dyn PhysicalExpr>> {
    let (l, r) = (left.data_type(schema)?, right.data_type(schema)?);
    let undefined = || mismatch(whole, format!("`{op}` is not defined for {l} and {r}"));
    match op {
        BinaryOp::And | BinaryOp::Or => {
            let (left, right) = (boolean(whole, left, schema)?, boolean(whole, right, schema)?);
            Ok(Arc::new(BinaryExpr::new(left, operator(op), right)))
        }
        BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide => {
            let number = |t: &DataType| t.is_numeric() || t.is_null();
            if !number(&l) || !number(&r) {
                return Err(undefined());
            }
            if op == BinaryOp::Divide {
                return divide(left, right, &r, schema);
            }
            let (lt, rt) = match (&l, &r) {
                (DataType::Null, DataType::Null) => (DataType::Int64, DataType::Int64),
                (DataType::Null, t) | (t, DataType::Null) => (t.clone(), t.clone()),
                _ => BinaryTypeCoercer::new(&l, &operator(op), &r).get_input_types().map_err(|_| undefined())?,
            };
            let (left, right) = (cast(left, &lt, schema)?, cast(right, &rt, schema)?);
            Ok(Arc::new(BinaryExpr::new(left, operator(op), right).with_fail_on_overflow(true)))
        }
        _ => {
            if is_text(&l) != is_text(&r) && (l.is_numeric() || r.is_numeric()) {
                return Err(undefined());
            }
            let common = comparison_coercion(&l, &r).ok_or_else(undefined)?;
            let side = |e| -> Result<Arc<dyn PhysicalExpr>> {
                let e = cast(e, &common, schema)?;
                Ok(if common.is_floating() { Guard::wrap(GuardKind::Canonical, e) } else { e })
            };
            Ok(Arc::new(BinaryExpr::new(side(left)?, operator(op), side(right)?)))
        }
    }
}

/// True division. The divisor is checked before it becomes a float when it is an integer.
fn divide(
    left: Arc<dyn PhysicalExpr>,
    right: Arc<dyn PhysicalExpr>,
    divisor: &DataType,
    schema: &Schema,
) -> Result<Arc<dyn PhysicalExpr>> {
    let left = cast(left, &DataType::Float64, schema)?;
    let mut right = cast(right, &DataType::Float64, schema)?;
    if divisor.is_integer() {
        right = Guard::wrap(GuardKind::NonZero, right);
    }
    Ok(Arc::new(BinaryExpr::new(left, Operator::Divide, right)))
}

fn operator(op: BinaryOp) -> Operator {
    match op {
        BinaryOp::Add => Operator::Plus,
        BinaryOp::Subtract => Operator::Minus,
        BinaryOp::Multiply => Operator::Multiply,
        BinaryOp::Divide => Operator::Divide,
        BinaryOp::Eq => Operator::Eq,
        BinaryOp::NotEq => Operator::NotEq,
        BinaryOp::Lt => Operator::Lt,
        BinaryOp::LtEq => Operator::LtEq,
        BinaryOp::Gt => Operator::Gt,
        BinaryOp::GtEq => Operator::GtEq,
        BinaryOp::And => Operator::And,
        BinaryOp::Or => Operator::Or,
    }
}
