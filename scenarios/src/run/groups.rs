//! `group` and `ready`.

use super::driver::{Done, Driver};
use super::report::Failure;
use super::steps::{failed, unexpected};
use crate::file::{GroupStep, Name, Ready};
use futures_util::future::join_all;
use mobula_runtime::PlacementGroup;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Driver {
    /// Asks for placement groups.
    pub fn make_group(&self, step: &GroupStep) -> Done {
        let mut groups = Vec::new();
        for _ in 0..step.count {
            let group = self.context().placement_group(&step.bundles, step.strategy).map_err(|error| failed(&error))?;
            groups.push(Arc::new(group));
        }
        self.state().groups.insert(step.name.text.clone(), groups);
        Ok(if step.count == 1 { "asked for".to_owned() } else { format!("{} asked for", step.count) })
    }

    fn groups(&self, name: &Name) -> Result<Vec<Arc<PlacementGroup>>, Failure> {
        let groups = self.state().groups.get(&name.text).cloned();
        groups.ok_or_else(|| unexpected(format!("placement group `{}` was not made yet", name.text)))
    }

    /// The placement group for the `number`-th of several submissions: those of this name in turn.
    pub fn group(&self, name: &Name, number: u64) -> Result<Arc<PlacementGroup>, Failure> {
        let mut groups = self.groups(name)?;
        let turn = number % groups.len().max(1) as u64;
        Ok(groups.swap_remove(turn as usize))
    }

    /// Waits until all placement groups of a name are placed, and looks where; or sees that they are not, and why.
    pub async fn ready(&self, ready: &Ready) -> Done {
        let groups = self.groups(&ready.group)?;
        let mut done = join_all(groups.iter().map(|group| self.is_ready(group, ready))).await;
        let one = done.pop().ok_or_else(|| unexpected("a name stands for one group at least".to_owned()))?;
        done.into_iter().try_for_each(|done| done.map(drop))?;
        match groups.len() {
            1 => one,
            count => one.map(|last| format!("{count} groups, the last {last}")),
        }
    }

    async fn is_ready(&self, group: &PlacementGroup, ready: &Ready) -> Done {
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
