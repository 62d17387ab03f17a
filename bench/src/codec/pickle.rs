//! The same objects through Python's pickle, in a process of its own.

#![allow(clippy::disallowed_methods, reason = "Python is a program")]

use super::Times;
use crate::sample::Sample;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::Command;

/// Another interpreter than `python3`, one with numpy say.
const PYTHON: &str = "MOBULA_PYTHON";
const PROGRAM: &str = include_str!("measure.py");

/// What Python measured, by object: milliseconds of each repetition, or why there are none.
pub struct Pickle(BTreeMap<String, Object>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Object {
    Measured { serialize: Vec<f64>, deserialize: Vec<f64> },
    Missing { why: String },
}

impl Pickle {
    /// Runs all four.
    ///
    /// # Errors
    /// There is no Python, or what it said when it failed.
    pub fn run(repetitions: usize) -> Result<Self, String> {
        let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".into());
        let output = Command::new(&python).args(["-c", PROGRAM, &repetitions.to_string()]).output();
        let output = output.map_err(|why| format!("{python} does not start: {why}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{python} ended with {}: {}", output.status, said.lines().last().unwrap_or("")));
        }
        serde_json::from_slice(&output.stdout).map(Self).map_err(|why| format!("{python} said something else: {why}"))
    }

    /// The times of one object.
    pub(super) fn of(&self, name: &str) -> Result<Times, String> {
        match self.0.get(name).ok_or("Python does not know this object")? {
            Object::Missing { why } => Err(format!("{why} (set {PYTHON} to a Python that has it)")),
            Object::Measured { serialize, deserialize } => {
                Ok(Times { serialize: Sample::warm(serialize.clone()), deserialize: Sample::warm(deserialize.clone()) })
            }
        }
    }
}
