//! `job`: a second driver with steps of its own.

use super::model::{Name, Step};
use super::source::Result;
use super::table::{Item, Table};
use super::{results, verbs};

/// A driver on a machine of its own, and the job it drives.
#[derive(Clone, Debug)]
pub struct JobStep {
    /// What the machine is called, and the job if it begins one.
    pub name: Name,
    /// The job that it goes on with.
    pub attach: Option<Name>,
    /// What it does. The tasks that it submits are the job's.
    pub steps: Vec<Step>,
    /// Whether the job runs on when the steps are over.
    pub leave: bool,
}

impl JobStep {
    /// The job.
    pub fn job(&self) -> &Name {
        self.attach.as_ref().unwrap_or(&self.name)
    }
}

/// Reads a `job`.
pub(super) fn job(table: &mut Table<'_>) -> Result<JobStep> {
    let name = table.need("job")?;
    let attach = table.get("attach")?;
    let leave = match table.get::<Item<'_>>("then")? {
        Some(item) => results::word(item, "end of a job", &["end", "leave"])? == "leave",
        None => false,
    };
    let steps = verbs::steps(table.need("steps")?)?;
    Ok(JobStep { name, attach, steps, leave })
}
