//! What is in the stores: bytes by state and by owner ([by job](super::usage)), and each object with why it is where it is.
//!
//! Ray's own account, `ray memory`, reports references and not bytes; this one reads the ledger of each store.

use super::Context;
use crate::Error;
use crate::node::{Input, Question};
use crate::wire;
use mobula_env::Env;
use mobula_protocol::member::Member;
use mobula_protocol::owner::Holding;
use mobula_protocol::{ByteSize, Incarnation, Nanos, NodeId, ObjectId, TaskErrorKind};
use mobula_store::{Departed, ObjectInfo, OwnerUsage, Table, Usage};
use serde::{Deserialize, Serialize};

/// How long another node may take to answer.
pub(super) const PATIENCE: Nanos = Nanos::secs(5);

/// The memory of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// The node's name.
    pub node: String,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Where the bytes of its store are.
    pub usage: Usage,
    /// What the process on this node owns in any store, in id order.
    pub owned: Vec<Holding>,
    /// The bytes of each owner, in id order.
    pub owners: Vec<OwnerMemory>,
    /// Each object, in id order.
    pub objects: Vec<ObjectMemory>,
    /// The copies that left memory last, oldest first.
    pub departed: Vec<DepartedCopy>,
}

/// What one owner has in a store. An owner is a process: a driver, or a node whose tasks put values or submitted tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerMemory {
    /// The process.
    pub owner: Incarnation,
    /// In memory.
    pub memory: ByteSize,
    /// On disk only.
    pub spilled: ByteSize,
    /// How many objects.
    pub objects: usize,
}

/// One object in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMemory {
    /// Which.
    pub object: ObjectId,
    /// Its length.
    pub size: ByteSize,
    /// `creating`, `sealed`, `spilling`, `spilled` or `restoring`, in words.
    pub state: String,
    /// Whether its owner counts on this copy.
    pub primary: bool,
    /// How many tasks and gets pin it.
    pub pins: u32,
    /// How many views of it are alive.
    pub views: usize,
    /// Whether it is on disk, in memory or not.
    pub on_disk: bool,
    /// How long ago its creation began.
    pub age: Nanos,
    /// How long ago it was last sealed or read.
    pub idle: Nanos,
}

/// A copy that left memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartedCopy {
    /// Of which object.
    pub object: ObjectId,
    /// Its length.
    pub size: ByteSize,
    /// How long ago.
    pub age: Nanos,
    /// Why, in words.
    pub why: String,
}

impl MemoryReport {
    /// Reads a node's table.
    pub(crate) fn of(
        now: Nanos,
        node: String,
        incarnation: Incarnation,
        holdings: Vec<Holding>,
        table: &Table,
    ) -> Self {
        let age = |at: Nanos| now.saturating_sub(at);
        let owner = |(owner, usage): (Incarnation, OwnerUsage)| OwnerMemory {
            owner,
            memory: usage.memory,
            spilled: usage.spilled,
            objects: usage.objects,
        };
        let object = |info: ObjectInfo| ObjectMemory {
            object: info.id,
            size: info.size,
            state: info.state.to_string(),
            primary: info.copy != mobula_store::CopyKind::Cached,
            pins: info.pins,
            views: info.views,
            on_disk: info.file.is_some(),
            age: age(info.created),
            idle: age(info.last_used),
        };
        let departed = |gone: &Departed| DepartedCopy {
            object: gone.id,
            size: gone.size,
            age: age(gone.at),
            why: gone.why.to_string(),
        };
        Self {
            node,
            incarnation,
            usage: table.usage(),
            owned: holdings,
            owners: table.by_owner().into_iter().map(owner).collect(),
            objects: table.objects().map(object).collect(),
            departed: table.departures().map(departed).collect(),
        }
    }
}

impl Context {
    /// Says that the task that holds this context uses so many bytes more from now on, until it is over. The memory monitor
    /// names those as the heaviest that claimed most. In simulation, where all nodes are one process, a node's memory in use
    /// is what was claimed there. Changes nothing for a driver.
    pub fn claim(&self, bytes: ByteSize) {
        if let Some((task, attempt)) = self.current() {
            // The inbox is closed only when the node has stopped.
            let _ = self.shared().inbox.send(Input::Claimed { task, attempt, bytes });
        }
    }

    /// The memory of this process's own node.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn memory(&self) -> Result<MemoryReport, Error> {
        self.ask(Question::Memory).await
    }

    /// The memory of the node `at`; none if this process's node takes it for dead.
    ///
    /// # Errors
    /// It does not answer, or the runtime is shut down.
    pub async fn memory_of(&self, at: Incarnation) -> Result<Option<MemoryReport>, Error> {
        let view = self.ask(Question::Cluster).await?;
        let Some(node) = view.nodes.iter().find(|node| node.member.incarnation == at) else { return Ok(None) };
        self.ask_memory(&node.member).await.map(Some)
    }

    async fn ask_memory(&self, member: &Member) -> Result<MemoryReport, Error> {
        match member.incarnation == self.incarnation() {
            true => self.memory().await,
            false => remote(self.env(), &member.rpc).await.map_err(|why| unanswered(&member.name, "its memory", &why)),
        }
    }

    /// The memory of every living node, in name order; for a node that does not answer, why.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn cluster_memory(&self) -> Result<Vec<(String, Result<MemoryReport, Error>)>, Error> {
        let view = self.ask(Question::Cluster).await?;
        let mut reports = Vec::new();
        // The head has no store.
        let members = view.nodes.iter().map(|node| &node.member);
        for member in members.filter(|member| member.incarnation.node != NodeId::HEAD) {
            reports.push((member.name.clone(), self.ask_memory(member).await));
        }
        reports.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(reports)
    }
}

async fn remote(env: &Env, address: &str) -> Result<MemoryReport, mobula_env::RpcError> {
    let client = env.rpc_connect(address).await?;
    let reply = client.call(wire::MEMORY, bytes::Bytes::new(), PATIENCE).await?;
    wire::read(&reply).map_err(|status| mobula_env::RpcError::Status(status.code, status.message))
}

/// A node did not say `what`.
pub(super) fn unanswered(node: &str, what: &str, why: &mobula_env::RpcError) -> Error {
    Error::new(TaskErrorKind::GetTimeout, format!("node `{node}` did not report {what}: {why}"))
}
