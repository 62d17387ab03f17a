//! The public face: a lazy Dataset, built by chaining and executed when it is consumed.

use crate::block::Block;
use crate::exec::{Cluster, Launch, Local, Output, execute};
use crate::expr::{Aggregate, Expr, col};
use crate::plan::{JoinKind, JoinSpec, LogicalPlan, On, PhysicalPlan, SortKey, WriteFormat, explain, optimize};
use crate::session::{Backend, Session};
use crate::{DataError, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_cast::pretty::pretty_format_batches;
use arrow_schema::SchemaRef;
use std::fmt;

/// Rows that will be there when they are asked for.
///
/// Every method returns at once. A mistake in the plan (an unknown column, a wrong type) is kept and returned by
/// [`Dataset::schema`] and by whatever consumes the Dataset, before any task runs.
#[derive(Clone)]
pub struct Dataset {
    session: Session,
    plan: Result<LogicalPlan>,
}

/// Groups of rows, waiting for aggregates.
#[derive(Clone)]
pub struct GroupBy {
    dataset: Dataset,
    keys: Vec<String>,
}

/// What a write made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The files, in row order.
    pub files: Vec<String>,
    /// Rows in all of them.
    pub rows: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Dataset {
    /// What `plan` makes in `session`.
    pub(crate) fn new(session: Session, plan: LogicalPlan) -> Self {
        Self { session, plan: Ok(plan) }
    }

    /// The plan.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn plan(&self) -> Result<&LogicalPlan> {
        self.plan.as_ref().map_err(Clone::clone)
    }

    /// Names and types of the columns.
    ///
    /// # Errors
    /// The first mistake in the plan.
    pub fn schema(&self) -> Result<SchemaRef> {
        self.plan()?.schema()
    }

    /// The Dataset with `grow` applied to its plan, if both make sense.
    fn then(self, grow: impl FnOnce(LogicalPlan) -> Result<LogicalPlan>) -> Dataset {
        let plan = self.plan.and_then(grow).and_then(|plan| plan.schema().map(|_| plan));
        Dataset { session: self.session, plan }
    }

    /// Keeps the rows for which `predicate` is true (not null, not false).
    pub fn filter(self, predicate: Expr) -> Dataset {
        self.then(|input| Ok(LogicalPlan::Filter { input: Box::new(input), predicate }))
    }

    /// Adds a column, or replaces the one of that name in its place.
    pub fn with_column(self, name: impl Into<String>, expr: Expr) -> Dataset {
        let name = name.into();
        self.project(|names| {
            let mut columns: Vec<(String, Expr)> = names.iter().map(|n| (n.clone(), col(n))).collect();
            match columns.iter_mut().find(|(n, _)| *n == name) {
                Some((_, old)) => *old = expr,
                None => columns.push((name, expr)),
            }
            Ok(columns)
        })
    }

    /// Keeps these columns or computes these expressions, in this order. Names come from the expressions
    /// ([`Expr::name`]).
    pub fn select<E: crate::IntoArgument>(self, columns: impl IntoIterator<Item = E>) -> Dataset {
        let columns: Vec<Expr> = columns.into_iter().map(crate::IntoArgument::into_argument).collect();
        self.project(|_| match columns.len() {
            0 => Err(DataError::NothingGiven { operation: "select".into(), what: "column".into() }),
            _ => Ok(columns.into_iter().map(|e| (e.name(), e)).collect()),
        })
    }

    /// Leaves out these columns.
    pub fn drop<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Dataset {
        let dropped: Vec<String> = columns.into_iter().map(Into::into).collect();
        self.project(|names| {
            known(&dropped, names)?;
            Ok(names.iter().filter(|n| !dropped.contains(n)).map(|n| (n.clone(), col(n))).collect())
        })
    }

    /// Gives a column another name.
    pub fn rename(self, from: impl Into<String>, to: impl Into<String>) -> Dataset {
        let (from, to) = (from.into(), to.into());
        self.project(|names| {
            known(std::slice::from_ref(&from), names)?;
            Ok(names.iter().map(|n| (if *n == from { to.clone() } else { n.clone() }, col(n))).collect())
        })
    }

    fn project(self, columns: impl FnOnce(&[String]) -> Result<Vec<(String, Expr)>>) -> Dataset {
        self.then(|input| {
            let schema = input.schema()?;
            let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
            Ok(LogicalPlan::Project { columns: columns(&names)?, input: Box::new(input) })
        })
    }

    /// Applies a function registered with [`map_function!`](crate::map_function) to each batch.
    pub fn map_batches(self, function: impl Into<String>) -> Dataset {
        let function = function.into();
        self.then(|input| Ok(LogicalPlan::MapBatches { input: Box::new(input), function }))
    }

    /// Each row with its matches in `right`, which is collected and sent to every task: it must be small. The columns
    /// are those of the left side, then those of the right side without its keys, with `_right` after a name the left
    /// side has. Rows are in left order, the matches of one row in right order. A null key matches nothing.
    pub fn join(self, right: Dataset, on: impl Into<On>, kind: JoinKind) -> Dataset {
        let On(on) = on.into();
        self.then(|left| {
            let right = right.plan?;
            if on.is_empty() {
                return Err(DataError::NothingGiven { operation: "join".into(), what: "key".into() });
            }
            let spec = JoinSpec::resolve(on, kind, &*left.schema()?, &*right.schema()?);
            Ok(LogicalPlan::Join { left: Box::new(left), right: Box::new(right), spec })
        })
    }

    /// Groups rows by the values of these columns; follow with [`GroupBy::agg`].
    pub fn group_by<S: Into<String>>(self, keys: impl IntoIterator<Item = S>) -> GroupBy {
        GroupBy { dataset: self, keys: keys.into_iter().map(Into::into).collect() }
    }

    /// One row: the aggregates of all rows, also when there are none.
    pub fn aggregate(self, aggregates: impl IntoIterator<Item = Aggregate>) -> Dataset {
        GroupBy { dataset: self, keys: Vec::new() }.agg(aggregates)
    }

    /// Sorts all rows, most significant key first, stably.
    pub fn sort(self, keys: impl IntoIterator<Item = SortKey>) -> Dataset {
        let keys: Vec<SortKey> = keys.into_iter().collect();
        self.then(|input| match keys.len() {
            0 => Err(DataError::NothingGiven { operation: "sort".into(), what: "key".into() }),
            _ => Ok(LogicalPlan::Sort { input: Box::new(input), keys, limit: None }),
        })
    }

    /// The first rows.
    pub fn limit(self, rows: u64) -> Dataset {
        self.then(|input| Ok(LogicalPlan::Limit { input: Box::new(input), rows }))
    }

    /// The logical, optimized and physical plan as trees.
    ///
    /// # Errors
    /// The first mistake in the plan.
    pub fn explain(&self) -> Result<String> {
        explain(self.plan()?)
    }

    /// All rows, here.
    ///
    /// # Errors
    /// The first mistake in the plan, or the error of the first task that failed for good.
    pub async fn collect(&self) -> Result<Block> {
        let (schema, blocks) = self.run(self.plan()?).await?;
        Block::new(schema, blocks.iter().flat_map(Block::batches).cloned().collect())
    }

    /// Executes the plan once; the result can be used many times.
    ///
    /// # Errors
    /// As [`Dataset::collect`].
    pub async fn materialize(&self) -> Result<Dataset> {
        let (schema, blocks) = self.run(self.plan()?).await?;
        Ok(Dataset::new(self.session.clone(), LogicalPlan::Blocks { schema, blocks }))
    }

    /// Number of rows. Taken from the footers when the plan only reads Parquet files.
    ///
    /// # Errors
    /// As [`Dataset::collect`].
    pub async fn count(&self) -> Result<u64> {
        if let LogicalPlan::ReadParquet { files, .. } = self.plan()? {
            return Ok(files.iter().flat_map(|f| &f.row_groups).map(|(rows, _)| rows).sum());
        }
        let counted = self.clone().aggregate([crate::count()]).collect().await?;
        let rows = counted.to_batch()?.column(0).as_primitive::<Int64Type>().value(0);
        u64::try_from(rows).map_err(DataError::bug)
    }

    /// The first `rows` rows as a table.
    ///
    /// # Errors
    /// As [`Dataset::collect`].
    pub async fn table(&self, rows: u64) -> Result<String> {
        let block = self.clone().limit(rows).collect().await?;
        let batch = block.to_batch()?;
        Ok(pretty_format_batches(&[batch])?.to_string())
    }

    /// Prints the first `rows` rows as a table.
    ///
    /// # Errors
    /// As [`Dataset::collect`].
    pub async fn show(&self, rows: u64) -> Result<()> {
        println!("{}", self.table(rows).await?);
        Ok(())
    }

    /// Writes `part-00000.parquet`, ... into a directory, one file a block, each written at once or not at all.
    ///
    /// # Errors
    /// As [`Dataset::collect`].
    pub async fn write_parquet(&self, directory: &str) -> Result<Written> {
        self.write(directory.trim_end_matches('/'), WriteFormat::ParquetParts).await
    }

    /// Writes one CSV file if `path` ends in `.csv`, otherwise `part-00000.csv`, ... into the directory `path`.
    ///
    /// # Errors
    /// As [`Dataset::collect`].
    pub async fn write_csv(&self, path: &str) -> Result<Written> {
        let format = if path.ends_with(".csv") { WriteFormat::CsvFile } else { WriteFormat::CsvParts };
        self.write(path.trim_end_matches('/'), format).await
    }

    async fn write(&self, path: &str, format: WriteFormat) -> Result<Written> {
        let input = Box::new(self.plan()?.clone());
        let (_, blocks) = self.run(&LogicalPlan::Write { input, path: path.into(), format }).await?;
        let mut written = Written::default();
        for batch in blocks.iter().flat_map(Block::batches) {
            let number = |column: usize, row: usize| batch.column(column).as_primitive::<UInt64Type>().value(row);
            for row in 0..batch.num_rows() {
                written.files.push(batch.column(0).as_string::<i32>().value(row).into());
                written.rows += number(1, row);
                written.bytes += number(2, row);
            }
        }
        Ok(written)
    }

    /// Optimizes and executes a plan: the schema and the blocks of its result, in order.
    async fn run(&self, plan: &LogicalPlan) -> Result<(SchemaRef, Vec<Block>)> {
        let physical = PhysicalPlan::new(&optimize(plan)?)?;
        let blocks = match &self.session.backend {
            Backend::Local => self.run_on(Local::new(self.session.files.clone()), &physical).await?,
            Backend::Cluster(context) => self.run_on(Cluster::new(context.clone()), &physical).await?,
        };
        Ok((physical.schema, blocks))
    }

    async fn run_on<L: Launch>(&self, mut launcher: L, plan: &PhysicalPlan) -> Result<Vec<Block>>
    where
        L::Handle: Send,
    {
        let mut progress = (self.session.progress)();
        let mut handles = Vec::new();
        let mut take = |output: Output<L::Handle>| {
            handles.push(output.handle);
            Ok(())
        };
        execute(plan, self.session.limits, &mut launcher, &mut *progress, &mut take).await?;
        launcher.get(handles).await
    }
}

impl GroupBy {
    /// One row a group: the keys, then the aggregates. Without keys, one row for all rows.
    ///
    /// Groups are in order of first appearance within a partition; sort if the order matters.
    pub fn agg(self, aggregates: impl IntoIterator<Item = Aggregate>) -> Dataset {
        let aggregates: Vec<Aggregate> = aggregates.into_iter().collect();
        let keys = self.keys;
        self.dataset.then(|input| {
            if aggregates.is_empty() && keys.is_empty() {
                return Err(DataError::NothingGiven { operation: "agg".into(), what: "aggregate".into() });
            }
            Ok(LogicalPlan::Aggregate { input: Box::new(input), keys, aggregates })
        })
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.plan {
            Ok(plan) => write!(f, "{plan}"),
            Err(e) => write!(f, "{e}"),
        }
    }
}

/// Fails if one of `columns` is not among `names`.
fn known(columns: &[String], names: &[String]) -> Result<()> {
    match columns.iter().find(|c| !names.contains(c)) {
        Some(missing) => Err(DataError::unknown_column(missing, names.iter().map(String::as_str))),
        None => Ok(()),
    }
}
