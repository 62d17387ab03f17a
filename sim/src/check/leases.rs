//! I33: at rest everything a node has is free: no lease, no bundle, no task.
//!
//! Source: Ray's leaked leases and placement-group bundles, after which a cluster looks busy and does nothing.

use super::{Leak, nonzero};
use crate::cluster::Cluster;
use mobula_runtime::{Ledger, Question};

/// Tasks that are not over, actors, placement groups.
pub(super) fn left(ledger: &Ledger) -> Vec<String> {
    nonzero([
        (ledger.pending, "tasks not over"),
        (ledger.actors, "actors alive or called"),
        (ledger.groups, "groups or bundles"),
    ])
}

/// Nodes that say they have less to give than they own, as the driver sees it.
pub(super) async fn busy(cluster: &Cluster) -> Vec<Leak> {
    let Ok(view) = cluster.context().ask(Question::Cluster).await else { return Vec::new() };
    let busy = view.nodes.into_iter().filter(|node| node.load.available != node.member.total);
    let leak = |node: std::sync::Arc<mobula_protocol::member::NodeView>| Leak {
        invariant: "I33",
        what: format!("{} free of {}", node.load.available, node.member.total),
        node: node.member.name.clone(),
    };
    busy.map(leak).collect()
}
