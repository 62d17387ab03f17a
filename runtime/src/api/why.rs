//! What tasks wait for, in words.

use super::context::Context;
use super::memory::{PATIENCE, unanswered};
use super::reference::ObjectRef;
use crate::node::Question;
use crate::{Error, wire};
use mobula_env::{Env, RpcError, RpcStatus};
use mobula_protocol::{NodeId, TaskId};

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
    /// `OwnerDied` if the task's owner is not alive: then nobody waits for it. `GetTimeout` if a node did not answer;
    /// `Disconnected` when the runtime is shut down.
    pub async fn why_task(&self, task: TaskId) -> Result<Vec<(String, String)>, Error> {
        let view = self.ask(Question::Cluster).await?;
        let members: Vec<_> = view.nodes.into_iter().map(|node| node.member).collect();
        if members.iter().all(|member| member.incarnation != task.owner) {
            let message = format!("{}, which submitted {task}, is not alive", task.owner);
            return Err(Error::new(mobula_protocol::TaskErrorKind::OwnerDied, message));
        }
        let mut known = Vec::new();
        // The head has no tasks.
        for member in members.into_iter().filter(|member| member.incarnation.node != NodeId::HEAD) {
            let lines = match member.incarnation == self.incarnation() {
                true => self.ask(|reply| Question::Why(task, reply)).await?,
                false => {
                    let answer = remote(self.env(), &member.rpc, task).await;
                    answer.map_err(|why| unanswered(&member.name, "what the task waits for", &why))?
                }
            };
            known.extend(lines.into_iter().map(|line| (member.name.clone(), line)));
        }
        Ok(known)
    }
}

async fn remote(env: &Env, address: &str, task: TaskId) -> Result<Vec<String>, RpcError> {
    let status = |status: RpcStatus| RpcError::Status(status.code, status.message);
    let client = env.rpc_connect(address).await?;
    let reply = client.call(wire::WHY, wire::write(&task).map_err(status)?, PATIENCE).await?;
    wire::read(&reply).map_err(status)
}
