//! What can go wrong in a Dataset, always naming the offending thing and, where there is one, the nearest valid one.

use serde::{Deserialize, Serialize};

/// The result of everything in this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// Why a Dataset could not be planned or executed. Travels from a task to the driver like any value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A column that the input does not have.
    #[error("no column `{column}`{}; the columns are {}", did_you_mean(.nearest), .available.join(", "))]
    UnknownColumn {
        /// The name that was asked for.
        column: String,
        /// The existing name closest to it, if one is close.
        nearest: Option<String>,
        /// Every existing name, in schema order.
        available: Vec<String>,
    },
    /// Two columns of one Dataset would have the same name.
    #[error("two columns would be named `{column}`; rename one of them first")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// An operation that needs at least one column, key or path was given none.
    #[error("{operation} needs at least one {what}")]
    NothingGiven {
        /// The operation.
        operation: String,
        /// What it needs.
        what: String,
    },
    /// A function that was not registered with [`map_function!`](crate::map_function) in this binary.
    #[error("no function `{name}` is registered{}", did_you_mean(.nearest))]
    UnknownFunction {
        /// The name that was asked for.
        name: String,
        /// The registered name closest to it, if one is close.
        nearest: Option<String>,
    },
    /// An expression or aggregate applied to types it is not defined for.
    #[error("`{expr}` has wrong types: {detail}")]
    Type {
        /// The expression as text.
        expr: String,
        /// What does not fit.
        detail: String,
    },
    /// An expression that failed on the values it met: overflow, division by zero, an impossible cast.
    #[error("`{expr}` failed: {detail}")]
    Evaluate {
        /// The expression as text.
        expr: String,
        /// What happened.
        detail: String,
    },
    /// A user function returned an error or a batch of another schema than it had declared.
    #[error("function `{name}` failed: {detail}")]
    Function {
        /// The registered name.
        name: String,
        /// What happened.
        detail: String,
    },
    /// A path, directory or pattern that matches no file.
    #[error("no file matches `{pattern}`")]
    NotFound {
        /// What was asked for.
        pattern: String,
    },
    /// The file system failed.
    #[error("{path}: {detail}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the file system said.
        detail: String,
    },
    /// A file that is not what its format says it must be.
    #[error("{path}: corrupt {format} file: {detail}")]
    Corrupt {
        /// The file.
        path: String,
        /// Its format.
        format: String,
        /// What the reader stumbled over.
        detail: String,
    },
    /// A file whose schema differs from the first file of the same read.
    #[error("{path}: schema differs from {first}: {detail}")]
    SchemaMismatch {
        /// The file.
        path: String,
        /// The file that fixed the schema.
        first: String,
        /// The first difference.
        detail: String,
    },
    /// A CSV row with too many or too few fields.
    #[error("{path}:{line}: {found} fields where {expected} were expected")]
    CsvFields {
        /// The file.
        path: String,
        /// Line of the row's first character, from 1.
        line: u64,
        /// Number of columns.
        expected: u64,
        /// Number of fields in the row.
        found: u64,
    },
    /// A CSV value that is not of its column's type.
    #[error("{path}:{line}: column `{column}`: `{value}` is not of type {expected}")]
    CsvValue {
        /// The file.
        path: String,
        /// Line of the row's first character, from 1.
        line: u64,
        /// The column.
        column: String,
        /// The text found.
        value: String,
        /// The type of the column.
        expected: String,
    },
    /// Bytes that should be a block and are not.
    #[error("a block could not be decoded: {detail}")]
    Block {
        /// What the decoder said.
        detail: String,
    },
    /// A task of the cluster failed for good. What the task itself raised is in `detail`, as text.
    #[error("{detail}")]
    Task {
        /// Operator label.
        label: String,
        /// Index of the task in its operator.
        task: u64,
        /// What the runtime said; it names the task.
        detail: String,
    },
    /// A promise between two parts of this crate was broken: a bug in Mobula.
    #[error("bug in mobula-data: {detail}")]
    Bug {
        /// What was found.
        detail: String,
    },
}

fn did_you_mean(name: &Option<String>) -> String {
    name.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}

impl DataError {
    /// `column` is not among `available`.
    pub(crate) fn unknown_column<'a>(column: &str, available: impl IntoIterator<Item = &'a str>) -> Self {
        let available: Vec<String> = available.into_iter().map(String::from).collect();
        let nearest = closest(column, available.iter().map(String::as_str));
        Self::UnknownColumn { column: column.into(), nearest, available }
    }

    /// A broken promise inside this crate.
    pub(crate) fn bug(detail: impl ToString) -> Self {
        Self::Bug { detail: detail.to_string() }
    }

    /// What the file system said about `path`.
    pub(crate) fn io(path: &str, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound { pattern: path.into() },
            _ => {
                let text = error.to_string();
                // Some file systems say which file they mean, others do not.
                let detail = text.strip_prefix(&format!("{path}: ")).unwrap_or(&text).into();
                Self::Io { path: path.into(), detail }
            }
        }
    }
}

impl From<arrow_schema::ArrowError> for DataError {
    /// Arrow kernels are called on arrays whose types the planner has checked: a failure is a bug unless a call site
    /// says otherwise.
    fn from(e: arrow_schema::ArrowError) -> Self {
        Self::bug(e)
    }
}

impl From<datafusion_common::DataFusionError> for DataError {
    /// As for Arrow: call sites that can fail on user data wrap the error themselves.
    fn from(e: datafusion_common::DataFusionError) -> Self {
        Self::bug(e.strip_backtrace())
    }
}

/// The candidate most like `name`, if any is at least 60 % like it (Jaro-Winkler); ties go to the earlier candidate.
pub(crate) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let likeness = strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
        if likeness >= 0.6 && best.is_none_or(|(b, _)| likeness > b) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_string())
}
