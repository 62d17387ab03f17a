//! I34: a lease is granted at most once in the whole cluster.
//!
//! Source: Ray's workers leaked by a retried lease request that was granted twice (#56413).

use super::{Invariant, Known};
use crate::trace::Event;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Grants {
    by: BTreeMap<String, String>,
}

impl Invariant for Grants {
    fn name(&self) -> &'static str {
        "I34"
    }

    fn see(&mut self, event: &Event, _: &Known) -> Result<(), String> {
        if let ("grant", [lease]) = (event.kind.as_str(), &event.words()[..])
            && let Some(before) = self.by.insert((*lease).to_owned(), event.node.clone())
        {
            return Err(format!("{lease} is granted by {}, and was by {before}", event.node));
        }
        Ok(())
    }
}
