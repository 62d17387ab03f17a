//! A model test against the rules written down once more over a plain list of processes.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMIT: usize = 3;

/// Each process that lives: idle since then, or busy.
type Oracle = BTreeMap<u64, Option<Nanos>>;

#[derive(Clone, Copy, Debug)]
enum Op {
    Want,
    /// Of the busy ones, this one in turn.
    Free(usize),
    End(u64),
    /// A process that ended is freed after all.
    FreeGone(u64),
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => Just(Op::Want),
        4 => (0..8_usize).prop_map(Op::Free),
        1 => (1..20_u64).prop_map(Op::End),
        1 => (1..20_u64).prop_map(Op::FreeGone),
        2 => (0..40_u64).prop_map(Op::Wait),
    ];
    prop::collection::vec(op, 1..120)
}

fn step(pool: &mut Pool, now: Nanos, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    pool.step(now, event, &mut out);
    pool.check().expect("invariants");
    out
}

/// The idle process with the smallest, or the largest, time; numbers do not decide, order of arrival does.
fn idle(oracle: &Oracle, arrivals: &[u64], newest: bool) -> Option<u64> {
    let mut idle = arrivals.iter().copied().filter(|process| matches!(oracle.get(process), Some(Some(_))));
    if newest { idle.next_back() } else { idle.next() }
}

proptest! {
    #[test]
    fn processes_are_used_once_kept_warm_and_ended(ops in ops()) {
        let (mut pool, mut oracle, mut now) = (Pool::new(LIMIT), Oracle::new(), Nanos::ZERO);
        // The order in which they became idle last.
        let mut arrivals: Vec<u64> = Vec::new();
        for op in ops {
            match op {
                Op::Want => {
                    let due = idle(&oracle, &arrivals, true);
                    let given = step(&mut pool, now, Event::Wanted);
                    let process = match (&given[..], due) {
                        ([Effect::Use(process)], Some(due)) => { prop_assert_eq!(*process, due); due }
                        ([Effect::Start(process)], None) => { prop_assert!(!oracle.contains_key(process)); *process }
                        other => return Err(TestCaseError::fail(format!("{other:?}"))),
                    };
                    oracle.insert(process, None);
                }
                Op::Free(which) => {
                    let busy: Vec<u64> = oracle.iter().filter(|(_, idle)| idle.is_none()).map(|(p, _)| *p).collect();
                    if busy.is_empty() { continue }
                    let process = busy[which % busy.len()];
                    let out = step(&mut pool, now, Event::Freed(process));
                    oracle.insert(process, Some(now));
                    arrivals.retain(|known| *known != process);
                    arrivals.push(process);
                    let many = oracle.values().flatten().count() > LIMIT;
                    let due = if many { idle(&oracle, &arrivals, false) } else { None };
                    prop_assert_eq!(out, due.map(Effect::End).into_iter().collect::<Vec<_>>());
                    due.iter().for_each(|ended| { oracle.remove(ended); });
                }
                Op::End(process) => {
                    prop_assert!(step(&mut pool, now, Event::Ended(process)).is_empty());
                    oracle.remove(&process);
                }
                Op::FreeGone(process) if !oracle.contains_key(&process) => {
                    prop_assert_eq!(step(&mut pool, now, Event::Freed(process)), [Effect::End(process)]);
                }
                Op::FreeGone(_) => {}
                Op::Wait(seconds) => {
                    now += Nanos::secs(seconds);
                    let old = |since: &Option<Nanos>| since.is_some_and(|since| now.saturating_sub(since) >= IDLE);
                    let due: BTreeSet<u64> = oracle.iter().filter(|(_, since)| old(since)).map(|(p, _)| *p).collect();
                    prop_assert_eq!(pool.next_deadline().is_some_and(|at| at <= now), !due.is_empty());
                    let ended: Vec<u64> = step(&mut pool, now, Event::Tick).into_iter().map(|effect| match effect {
                        Effect::End(process) => process,
                        other => panic!("{other:?}"),
                    }).collect();
                    prop_assert_eq!(ended.iter().copied().collect::<BTreeSet<_>>(), due);
                    ended.iter().for_each(|process| { oracle.remove(process); });
                }
            }
            let idle = oracle.values().flatten().count();
            prop_assert_eq!(pool.counts(), (oracle.len() - idle, idle));
        }
    }
}

#[test]
fn without_room_for_an_idle_one_each_task_has_its_own() {
    let mut pool = Pool::new(0);
    assert_eq!(step(&mut pool, Nanos::ZERO, Event::Wanted), [Effect::Start(1)]);
    assert_eq!(step(&mut pool, Nanos::ZERO, Event::Freed(1)), [Effect::End(1)]);
    assert_eq!(step(&mut pool, Nanos::ZERO, Event::Wanted), [Effect::Start(2)]);
    assert_eq!(pool.next_deadline(), None);
}
