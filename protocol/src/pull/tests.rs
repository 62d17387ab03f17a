//! The rules of the module's documentation one by one, and the failures they answer (C in
//! `scenarios/catalogue`).

use super::*;
use crate::{Attempt, TaskId};
use bytes::Bytes;

fn node(n: u32) -> Incarnation {
    Incarnation::new(n, n)
}

fn object(seq: u64) -> ObjectId {
    TaskId { owner: node(1), seq }.result(0)
}

struct Node {
    pull: Pull,
    now: Nanos,
}

impl Node {
    fn new(capacity: u64) -> Self {
        Self { pull: Pull::new(node(9), ByteSize(capacity)), now: Nanos::ZERO }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut out = vec![];
        self.pull.step(self.now, event, &mut out);
        self.pull.check().unwrap();
        out
    }

    fn want(&mut self, bundle: u64, objects: &[u64], priority: Priority) -> Vec<Effect> {
        let objects = objects.iter().map(|o| object(*o)).collect();
        self.step(Event::Want { bundle: BundleId(bundle), objects, priority })
    }

    fn stored(&mut self, o: u64, size: u64, copies: &[u32]) -> Vec<Effect> {
        let copies = copies.iter().map(|n| node(*n)).collect();
        self.step(Event::Located { object: object(o), located: Located::Stored { size: ByteSize(size), copies } })
    }

    fn pending(&mut self, o: u64) -> Vec<Effect> {
        self.step(Event::Located { object: object(o), located: Located::Pending })
    }

    fn local(&mut self, o: u64, size: u64) -> Vec<Effect> {
        self.step(Event::Local { object: object(o), size: ByteSize(size) })
    }

    fn drop_bundle(&mut self, bundle: u64) -> Vec<Effect> {
        self.step(Event::Drop { bundle: BundleId(bundle) })
    }

    fn fetched(&mut self, o: u64, attempt: u32) -> Vec<Effect> {
        self.step(Event::Fetched { object: object(o), attempt: Attempt(attempt) })
    }

    fn failed(&mut self, o: u64, attempt: u32, why: FetchFailure) -> Vec<Effect> {
        self.step(Event::FetchFailed { object: object(o), attempt: Attempt(attempt), why })
    }

    fn tick_at_deadline(&mut self) -> Vec<Effect> {
        self.now = self.pull.next_deadline().expect("a deadline");
        self.step(Event::Tick)
    }

    fn waits_for(&self, bundle: u64) -> Vec<WaitingFor> {
        self.pull.waiting().filter(|w| w.bundle == BundleId(bundle)).map(|w| w.on).collect()
    }
}

fn fetch(o: u64, attempt: u32, from: u32, size: u64) -> Effect {
    Effect::Fetch { object: object(o), attempt: Attempt(attempt), size: ByteSize(size), holders: vec![node(from)] }
}

fn ready(bundle: u64, values: &[Value]) -> Effect {
    Effect::Ready { bundle: BundleId(bundle), values: values.to_vec() }
}

fn abort(o: u64, attempt: u32) -> Effect {
    Effect::AbortFetch { object: object(o), attempt: Attempt(attempt) }
}

/// The number of the only fetch of these effects.
fn started(effects: &[Effect]) -> u32 {
    match effects {
        [Effect::Fetch { attempt, .. }] => attempt.0,
        other => panic!("one fetch expected, not {other:?}"),
    }
}

#[test]
fn a_remote_object_is_located_fetched_pinned_handed_over_and_released() {
    let mut n = Node::new(100);
    assert_eq!(n.want(1, &[1], Priority::Get), [Effect::Subscribe(object(1))]);
    assert_eq!(n.waits_for(1), [WaitingFor::Owner]);
    assert_eq!(n.stored(1, 10, &[3]), [fetch(1, 1, 3, 10)]);
    assert_eq!(n.waits_for(1), [WaitingFor::Transfer { attempt: Attempt(1) }]);
    let arrived = n.fetched(1, 1);
    let pinned = Effect::Pin(object(1));
    assert_eq!(arrived, [Effect::Unsubscribe(object(1)), pinned, ready(1, &[Value::Local])]);
    assert_eq!(n.local(1, 10), [], "the store's own word for it");
    let late = Located::Inline(Bytes::from_static(b"late"));
    assert_eq!(n.step(Event::Located { object: object(1), located: late }), [], "no longer subscribed");
    assert_eq!(n.pull.held(), ByteSize(10));
    assert_eq!(n.drop_bundle(1), [Effect::Unpin(object(1))]);
    assert!(n.pull.is_idle() && n.pull.held() == ByteSize::ZERO);
}

#[test]
fn values_come_in_the_order_asked_for_repetitions_included() {
    let mut n = Node::new(100);
    n.local(2, 10);
    n.want(1, &[2, 1, 2], Priority::Args);
    let value = Bytes::from_static(b"v");
    let out = n.step(Event::Located { object: object(1), located: Located::Inline(value.clone()) });
    assert!(out.contains(&ready(1, &[Value::Local, Value::Inline(value), Value::Local])), "{out:?}");
    assert_eq!(n.pull.held(), ByteSize(10), "held once");
}

#[test]
fn what_is_here_is_ready_at_once() {
    let mut n = Node::new(100);
    n.local(1, 10);
    assert_eq!(n.want(1, &[1], Priority::Get), [Effect::Pin(object(1)), ready(1, &[Value::Local])]);
    assert_eq!(n.want(2, &[1], Priority::Args), [ready(2, &[Value::Local])], "pinned once");
    assert_eq!(n.drop_bundle(1), []);
    assert_eq!(n.drop_bundle(2), [Effect::Unpin(object(1))]);
    assert_eq!(n.want(3, &[], Priority::Args), [ready(3, &[])]);
}

#[test]
fn an_object_wanted_twice_is_fetched_once() {
    let mut n = Node::new(100);
    n.want(1, &[1], Priority::Args);
    n.want(2, &[1], Priority::Get);
    assert_eq!(n.stored(1, 60, &[3]), [fetch(1, 1, 3, 60)]);
    let out = n.fetched(1, 1);
    let readied = out.iter().filter(|effect| matches!(effect, Effect::Ready { .. })).count();
    assert_eq!((readied, n.pull.held()), (2, ByteSize(60)), "{out:?}");
}

#[test]
fn admission_is_contiguous_and_one_is_always_active() {
    let mut n = Node::new(100);
    (1..=4).for_each(|o| drop(n.want(o, &[o], Priority::Args)));
    assert_eq!(n.stored(1, 60, &[3]), [fetch(1, 1, 3, 60)]);
    assert_eq!(n.stored(2, 50, &[3]), []);
    assert_eq!(n.stored(3, 10, &[3]), [], "10 would fit, but nothing overtakes");
    assert_eq!(n.waits_for(3), [WaitingFor::Room]);
    n.fetched(1, 1);
    let out = n.drop_bundle(1);
    assert_eq!(out, [Effect::Unpin(object(1)), fetch(2, 2, 3, 50), fetch(3, 3, 3, 10)]);
    n.step(Event::Room(ByteSize(5)));
    assert_eq!(n.waits_for(3), [WaitingFor::Room], "shrinking deactivates the last");
    assert!(matches!(n.waits_for(2)[..], [WaitingFor::Transfer { .. }]), "and leaves one");
}

#[test]
fn half_a_bundle_never_squeezes_the_results_of_a_running_task() {
    let mut n = Node::new(100);
    n.local(1, 60);
    n.want(1, &[1], Priority::Args);
    n.want(2, &[2, 3], Priority::Args);
    n.stored(2, 30, &[3]);
    assert_eq!(n.stored(3, 30, &[3]), [], "the running task counts as the one that is active");
    assert_eq!(n.drop_bundle(1), [Effect::Unpin(object(1)), fetch(2, 1, 3, 30), fetch(3, 2, 3, 30)]);
}

#[test]
fn c19_a_get_takes_the_room_of_arguments_in_flight() {
    let mut n = Node::new(100);
    n.want(1, &[1, 2], Priority::Args);
    n.stored(1, 40, &[3]);
    n.stored(2, 40, &[3]);
    n.fetched(1, 1);
    n.want(2, &[7], Priority::Get);
    let out = n.stored(7, 50, &[4]);
    let back = [Effect::Unpin(object(1)), abort(2, 2), fetch(7, 3, 4, 50)];
    assert_eq!(out, back);
    assert_eq!(n.waits_for(1), [WaitingFor::Room, WaitingFor::Room]);
    let out = n.fetched(7, 3);
    assert!(out.contains(&ready(2, &[Value::Local])) && out.ends_with(&[Effect::Pin(object(1)), fetch(2, 4, 3, 40)]));
}

#[test]
fn a_get_keeps_the_fetch_of_arguments_it_pre_empts_if_it_needs_the_object_too() {
    let mut n = Node::new(100);
    n.want(1, &[1, 2], Priority::Args);
    n.stored(1, 40, &[3]);
    n.stored(2, 40, &[3]);
    n.want(2, &[1, 7], Priority::Get);
    assert_eq!(n.stored(7, 50, &[4]), [abort(2, 2), fetch(7, 3, 4, 50)]);
}

#[test]
fn c19_a_get_recalls_arguments_whose_task_is_queued_but_not_those_in_use() {
    let mut n = Node::new(100);
    for o in [1, 2] {
        n.local(o, 30);
        n.want(o, &[o], Priority::Args);
    }
    n.step(Event::Queued { bundle: BundleId(1) });
    n.step(Event::Queued { bundle: BundleId(2) });
    n.step(Event::Started { bundle: BundleId(1) });
    n.want(7, &[7], Priority::Get);
    let out = n.stored(7, 50, &[4]);
    let recalled = Effect::Recalled { bundle: BundleId(2) };
    assert_eq!(out, [recalled, Effect::Unpin(object(2)), fetch(7, 1, 4, 50)]);
    n.fetched(7, 1);
    assert_eq!(n.drop_bundle(7), [Effect::Unpin(object(7)), Effect::Pin(object(2)), ready(2, &[Value::Local])]);
}

#[test]
fn a_wait_gives_way_to_a_get_and_arguments_to_a_wait() {
    let mut n = Node::new(100);
    for (o, priority) in [(1, Priority::Args), (2, Priority::Wait), (3, Priority::Get)] {
        n.want(o, &[o], priority);
        n.stored(o, 100, &[3]);
        assert!(matches!(n.waits_for(o)[..], [WaitingFor::Transfer { .. }]), "{priority:?}");
    }
    assert_eq!((n.waits_for(1), n.waits_for(2)), (vec![WaitingFor::Room], vec![WaitingFor::Room]));
}

#[test]
fn a_bundle_with_an_object_that_does_not_exist_blocks_nobody() {
    let mut n = Node::new(100);
    n.want(1, &[1, 2], Priority::Get);
    n.stored(1, 90, &[3]);
    assert_eq!(n.pending(2), []);
    assert_eq!(n.waits_for(1), [WaitingFor::Others, WaitingFor::Creation]);
    n.want(2, &[5], Priority::Args);
    assert_eq!(n.stored(5, 90, &[3]), [fetch(5, 1, 3, 90)]);
}

#[test]
fn arguments_are_told_once_that_an_object_does_not_exist_and_gets_wait() {
    let mut n = Node::new(100);
    n.want(1, &[1], Priority::Args);
    n.want(2, &[1], Priority::Get);
    let told = |bundle| Effect::Unavailable { bundle: BundleId(bundle), object: object(1) };
    assert_eq!(n.pending(1), [told(1)]);
    assert_eq!(n.pending(1), []);
    assert_eq!(n.want(3, &[1], Priority::Args), [told(3)], "the answer is known already");
    n.stored(1, 10, &[3]);
    assert_eq!(n.pending(1), [told(1), told(3), abort(1, 1)], "lost");
}

#[test]
fn c24_a_wait_for_more_than_fits_goes_through_object_by_object() {
    let mut n = Node::new(100);
    (1..=3).for_each(|o| drop(n.want(o, &[o], Priority::Wait)));
    let mut fetches: Vec<Effect> = (1..=3).flat_map(|o| n.stored(o, 70, &[3])).collect();
    for (o, attempt) in [(1, 1), (2, 2), (3, 3)] {
        assert_eq!(fetches, [fetch(o, attempt, 3, 70)]);
        let out = [n.fetched(o, attempt), n.drop_bundle(o)].concat();
        fetches = out.into_iter().filter(|effect| matches!(effect, Effect::Fetch { .. })).collect();
        n.step(Event::Gone { object: object(o) });
    }
    assert!(n.pull.is_idle());
}

#[test]
fn c18_ten_tasks_whose_arguments_fit_one_task_at_a_time_all_get_them() {
    let mut n = Node::new(100);
    for task in 0..10u64 {
        let args: Vec<u64> = (task * 10..task * 10 + 10).collect();
        n.want(task, &args, Priority::Args);
    }
    let mut effects: Vec<Effect> = (0..100).flat_map(|o| n.stored(o, 10, &[3])).collect();
    let mut done = 0;
    while !n.pull.is_idle() {
        let mut next = vec![];
        for effect in effects {
            match effect {
                Effect::Fetch { object, attempt, .. } => next.extend(n.step(Event::Fetched { object, attempt })),
                Effect::Ready { bundle, .. } => {
                    done += 1;
                    next.extend(n.step(Event::Drop { bundle }));
                }
                _ => {}
            }
        }
        assert!(!next.is_empty(), "stuck: {:?}", n.pull.waiting().next());
        effects = next;
    }
    assert_eq!(done, 10);
}

#[test]
fn arguments_leave_room_for_the_results_of_their_tasks() {
    let mut n = Node::new(100);
    for o in 0..5 {
        n.local(o, 20);
    }
    let at_once: Vec<bool> = (0..5).map(|o| !n.want(o, &[o], Priority::Args).is_empty()).collect();
    assert_eq!(at_once, [true, true, true, false, false], "60 bytes of 100; the fourth would make it 80");
    assert_eq!(n.waits_for(3), [WaitingFor::Room]);
    // A get is of the application, which may hold what it likes.
    assert!(!n.want(9, &[4], Priority::Get).is_empty());
    let out = n.drop_bundle(1);
    assert!(out.contains(&ready(3, &[Value::Local])), "{out:?}");
    assert!(!out.contains(&ready(4, &[Value::Local])), "held by the get, but not yet by arguments: {out:?}");
}

#[test]
fn arguments_beyond_their_share_run_alone() {
    let mut n = Node::new(100);
    n.local(1, 80);
    n.local(2, 10);
    n.local(3, 10);
    assert!(!n.want(1, &[2], Priority::Args).is_empty());
    assert_eq!(n.want(2, &[1], Priority::Args), [], "90 bytes of 100");
    assert_eq!(n.want(3, &[3], Priority::Args), [], "nothing overtakes it");
    let out = n.drop_bundle(1);
    assert!(out.contains(&ready(2, &[Value::Local])), "{out:?}");
    let out = n.drop_bundle(2);
    assert!(out.contains(&ready(3, &[Value::Local])), "{out:?}");
}

#[test]
fn c16_gets_that_time_out_leak_nothing() {
    let mut n = Node::new(100);
    for attempt in 1..=1000 {
        n.want(1, &[1], Priority::Get);
        n.stored(1, 50, &[3]);
        assert_eq!(n.drop_bundle(1), [Effect::Unsubscribe(object(1)), abort(1, attempt)]);
        assert_eq!(n.fetched(1, attempt), [], "too late");
    }
    assert!(n.pull.objects.is_empty() && n.pull.local.is_empty());
}

#[test]
fn wrong_bytes_are_fetched_again_after_a_growing_wait_without_end() {
    let mut n = Node::new(100);
    n.want(1, &[1], Priority::Get);
    let mut attempt = started(&n.stored(1, 10, &[3]));
    for round in 0..100 {
        let out = n.failed(1, attempt, FetchFailure::Corrupt(Some(node(2))));
        let is_told = (round + 1) % CORRUPT_LAST == 0;
        assert_eq!(out, vec![Effect::Damaged { object: object(1), at: node(2) }; usize::from(is_told)]);
        let at = n.pull.next_deadline().unwrap();
        assert_eq!(n.waits_for(1), [WaitingFor::Retry { at }]);
        assert!(round > 0 || at == BACKOFF_FIRST);
        assert!(at.saturating_sub(n.now) <= BACKOFF_LAST);
        attempt = started(&n.tick_at_deadline());
    }
}

#[test]
fn a_fetch_without_memory_is_tried_again_when_there_is_more() {
    let mut n = Node::new(100);
    n.step(Event::Room(ByteSize(5)));
    n.want(1, &[1], Priority::Get);
    n.stored(1, 10, &[3]);
    assert_eq!(n.failed(1, 1, FetchFailure::NoMemory), []);
    assert_eq!(n.stored(1, 10, &[3, 4]), [], "another source does not help");
    assert_eq!(started(&n.step(Event::Room(ByteSize(50)))), 2);
}

#[test]
fn a_fetch_goes_on_with_the_holders_that_are_left_and_late_words_change_nothing() {
    let mut n = Node::new(100);
    n.want(1, &[1], Priority::Get);
    let holders = |attempt, nodes: &[u32]| Effect::Holders {
        object: object(1),
        attempt: Attempt(attempt),
        holders: nodes.iter().map(|n| node(*n)).collect(),
    };
    assert_eq!(started(&n.stored(1, 10, &[3, 4])), 1);
    assert_eq!(n.stored(1, 10, &[3, 4, 5]), [holders(1, &[3, 4, 5])]);
    assert_eq!(n.stored(1, 10, &[3, 4, 5, 9]), [], "this node is no holder to itself");
    assert_eq!(n.step(Event::NodeDied(node(3))), [holders(1, &[4, 5])], "the buffer is kept");
    assert_eq!(n.stored(1, 10, &[5]), [holders(1, &[5])]);
    assert_eq!(n.step(Event::NodeDied(node(5))), [abort(1, 1)]);
    assert_eq!(n.waits_for(1), [WaitingFor::Source], "set aside until the owner knows better");
    assert_eq!(n.stored(1, 10, &[3, 5]), [], "the owner does not know yet");
    assert_eq!(n.failed(1, 1, FetchFailure::Corrupt(Some(node(2)))), []);
    assert_eq!(n.stored(1, 10, &[7]), [fetch(1, 2, 7, 10)]);
}

#[test]
fn what_turns_up_here_need_not_be_fetched() {
    let mut n = Node::new(100);
    n.want(1, &[1], Priority::Get);
    n.stored(1, 10, &[3]);
    let out = n.local(1, 10);
    let end = [Effect::Unsubscribe(object(1)), Effect::Pin(object(1)), abort(1, 1), ready(1, &[Value::Local])];
    assert_eq!(out, end);
}

#[test]
fn a_copy_evicted_under_an_inactive_bundle_is_asked_for_again() {
    let mut n = Node::new(100);
    n.local(1, 10);
    n.want(1, &[1, 2], Priority::Get);
    assert_eq!(n.step(Event::Gone { object: object(1) }), [Effect::Subscribe(object(1))]);
    n.local(2, 10);
    assert_eq!(n.stored(1, 10, &[9]), [], "the owner still lists this node, which is no source for itself");
    assert_eq!(n.waits_for(1), [WaitingFor::Source]);
    assert!(n.stored(1, 10, &[3]).contains(&fetch(1, 1, 3, 10)));
}

#[test]
fn errors_reach_every_bundle_that_wants_the_object() {
    let mut n = Node::new(100);
    n.want(1, &[1, 2], Priority::Args);
    n.want(2, &[1], Priority::Get);
    let error = TaskError::new(TaskErrorKind::Freed, "freed");
    let out = n.step(Event::Located { object: object(1), located: Located::Failed(error.clone()) });
    for bundle in [BundleId(1), BundleId(2)] {
        assert!(out.contains(&Effect::Failed { bundle, object: object(1), error: error.clone() }), "{out:?}");
    }
    assert!(n.pull.is_idle() && n.pull.objects.is_empty());
}

#[test]
fn the_death_of_an_owner_fails_what_is_not_here_and_only_that() {
    let mut n = Node::new(100);
    n.local(1, 10);
    n.want(1, &[1], Priority::Get);
    n.want(2, &[2], Priority::Get);
    let kind = |out: &[Effect]| match out.last() {
        Some(Effect::Failed { bundle, error, .. }) => (bundle.0, error.kind),
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(&n.step(Event::OwnerDied(node(1)))), (2, TaskErrorKind::OwnerDied));
    assert_eq!(kind(&n.want(3, &[3], Priority::Args)), (3, TaskErrorKind::OwnerDied), "nobody is asked");
    assert!(matches!(n.want(4, &[1], Priority::Get)[..], [Effect::Ready { .. }]));
}

#[test]
fn what_can_never_fit_fails_and_names_both_sizes() {
    let mut n = Node::new(100);
    let message = |out: Vec<Effect>| match out.last() {
        Some(Effect::Failed { error, .. }) if error.kind == TaskErrorKind::StoreFull => error.message.clone(),
        other => panic!("{other:?}"),
    };
    n.want(1, &[1], Priority::Get);
    let one = message(n.stored(1, 101, &[3]));
    n.want(2, &[2, 3], Priority::Get);
    n.stored(2, 60, &[3]);
    let two = message(n.stored(3, 60, &[3]));
    assert!(one.contains("101 B") && two.contains("120 B") && two.contains("100 B"), "{one}; {two}");
    assert!(n.pull.is_idle());
}

#[test]
fn a_pin_that_comes_too_late_costs_another_fetch_and_not_the_bundle() {
    let mut n = Node::new(100);
    n.local(1, 10);
    n.local(2, 10);
    let (pin1, pin2) = (Effect::Pin(object(1)), Effect::Pin(object(2)));
    let both = ready(1, &[Value::Local, Value::Local]);
    assert_eq!(n.want(1, &[1, 2], Priority::Args), [pin1.clone(), pin2, both.clone()]);
    assert_eq!(n.step(Event::Gone { object: object(1) }), [Effect::Unpin(object(1))], "evicted before its pin");
    let out = n.step(Event::Missed { bundle: BundleId(1) });
    assert_eq!(out, [Effect::Subscribe(object(1)), Effect::Unpin(object(2))]);
    let again = n.stored(1, 10, &[3]);
    assert_eq!(again, [fetch(1, 1, 3, 10), Effect::Pin(object(2))]);
    assert_eq!(n.fetched(1, 1), [Effect::Unsubscribe(object(1)), pin1, both]);
    n.drop_bundle(1);
    assert!(n.pull.is_idle());
}

#[test]
fn a_bundle_that_missed_an_object_hears_that_it_does_not_exist() {
    let mut n = Node::new(100);
    n.local(1, 10);
    n.want(1, &[1], Priority::Args);
    n.step(Event::Gone { object: object(1) });
    n.want(2, &[1], Priority::Args);
    let told = |bundle| Effect::Unavailable { bundle: BundleId(bundle), object: object(1) };
    assert_eq!(n.pending(1), [told(2)]);
    assert_eq!(n.step(Event::Missed { bundle: BundleId(1) }), [told(1)], "its task must not keep a lease waiting");
    assert_eq!(n.step(Event::Missed { bundle: BundleId(1) }), [], "it is not ready");
}

#[test]
fn the_pin_of_a_copy_that_goes_is_undone_and_its_successor_is_pinned() {
    let mut n = Node::new(100);
    n.local(1, 10);
    n.want(1, &[1], Priority::Get);
    assert_eq!(n.step(Event::Gone { object: object(1) }), [Effect::Unpin(object(1))], "evicted by force");
    assert_eq!(n.local(1, 10), [Effect::Pin(object(1))]);
    assert_eq!(n.drop_bundle(1), [Effect::Unpin(object(1))], "as many as pins");
}

#[test]
fn a_spilled_object_is_restored_before_anybody_else_is_asked() {
    let mut n = Node::new(100);
    n.local(1, 10);
    assert_eq!(n.step(Event::Spilled { object: object(1) }), []);
    assert_eq!(n.want(1, &[1], Priority::Get), [Effect::Subscribe(object(1))]);
    let restore = Effect::Restore { object: object(1), attempt: Attempt(1) };
    assert_eq!(n.stored(1, 10, &[3, 9]), [restore], "from this node's own disk");
    assert_eq!(n.stored(1, 10, &[3, 4, 9]), [], "others do not matter");
    let effects = n.step(Event::Gone { object: object(1) });
    assert_eq!(effects[0], abort(1, 1), "it proved damaged");
    assert!(matches!(effects[1], Effect::Fetch { attempt: Attempt(2), .. }), "{effects:?}");
    n.fetched(1, 2);
    n.drop_bundle(1);
    assert!(n.pull.is_idle());
}

#[test]
fn a_spilled_object_that_its_owner_lost_track_of_is_not_restored() {
    let mut n = Node::new(100);
    n.step(Event::Spilled { object: object(1) });
    n.want(1, &[1], Priority::Get);
    assert_eq!(n.pending(1), [], "it is being made again");
}

#[test]
fn a_copy_that_arrives_damaged_again_and_again_is_reported() {
    let mut n = Node::new(100);
    n.want(1, &[1], Priority::Get);
    n.stored(1, 10, &[2, 3]);
    let mut told = vec![];
    // Two holders take turns, and both are bad.
    for attempt in 1..=2 * CORRUPT_LAST {
        let from = node(2 + attempt % 2);
        let out = n.failed(1, attempt, FetchFailure::Corrupt(Some(from)));
        told.extend(out.into_iter().filter(|effect| matches!(effect, Effect::Damaged { .. })));
        n.now += BACKOFF_LAST;
        n.step(Event::Tick);
    }
    let damaged = |at| Effect::Damaged { object: object(1), at };
    assert_eq!(told, [damaged(node(3)), damaged(node(2))]);
    n.pending(1);
    n.drop_bundle(1);
    assert!(n.pull.is_idle());
}
