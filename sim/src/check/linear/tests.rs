//! Histories whose answer is known, and a comparison with trying every order.

use super::*;
use std::collections::BTreeMap;

/// A cell with one number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell(u8);

#[derive(Clone, Debug)]
enum Ask {
    Write(u8),
    Read,
}

impl Sequential for Cell {
    type Ask = Ask;
    type Answer = u8;

    fn apply(&mut self, ask: &Ask) -> u8 {
        match ask {
            Ask::Read => self.0,
            Ask::Write(value) => std::mem::replace(&mut self.0, *value),
        }
    }
}

type Done = Operation<Ask, u8>;

fn known(ask: Ask, begun: u64, end: u64, answer: u8) -> Done {
    Operation { ask, begun: Nanos(begun), ended: Some((Nanos(end), answer)) }
}

#[test]
fn a_value_that_was_overwritten_is_not_read_again() {
    let write = known(Ask::Write(1), 0, 10, 0);
    let read = |begun, end, value| known(Ask::Read, begun, end, value);
    assert!(is_linearizable(&Cell(0), &[write.clone(), read(5, 20, 1)]));
    assert!(is_linearizable(&Cell(0), &[write.clone(), read(5, 20, 0)]), "they overlap");
    assert!(!is_linearizable(&Cell(0), &[write.clone(), read(11, 20, 0)]));
    assert!(!is_linearizable(&Cell(0), &[write, read(1, 2, 1), read(3, 4, 0)]), "once read it stays");
}

#[test]
fn an_operation_without_an_end_may_have_happened_late_or_never() {
    let lost = Operation { ask: Ask::Write(1), begun: Nanos(5), ended: None };
    let read = |begun, value| known(Ask::Read, begun, begun + 1, value);
    for answers in [[0, 0], [0, 1], [1, 1]] {
        let history = [lost.clone(), read(10, answers[0]), read(20, answers[1])];
        assert!(is_linearizable(&Cell(0), &history), "{answers:?}");
    }
    assert!(!is_linearizable(&Cell(0), &[lost.clone(), read(10, 1), read(20, 0)]));
    assert!(!is_linearizable(&Cell(0), &[lost, read(1, 1)]), "not before it began");
}

/// Every order of the operations that respects time, with and without those that did not end.
fn by_trying(history: &[Done], state: &Cell, done: &mut BTreeMap<usize, ()>) -> bool {
    if history.iter().enumerate().all(|(at, operation)| done.contains_key(&at) || operation.ended.is_none()) {
        return true;
    }
    (0..history.len()).any(|at| {
        let operation = &history[at];
        let precedes = |other: &Done| other.ended.as_ref().is_some_and(|(end, _)| *end < operation.begun);
        let blocked = history.iter().enumerate().any(|(other, it)| !done.contains_key(&other) && precedes(it));
        if done.contains_key(&at) || blocked {
            return false;
        }
        let mut next = state.clone();
        let answer = next.apply(&operation.ask);
        if operation.ended.as_ref().is_some_and(|(_, seen)| *seen != answer) {
            return false;
        }
        done.insert(at, ());
        let found = by_trying(history, &next, done);
        done.remove(&at);
        found
    })
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let mut dice = mobula_env::Rng::new(7, "linear", "histories");
    let mut both = [0, 0];
    for _ in 0..20_000 {
        let history: Vec<Done> = (0..1 + dice.below(6))
            .map(|_| {
                let ask = if dice.chance(0.5) { Ask::Read } else { Ask::Write(dice.below(3) as u8) };
                let begun = dice.below(10);
                let ended = (!dice.chance(0.15)).then(|| (Nanos(begun + dice.below(8)), dice.below(3) as u8));
                Operation { ask, begun: Nanos(begun), ended }
            })
            .collect();
        let expected = by_trying(&history, &Cell(0), &mut BTreeMap::new());
        assert_eq!(is_linearizable(&Cell(0), &history), expected, "{history:?}");
        both[usize::from(expected)] += 1;
    }
    assert!(both.iter().all(|times| *times > 1_000), "both answers are common: {both:?}");
}
