//! Placement groups: resources set aside together, for tasks and actors that name the group.

use super::actor::ActorType;
use super::actor_init::ActorInit;
use super::call::TaskCall;
use super::context::{Context, gone};
use crate::Error;
use crate::node::{GroupInput, Input, Question};
use mobula_protocol::sched::Strategy;
use mobula_protocol::{GroupId, Nanos, Placement, Resources, TaskErrorKind};
use tokio::sync::oneshot;

/// Resources set aside on one or several nodes, all or nothing, for tasks and actors that name the group.
///
/// They are given back when this is dropped, or when the process that made it dies: then tasks that run or wait in the
/// group fail with `GroupRemoved`, and so does rebuilding what they made; its actors die, with reason `GROUP_REMOVED`.
/// Bundles on a node that dies are set aside
/// anew, while the others stay usable. [`mobula_protocol::sched::group`] says what holds when.
pub struct PlacementGroup {
    context: Context,
    id: GroupId,
    bundles: u32,
}

impl Context {
    /// Asks for a placement group of these bundles. Returns at once; tasks and actors that name the group wait
    /// until it is placed.
    ///
    /// # Errors
    /// `Unschedulable` without bundles or with an empty one; and when the runtime is shut down.
    pub fn placement_group(&self, bundles: &[Resources], strategy: Strategy) -> Result<PlacementGroup, Error> {
        if bundles.is_empty() || bundles.iter().any(Resources::is_empty) {
            let message = "a placement group needs at least one bundle, and each bundle some resources";
            return Err(Error::new(TaskErrorKind::Unschedulable, message));
        }
        let id = GroupId { owner: self.incarnation(), seq: self.next_bundle() };
        self.send(Input::Group(id, GroupInput::Create(bundles.to_vec(), strategy)))?;
        Ok(PlacementGroup { context: self.clone(), id, bundles: bundles.len() as u32 })
    }
}

impl PlacementGroup {
    /// The names of the nodes of the bundles, in order, as soon as all are set aside.
    ///
    /// # Errors
    /// `GetTimeout` after `limit`, saying what the group waits for.
    pub async fn ready(&self, limit: Nanos) -> Result<Vec<String>, Error> {
        let (reply, placed) = oneshot::channel();
        self.context.send(Input::Group(self.id, GroupInput::Ready(reply)))?;
        match self.context.env().timeout(limit, placed).await {
            Ok(nodes) => nodes.map_err(|_| gone()),
            Err(_) => match self.context.ask(|reply| Question::Group(self.id, reply)).await?.ok_or_else(gone)? {
                // Just now.
                Ok(nodes) => Ok(nodes),
                Err(why) => {
                    let message = format!("placement group {} was not placed within {limit}: it {why}", self.id);
                    Err(Error::new(TaskErrorKind::GetTimeout, message))
                }
            },
        }
    }
}

impl PlacementGroup {
    /// The place in one of its bundles.
    fn bundle(&self, index: u32) -> Result<Placement, Error> {
        if index >= self.bundles {
            let message = format!("placement group {} has {} bundles, none is number {index}", self.id, self.bundles);
            return Err(Error::new(TaskErrorKind::Unschedulable, message));
        }
        Ok(Placement::Group { group: self.id, index: Some(index) })
    }
}

impl Drop for PlacementGroup {
    fn drop(&mut self) {
        self.context.tell(Input::Group(self.id, GroupInput::Remove));
    }
}

impl<R> TaskCall<R> {
    /// In any bundle of the group: what the task needs is taken from there. Tasks that it submits itself are not in the
    /// group.
    pub fn in_group(self, group: &PlacementGroup) -> Self {
        self.placed(Placement::Group { group: group.id, index: None })
    }

    /// In one bundle of the group, counted from 0. A number that the group does not have becomes an error at
    /// submission.
    pub fn in_bundle(self, group: &PlacementGroup, index: u32) -> Self {
        match group.bundle(index) {
            Ok(place) => self.placed(place),
            Err(error) => self.refused(error),
        }
    }
}

impl<T: ActorType> ActorInit<T> {
    /// In any bundle of the group: what the actor holds for life is taken from there, its calls included. The tasks that
    /// its methods submit are not in the group. It waits until the group is placed; when the node of its bundle dies, a
    /// restart waits until the bundle is set aside anew. When the group is dropped or its maker dies the actor dies with
    /// it, also a detached one: `ActorDied` with reason `GROUP_REMOVED`, which names the group.
    pub fn in_group(self, group: &PlacementGroup) -> Self {
        self.placed(Placement::Group { group: group.id, index: None })
    }

    /// In one bundle of the group, counted from 0. A number that the group does not have becomes an error at creation.
    pub fn in_bundle(self, group: &PlacementGroup, index: u32) -> Self {
        match group.bundle(index) {
            Ok(place) => self.placed(place),
            Err(error) => self.refused(error),
        }
    }
}
