//! Execution on the runtime: every task of a plan is a task of the cluster, its blocks are objects.

use super::{Completion, Launch, Output};
use crate::block::Block;
use crate::io::{Sink, Source};
use crate::kernel::{StageContext, run_stage};
use crate::plan::{OpId, StageSpec};
use crate::{DataError, Result};
use bytes::Bytes;
use mobula_runtime::{ByteSize, Context, Files, Nanos, ObjectRef, Rest};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;

/// One object a task makes.
#[derive(Serialize, Deserialize)]
pub enum Part {
    /// A block.
    Block(Block),
    /// The last object of every task: rows and bytes of each block. Small, so the driver has it without a transfer.
    Sizes(Vec<(u64, u64)>),
}

impl Part {
    fn block(self) -> Result<Block> {
        match self {
            Part::Block(block) => Ok(block),
            Part::Sizes(_) => Err(DataError::bug("sizes where a block was promised")),
        }
    }
}

/// The one task function of Datasets: runs a stage on its inputs.
#[mobula_runtime::task(many)]
fn stage(context: Context, spec: StageSpec, inputs: Rest<Part>) -> Result<Vec<Part>, DataError> {
    let files = Outside(context.files());
    let inputs = inputs.0.into_iter().map(Part::block).collect::<Result<Vec<_>>>()?;
    let charge = |nanos| mobula_runtime::charge(Nanos(nanos));
    let blocks = run_stage(&spec, &inputs, StageContext { source: &files, sink: &files, charge })?;
    let sizes = blocks.iter().map(|b| (b.rows() as u64, b.bytes() as u64)).collect();
    Ok(blocks.into_iter().map(Part::Block).chain([Part::Sizes(sizes)]).collect())
}

/// Storage outside the cluster, as this crate sees it.
pub(crate) struct Outside(pub(crate) Files);

impl Source for Outside {
    fn read_range(&self, path: &str, offset: u64, len: u64) -> io::Result<Bytes> {
        let bytes = self.0.read_range(path, offset, len)?;
        if bytes.len() as u64 == len {
            return Ok(bytes);
        }
        let detail = format!("the file has {} of {len} bytes at {offset}", bytes.len());
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail))
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        self.0.len(path)
    }

    fn list(&self, pattern: &str) -> io::Result<Vec<String>> {
        self.0.list(pattern)
    }
}

impl Sink for Outside {
    fn write_atomic(&self, path: &str, bytes: Bytes) -> io::Result<()> {
        self.0.write_atomic(path, &bytes)
    }
}

struct Running {
    op: OpId,
    task: u64,
    label: String,
    blocks: Vec<ObjectRef<Part>>,
    sizes: ObjectRef<Part>,
}

/// Runs tasks on a cluster. Tasks still running when it is dropped are cancelled.
pub struct Cluster {
    context: Context,
    running: Vec<Running>,
    /// Tasks that could not be submitted.
    refused: VecDeque<Completion<ObjectRef<Part>>>,
}

impl Cluster {
    /// Through this context, whose process owns all blocks.
    pub fn new(context: Context) -> Self {
        Self { context, running: Vec::new(), refused: VecDeque::new() }
    }

    async fn outputs(&self, done: &Running) -> Result<Vec<Output<ObjectRef<Part>>>> {
        let failed = |e: mobula_runtime::Error| failed(&done.label, done.task, e);
        let Part::Sizes(sizes) = self.context.get(&done.sizes).await.map_err(failed)? else {
            return Err(DataError::bug("a block where sizes were promised"));
        };
        let output = |(handle, (rows, bytes)): (&ObjectRef<Part>, (u64, u64))| Output {
            handle: handle.clone(),
            rows,
            bytes: ByteSize(bytes),
        };
        Ok(done.blocks.iter().zip(sizes).map(output).collect())
    }
}

/// What the runtime says of a task. The message of the task's own error is the [`DataError`] it raised, as text.
fn failed(label: &str, task: u64, error: mobula_runtime::Error) -> DataError {
    DataError::Task { label: label.into(), task, detail: error.message }
}

impl Launch for Cluster {
    type Handle = ObjectRef<Part>;

    async fn put(&mut self, block: Block) -> Result<Output<ObjectRef<Part>>> {
        let (rows, bytes) = (block.rows() as u64, ByteSize(block.bytes() as u64));
        let handle = self.context.put(&Part::Block(block)).await.map_err(|e| failed("blocks", 0, e))?;
        Ok(Output { handle, rows, bytes })
    }

    fn launch(&mut self, op: OpId, task: u64, spec: StageSpec, inputs: Vec<ObjectRef<Part>>) {
        let (label, parts) = (spec.label.clone(), spec.parts());
        let call = stage(spec, &inputs).label(&label).returns(parts as u32 + 1);
        match call.submit(&self.context) {
            Ok(mut blocks) => {
                if let Some(sizes) = blocks.pop() {
                    self.running.push(Running { op, task, label, blocks, sizes });
                }
            }
            Err(error) => self.refused.push_back(Completion { op, task, result: Err(failed(&label, task, error)) }),
        }
    }

    async fn completion(&mut self) -> Completion<ObjectRef<Part>> {
        if let Some(refused) = self.refused.pop_front() {
            return refused;
        }
        let sizes: Vec<ObjectRef<Part>> = self.running.iter().map(|r| r.sizes.clone()).collect();
        let waited = self.context.wait(&sizes, 1.min(sizes.len()), None).await;
        let first = waited.map(|w| w.ready.first().and_then(|r| self.running.iter().position(|t| t.sizes == *r)));
        let done = match first {
            Ok(Some(position)) => self.running.remove(position),
            // The runtime was shut down; whichever task is asked for says so.
            Ok(None) | Err(_) => match self.running.pop() {
                Some(task) => task,
                None => return std::future::pending().await,
            },
        };
        let result = self.outputs(&done).await;
        Completion { op: done.op, task: done.task, result }
    }

    async fn get(&mut self, handles: Vec<ObjectRef<Part>>) -> Result<Vec<Block>> {
        let parts = self.context.get_all(&handles).await.map_err(|e| failed("result", 0, e))?;
        parts.into_iter().map(Part::block).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for task in &self.running {
            // After a shutdown there is nothing left to cancel.
            let _ = self.context.cancel(&task.sizes);
        }
    }
}
