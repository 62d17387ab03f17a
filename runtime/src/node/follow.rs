//! Which objects this process wants to be kept informed about, and by whom within it.

use mobula_protocol::{Incarnation, Located, ObjectId};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// One subscription per object with its owner, shared by everybody in the process.
#[derive(Default)]
pub(super) struct Follows {
    followed: BTreeMap<ObjectId, Follow>,
    watches: BTreeMap<u64, Watch>,
}

#[derive(Default)]
struct Follow {
    /// The pull machine wants it here.
    pull: bool,
    /// The owner machine has a task that takes it as an argument.
    owner: bool,
    /// Waits that list it: their number, and the position in their list.
    watches: Vec<(u64, usize)>,
    last: Option<Located>,
}

struct Watch {
    /// By position.
    objects: Vec<ObjectId>,
    reply: mpsc::UnboundedSender<usize>,
}

/// Which machine follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follower {
    Pull,
    Owner,
}

/// What following something more leads to.
pub(super) enum Followed {
    /// Nobody did before: ask the owner.
    Ask,
    /// This is known already.
    Known(Located),
    /// The owner was asked, but has not answered.
    Asked,
}

impl Follows {
    pub fn follow(&mut self, object: ObjectId, who: Follower) -> Followed {
        let new = !self.followed.contains_key(&object);
        let follow = self.followed.entry(object).or_default();
        match who {
            Follower::Pull => follow.pull = true,
            Follower::Owner => follow.owner = true,
        }
        match (&follow.last, new) {
            (_, true) => Followed::Ask,
            (Some(located), _) => Followed::Known(located.clone()),
            (None, _) => Followed::Asked,
        }
    }

    /// Returns whether nobody follows it any more, so that the owner is to be told.
    pub fn unfollow(&mut self, object: ObjectId, who: Follower) -> bool {
        let Some(follow) = self.followed.get_mut(&object) else { return false };
        match who {
            Follower::Pull => follow.pull = false,
            Follower::Owner => follow.owner = false,
        }
        self.drop_if_idle(object)
    }

    fn drop_if_idle(&mut self, object: ObjectId) -> bool {
        let idle = |follow: &Follow| !follow.pull && !follow.owner && follow.watches.is_empty();
        if self.followed.get(&object).is_some_and(idle) {
            self.followed.remove(&object);
            return true;
        }
        false
    }

    /// A wait begins, or is made larger: its positions from `first` on are these objects. Returns the objects whose
    /// owners must be asked.
    pub fn watch(
        &mut self,
        watch: u64,
        first: usize,
        objects: Vec<ObjectId>,
        reply: mpsc::UnboundedSender<usize>,
    ) -> Vec<ObjectId> {
        let mut ask = Vec::new();
        for (position, object) in (first..).zip(&objects) {
            let new = !self.followed.contains_key(object);
            let follow = self.followed.entry(*object).or_default();
            if follow.last.as_ref().is_some_and(is_ready) {
                // The receiver is gone only if the wait ended already.
                let _ = reply.send(position);
            }
            follow.watches.push((watch, position));
            if new {
                ask.push(*object);
            }
        }
        self.watches.entry(watch).or_insert_with(|| Watch { objects: Vec::new(), reply }).objects.extend(objects);
        ask
    }

    /// A wait ends. Returns the objects that nobody follows any more.
    pub fn unwatch(&mut self, watch: u64) -> Vec<ObjectId> {
        let Some(Watch { mut objects, .. }) = self.watches.remove(&watch) else { return Vec::new() };
        objects.sort_unstable();
        objects.dedup();
        for object in &objects {
            if let Some(follow) = self.followed.get_mut(object) {
                follow.watches.retain(|(number, _)| *number != watch);
            }
        }
        objects.retain(|object| self.drop_if_idle(*object));
        objects
    }

    /// News from an owner. Wakes the waits, and returns which machines are to be told.
    pub fn located(&mut self, object: ObjectId, located: &Located) -> (bool, bool) {
        let Some(follow) = self.followed.get_mut(&object) else { return (false, false) };
        if is_ready(located) {
            for (watch, position) in &follow.watches {
                if let Some(watch) = self.watches.get(watch) {
                    let _ = watch.reply.send(*position);
                }
            }
        }
        follow.last = Some(located.clone());
        (follow.pull, follow.owner)
    }

    /// The followed objects of an owner, in id order.
    pub fn owned_by(&self, owner: Incarnation) -> Vec<ObjectId> {
        self.followed.keys().filter(|object| object.owner() == owner).copied().collect()
    }
}

fn is_ready(located: &Located) -> bool {
    !matches!(located, Located::Pending)
}
