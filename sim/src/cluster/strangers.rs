//! Processes without the cluster's key.

use super::Cluster;
use crate::fault::FaultError;
use crate::spec::{DRIVER, HEAD};
use mobula_protocol::member::Member;
use mobula_protocol::{ByteSize, ObjectId, TaskError};
use mobula_runtime::{ClusterKey, Outcome, Question, Trespass, trespass};

/// What a stranger is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Being a member, of the head.
    Join,
    /// Running a task on a node.
    Submit,
    /// An object that a node has.
    Read(ObjectId),
}

impl Cluster {
    /// Asks a node as somebody on the driver's machine who has no key, or, if `key` is one, that key. Joining asks the head,
    /// whatever `node` is.
    ///
    /// # Errors
    /// No such node, one that is not a member, or one that has no such object.
    pub async fn trespass(&self, node: &str, intent: Intent, key: Option<ClusterKey>) -> Result<Outcome, FaultError> {
        let what = match intent {
            Intent::Join => Trespass::Join(self.0.world.head()),
            Intent::Submit => Trespass::Submit(self.member(node).await?),
            Intent::Read(object) => {
                let member = self.member(node).await?;
                let size = self.size_on(&member, object).await?;
                Trespass::Read(member, object, size)
            }
        };
        Ok(trespass(&self.env().with_key(key), what).await)
    }

    /// How many connections and calls all lives of a node have refused for want of the key; `None` if this world keeps no
    /// log to count them by. In the real world those up to the last that each life has logged.
    ///
    /// # Errors
    /// No such node.
    pub fn refused(&self, node: &str) -> Result<Option<u64>, FaultError> {
        self.known(&[node])?;
        Ok(if node == DRIVER { Some(self.env().refused()) } else { self.0.world.refused(node) })
    }

    /// The size of an object in this node's store.
    async fn size_on(&self, member: &Member, object: ObjectId) -> Result<ByteSize, FaultError> {
        let failed = |why: String| FaultError::Runtime { verb: "look into", name: member.name.clone(), why };
        let report = self.context().memory_of(member.incarnation).await.map_err(|why| failed(why.to_string()))?;
        let found = report.and_then(|report| report.objects.into_iter().find(|held| held.object == object));
        found.map(|held| held.size).ok_or_else(|| failed(format!("{object} is not there")))
    }

    /// A living member, as the driver's node sees it.
    async fn member(&self, node: &str) -> Result<Member, FaultError> {
        self.known(&[node])?;
        let failed = |why: String| FaultError::Runtime { verb: "find", name: node.to_owned(), why };
        if node == HEAD {
            return Err(failed("the head has no tasks and no objects".to_owned()));
        }
        let view = self.context().ask(Question::Cluster).await;
        let view = view.map_err(|why: TaskError| failed(why.to_string()))?;
        let found = view.nodes.iter().find(|entry| entry.member.name == node);
        found.map(|entry| entry.member.clone()).ok_or_else(|| failed("it is no member".to_owned()))
    }
}
