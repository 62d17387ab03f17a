//! The cluster as one node knows it at one moment.

use super::{Member, NodeLoad};
use crate::Incarnation;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A living node and its newest known load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// As it registered.
    pub member: Member,
    /// What it could take on when it last said so.
    pub load: NodeLoad,
}

/// Every living node, as of one entry of the membership log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The living, in node id order. Shared with the view they are from, which copies what it changes: a cluster of a
    /// thousand is a thousand counters, not as many names, addresses and maps, whenever one of them says what it can do.
    pub nodes: Vec<Arc<NodeView>>,
    /// Entries of the membership log it includes.
    pub seq: u64,
    /// Counts up with each change of membership or load.
    pub version: u64,
}

impl ClusterView {
    /// This life, if it lives.
    pub fn member(&self, who: Incarnation) -> Option<&Member> {
        let found = self.nodes.binary_search_by_key(&who.node, |node| node.member.incarnation.node);
        let member = &self.nodes[found.ok()?].member;
        (member.incarnation == who).then_some(member)
    }

    /// The lives that are here and not in `old`, in id order.
    pub fn newcomers<'a>(&'a self, old: &'a ClusterView) -> impl Iterator<Item = &'a NodeView> {
        let mut before = old.nodes.iter().map(|node| node.member.incarnation).peekable();
        self.nodes.iter().map(|node| &**node).filter(move |node| {
            let this = node.member.incarnation;
            while before.next_if(|old| old.node < this.node).is_some() {}
            before.next_if_eq(&this).is_none()
        })
    }
}
