//! The policies that come with Mobula.

use super::{Candidate, Policy, Request, mix};
use crate::{ByteSize, NodeId};
use std::cmp::Reverse;

/// Ray's default. In order: most argument bytes; not a gpu node for work without gpus; least used, where below one half
/// counts as unused; the asker's own node; a node that already works rather than an idle one; the lower id. Unless
/// bytes or the own node decide, one of the best fifth of the nodes is drawn, so that many askers with the same view do
/// not all ask one node.
///
/// Source: `src/ray/raylet/scheduling/policy/hybrid_scheduling_policy.cc` (`scheduler_spread_threshold`,
/// `scheduler_top_k_fraction`) and `locality_aware` lease policy of the core worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hybrid;

/// The least used node; among equals one by the tie. Also what [`crate::Placement::Spread`] means under any policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread;

/// The most used node that still has room (best fit), so that whole nodes stay free for large requests; then the lower
/// id.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packed;

/// Any node with room: the baseline every other policy is measured against.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

/// Use below this, in ten-thousandths, counts as none.
const SPREAD_THRESHOLD: u64 = 5_000;

/// One over the share of the nodes among which [`Hybrid`] draws.
const TOP_FRACTION: usize = 5;

impl Policy for Hybrid {
    fn name(&self) -> &'static str {
        "hybrid"
    }

    fn choose(&self, request: &Request<'_>, candidates: &[Candidate<'_>]) -> usize {
        let key = |index: usize| {
            let c = &candidates[index];
            let used = if c.used < SPREAD_THRESHOLD { 0 } else { c.used };
            (Reverse(c.near), c.wastes_gpu, used, request.home != Some(c.id()), c.used == 0, c.id())
        };
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_unstable_by_key(|index| key(*index));
        let best = &candidates[order[0]];
        if best.near > ByteSize::ZERO || request.home == Some(best.id()) {
            return order[0];
        }
        let alike = order.iter().take_while(|i| candidates[**i].wastes_gpu == best.wastes_gpu).count();
        let k = (candidates.len() / TOP_FRACTION).clamp(1, alike);
        order[draw(request.tie, k)]
    }
}

impl Policy for Spread {
    fn name(&self) -> &'static str {
        "spread"
    }

    fn choose(&self, request: &Request<'_>, candidates: &[Candidate<'_>]) -> usize {
        let key = |c: &Candidate<'_>| (c.used, mix(request.tie, u64::from(c.id().0)));
        (0..candidates.len()).min_by_key(|index| key(&candidates[*index])).unwrap_or(0)
    }
}

impl Policy for Packed {
    fn name(&self) -> &'static str {
        "packed"
    }

    fn choose(&self, _: &Request<'_>, candidates: &[Candidate<'_>]) -> usize {
        let key = |c: &Candidate<'_>| -> (Reverse<u64>, NodeId) { (Reverse(c.used), c.id()) };
        (0..candidates.len()).min_by_key(|index| key(&candidates[*index])).unwrap_or(0)
    }
}

impl Policy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn choose(&self, request: &Request<'_>, candidates: &[Candidate<'_>]) -> usize {
        draw(request.tie, candidates.len())
    }
}

/// An index below `n` from a seed; `n` is at least 1.
fn draw(tie: u64, n: usize) -> usize {
    (mix(tie, 1) % n.max(1) as u64) as usize
}
