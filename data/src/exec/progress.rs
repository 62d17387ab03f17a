//! What people see while a Dataset executes.

use super::OpProgress;
use crate::plan::OpId;
use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One operator, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpInfo {
    /// Its index.
    pub op: OpId,
    /// Its label.
    pub label: String,
    /// Number of tasks.
    pub total: u64,
}

/// Hears how far each operator is.
pub trait ProgressSink: Send {
    /// Execution begins with these operators.
    fn begin(&mut self, operators: &[OpInfo]);
    /// One operator has got further.
    fn update(&mut self, op: OpId, progress: OpProgress);
    /// Execution is over, well or badly.
    fn end(&mut self);
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl ProgressSink for Silent {
    fn begin(&mut self, _operators: &[OpInfo]) {}
    fn update(&mut self, _op: OpId, _progress: OpProgress) {}
    fn end(&mut self) {}
}

/// One bar an operator, on standard error, and only when that is a terminal. The bars disappear at the end.
pub struct Bars {
    all: MultiProgress,
    bars: Vec<Option<ProgressBar>>,
}

impl Default for Bars {
    /// On standard error.
    fn default() -> Self {
        Self { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), bars: Vec::new() }
    }
}

impl ProgressSink for Bars {
    fn begin(&mut self, operators: &[OpInfo]) {
        let style = ProgressStyle::with_template("{prefix:>10} {bar:30} {pos}/{len} tasks  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let last = operators.iter().map(|o| o.op).max();
        self.bars = vec![None; last.map_or(0, |n| n + 1)];
        for operator in operators {
            let bar = self.all.add(ProgressBar::new(operator.total));
            bar.set_style(style.clone());
            bar.set_prefix(operator.label.clone());
            self.bars[operator.op] = Some(bar);
        }
    }

    fn update(&mut self, op: OpId, progress: OpProgress) {
        if let Some(Some(bar)) = self.bars.get(op) {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(format!("{} rows  {}", HumanCount(progress.rows), HumanBytes(progress.bytes)));
        }
    }

    fn end(&mut self) {
        self.bars.drain(..).flatten().for_each(|bar| bar.finish_and_clear());
    }
}
