//! Building, executing, writing and comparing Datasets.

use super::compare;
use super::driver::{Done, Driver};
use super::report::Failure;
use super::steps::unexpected;
use crate::file::{DatasetStep, Input, Op};
use mobula_data::exec::{Bars, OpInfo, OpProgress, ProgressSink};
use mobula_data::plan::OpId;
use mobula_data::{CsvOptions, DataError, Dataset, Session, asc, desc};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use xxhash_rust::xxh3::xxh3_64;

/// The number of tasks of each operator, told to the triggers of faults; and the bars people see.
struct Announce {
    totals: Totals,
    bars: Option<Bars>,
}

type Totals = Arc<Mutex<BTreeMap<String, u64>>>;

impl ProgressSink for Announce {
    fn begin(&mut self, operators: &[OpInfo]) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.extend(operators.iter().map(|operator| (operator.label.clone(), operator.total)));
        drop(totals);
        self.bars.iter_mut().for_each(|bars| bars.begin(operators));
    }

    fn update(&mut self, op: OpId, progress: OpProgress) {
        self.bars.iter_mut().for_each(|bars| bars.update(op, progress));
    }

    fn end(&mut self) {
        self.bars.iter_mut().for_each(ProgressSink::end);
    }
}

fn failed(why: &DataError) -> Failure {
    unexpected(why.to_string())
}

impl Driver {
    /// Executes a `dataset` step.
    pub async fn dataset(&self, step: &DatasetStep) -> Done {
        match (self.build_and_use(step).await, &step.expect_error) {
            (done, None) => done,
            (Err(failure), Some(part)) if failure.message.contains(part) => Ok(format!("failed: {}", failure.message)),
            (Err(failure), Some(part)) => {
                Err(unexpected(format!("expected an error that says {part:?}, found {}", failure.message)))
            }
            (Ok(done), Some(part)) => Err(unexpected(format!("expected an error that says {part:?}, found {done}"))),
        }
    }

    async fn build_and_use(&self, step: &DatasetStep) -> Done {
        let mut dataset = self.build(step)?;
        let mut done = Vec::new();
        // What is wrong with the plan is said by the step that makes it, also if nothing executes it.
        dataset.schema().map_err(|why| failed(&why))?;
        if step.materialize {
            dataset = dataset.materialize().await.map_err(|why| failed(&why))?;
            let rows = dataset.count().await.map_err(|why| failed(&why))?;
            done.push(format!("{rows} rows kept"));
        }
        let name = step.name.text.clone();
        self.state().datasets.insert(name.clone(), dataset.clone());
        if let Some(file) = &step.write_csv {
            done.push(self.write_csv(&dataset, &name, file, step.expect_csv.as_deref()).await?);
        }
        if let Some(directory) = &step.write_parquet {
            let path = self.out.join(directory).to_string_lossy().into_owned();
            let written = dataset.write_parquet(&path).await.map_err(|why| failed(&why))?;
            done.push(format!("{} rows in {} files in {path}", written.rows, written.files.len()));
        }
        if let Some(condition) = &step.expect_rows {
            let rows = dataset.count().await.map_err(|why| failed(&why))?;
            self.journal.result(format!("{name} rows"), rows.to_string());
            if !condition.holds(rows) {
                return Err(unexpected(format!("{name}: expected {condition} rows, found {rows}")));
            }
            done.push(format!("{rows} rows"));
        }
        if let Some(rows) = step.show {
            let table = dataset.table(rows).await.map_err(|why| failed(&why))?;
            self.journal.show(&table);
        }
        Ok(if done.is_empty() { "planned".to_owned() } else { done.join("; ") })
    }

    async fn write_csv(&self, dataset: &Dataset, name: &str, file: &str, expected: Option<&str>) -> Done {
        let path = self.out.join(file).to_string_lossy().into_owned();
        let written = dataset.write_csv(&path).await.map_err(|why| failed(&why))?;
        let found = self.whole(&path)?;
        self.journal.result(format!("{name} csv"), format!("{:016x}", xxh3_64(&found)));
        let mut done = format!("{} rows in {path}", written.rows);
        if let Some(expected) = expected {
            let wanted = self.whole(expected)?;
            let difference = compare::difference(&found, &wanted);
            match difference.map_err(|why| unexpected(format!("{path}: {why}")))? {
                Some(difference) => return Err(unexpected(format!("{path} is not {expected}: {difference}"))),
                None => done.push_str(", as expected"),
            }
        }
        Ok(done)
    }

    /// The bytes of a file outside the cluster.
    fn whole(&self, path: &str) -> Result<bytes::Bytes, Failure> {
        let files = self.context().files();
        files.read_range(path, 0, u64::MAX).map_err(|why| unexpected(why.to_string()))
    }

    fn session(&self) -> Session {
        let bars = self.journal.prints();
        let totals: Totals = self.announced.clone();
        Session::new(self.context())
            .with_progress(move || Box::new(Announce { totals: totals.clone(), bars: bars.then(Bars::default) }))
    }

    fn build(&self, step: &DatasetStep) -> Result<Dataset, Failure> {
        let session = self.session();
        let input = match &step.from {
            Input::Dataset(name) => self.named(&name.text)?,
            Input::Parquet(path) => session.read_parquet(path).map_err(|why| failed(&why))?,
            Input::Csv { path, null, delimiter, header } => {
                let mut options = CsvOptions::default().header(*header);
                options = null.iter().fold(options, CsvOptions::null);
                options = delimiter.iter().fold(options, |options, byte| options.delimiter(*byte));
                session.read_csv(path, options).map_err(|why| failed(&why))?
            }
        };
        step.ops.iter().try_fold(input, |input, op| self.apply(input, op))
    }

    fn named(&self, name: &str) -> Result<Dataset, Failure> {
        let found = self.state().datasets.get(name).cloned();
        found.ok_or_else(|| unexpected(format!("the Dataset `{name}` was not made yet")))
    }

    fn apply(&self, input: Dataset, op: &Op) -> Result<Dataset, Failure> {
        Ok(match op {
            Op::Filter(predicate) => input.filter(predicate.clone()),
            Op::Select(columns) => input.select(columns.iter().cloned()),
            Op::Drop(columns) => input.drop(columns.iter().cloned()),
            Op::Rename(pairs) => pairs.iter().fold(input, |input, (from, to)| input.rename(from, to)),
            Op::WithColumn(columns) => {
                columns.iter().fold(input, |input, (name, expr)| input.with_column(name, expr.clone()))
            }
            Op::Join { with, on, how } => input.join(self.named(&with.text)?, on.clone(), *how),
            Op::GroupBy { keys, agg } => {
                input.group_by(keys.iter().cloned()).agg(agg.iter().map(|(name, text)| text.named(name)))
            }
            Op::Sort(keys) => {
                input.sort(keys.iter().map(|(column, descending)| if *descending { desc(column) } else { asc(column) }))
            }
            Op::Limit(rows) => input.limit(*rows),
        })
    }
}
