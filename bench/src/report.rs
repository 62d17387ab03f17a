//! Rows, the table people read and the document programs read.

use crate::machine::Machine;
use crate::sample::Sample;
use serde::{Serialize, Serializer};
use std::fmt::{self, Write as _};

/// What a figure counts, and whether more of it is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    TasksPerSecond,
    OpsPerSecond,
    CallsPerSecond,
    RowsPerSecond,
    RunsPerSecond,
    EventsPerSecond,
    /// Of the simulated clock, in a second of the wall's.
    SimulatedSeconds,
    /// 10^9 bytes per second.
    GigabytesPerSecond,
    Micros,
    Millis,
    Seconds,
    Bytes,
    BytesPerTask,
    BytesPerActor,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    name: String,
    /// The median of the repetitions.
    value: Option<f64>,
    unit: Unit,
    baseline: Option<&'static str>,
    baseline_value: Option<f64>,
    /// Ours against the baseline; above 1 we are better.
    ratio: Option<f64>,
    note: Option<String>,
}

/// All figures of a group, and where they come from.
#[derive(Debug, Serialize)]
pub struct Report {
    group: &'static str,
    commit: Option<String>,
    machine: Machine,
    rows: Vec<Row>,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::TasksPerSecond => "tasks/s",
            Self::OpsPerSecond => "ops/s",
            Self::CallsPerSecond => "calls/s",
            Self::RowsPerSecond => "rows/s",
            Self::RunsPerSecond => "runs/s",
            Self::EventsPerSecond => "events/s",
            Self::SimulatedSeconds => "s/s",
            Self::GigabytesPerSecond => "GB/s",
            Self::Micros => "us",
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::BytesPerTask => "bytes/task",
            Self::BytesPerActor => "bytes/actor",
        }
    }

    fn more_is_better(self) -> bool {
        match self {
            Self::TasksPerSecond | Self::OpsPerSecond | Self::CallsPerSecond => true,
            Self::RowsPerSecond | Self::GigabytesPerSecond => true,
            Self::RunsPerSecond | Self::EventsPerSecond | Self::SimulatedSeconds => true,
            Self::Micros | Self::Millis | Self::Seconds => false,
            Self::Bytes | Self::BytesPerTask | Self::BytesPerActor => false,
        }
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl Row {
    /// A figure that was measured, or why it could not be.
    pub fn new(name: impl Into<String>, unit: Unit, measured: Result<Sample, String>) -> Self {
        let name = name.into();
        let empty = Self { name, value: None, unit, baseline: None, baseline_value: None, ratio: None, note: None };
        match measured {
            Err(why) => empty.noting(&format!("not measured: {why}")),
            Ok(sample) => {
                let row = Self { value: sample.median(), ..empty };
                match sample.spread() {
                    None => row,
                    Some((least, most, n)) => {
                        row.noting(&format!("{} to {} in {n} repetitions", figure(least), figure(most)))
                    }
                }
            }
        }
    }

    /// The same beside what the machine can do at best, in the same unit.
    pub fn against(mut self, baseline: &'static str, measured: &Sample) -> Self {
        (self.baseline, self.baseline_value) = (Some(baseline), measured.median());
        self.ratio = self
            .value
            .zip(self.baseline_value)
            .map(|(ours, theirs)| if self.unit.more_is_better() { ours / theirs } else { theirs / ours });
        self
    }

    /// The same with one remark more.
    pub fn noting(mut self, remark: &str) -> Self {
        let note = self.note.get_or_insert_default();
        if !note.is_empty() {
            note.push_str("; ");
        }
        note.push_str(remark);
        self
    }
}

impl Report {
    /// The figures of a group, measured by this program on this machine.
    pub fn of(group: &'static str, rows: Vec<Row>) -> Self {
        Self { group, commit: crate::machine::commit(), machine: Machine::this(), rows }
    }

    /// As one document.
    pub fn to_json(&self) -> String {
        match serde_json::to_string_pretty(self) {
            Ok(document) => document,
            Err(why) => unreachable!("strings and numbers can always be written: {why}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = self.commit.as_deref().unwrap_or("unknown commit");
        writeln!(f, "{}: {}, {commit}\n", self.group, self.machine)?;
        let head = ["name", "value", "unit", "baseline", "ratio", "of what, notes"].map(str::to_owned);
        let lines: Vec<[String; 6]> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        for line in &lines {
            let mut text = String::new();
            for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
                // Names and units begin a column, numbers end one.
                match column {
                    0 | 2 => write!(text, "{cell:<width$}  ")?,
                    _ => write!(text, "{cell:>width$}  ")?,
                }
            }
            text.push_str(&line[5]);
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

impl Row {
    fn cells(&self) -> [String; 6] {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
        let remarks: Vec<&str> = self.baseline.into_iter().chain(self.note.as_deref()).collect();
        [
            self.name.clone(),
            number(self.value),
            self.unit.name().to_owned(),
            number(self.baseline_value),
            number(self.ratio),
            remarks.join("; "),
        ]
    }
}

/// Four digits that count.
fn figure(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = value.abs().log10().floor();
    match 3.0 - digits {
        decimals if decimals <= 0.0 => format!("{value:.0}"),
        // Below a millionth of anything the exponent says more.
        decimals if decimals > 9.0 => format!("{value:.2e}"),
        decimals => format!("{value:.*}", decimals as usize),
    }
}

#[cfg(test)]
mod tests;
