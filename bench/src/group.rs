//! Which groups there are.

use crate::program::Effort;
use crate::report::Row;
use crate::{actors, codec, control, flights, recovery, simulation, spill, store, tasks, transfer};

/// Figures that are measured together.
#[derive(Debug)]
pub struct Group {
    /// Its name on the command line.
    pub name: &'static str,
    /// Measures all its rows, in the order they are printed.
    pub rows: fn(Effort) -> Vec<Row>,
}

const GROUPS: &[Group] = &[
    Group { name: "tasks", rows: tasks::rows },
    Group { name: "actors", rows: actors::rows },
    Group { name: "store", rows: store::rows },
    Group { name: "codec", rows: codec::rows },
    Group { name: "transfer", rows: transfer::rows },
    Group { name: "spill", rows: spill::rows },
    Group { name: "recovery", rows: recovery::rows },
    Group { name: "control", rows: control::rows },
    Group { name: "sim", rows: simulation::rows },
    Group { name: "flights", rows: flights::rows },
];

/// Groups that are not written yet.
const LATER: &[&str] = &["data", "predict"];

/// The names of all groups, for people.
pub fn names() -> String {
    GROUPS.iter().map(|group| group.name).collect::<Vec<_>>().join(", ")
}

/// The group of this name.
///
/// # Errors
/// What to type instead.
pub fn find(name: &str) -> Result<&'static Group, String> {
    if let Some(group) = GROUPS.iter().find(|group| group.name == name) {
        return Ok(group);
    }
    let there_are = names();
    if LATER.contains(&name) {
        return Err(format!("the group `{name}` is not written yet; there are {there_are}"));
    }
    let all = GROUPS.iter().map(|group| group.name).chain(LATER.iter().copied());
    let meant =
        mobula_runtime::nearest(name, all).map_or_else(String::new, |near| format!(", the nearest is `{near}`"));
    Err(format!("no group is called `{name}`{meant}; there are {there_are}"))
}

#[cfg(test)]
mod tests;
