//! Two unary expressions DataFusion does not have: a check against zero, and one form for every float.

use crate::kernel::float::canonical;
use arrow_array::{RecordBatch, cast::AsArray, types::Float64Type};
use arrow_schema::{DataType, Schema};
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a guard does with its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum GuardKind {
    /// Fails on zero (input: float64).
    NonZero,
    /// Replaces every NaN by one NaN and minus zero by zero (input: any float).
    Canonical,
}

/// A [`GuardKind`] applied to an expression. Type and nulls are those of the input.
#[derive(Debug, Eq)]
pub(super) struct Guard {
    kind: GuardKind,
    input: Arc<dyn PhysicalExpr>,
}

impl Guard {
    /// `kind` applied to `input`.
    pub(super) fn wrap(kind: GuardKind, input: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        Arc::new(Self { kind, input })
    }
}

impl PartialEq for Guard {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.input.eq(&other.input)
    }
}

impl Hash for Guard {
    fn hash<S: Hasher>(&self, state: &mut S) {
        self.kind.hash(state);
        self.input.hash(state);
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.input)
    }
}

impl PhysicalExpr for Guard {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.input.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.input.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        match self.kind {
            GuardKind::Canonical => Ok(ColumnarValue::Array(canonical(&array))),
            GuardKind::NonZero => {
                if array.as_primitive::<Float64Type>().iter().any(|v| v == Some(0.0)) {
                    return Err(DataFusionError::Execution("division by zero".into()));
                }
                Ok(ColumnarValue::Array(array))
            }
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Self::wrap(self.kind, input)),
            Err(many) => Err(DataFusionError::Internal(format!("a guard has one child, not {}", many.len()))),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_sql(f)
    }
}
