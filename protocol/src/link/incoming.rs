//! The receiving half of one peer: what was delivered, and the envelopes that overtook others.

use super::{Envelope, LinkSettings};
use crate::{Message, Violation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Restores the order of one peer's envelopes and forgets duplicates.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Incoming {
    /// Every envelope up to this number was delivered.
    delivered: u64,
    /// Taken, but an earlier one is missing. Numbers in `delivered + 2 ..= delivered + window`.
    early: BTreeMap<u64, Vec<Message>>,
}

/// What became of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Delivered, or kept for its turn.
    Fresh,
    /// Known already.
    Duplicate,
    /// Too far ahead; not kept.
    BeyondWindow,
}

impl Incoming {
    /// Takes an envelope and hands out, in order, every message whose turn has come.
    pub fn take(&mut self, envelope: Envelope, settings: &LinkSettings, mut deliver: impl FnMut(Message)) -> Arrival {
        let seq = envelope.seq;
        if seq <= self.delivered || self.early.contains_key(&seq) {
            if crate::planted!("link-delivers-twice") {
                envelope.messages.into_iter().for_each(&mut deliver);
            }
            return Arrival::Duplicate;
        }
        if seq - self.delivered > u64::from(settings.window) {
            return Arrival::BeyondWindow;
        }
        self.early.insert(seq, envelope.messages);
        while let Some(messages) = self.early.remove(&(self.delivered + 1)) {
            self.delivered += 1;
            messages.into_iter().for_each(&mut deliver);
        }
        Arrival::Fresh
    }

    pub fn check(&self, settings: &LinkSettings) -> Result<(), Violation> {
        let (first, last) = (self.early.keys().next().copied(), self.early.keys().next_back().copied());
        let held_back = first.is_none_or(|first| first > self.delivered + 1);
        let bounded = last.is_none_or(|last| last <= self.delivered + u64::from(settings.window));
        Violation::unless(held_back && bounded, "link_reorder_buffer", || {
            format!("delivered up to {}, holding {first:?} to {last:?}", self.delivered)
        })
    }
}
