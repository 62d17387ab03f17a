//! What each node's present life has come to.

use mobula_runtime::Context;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The present lives of the nodes, by name. A node without an entry has not said anything yet.
///
/// The contexts in it belong to simulated nodes; they hold the simulation, whose boot functions hold this: whoever ends
/// a run calls [`Lives::clear`].
#[derive(Clone, Default)]
pub(crate) struct Lives(Arc<Mutex<BTreeMap<String, Life>>>);

/// A life.
pub(crate) enum Life {
    /// It is a member, under this incarnation.
    Joined { incarnation: String, context: Option<Context> },
    /// It did not become one.
    Failed(String),
    /// It was one; it stopped by itself, with this reason.
    Stopped(String),
}

impl Lives {
    pub(crate) fn set(&self, node: &str, life: Life) {
        self.lock().insert(node.to_owned(), life);
    }

    /// The node's life ends, or its next one begins.
    pub(crate) fn forget(&self, node: &str) {
        self.lock().remove(node);
    }

    pub(crate) fn clear(&self) {
        // Dropped outside the lock: dropping a context may run code of the simulation.
        let lives = std::mem::take(&mut *self.lock());
        drop(lives);
    }

    /// Whether it will not join any more.
    pub(crate) fn has_failed(&self, node: &str) -> bool {
        matches!(self.lock().get(node), Some(Life::Failed(_)))
    }

    /// Whether it ended by itself.
    pub(crate) fn is_over(&self, node: &str) -> bool {
        matches!(self.lock().get(node), Some(Life::Failed(_) | Life::Stopped(_)))
    }

    /// The incarnation it joined as, or what keeps it from having one.
    pub(crate) fn joined_as(&self, node: &str) -> Result<String, String> {
        match self.lock().get(node) {
            None => Err("still joining, or dead".to_owned()),
            Some(Life::Joined { incarnation, .. }) => Ok(incarnation.clone()),
            Some(Life::Failed(why)) => Err(why.clone()),
            Some(Life::Stopped(why)) => Err(format!("stopped: {why}")),
        }
    }

    /// The contexts of the members in this process, in name order.
    pub(crate) fn contexts(&self) -> Vec<(String, Context)> {
        let context = |(name, life): (&String, &Life)| match life {
            Life::Joined { context: Some(context), .. } => Some((name.clone(), context.clone())),
            _ => None,
        };
        self.lock().iter().filter_map(context).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
