//! Values that outlive a node: what an owner wants done, and what the node does that is asked for a copy, or to write
//! one.

use super::core::{Core, Wish};
use super::words::Output;
use mobula_protocol::member::{ClusterView, NodeView};
use mobula_protocol::pull::{self, BundleId, Priority};
use mobula_protocol::{ByteSize, Message, ObjectId, TaskError, owner};
use std::sync::Arc;

impl Core {
    /// Tells the owner which nodes take copies: those with something to offer, not a driver, which comes and goes, that
    /// do not drain.
    pub(super) fn takers_changed(&mut self, view: &ClusterView) {
        let takes = |node: &&Arc<NodeView>| !node.load.draining && !node.member.total.is_empty();
        let takers = view.nodes.iter().filter(takes).map(|node| node.member.incarnation);
        if !takers.clone().eq(self.owner.nodes().iter().copied()) {
            self.tell_owner(owner::Event::Nodes(takers.collect()));
        }
    }

    /// An owner wants a copy here. It hears of it when the copy is sealed, as of any other.
    pub(super) fn replicate(&mut self, object: ObjectId) {
        self.log("replicate", format_args!("{object}"));
        let bundle = self.internal_bundle();
        self.wishes.insert(bundle, Wish::Replica);
        self.tell_pull(pull::Event::Want { bundle, objects: vec![object], priority: Priority::Replica });
    }

    /// The copy is here, or the value turned out to live with its owner.
    pub(super) fn replica_ready(&mut self, bundle: BundleId) {
        self.wishes.remove(&bundle);
        self.tell_pull(pull::Event::Drop { bundle });
    }

    /// There will be no copy here: it is too large, or the object is gone, which its owner knows.
    pub(super) fn replica_failed(&mut self, object: ObjectId, error: &TaskError) {
        self.log("replica-failed", format_args!("{object} {:?}", error.kind));
        self.send(object.owner(), Message::ReplicaRefused(object));
    }

    /// The value of a copy here was written outside the cluster, or cannot be.
    pub(super) fn saved(&mut self, object: ObjectId, size: Option<ByteSize>) {
        self.log("saved", format_args!("{object} {size:?}"));
        if self.pull.is_dead(object.owner()) {
            // Nobody else would ever remove it.
            return self.out.push(Output::Erase(object));
        }
        let message = size.map_or(Message::NotSaved(object), |size| Message::Saved { object, size });
        self.send(object.owner(), message);
    }

    /// A value was read back, or cannot be.
    pub(super) fn loaded(&mut self, object: ObjectId, size: Option<ByteSize>) {
        self.log("loaded", format_args!("{object} {size:?}"));
        match size {
            // Nobody else would ever free it.
            Some(_) if self.pull.is_dead(object.owner()) => self.drop_copy(object),
            Some(size) => self.send(object.owner(), Message::CopyAdded { object, size }),
            None => self.send(object.owner(), Message::NotLoaded(object)),
        }
    }
}
