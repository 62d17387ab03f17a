//! `group` and `ready`.

use super::driver::{Done, Driver};
use super::report::Failure;
use super::steps::{failed, unexpected};
use crate::file::{GroupStep, Name, Ready};
use mobula_runtime::PlacementGroup;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Driver {
    /// Asks for a placement group.
    pub fn make_group(&self, group: &GroupStep) -> Done {
        let made = self.context().placement_group(&group.bundles, group.strategy).map_err(|error| failed(&error))?;
        self.state().groups.insert(group.name.text.clone(), Arc::new(made));
        Ok("asked for".to_owned())
    }

    /// The placement group of this name.
    pub fn group(&self, name: &Name) -> Result<Arc<PlacementGroup>, Failure> {
        let group = self.state().groups.get(&name.text).cloned();
        group.ok_or_else(|| unexpected(format!("placement group `{}` was not made yet", name.text)))
    }

    /// Waits until a placement group is placed, and looks where; or sees that it is not, and why.
    pub async fn ready(&self, ready: &Ready) -> Done {
        let group = self.group(&ready.group)?;
        match (group.ready(ready.timeout).await, ready.placed) {
            (Ok(nodes), true) => {
                let distinct: BTreeSet<&String> = nodes.iter().collect();
                let (count, found) = (distinct.len() as u64, nodes.join(", "));
                match ready.nodes.as_ref().filter(|nodes| !nodes.holds(count)) {
                    None => Ok(format!("on {found}")),
                    Some(wanted) => Err(unexpected(format!("expected {wanted} different nodes, found {found}"))),
                }
            }
            (Ok(nodes), false) => Err(unexpected(format!("expected no place, found {}", nodes.join(", ")))),
            (Err(error), false) if ready.why.as_ref().is_none_or(|why| error.message.contains(why)) => {
                Ok(error.message)
            }
            (Err(error), _) => Err(failed(&error)),
        }
    }
}
