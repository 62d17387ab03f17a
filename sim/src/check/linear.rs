//! Linearizability (Herlihy and Wing, TOPLAS 1990): whether operations that overlapped can be put into an order, each
//! somewhere between its beginning and its end, in which an object that does one after the other answers the same.
//!
//! The search is that of Wing and Gong (1993): of the operations that none other has to come before, try each as the next.
//! States that were reached with the same operations done are looked at once (Lowe, 2017). An operation without an end may
//! have had its effect at any time since its beginning, or never.

use mobula_protocol::Nanos;
use std::collections::BTreeSet;

/// The most operations of a history: what is done is a set of bits.
pub const MOST: usize = 128;

/// What an object does when nothing happens at the same time. Equal states answer equally for ever.
pub trait Sequential: Clone + Ord {
    /// What it is asked.
    type Ask;
    /// What it answers.
    type Answer: PartialEq;

    /// Does it.
    fn apply(&mut self, ask: &Self::Ask) -> Self::Answer;
}

/// An operation as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<Ask, Answer> {
    /// What was asked.
    pub ask: Ask,
    /// When.
    pub begun: Nanos,
    /// When it was answered, and what; none if nobody knows.
    pub ended: Option<(Nanos, Answer)>,
}

/// Whether an object that begins as `start` can have done this.
///
/// # Panics
/// If there are more than [`MOST`] operations.
pub fn is_linearizable<S: Sequential>(start: &S, history: &[Operation<S::Ask, S::Answer>]) -> bool {
    assert!(history.len() <= MOST, "{} operations are more than {MOST}", history.len());
    let ended = |(at, operation): (usize, &Operation<_, _>)| operation.ended.as_ref().map(|_| 1_u128 << at);
    let must = history.iter().enumerate().filter_map(ended).fold(0, |all, bit| all | bit);
    let mut seen = BTreeSet::new();
    let mut open = vec![(0_u128, start.clone())];
    while let Some((done, state)) = open.pop() {
        if done & must == must {
            return true;
        }
        if !seen.insert((done, state.clone())) {
            continue;
        }
        let left = || history.iter().enumerate().filter(move |(at, _)| done & (1_u128 << *at) == 0);
        // Whoever began after this had begun after another had ended.
        let first_end = left().filter_map(|(_, operation)| operation.ended.as_ref().map(|(end, _)| *end)).min();
        for (at, operation) in left() {
            if first_end.is_some_and(|end| operation.begun > end) {
                continue;
            }
            let mut next = state.clone();
            let answer = next.apply(&operation.ask);
            if operation.ended.as_ref().is_none_or(|(_, seen)| *seen == answer) {
                open.push((done | (1_u128 << at), next));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
