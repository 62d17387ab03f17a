//! Where Datasets come from: a session, or a context with the defaults of one.

use crate::Result;
use crate::block::Block;
use crate::dataset::Dataset;
use crate::exec::{Bars, Limits, Outside, ProgressSink, Silent};
use crate::io::{self, CsvOptions, Files};
use crate::plan::LogicalPlan;
use arrow_schema::SchemaRef;
use mobula_runtime::{Context, WorldKind};
use std::sync::Arc;

/// Where Datasets are read, executed and written.
#[derive(Clone)]
pub struct Session {
    pub(crate) backend: Backend,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) limits: Limits,
    pub(crate) progress: Arc<dyn Fn() -> Box<dyn ProgressSink> + Send + Sync>,
}

/// What runs the tasks.
#[derive(Clone)]
pub(crate) enum Backend {
    Local,
    Cluster(Context),
}

impl Session {
    /// A session whose tasks run on the cluster of `context` and see its files. In the real world it shows progress
    /// bars on a terminal.
    pub fn new(context: &Context) -> Self {
        let real = context.env().world() == WorldKind::Real;
        let progress =
            move || -> Box<dyn ProgressSink> { if real { Box::<Bars>::default() } else { Box::new(Silent) } };
        Self {
            backend: Backend::Cluster(context.clone()),
            files: Arc::new(Outside(context.files())),
            limits: Limits::default(),
            progress: Arc::new(progress),
        }
    }

    /// A session that runs tasks in the caller's thread and sees these files.
    pub fn local(files: Arc<dyn Files>) -> Self {
        let progress = || -> Box<dyn ProgressSink> { Box::new(Silent) };
        Self { backend: Backend::Local, files, limits: Limits::default(), progress: Arc::new(progress) }
    }

    /// The same session with other limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same session with progress reported to what `make` makes for each execution.
    pub fn with_progress(mut self, make: impl Fn() -> Box<dyn ProgressSink> + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(make);
        self
    }

    /// The rows of Parquet files: each path is a file, a directory (its `*.parquet` files) or a pattern such as
    /// `flights/*.parquet`. Files of one path are read in ascending order of their names.
    ///
    /// # Errors
    /// [`DataError::NotFound`], [`DataError::Corrupt`], [`DataError::SchemaMismatch`].
    pub fn read_parquet(&self, paths: impl IntoPaths) -> Result<Dataset> {
        let paths = io::expand(&*self.files, &paths.into_paths(), "parquet")?;
        let (schema, files) = io::parquet::plan(&*self.files, &paths)?;
        crate::plan::unique_names(&schema.fields().iter().map(|f| f.as_ref().clone()).collect::<Vec<_>>())?;
        Ok(self.dataset(LogicalPlan::ReadParquet { files, schema }))
    }

    /// The rows of CSV files; paths as for [`Session::read_parquet`]. Types are guessed here, on the driver, once.
    ///
    /// # Errors
    /// [`DataError::NotFound`], [`DataError::Corrupt`], [`DataError::CsvFields`], [`DataError::SchemaMismatch`].
    pub fn read_csv(&self, paths: impl IntoPaths, options: CsvOptions) -> Result<Dataset> {
        let paths = io::expand(&*self.files, &paths.into_paths(), "csv")?;
        let (file_schema, files) = io::csv::plan(&*self.files, &paths, &options)?;
        let columns = (0..file_schema.fields().len()).collect();
        Ok(self.dataset(LogicalPlan::ReadCsv { files, options, file_schema, columns }))
    }

    /// The rows of blocks in memory.
    ///
    /// # Errors
    /// [`DataError::Block`] if a block has another schema.
    pub fn from_blocks(&self, schema: SchemaRef, blocks: Vec<Block>) -> Result<Dataset> {
        let blocks =
            blocks.into_iter().map(|b| Block::new(schema.clone(), b.batches().to_vec())).collect::<Result<_>>()?;
        Ok(self.dataset(LogicalPlan::Blocks { schema, blocks }))
    }

    fn dataset(&self, plan: LogicalPlan) -> Dataset {
        Dataset::new(self.clone(), plan)
    }
}

/// Datasets straight from a [`Context`], with the defaults of [`Session::new`].
pub trait ReadDatasets {
    /// As [`Session::read_parquet`].
    ///
    /// # Errors
    /// As [`Session::read_parquet`].
    fn read_parquet(&self, paths: impl IntoPaths) -> Result<Dataset>;
    /// As [`Session::read_csv`].
    ///
    /// # Errors
    /// As [`Session::read_csv`].
    fn read_csv(&self, paths: impl IntoPaths, options: CsvOptions) -> Result<Dataset>;
    /// As [`Session::from_blocks`].
    ///
    /// # Errors
    /// As [`Session::from_blocks`].
    #[allow(clippy::wrong_self_convention, reason = "a Dataset from blocks, in this context")]
    fn from_blocks(&self, schema: SchemaRef, blocks: Vec<Block>) -> Result<Dataset>;
}

impl ReadDatasets for Context {
    fn read_parquet(&self, paths: impl IntoPaths) -> Result<Dataset> {
        Session::new(self).read_parquet(paths)
    }

    fn read_csv(&self, paths: impl IntoPaths, options: CsvOptions) -> Result<Dataset> {
        Session::new(self).read_csv(paths, options)
    }

    fn from_blocks(&self, schema: SchemaRef, blocks: Vec<Block>) -> Result<Dataset> {
        Session::new(self).from_blocks(schema, blocks)
    }
}

/// One path or several.
pub trait IntoPaths {
    /// As a list.
    fn into_paths(self) -> Vec<String>;
}

impl IntoPaths for &str {
    fn into_paths(self) -> Vec<String> {
        vec![self.into()]
    }
}

impl IntoPaths for String {
    fn into_paths(self) -> Vec<String> {
        vec![self]
    }
}

impl IntoPaths for &String {
    fn into_paths(self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl IntoPaths for Vec<String> {
    fn into_paths(self) -> Vec<String> {
        self
    }
}

impl<const N: usize> IntoPaths for [&str; N] {
    fn into_paths(self) -> Vec<String> {
        self.map(String::from).into()
    }
}
