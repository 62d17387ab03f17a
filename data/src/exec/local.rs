//! Execution without a runtime: tasks run one after another, where they are awaited.

use super::{Completion, Launch, Output};
use crate::Result;
use crate::block::Block;
use crate::io::Files;
use crate::kernel::{StageContext, run_stage};
use crate::plan::{OpId, StageSpec};
use mobula_runtime::ByteSize;
use std::collections::VecDeque;
use std::sync::Arc;

/// Runs every task in the caller's thread, in the order of launching. Its futures are always ready.
pub struct Local {
    files: Arc<dyn Files>,
    waiting: VecDeque<(OpId, u64, StageSpec, Vec<Block>)>,
}

impl Local {
    /// With tasks that read and write these files.
    pub fn new(files: Arc<dyn Files>) -> Self {
        Self { files, waiting: VecDeque::new() }
    }
}

/// A block that is its own handle.
fn output(block: Block) -> Output<Block> {
    Output { rows: block.rows() as u64, bytes: ByteSize(block.bytes() as u64), handle: block }
}

impl Launch for Local {
    type Handle = Block;

    async fn put(&mut self, block: Block) -> Result<Output<Block>> {
        Ok(output(block))
    }

    fn launch(&mut self, op: OpId, task: u64, spec: StageSpec, inputs: Vec<Block>) {
        self.waiting.push_back((op, task, spec, inputs));
    }

    async fn completion(&mut self) -> Completion<Block> {
        let Some((op, task, spec, inputs)) = self.waiting.pop_front() else {
            // Nothing was launched, so nothing can complete.
            return std::future::pending().await;
        };
        let context = StageContext { source: &*self.files, sink: &*self.files, charge: crate::cost::free };
        let result = run_stage(&spec, &inputs, context);
        Completion { op, task, result: result.map(|blocks| blocks.into_iter().map(output).collect()) }
    }

    async fn get(&mut self, handles: Vec<Block>) -> Result<Vec<Block>> {
        Ok(handles)
    }
}
