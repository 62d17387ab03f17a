//! Placement groups of this process: its machine, and whoever waits until a group is placed.

use super::core::Core;
use mobula_protocol::sched::{Strategy, dispatch, group};
use mobula_protocol::{GroupId, Incarnation, Machine, Message, Resources, owner};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// What the application wants of a group.
#[derive(Debug)]
pub enum GroupInput {
    /// Make it.
    Create(Vec<Resources>, Strategy),
    /// Say the names of the nodes of its bundles, in order, as soon as all are usable.
    Ready(oneshot::Sender<Vec<String>>),
    /// Give it back.
    Remove,
}

/// Those who wait until a group is placed.
pub(super) type Waiters = BTreeMap<GroupId, Vec<oneshot::Sender<Vec<String>>>>;

impl Core {
    pub(super) fn group_input(&mut self, group: GroupId, input: GroupInput) {
        match input {
            GroupInput::Create(bundles, strategy) => {
                self.log("group", format_args!("{group} of {} bundles, {}", bundles.len(), strategy.name()));
                self.tell_groups(group::Event::Create { group, bundles, strategy });
            }
            GroupInput::Ready(reply) => {
                self.waiters.entry(group).or_default().push(reply);
                self.tell_waiters(group);
            }
            GroupInput::Remove => {
                self.log("ungroup", format_args!("{group}"));
                self.waiters.remove(&group);
                self.tell_groups(group::Event::Remove(group));
            }
        }
    }

    /// The head hears where the bundles of this group are before it hears whatever is sent to it next.
    pub(super) fn publish_group(&mut self, group: GroupId) {
        self.tell_groups(group::Event::Publish(group));
        let effects = std::mem::take(&mut self.wires.groups);
        effects.into_iter().for_each(|effect| self.groups_effect(effect));
    }

    pub(super) fn tell_groups(&mut self, event: group::Event) {
        if self.logging {
            self.coverage.note("groups", self.groups.len(), &event);
        }
        self.groups.step(self.now, event, &mut self.wires.groups);
    }

    pub(super) fn groups_effect(&mut self, effect: group::Effect) {
        use group::Effect;
        match effect {
            Effect::Reserve { to, bundle, resources } => self.send(to, Message::BundleReserve { bundle, resources }),
            Effect::Return { to, bundle } => self.send(to, Message::BundleReturn(bundle)),
            Effect::Usable { group, bundles } => {
                if bundles.is_none() {
                    // Tasks first: none of them is to be placed any more when their leases go.
                    self.tell_owner(owner::Event::GroupRemoved(group));
                }
                self.tell_dispatch(dispatch::Event::Group { group, bundles });
                self.tell_waiters(group);
            }
            Effect::Publish { group, bundles } => {
                self.send(Incarnation::HEAD, Message::GroupPlaced { group, bundles });
            }
        }
    }

    /// The names of the nodes of a group's bundles, or what it waits for; none if it was removed.
    pub(super) fn group_state(&self, group: GroupId) -> Option<Result<Vec<String>, String>> {
        let names = |nodes: Vec<Incarnation>| nodes.into_iter().map(|at| self.name_of(at)).collect();
        self.groups.state(group).map(|state| state.map(names))
    }

    fn tell_waiters(&mut self, group: GroupId) {
        if let Some(Ok(nodes)) = self.group_state(group) {
            for reply in self.waiters.remove(&group).unwrap_or_default() {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(nodes.clone());
            }
        }
    }
}
