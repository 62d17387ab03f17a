//! Examples, and a model test against the policy written down once more, as a sort.

use super::*;
use crate::Incarnation;
use proptest::prelude::*;

const LIMIT: ByteSize = ByteSize(1000);
const ENOUGH: ByteSize = ByteSize(951);

fn owner(n: u32) -> OwnerId {
    Incarnation::new(n, n)
}

fn one(owned_by: u32, seq: u64, since: u64, retriable: bool) -> Running {
    let task = TaskId { owner: owner(owned_by), seq };
    let lease = LeaseId { owner: owner(owned_by), seq };
    let (label, claimed) = ("f".into(), ByteSize(seq));
    Running { task, attempt: Attempt(1), lease, label, retriable, since: Nanos(since), claimed }
}

fn step(monitor: &mut Monitor, now: Nanos, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    monitor.step(now, event, &mut out);
    monitor.check().expect("invariants");
    out
}

/// The number of the task that ends.
fn measured(monitor: &mut Monitor, now: Nanos, used: ByteSize, running: Vec<Running>) -> Option<u64> {
    match &step(monitor, now, Event::Measured { used, running })[..] {
        [] => None,
        [Effect::Kill { task, .. }] => Some(task.seq),
        other => panic!("{other:?}"),
    }
}

fn gone(monitor: &mut Monitor, owned_by: u32, seq: u64) {
    let task = TaskId { owner: owner(owned_by), seq };
    assert!(step(monitor, Nanos::ZERO, Event::Gone { task, attempt: Attempt(1) }).is_empty());
}

#[test]
fn without_a_limit_nothing_is_measured() {
    let mut monitor = Monitor::new("A", None);
    assert_eq!(monitor.next_deadline(), None);
    assert!(step(&mut monitor, Nanos::secs(9), Event::Tick).is_empty());
    assert_eq!(measured(&mut monitor, Nanos::ZERO, ByteSize(u64::MAX), vec![one(1, 1, 0, true)]), None);
}

#[test]
fn memory_is_measured_every_period() {
    let mut monitor = Monitor::new("A", Some(LIMIT));
    assert_eq!(step(&mut monitor, Nanos::secs(1), Event::Tick), [Effect::Measure]);
    let next = Nanos::secs(1) + PERIOD;
    assert_eq!(monitor.next_deadline(), Some(next));
    assert!(step(&mut monitor, Nanos(next.0 - 1), Event::Tick).is_empty());
    assert_eq!(step(&mut monitor, next, Event::Tick), [Effect::Measure]);
}

#[test]
fn nobody_ends_at_the_threshold_and_one_above_it() {
    let mut monitor = Monitor::new("A", Some(LIMIT));
    let running = vec![one(1, 1, 0, true)];
    assert_eq!(measured(&mut monitor, Nanos::ZERO, ByteSize(950), running.clone()), None);
    assert_eq!(measured(&mut monitor, Nanos::ZERO, ENOUGH, vec![]), None);
    assert_eq!(measured(&mut monitor, Nanos::ZERO, ENOUGH, running), Some(1));
    assert_eq!(monitor.kills(), 1);
    // A limit that no number of percent fits.
    assert!(!Monitor::new("A", Some(ByteSize(u64::MAX))).is_above(ByteSize(u64::MAX / 100 * 95)));
}

#[test]
fn the_newest_of_the_largest_group_that_may_run_again() {
    let choice = |running: &[Running]| choose(running).map(|one| one.task.seq);
    let two_owners = [one(1, 1, 10, true), one(1, 2, 20, true), one(2, 3, 30, true)];
    assert_eq!(choice(&two_owners), Some(2), "not the newest of all, which is its owner's only one");
    let singles = [one(1, 1, 10, true), one(2, 2, 20, true)];
    assert_eq!(choice(&singles), Some(2), "of equally large groups the newest");
    let last_try = [one(1, 1, 10, true), one(2, 2, 20, false), one(2, 3, 30, false), one(2, 4, 40, false)];
    assert_eq!(choice(&last_try), Some(1), "those that may not run again come last");
    assert_eq!(choice(&last_try[1..]), Some(4));
}

#[test]
fn one_at_a_time_until_it_is_gone_or_patience_is_over() {
    let mut monitor = Monitor::new("A", Some(LIMIT));
    let running = vec![one(1, 1, 10, true), one(1, 2, 20, true)];
    assert_eq!(measured(&mut monitor, Nanos::ZERO, ENOUGH, running.clone()), Some(2));
    let rest = vec![running[0].clone()];
    gone(&mut monitor, 1, 1);
    let late = Nanos(PATIENCE.0 - 1);
    assert_eq!(measured(&mut monitor, late, ENOUGH, rest.clone()), None, "another one's end is no end of this one");
    gone(&mut monitor, 1, 2);
    assert_eq!(measured(&mut monitor, late, ENOUGH, rest.clone()), Some(1));
    assert_eq!(measured(&mut monitor, late + PATIENCE, ENOUGH, rest), Some(1), "it does not end");
}

#[test]
fn the_report_names_the_node_its_limit_and_the_heaviest() {
    let mut monitor = Monitor::new("A", Some(ByteSize::mb(100)));
    let running = (1..=5).map(|seq| Running { claimed: ByteSize::mb(seq * 10), ..one(1, seq, seq, true) }).collect();
    let event = Event::Measured { used: ByteSize::mb(150), running };
    let out = step(&mut monitor, Nanos::secs(1), event);
    let [Effect::Kill { why, .. }] = &out[..] else { panic!("{out:?}") };
    for told in ["node A", &ByteSize::mb(150).to_string(), &ByteSize::mb(100).to_string(), "5 tasks", "t5@"] {
        assert!(why.contains(told), "{told}: {why}");
    }
    assert!(!why.contains("t2@"), "only the heaviest: {why}");
}

/// The policy once more: sort, look at the first.
fn oracle(running: &[Running]) -> Option<(TaskId, Attempt)> {
    let retriable: Vec<&Running> = running.iter().filter(|one| one.retriable).collect();
    let mut group: Vec<&Running> = if retriable.is_empty() {
        running.iter().collect()
    } else {
        let of = |owner: OwnerId| retriable.iter().filter(move |one| one.task.owner == owner).copied();
        let mut owners: Vec<OwnerId> = retriable.iter().map(|one| one.task.owner).collect();
        owners.sort_by(|a, b| {
            let (sizes, oldest) = (of(*b).count().cmp(&of(*a).count()), |o| of(o).map(|one| one.since).min());
            sizes.then(oldest(*b).cmp(&oldest(*a))).then(b.cmp(a))
        });
        of(owners[0]).collect()
    };
    group.sort_by_key(|one| Reverse((one.since, one.task, one.attempt)));
    group.first().map(|one| (one.task, one.attempt))
}

#[derive(Clone, Debug)]
enum Op {
    Tick,
    Measured {
        used: u64,
        running: Vec<(u32, u64, bool)>,
    },
    /// The one that was chosen last, or one that never was.
    Gone {
        right: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let running = prop::collection::vec((1..4u32, 0..20u64, any::<bool>()), 0..8);
    prop_oneof![
        2 => Just(Op::Tick),
        5 => (900..1000u64, running).prop_map(|(used, running)| Op::Measured { used, running }),
        2 => any::<bool>().prop_map(|right| Op::Gone { right }),
    ]
}

proptest! {
    /// Whoever the oracle names is chosen, when there is a reason and nobody is on the way out; the order of the list does
    /// not matter.
    #[test]
    fn the_choice_is_that_of_the_oracle(ops in prop::collection::vec((op(), 0..2000u64), 1..60)) {
        let mut monitor = Monitor::new("A", Some(LIMIT));
        let (mut now, mut due, mut ending) = (Nanos::ZERO, Nanos::ZERO, None);
        for (op, pause) in ops {
            now += Nanos::millis(pause);
            match op {
                Op::Tick => {
                    let out = step(&mut monitor, now, Event::Tick);
                    prop_assert_eq!(out.len(), usize::from(now >= due));
                    if now >= due {
                        due = now + PERIOD;
                    }
                }
                Op::Measured { used, running } => {
                    let running: Vec<Running> =
                        (0..).zip(running).map(|(seq, (of, since, again))| one(of, seq, since, again)).collect();
                    let free = ending.is_none_or(|(_, since)| now >= since + PATIENCE);
                    let right = oracle(&running).filter(|_| free && used > 950);
                    let backwards = running.iter().rev().cloned().collect();
                    let out = step(&mut monitor, now, Event::Measured { used: ByteSize(used), running: backwards });
                    let chosen = out.first().map(|effect| match effect {
                        Effect::Kill { task, attempt, .. } => (*task, *attempt),
                        Effect::Measure => unreachable!("nobody asked"),
                    });
                    prop_assert_eq!(chosen, right);
                    ending = chosen.map(|key| (key, now)).or(ending);
                }
                Op::Gone { right } => {
                    let (task, attempt) = match ending {
                        Some((key, _)) if right => key,
                        _ => (TaskId { owner: owner(9), seq: 99 }, Attempt(1)),
                    };
                    step(&mut monitor, now, Event::Gone { task, attempt });
                    ending = ending.filter(|(key, _)| *key != (task, attempt));
                }
            }
        }
    }
}
