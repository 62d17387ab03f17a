//! Single cases: what a caller is told, and when.

use super::*;

/// Ends an actor in every way; what calls fail with says how it died.
#[test]
fn the_last_error_names_the_cause() {
    type Way = (ActorDeath, fn(&mut Loop));
    let ways: [Way; 4] = [
        (ActorDeath::Killed, |all| {
            let word = Word::Kill { actor: ACTOR, force: true, restart: false };
            all.send(CALLER, Incarnation::HEAD, Message::Actor(word));
        }),
        (ActorDeath::OutOfScope, |all| {
            all.send(CALLER, Incarnation::HEAD, Message::Actor(Word::OutOfScope(ACTOR)));
        }),
        (ActorDeath::NodeDied, |all| {
            let at = *all.nodes.iter().find(|(_, node)| !node.workers.is_empty()).expect("it lives").0;
            all.kill(at);
        }),
        (ActorDeath::Preempted, |all| {
            let at = *all.nodes.iter().find(|(_, node)| !node.workers.is_empty()).expect("it lives").0;
            all.preempt(at);
        }),
    ];
    for (death, way) in ways {
        let mut all = Loop::new(Semantics::AtMostOnce, Some(0));
        all.submit();
        all.rest();
        way(&mut all);
        all.rest();
        all.submit();
        all.rest();
        let last = all.submitted.last().expect("two calls");
        assert_eq!(all.ends[last], End::Error(TaskErrorKind::ActorDied(death)));
        assert_eq!((all.registry.living(), all.registry.leases()), (0, 0), "{death}");
    }
}

/// The call's way to the host is shorter than the kill's by way of the head.
#[test]
fn a_call_after_a_kill_by_the_same_process_never_runs() {
    for choice in 0..6 {
        let mut all = Loop::new(Semantics::AtMostOnce, Some(0));
        all.submit();
        all.rest();
        all.callers(CallersEvent::Killed(ACTOR));
        let word = Word::Kill { actor: ACTOR, force: true, restart: false };
        all.send(CALLER, Incarnation::HEAD, Message::Actor(word));
        all.submit();
        while all.go_on(choice) {}
        let last = all.submitted[1];
        assert_eq!(all.ends[&last], End::Error(TaskErrorKind::ActorDied(ActorDeath::Killed)));
        assert!(all.effects.values().flatten().all(|task| *task != last), "{:?}", all.effects);
    }
}

#[test]
fn who_asks_too_early_or_too_late_is_answered() {
    let (mut registry, mut out) = (Registry::default(), Vec::new());
    let other = Incarnation::new(9, 9);
    let said = |from, word| RegistryEvent::Said { from, word };
    registry.step(Nanos::ZERO, said(other, Word::Watch(ACTOR)), &mut out);
    assert_eq!(out, [], "its creator's word may be on the way");
    let actor = ActorSpec { task: Arc::new(spec(ACTOR.0, Placement::Any)), options: ActorOptions::default() };
    registry.step(Nanos::ZERO, said(CALLER, Word::Create(Arc::new(actor))), &mut out);
    let pending = Word::Status { actor: ACTOR, place: Place::Pending };
    assert!(out.contains(&RegistryEffect::Say { to: other, word: pending }), "{out:?}");
    out.clear();
    registry.step(Nanos::ZERO, RegistryEvent::NodeDied(CALLER), &mut out);
    let dead = |effect: &RegistryEffect| match effect {
        RegistryEffect::Say { to, word: Word::Status { place: Place::Dead(error), .. } } if *to == other => {
            Some(error.kind)
        }
        _ => None,
    };
    assert_eq!(out.iter().find_map(dead), Some(TaskErrorKind::ActorDied(ActorDeath::OwnerDied)));
    out.clear();
    registry.step(Nanos::ZERO, said(other, Word::Watch(ACTOR)), &mut out);
    assert_eq!(out.iter().find_map(dead), Some(TaskErrorKind::ActorDied(ActorDeath::OwnerDied)));
    let never = ActorId(TaskId { owner: CALLER, seq: 77 });
    out.clear();
    registry.step(Nanos::ZERO, said(other, Word::Watch(never)), &mut out);
    assert_eq!(out.iter().find_map(dead), Some(TaskErrorKind::ActorDied(ActorDeath::OwnerDied)));
}
