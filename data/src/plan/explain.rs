//! Plans as text.

use super::{LogicalPlan, OpId, PhysicalPlan, Step, Tasks, optimize};
use crate::Result;
use crate::io::FileEntry;
use std::fmt::{self, Display};

/// The logical, the optimized and the physical plan, each as a tree whose root is the result.
///
/// # Errors
/// As [`LogicalPlan::schema`].
pub(crate) fn explain(plan: &LogicalPlan) -> Result<String> {
    let optimized = optimize(plan)?;
    let physical = PhysicalPlan::new(&optimized)?;
    Ok(format!("Logical plan\n{plan}Optimized plan\n{optimized}Physical plan\n{physical}"))
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}

fn files(files: &[FileEntry]) -> String {
    match files {
        [one] => one.path.clone(),
        [first, .., last] => format!("{} files {} .. {}", files.len(), first.path, last.path),
        [] => "no files".into(),
    }
}

impl Display for super::SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.descending { " desc" } else { " asc" };
        write!(f, "{}{direction}{}", self.column, if self.nulls_first { " nulls first" } else { "" })
    }
}

fn projection((name, expr): &(String, crate::Expr)) -> String {
    let text = expr.to_string();
    if text == *name || text.ends_with(&format!(" as {name}")) { text } else { format!("{text} as {name}") }
}

fn sort(keys: &[super::SortKey], limit: Option<u64>) -> String {
    let limit = limit.map(|n| format!(" limit {n}")).unwrap_or_default();
    format!("Sort [{}]{limit}", list(keys))
}

fn join(spec: &super::JoinSpec) -> String {
    format!("{:?}Join on {}", spec.kind, list(spec.on.iter().map(|(l, r)| format!("{l} = {r}"))))
}

fn names(schema: &arrow_schema::Schema) -> String {
    list(schema.fields().iter().map(|f| f.name()))
}

impl LogicalPlan {
    /// One line: the operation without its inputs.
    fn line(&self) -> String {
        match self {
            Self::ReadParquet { files: f, schema } => format!("ReadParquet {} [{}]", files(f), names(schema)),
            Self::ReadCsv { files: f, file_schema, columns, .. } => {
                let columns = columns.iter().map(|c| file_schema.field(*c).name());
                format!("ReadCsv {} [{}]", files(f), list(columns))
            }
            Self::Blocks { blocks, schema } => format!("Blocks {} [{}]", blocks.len(), names(schema)),
            Self::Filter { predicate, .. } => format!("Filter {predicate}"),
            Self::Project { columns, .. } => format!("Project [{}]", list(columns.iter().map(projection))),
            Self::MapBatches { function, .. } => format!("MapBatches {function}"),
            Self::Join { spec, .. } => join(spec),
            Self::Aggregate { keys, aggregates, .. } => format!("Aggregate by [{}] [{}]", list(keys), list(aggregates)),
            Self::Sort { keys, limit, .. } => sort(keys, *limit),
            Self::Limit { rows, .. } => format!("Limit {rows}"),
            Self::Write { path, format, .. } => format!("Write {format:?} {path}"),
        }
    }

    fn tree(&self, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", "  ".repeat(depth + 1), self.line())?;
        self.inputs().into_iter().try_for_each(|input| input.tree(depth + 1, f))
    }
}

impl Display for LogicalPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tree(0, f)
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Filter(predicate) => write!(f, "Filter {predicate}"),
            Step::Project(columns) => write!(f, "Project [{}]", list(columns.iter().map(projection))),
            Step::MapBatches(function) => write!(f, "MapBatches {function}"),
            Step::Join { spec, side } => write!(f, "{} with broadcast {side}", join(spec)),
            Step::PartialAggregate { keys, aggregates } => {
                write!(f, "PartialAggregate by [{}] [{}]", list(keys), list(aggregates))
            }
            Step::FinalAggregate { keys, aggregates, .. } => {
                write!(f, "FinalAggregate by [{}] [{}]", list(keys), list(aggregates))
            }
            Step::Sort { keys, limit } => f.write_str(&sort(keys, *limit)),
            Step::Limit(rows) => write!(f, "Limit {rows}"),
            Step::Write { path, format } => write!(f, "Write {format:?} {path}"),
        }
    }
}

impl PhysicalPlan {
    fn tree(&self, op: OpId, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = &self.operators[op];
        let steps: String = operator.steps.iter().map(|s| format!(" -> {s}")).collect();
        let parts = operator.partition.map(|p| format!(" -> {} partitions", p.parts)).unwrap_or_default();
        let (indent, count) = ("  ".repeat(depth + 1), self.task_count(op));
        let tasks = if count == 1 { "1 task".into() } else { format!("{count} tasks") };
        writeln!(f, "{indent}{op} {} ({tasks}){steps}{parts}", operator.label)?;
        match operator.tasks {
            Tasks::Map(input) | Tasks::Gather { input, .. } => self.tree(input, depth + 1, f)?,
            Tasks::Blocks(_) | Tasks::Read(_) => {}
        }
        operator.broadcasts.iter().try_for_each(|side| self.tree(*side, depth + 1, f))
    }
}

impl Display for PhysicalPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operators.len() {
            0 => Ok(()),
            n => self.tree(n - 1, 0, f),
        }
    }
}
