//! Accumulators: DataFusion's for counts, integer sums and extrema, our exact ones for sums of floats.
//!
//! An aggregate is computed by one to three accumulators, each with one state column, and a last step that combines
//! them. Every accumulator is a commutative monoid on exact values, so neither the cut of rows into blocks nor the
//! order of merging can show in a result.

use super::exact::ExactSum;
use super::float::{canonical, from_ordered, to_ordered};
use crate::expr::{AggFunction, cast_array};
use crate::{DataError, Result};
use arrow_array::builder::{BinaryBuilder, Float64Builder};
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, cast::AsArray, new_null_array};
use arrow_schema::{DataType, Field, Schema};
use datafusion_expr::{AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate::{count, min_max, sum};
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::Column;
use std::sync::Arc;

/// Integers are summed in this type, where 2^63 of them cannot overflow.
const WIDE: DataType = DataType::Decimal128(20, 0);

/// Accumulates one quantity for every group.
enum Accumulator {
    /// One of DataFusion's.
    Kernel(Box<dyn GroupsAccumulator>),
    /// Exact sums of values, or of their squares.
    Exact { sums: Vec<ExactSum>, squares: bool },
}

/// All accumulators of one aggregate.
pub(crate) struct Accumulators {
    function: AggFunction,
    /// Type of the argument.
    input: DataType,
    parts: Vec<Accumulator>,
    /// The aggregate as text, for messages.
    text: String,
}

/// The type of the result of `function` over `input`, or `None` if it is not defined.
pub(crate) fn result_type(function: AggFunction, input: &DataType) -> Option<DataType> {
    match function {
        AggFunction::Count | AggFunction::CountOf => Some(DataType::Int64),
        AggFunction::CountIf => matches!(input, DataType::Boolean | DataType::Null).then_some(DataType::Int64),
        AggFunction::Sum if input.is_integer() => Some(DataType::Int64),
        AggFunction::Sum => input.is_floating().then_some(DataType::Float64),
        AggFunction::Mean | AggFunction::Stddev => {
            (input.is_integer() || input.is_floating()).then_some(DataType::Float64)
        }
        AggFunction::Min | AggFunction::Max => {
            let compared = if input.is_floating() { &DataType::Int64 } else { input };
            let supported = kernel_expr(extremum(function), compared).is_ok_and(|e| e.groups_accumulator_supported());
            supported.then(|| input.clone())
        }
    }
}

fn extremum(function: AggFunction) -> Arc<AggregateUDF> {
    if function == AggFunction::Min { min_max::min_udaf() } else { min_max::max_udaf() }
}

fn kernel_expr(udaf: Arc<AggregateUDF>, input: &DataType) -> Result<AggregateFunctionExpr> {
    let schema = Arc::new(Schema::new(vec![Field::new("x", input.clone(), true)]));
    let argument = Arc::new(Column::new("x", 0));
    Ok(AggregateExprBuilder::new(udaf, vec![argument]).schema(schema).alias("x").build()?)
}

fn kernel(udaf: Arc<AggregateUDF>, input: &DataType) -> Result<Accumulator> {
    Ok(Accumulator::Kernel(kernel_expr(udaf, input)?.create_groups_accumulator()?))
}

impl Accumulators {
    /// For `function` over an argument of type `input`; the pair must have a [`result_type`].
    pub(crate) fn new(function: AggFunction, input: DataType, text: String) -> Result<Self> {
        let count = || kernel(count::count_udaf(), &DataType::Boolean);
        let exact = |squares| Accumulator::Exact { sums: Vec::new(), squares };
        let parts = match function {
            AggFunction::Count | AggFunction::CountOf | AggFunction::CountIf => vec![count()?],
            AggFunction::Sum | AggFunction::Mean if input.is_integer() => {
                vec![kernel(sum::sum_udaf(), &WIDE)?, count()?]
            }
            AggFunction::Sum | AggFunction::Mean => vec![exact(false), count()?],
            AggFunction::Stddev => vec![exact(false), count()?, exact(true)],
            AggFunction::Min | AggFunction::Max => {
                let compared = if input.is_floating() { DataType::Int64 } else { input.clone() };
                vec![kernel(extremum(function), &compared)?]
            }
        };
        Ok(Self { function, input, parts, text })
    }

    /// Number of state columns.
    pub(crate) fn width(&self) -> usize {
        self.parts.len()
    }

    /// Adds one value a row (`None` for `count()`) to the groups the rows belong to.
    pub(crate) fn update(&mut self, argument: Option<&ArrayRef>, groups: &[usize], total: usize) -> Result<()> {
        let rows: ArrayRef = Arc::new(BooleanArray::from(vec![true; groups.len()]));
        match (self.function, argument) {
            (AggFunction::CountIf, Some(condition)) => {
                let condition = cast_array(condition, &DataType::Boolean, &self.text)?;
                let filter = super::is_true(condition.as_boolean());
                self.parts[0].update(&rows, groups, Some(&filter), total)
            }
            (_, None) => self.parts[0].update(&rows, groups, None, total),
            (AggFunction::CountOf, Some(values)) => {
                let present = BooleanArray::new(rows.as_boolean().values().clone(), values.logical_nulls());
                self.parts[0].update(&(Arc::new(present) as ArrayRef), groups, None, total)
            }
            (_, Some(values)) => {
                let values = self.prepared(values)?;
                let present: ArrayRef =
                    Arc::new(BooleanArray::new(rows.as_boolean().values().clone(), values.logical_nulls()));
                for (i, part) in self.parts.iter_mut().enumerate() {
                    part.update(if i == 1 { &present } else { &values }, groups, None, total)?;
                }
                Ok(())
            }
        }
    }

    /// The argument in the type its first accumulator takes.
    fn prepared(&self, values: &ArrayRef) -> Result<ArrayRef> {
        match self.function {
            AggFunction::Min | AggFunction::Max if self.input.is_floating() => {
                let wide = cast_array(&canonical(values), &DataType::Float64, &self.text)?;
                Ok(Arc::new(to_ordered(wide.as_primitive::<Float64Type>())))
            }
            AggFunction::Min | AggFunction::Max => Ok(values.clone()),
            AggFunction::Stddev => cast_array(values, &DataType::Float64, &self.text),
            _ if self.input.is_integer() => cast_array(values, &WIDE, &self.text),
            _ => cast_array(values, &DataType::Float64, &self.text),
        }
    }

    /// The state columns, one row a group.
    pub(crate) fn state(&mut self) -> Result<Vec<ArrayRef>> {
        self.parts.iter_mut().map(Accumulator::state).collect()
    }

    /// Adds state columns of another accumulator.
    pub(crate) fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.parts.iter_mut().zip(states).try_for_each(|(part, state)| part.merge(state, groups, total))
    }

    /// The result for a group without rows, which DataFusion's accumulators do not know.
    pub(crate) fn of_nothing(&self) -> Result<ArrayRef> {
        let data_type = result_type(self.function, &self.input).ok_or_else(|| DataError::bug(&self.text))?;
        Ok(match self.function {
            AggFunction::Count | AggFunction::CountOf | AggFunction::CountIf => Arc::new(Int64Array::from(vec![0])),
            _ => new_null_array(&data_type, 1),
        })
    }

    /// The results, one a group of `total`.
    pub(crate) fn finish(mut self, total: usize) -> Result<ArrayRef> {
        match self.function {
            AggFunction::Count | AggFunction::CountOf | AggFunction::CountIf => self.parts[0].value(),
            AggFunction::Min | AggFunction::Max if self.input.is_floating() => {
                let ordered = self.parts[0].value()?;
                let floats: ArrayRef = Arc::new(from_ordered(ordered.as_primitive::<Int64Type>()));
                cast_array(&floats, &self.input, &self.text)
            }
            AggFunction::Min | AggFunction::Max => self.parts[0].value(),
            AggFunction::Sum if self.input.is_integer() => {
                let sums = self.parts[0].value()?;
                let overflow =
                    |_| DataError::Evaluate { expr: self.text.clone(), detail: "the sum overflows int64".into() };
                cast_array(&sums, &DataType::Int64, &self.text).map_err(overflow)
            }
            AggFunction::Mean if self.input.is_integer() => {
                let (sums, counts) = (self.parts[0].value()?, self.parts[1].value()?);
                let (sums, counts) = (sums.as_primitive::<Decimal128Type>(), counts.as_primitive::<Int64Type>());
                Ok(float_results(total, |g| {
                    (counts.value(g) > 0).then(|| sums.value(g) as f64 / counts.value(g) as f64)
                }))
            }
            AggFunction::Sum | AggFunction::Mean | AggFunction::Stddev => self.finish_exact(total),
        }
    }

    fn finish_exact(mut self, total: usize) -> Result<ArrayRef> {
        let counts = self.parts[1].value()?;
        let counts = counts.as_primitive::<Int64Type>();
        let sums = self.parts[0].take_sums(total)?;
        let function = self.function;
        if function == AggFunction::Stddev {
            let squares = self.parts[2].take_sums(total)?;
            return Ok(float_results(total, |g| sample_stddev(counts.value(g), &sums[g], &squares[g])));
        }
        Ok(float_results(total, |g| match counts.value(g) {
            0 => None,
            n if function == AggFunction::Mean => Some(sums[g].round() / n as f64),
            _ => Some(sums[g].round()),
        }))
    }
}

fn float_results(total: usize, result: impl Fn(usize) -> Option<f64>) -> ArrayRef {
    let mut builder = Float64Builder::with_capacity(total);
    (0..total).for_each(|g| builder.append_option(result(g)));
    Arc::new(builder.finish())
}

/// The standard deviation of a sample of `n` values with these exact sums of values and squares; null for fewer than
/// two.
///
/// `n * squares - sum^2` is computed on pairs of doubles (about 106 bits), so that values far from zero cost no digits.
fn sample_stddev(n: i64, sum: &ExactSum, squares: &ExactSum) -> Option<f64> {
    if n < 2 {
        return None;
    }
    let n = n as f64;
    let ((s, s_low), (q, q_low)) = (sum.pair(), squares.pair());
    let (nq, ss) = (n * q, s * s);
    let nq_low = n.mul_add(q, -nq) + n * q_low;
    let ss_low = s.mul_add(s, -ss) + 2.0 * s * s_low;
    let difference = (nq - ss) + (nq_low - ss_low);
    // Rounding can leave a tiny negative number where all values are equal; NaN stays NaN.
    let clamped = if difference < 0.0 { 0.0 } else { difference };
    Some((clamped / (n * (n - 1.0))).sqrt())
}

impl Accumulator {
    fn update(
        &mut self,
        values: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        match self {
            Accumulator::Kernel(k) => Ok(k.update_batch(std::slice::from_ref(values), groups, filter, total)?),
            Accumulator::Exact { sums, squares } => {
                sums.resize_with(total, ExactSum::default);
                for (value, group) in values.as_primitive::<Float64Type>().iter().zip(groups) {
                    match value {
                        Some(x) if *squares => sums[*group].add_square(x),
                        Some(x) => sums[*group].add(x),
                        None => {}
                    }
                }
                Ok(())
            }
        }
    }

    fn state(&mut self) -> Result<ArrayRef> {
        match self {
            Accumulator::Kernel(k) => match k.state(EmitTo::All)?.as_slice() {
                [one] => Ok(one.clone()),
                many => Err(DataError::bug(format!("an accumulator has {} state columns, not one", many.len()))),
            },
            Accumulator::Exact { sums, .. } => {
                let mut builder = BinaryBuilder::new();
                sums.iter().for_each(|s| builder.append_value(s.to_bytes()));
                Ok(Arc::new(builder.finish()))
            }
        }
    }

    fn merge(&mut self, state: &ArrayRef, groups: &[usize], total: usize) -> Result<()> {
        match self {
            Accumulator::Kernel(k) => Ok(k.merge_batch(std::slice::from_ref(state), groups, total)?),
            Accumulator::Exact { sums, .. } => {
                sums.resize_with(total, ExactSum::default);
                for (bytes, group) in state.as_binary::<i32>().iter().zip(groups) {
                    let other = bytes.and_then(ExactSum::from_bytes);
                    sums[*group].merge(&other.ok_or_else(|| DataError::bug("a partial sum is malformed"))?);
                }
                Ok(())
            }
        }
    }

    fn value(&mut self) -> Result<ArrayRef> {
        match self {
            Accumulator::Kernel(k) => Ok(k.evaluate(EmitTo::All)?),
            Accumulator::Exact { .. } => Err(DataError::bug("an exact sum was read as a column")),
        }
    }

    fn take_sums(&mut self, total: usize) -> Result<Vec<ExactSum>> {
        match self {
            Accumulator::Kernel(_) => Err(DataError::bug("a kernel was read as exact sums")),
            Accumulator::Exact { sums, .. } => {
                sums.resize_with(total, ExactSum::default);
                Ok(std::mem::take(sums))
            }
        }
    }
}
