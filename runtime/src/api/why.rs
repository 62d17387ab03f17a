//! What tasks wait for, in words.

use super::context::Context;
use super::memory::{PATIENCE, unanswered};
use super::reference::ObjectRef;
use crate::node::Question;
use crate::{Error, wire};
use mobula_env::{Env, RpcError, RpcStatus};
use mobula_protocol::member::Member;
use mobula_protocol::{NodeId, TaskErrorKind, TaskId};

/// A node's name, and one thing it knows.
type Fact = (String, String);

impl Context {
    /// What the task that makes this object waits for, as far as this process's node knows; none if it is over, or if
    /// it was submitted and is executed elsewhere.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn why<T>(&self, reference: &ObjectRef<T>) -> Result<Option<String>, Error> {
        let lines = self.ask(|reply| Question::Why(reference.id().task, reply)).await?;
        Ok((!lines.is_empty()).then(|| lines.join("; ")))
    }

    /// What a task of any process waits for: the name of each living node that knows something of it, and what. The
    /// node of its owner knows whether it waits for arguments, for room or for ever; the node that it was sent to, for
    /// which arguments. Nothing if the task is over or was never submitted.
    ///
    /// # Errors
    /// `OwnerDied` if the task's owner is not alive: then nobody waits for it. `GetTimeout` if its owner did not answer
    /// (of another node that is one of the facts); `Disconnected` when the runtime is shut down.
    pub async fn why_task(&self, task: TaskId) -> Result<Vec<Fact>, Error> {
        let members = self.members().await?;
        if members.iter().all(|member| member.incarnation != task.owner) {
            let message = format!("{}, which submitted {task}, is not alive", task.owner);
            return Err(Error::new(TaskErrorKind::OwnerDied, message));
        }
        let mut known = Vec::new();
        // Drivers execute nothing.
        for member in members.into_iter().filter(|at| at.incarnation == task.owner || !at.total.is_empty()) {
            match self.facts(&member, Some(task)).await {
                Ok(lines) => known.extend(lines.into_iter().map(|line| (member.name.clone(), line))),
                Err(why) if member.incarnation == task.owner => return Err(why),
                Err(why) => known.push((member.name, why.message)),
            }
        }
        Ok(known)
    }

    /// Everything that waits anywhere in the cluster: the name of each living node, and for each task, get, lease and
    /// placement group of it for what; tasks that run are there too. A node that does not answer is one of the facts.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn cluster_waits(&self) -> Result<Vec<Fact>, Error> {
        let mut known = Vec::new();
        for member in self.members().await? {
            let lines = self.facts(&member, None).await.unwrap_or_else(|why| vec![why.message]);
            known.extend(lines.into_iter().map(|line| (member.name.clone(), line)));
        }
        Ok(known)
    }

    /// The living nodes. The head has no tasks.
    async fn members(&self) -> Result<Vec<Member>, Error> {
        let view = self.ask(Question::Cluster).await?;
        let members = view.nodes.iter().map(|node| &node.member);
        Ok(members.filter(|member| member.incarnation.node != NodeId::HEAD).cloned().collect())
    }

    /// What one node knows of a task, or of everything that waits there.
    async fn facts(&self, member: &Member, task: Option<TaskId>) -> Result<Vec<String>, Error> {
        if member.incarnation != self.incarnation() {
            let answer = remote(self.env(), &member.rpc, task).await;
            return answer.map_err(|why| unanswered(&member.name, "what waits there", &why));
        }
        match task {
            Some(task) => self.ask(|reply| Question::Why(task, reply)).await,
            None => self.ask(Question::Waits).await,
        }
    }
}

async fn remote(env: &Env, address: &str, task: Option<TaskId>) -> Result<Vec<String>, RpcError> {
    let status = |status: RpcStatus| RpcError::Status(status.code, status.message);
    let client = env.rpc_connect(address).await?;
    let reply = client.call(wire::WHY, wire::write(&task).map_err(status)?, PATIENCE).await?;
    wire::read(&reply).map_err(status)
}
