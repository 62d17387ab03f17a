//! Making a failing plan smaller while it fails in the same way.
//!
//! Pieces are left out, the largest first: planned faults, steps, nodes, whole tables; then numbers, sizes and durations
//! are halved. A piece stays out if what is left still fails with the same [`Signature`]. What no longer makes sense (a
//! step that uses what a removed one made) is refused by the parser, which costs nothing.

use super::Document;
use crate::run::{Options, Outcome, Report};
use toml::{Table, Value};

/// How a run failed: two failures with equal signatures are taken for the same bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    outcome: Outcome,
    checker: String,
    /// For panics and errors, the words of the message that are not numbers or names.
    words: String,
}

impl Signature {
    /// That of a report; none if it passed.
    pub fn of(report: &Report) -> Option<Self> {
        let failure = report.failure.as_ref()?;
        let words = match report.outcome {
            Outcome::Passed | Outcome::Refused => return None,
            // A panic's checker says nothing; its message begins with where and what.
            Outcome::Panicked => plain(&failure.message),
            _ => String::new(),
        };
        Some(Self { outcome: report.outcome, checker: failure.checker.clone(), words })
    }
}

/// The first words without those that name things.
fn plain(message: &str) -> String {
    let named = |word: &&str| word.chars().any(|c| c.is_ascii_digit() || c == '@') || word.len() == 1;
    message.split_whitespace().filter(|word| !named(word)).take(12).collect::<Vec<_>>().join(" ")
}

/// What [`shrink`] leaves.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan found.
    pub document: Document,
    /// Its report.
    pub report: Report,
    /// How many plans were played.
    pub runs: u64,
}

/// Shrinks a plan that fails under `options`; at most `limit` plans are played. `play` runs one.
///
/// Returns the report of the first run if it passes.
pub fn shrink(
    document: &Document,
    options: &Options,
    limit: u64,
    play: &dyn Fn(&Document, &Options) -> Report,
) -> Result<Shrunk, Box<Report>> {
    let report = play(document, options);
    let Some(signature) = Signature::of(&report) else { return Err(Box::new(report)) };
    let mut search = Search { best: document.clone(), report, signature, options, limit, runs: 1, play };
    loop {
        let before = search.best.clone();
        search.leave_out("fault");
        search.leave_out("steps");
        search.lists_in_parallel();
        search.nodes();
        search.tables();
        search.sizes();
        if search.best == before || search.runs >= limit {
            return Ok(Shrunk { document: search.best, report: search.report, runs: search.runs });
        }
    }
}

struct Search<'a> {
    best: Document,
    report: Report,
    signature: Signature,
    options: &'a Options,
    limit: u64,
    runs: u64,
    play: &'a dyn Fn(&Document, &Options) -> Report,
}

impl Search<'_> {
    /// Keeps the candidate if it fails in the same way.
    fn try_one(&mut self, change: impl FnOnce(&mut Table) -> Option<()>) -> bool {
        let mut candidate = self.best.clone();
        if self.runs >= self.limit || change(candidate.table_mut()).is_none() || candidate == self.best {
            return false;
        }
        if candidate.scenario("shrunk.toml").is_err() {
            return false;
        }
        self.runs += 1;
        let report = (self.play)(&candidate, self.options);
        let same = Signature::of(&report).as_ref() == Some(&self.signature);
        if same {
            (self.best, self.report) = (candidate, report);
        }
        same
    }

    /// Leaves out runs of elements of a list, half of it first, then ever fewer (ddmin).
    fn leave_out(&mut self, key: &str) {
        let length = |search: &Self| search.best.table().get(key).and_then(Value::as_array).map_or(0, Vec::len);
        self.ddmin(&length, &|table, at, many| {
            let items = table.get_mut(key)?.as_array_mut()?;
            cut(items, at, many)?;
            if items.is_empty() && key == "fault" {
                table.remove(key);
            }
            Some(())
        });
    }

    fn ddmin(&mut self, length: &dyn Fn(&Self) -> usize, shorten: &dyn Fn(&mut Table, usize, usize) -> Option<()>) {
        let mut many = length(self).div_ceil(2);
        while many > 0 {
            let mut at = length(self);
            // From the end: later steps use earlier ones.
            while at > 0 {
                at = at.saturating_sub(many);
                self.try_one(|table| shorten(table, at, many));
            }
            many = if many == 1 { 0 } else { many.div_ceil(2) };
        }
    }

    /// Steps inside `parallel`, then lists that could as well be steps in order.
    fn lists_in_parallel(&mut self) {
        let steps = self.best.table().get("steps").and_then(Value::as_array).map_or(0, Vec::len);
        for step in (0..steps).rev() {
            let lists = lists(self.best.table(), step).map_or(0, Vec::len);
            for list in (0..lists).rev() {
                let length = |search: &Self| {
                    let inner = lists_of(search.best.table(), step, list);
                    inner.map_or(0, Vec::len)
                };
                self.ddmin(&length, &|table, at, many| {
                    let lists = lists_mut(table, step)?;
                    let items = lists.get_mut(list)?.as_array_mut()?;
                    cut(items, at, many)?;
                    if items.is_empty() {
                        lists.remove(list);
                    }
                    Some(())
                });
            }
            self.try_one(|table| {
                let [Value::Array(only)] = &lists_mut(table, step)?[..] else { return None };
                let only = only.clone();
                let steps = table.get_mut("steps")?.as_array_mut()?;
                drop(steps.splice(step..=step, only));
                Some(())
            });
        }
    }

    fn nodes(&mut self) {
        let nodes = |table: &Table| table.get("cluster")?.get("nodes")?.as_array().map(Vec::len);
        for at in (0..nodes(self.best.table()).unwrap_or(0)).rev() {
            self.try_one(|table| {
                table.get_mut("cluster")?.get_mut("nodes")?.as_array_mut()?.remove(at);
                Some(())
            });
        }
    }

    /// Whole tables, then their keys.
    fn tables(&mut self) {
        for key in ["expect", "settings"] {
            if self.try_one(|table| table.remove(key).map(drop)) {
                continue;
            }
            let inner = self.best.table().get(key).and_then(Value::as_table);
            let keys: Vec<String> = inner.map(|table| table.keys().cloned().collect()).unwrap_or_default();
            for inner in keys {
                self.try_one(|table| table.get_mut(key)?.as_table_mut()?.remove(&inner).map(drop));
            }
        }
    }

    /// Options of steps, then numbers, sizes and durations, wherever they are.
    fn sizes(&mut self) {
        let paths = paths(&Value::Table(self.best.table().clone()));
        for path in paths.iter().rev() {
            if !matches!(path.first(), Some(Step::Key(key)) if key == "steps" || key == "fault" || key == "cluster") {
                continue;
            }
            if let Some(Step::Key(last)) = path.last()
                && [
                    "max_retries",
                    "memory_retries",
                    "retry_exceptions",
                    "cpus",
                    "store",
                    "seed",
                    "prefer",
                    "strategy",
                    "timeout",
                    "expect",
                    "nth",
                    "count",
                    "probability",
                    "oneway",
                ]
                .contains(&last.as_str())
                && self.try_one(|table| remove(table, path))
            {
                continue;
            }
            while self.try_one(|table| halve(at_path(table, path)?)) {}
        }
    }
}

/// Takes up to so many elements out of a list; none if there are none at this place.
fn cut(items: &mut Vec<Value>, at: usize, many: usize) -> Option<()> {
    let end = (at + many).min(items.len());
    (at < end).then(|| drop(items.drain(at..end)))
}

fn lists(table: &Table, step: usize) -> Option<&Vec<Value>> {
    table.get("steps")?.as_array()?.get(step)?.get("parallel")?.as_array()
}

fn lists_of(table: &Table, step: usize, list: usize) -> Option<&Vec<Value>> {
    lists(table, step)?.get(list)?.as_array()
}

fn lists_mut(table: &mut Table, step: usize) -> Option<&mut Vec<Value>> {
    table.get_mut("steps")?.as_array_mut()?.get_mut(step)?.get_mut("parallel")?.as_array_mut()
}

/// One step on the way to a value.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    At(usize),
}

/// The ways to all scalars.
fn paths(value: &Value) -> Vec<Vec<Step>> {
    let under = |step: Step, value: &Value| {
        let with = move |mut path: Vec<Step>| {
            path.insert(0, step.clone());
            path
        };
        paths(value).into_iter().map(with).collect::<Vec<_>>()
    };
    match value {
        Value::Table(table) => table.iter().flat_map(|(key, value)| under(Step::Key(key.clone()), value)).collect(),
        Value::Array(items) => items.iter().enumerate().flat_map(|(at, value)| under(Step::At(at), value)).collect(),
        _ => vec![Vec::new()],
    }
}

fn at_path<'a>(table: &'a mut Table, path: &[Step]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    let Step::Key(first) = first else { return None };
    rest.iter().try_fold(table.get_mut(first)?, |value, step| match step {
        Step::Key(key) => value.get_mut(key.as_str()),
        Step::At(at) => value.get_mut(*at),
    })
}

fn remove(table: &mut Table, path: &[Step]) -> Option<()> {
    let (last, before) = path.split_last()?;
    let Step::Key(last) = last else { return None };
    at_path(table, before)?.as_table_mut()?.remove(last).map(drop)
}

/// Half of a number, of a size such as `"2MB"` or of a duration such as `"300ms"`; none below one.
fn halve(value: &mut Value) -> Option<()> {
    match value {
        Value::Integer(number) if *number > 1 => *number /= 2,
        Value::String(text) => {
            let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
            let (number, unit) = text.split_at(digits);
            let number: u64 = number.parse().ok()?;
            const SMALLER: [(&str, &str); 5] = [("s", "ms"), ("GB", "MB"), ("MB", "KB"), ("KB", "B"), ("h", "min")];
            *text = match (number, SMALLER.iter().find(|(large, _)| *large == unit)) {
                (0, _) => return None,
                (1, Some((_, small))) => format!("500{small}").replace("500min", "30min"),
                (1, None) => return None,
                (number, _) => format!("{}{unit}", number / 2),
            };
        }
        _ => return None,
    }
    Some(())
}
