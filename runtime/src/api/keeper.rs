//! The keeper of a job: an actor on a node of the cluster that submits the job's tasks and keeps their results, so that
//! neither dies with a driver. What it has submitted is owned by its node.

use super::context::Context;
use super::reference::ObjectRef;
use crate::Result;
use bytes::Bytes;
use mobula_macros::actor;
use mobula_protocol::TaskSpec;
use mobula_protocol::{Arg, Durability, FunctionId, Placement, Replay, Resources, Retries, SchedulingClass, Share};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A task that another process is to submit.
#[derive(Serialize, Deserialize)]
pub struct Submission {
    pub(super) label: String,
    pub(super) function: String,
    pub(super) args: Vec<Given>,
    pub(super) resources: Resources,
    pub(super) placement: Placement,
    pub(super) share: Option<Share>,
    pub(super) retries: Retries,
    pub(super) replay: Replay,
    pub(super) durability: Durability,
    pub(super) returns: u32,
}

/// An argument on its way.
#[derive(Serialize, Deserialize)]
pub(super) enum Given {
    /// An encoded value, and the references inside it.
    Value(Bytes, Vec<ObjectRef<()>>),
    Reference(ObjectRef<()>),
}

/// See the module's documentation.
#[derive(Default)]
pub struct Keeper {
    kept: BTreeMap<String, Vec<ObjectRef<()>>>,
}

#[actor]
impl Keeper {
    /// Keeps nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Submits a task under a name and keeps its results. A name means one task: submitting it again returns the results
    /// of the first, so that a driver that does not know whether its word arrived says it again.
    pub async fn submit(&mut self, context: Context, name: String, task: Submission) -> Result<Vec<ObjectRef<()>>> {
        if let Some(kept) = self.kept.get(&name) {
            return Ok(kept.clone());
        }
        // Not a child of this call: it is the job's.
        let context = context.detached_from_task();
        context.persistable(task.durability)?;
        let returns = task.returns;
        let id = context.submit(|id| TaskSpec {
            id,
            label: task.label.as_str().into(),
            class: Arc::new(SchedulingClass {
                function: FunctionId::from(task.function.as_str()),
                resources: task.resources,
                placement: task.placement,
                share: task.share.map(Arc::new),
            }),
            args: task.args.iter().map(Given::to_arg).collect(),
            returns,
            retries: task.retries,
            replay: task.replay,
            durability: task.durability,
            stream: None,
            job: context.job(),
        })?;
        let results: Vec<ObjectRef<()>> =
            (0..returns).map(|index| ObjectRef::adopt(id.result(index), context.clone())).collect();
        self.kept.insert(name, results.clone());
        Ok(results)
    }

    /// Everything it keeps, by name.
    pub fn kept(&self) -> BTreeMap<String, Vec<ObjectRef<()>>> {
        self.kept.clone()
    }

    /// Keeps this no longer; says whether it did.
    pub fn forget(&mut self, name: String) -> bool {
        self.kept.remove(&name).is_some()
    }
}

impl Given {
    fn to_arg(&self) -> Arg {
        match self {
            Self::Value(bytes, refs) => Arg::Value(bytes.clone(), refs.iter().map(ObjectRef::id).collect()),
            Self::Reference(object) => Arg::Ref(object.id()),
        }
    }
}
