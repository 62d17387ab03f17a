//! What no policy may overrule: placement, draining, exclusion, and what a node has in all.

use super::{Decision, Request};
use crate::member::{Member, NodeView};
use crate::{Amount, Placement, Resources, SchedulingClass};
use std::sync::Arc;

/// The nodes that may run the request, in id order, never empty; or the decision that says why there are none.
pub(super) fn feasible<'a>(request: &Request<'a>) -> Result<Vec<&'a NodeView>, Decision> {
    let nodes = || request.view.nodes.iter().map(Arc::as_ref);
    if let Placement::Node { name, soft } = &request.class.placement {
        let named = nodes().find(|node| node.member.name == *name);
        match (named, soft) {
            (Some(node), false) => return only(request, node).map(|()| vec![node]),
            (None, false) => return Err(Decision::NoSuchNode(name.clone())),
            (Some(node), true) if only(request, node).is_ok() => return Ok(vec![node]),
            (_, true) => {}
        }
    }
    let allowed: Vec<_> = nodes().filter(|node| takes_work(request, node)).collect();
    if allowed.is_empty() {
        return Err(Decision::Infeasible("no node takes new work".into()));
    }
    let placed: Vec<_> = allowed.into_iter().filter(|node| accepts(&node.member, request.class)).collect();
    if placed.is_empty() {
        return Err(Decision::Infeasible(unplaced(request.class)));
    }
    let fitting: Vec<_> =
        placed.iter().copied().filter(|node| node.member.total.fits(&request.class.resources)).collect();
    if fitting.is_empty() {
        return Err(Decision::Infeasible(too_small(&request.class.resources, &placed)));
    }
    // A node that has nothing to give is a driver's, and goes with its program: a last resort for what needs nothing.
    let lasting: Vec<_> = fitting.iter().copied().filter(|node| !node.member.total.is_empty()).collect();
    Ok(if lasting.is_empty() { fitting } else { lasting })
}

/// Whether `member` satisfies the placement of `class` as far as it is hard. Says nothing about resources.
pub(in crate::sched) fn accepts(member: &Member, class: &SchedulingClass) -> bool {
    match &class.placement {
        Placement::Any | Placement::Spread | Placement::Node { soft: true, .. } => true,
        // Whoever has the bundle decides.
        Placement::Group { .. } => true,
        Placement::Node { name, soft: false } => member.name == *name,
        // A call goes where its actor is, without a lease of its own.
        Placement::Actor(_) => false,
        Placement::Labels(wanted) => wanted.iter().all(|(key, value)| member.labels.get(key) == Some(value)),
    }
}

/// Why `member` can never run `class`; `None` if it can.
pub(in crate::sched) fn lacking(member: &Member, class: &SchedulingClass) -> Option<String> {
    if !accepts(member, class) {
        return Some(format!("{}; this is node {}", unplaced(class), member.name));
    }
    let (name, want, has) = member.total.lacking(&class.resources)?;
    Some(format!("needs {want} {name}; node {} has {has}", member.name))
}

fn takes_work(request: &Request<'_>, node: &NodeView) -> bool {
    !node.load.draining && !request.exclude.contains(&node.member.incarnation.node)
}

/// Whether the one node a request is bound to can run it, or why not.
fn only(request: &Request<'_>, node: &NodeView) -> Result<(), Decision> {
    if let Some(why) = lacking(&node.member, request.class) {
        return Err(Decision::Infeasible(why));
    }
    if node.load.draining {
        return Err(Decision::Leaving(node.member.name.clone()));
    }
    if !takes_work(request, node) {
        return Err(Decision::Infeasible(format!("node {} just refused", node.member.name)));
    }
    Ok(())
}

fn unplaced(class: &SchedulingClass) -> String {
    match &class.placement {
        Placement::Labels(wanted) => {
            let wanted: Vec<_> = wanted.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            format!("needs a node labelled {}", wanted.join(", "))
        }
        Placement::Node { name, .. } => format!("needs node {name}"),
        Placement::Actor(actor) => format!("needs actor {actor}"),
        Placement::Group { group, .. } => format!("needs a bundle of placement group {group}"),
        Placement::Any | Placement::Spread => "needs any node".into(),
    }
}

/// Names the resource no node has enough of and the node that has most of it; or the node that lacks least, if each
/// resource is to be had somewhere but never together.
fn too_small(wanted: &Resources, nodes: &[&NodeView]) -> String {
    for (name, want) in wanted.iter() {
        // The first of equals, so that the text does not change with the number of small nodes.
        let largest = nodes.iter().rev().max_by_key(|node| node.member.total.get(name));
        let Some(largest) = largest.filter(|node| node.member.total.get(name) < want) else { continue };
        let has = largest.member.total.get(name);
        return match has {
            Amount(0) => format!("needs {want} {name}; no node has any {name}"),
            has => format!("needs {want} {name}; the largest node, {}, has {has}", largest.member.name),
        };
    }
    let misses = |node: &&&NodeView| wanted.iter().filter(|(name, want)| node.member.total.get(name) < *want).count();
    let nearest = nodes.iter().min_by_key(misses);
    match nearest.and_then(|node| Some((node, node.member.total.lacking(wanted)?))) {
        Some((node, (name, want, has))) => {
            format!("needs {wanted} on one node; the nearest, {}, has {has} of {want} {name}", node.member.name)
        }
        None => format!("needs {wanted}"),
    }
}
