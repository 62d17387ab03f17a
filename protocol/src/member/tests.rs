//! Examples, and a model test in which the news of the head may be lost, repeated, late or out of order.

mod model;

use super::*;
use crate::{Incarnation, Machine, Message, Nanos, NodeId, Resources};

const SECOND: u64 = 1_000;

fn ms(n: u64) -> Nanos {
    Nanos::millis(n)
}

fn head() -> Member {
    Member {
        incarnation: Incarnation::HEAD,
        name: "head".into(),
        rpc: "head:1".into(),
        bulk: "head:2".into(),
        total: Resources::cpus(1),
        labels: Default::default(),
    }
}

fn request(name: &str, nonce: u64) -> JoinRequest {
    JoinRequest {
        nonce,
        name: name.into(),
        rpc: format!("{name}:1"),
        bulk: format!("{name}:2"),
        total: Resources::cpus(4),
        labels: Default::default(),
        protocol_version: PROTOCOL_VERSION,
    }
}

/// A load that tells which life reported it.
fn load(who: Incarnation, version: u64) -> NodeLoad {
    NodeLoad { version, queued: who.epoch.0, ..NodeLoad::default() }
}

fn step(roster: &mut Roster, now: u64, event: roster::Event) -> Vec<roster::Effect> {
    let mut out = Vec::new();
    roster.step(ms(now), event, &mut out);
    roster.check().expect("invariants");
    out
}

fn see(view: &mut View, event: view::Event) -> Vec<view::Effect> {
    let mut out = Vec::new();
    view.step(Nanos::ZERO, event, &mut out);
    view.check().expect("invariants");
    out
}

fn join(roster: &mut Roster, now: u64, request: JoinRequest) -> Result<Joined, JoinError> {
    let nonce = request.nonce;
    match step(roster, now, roster::Event::Join(request)).remove(0) {
        roster::Effect::Answer { nonce: answered, result } if answered == nonce => result.map(|joined| *joined),
        other => panic!("expected an answer to {nonce}, got {other:?}"),
    }
}

fn beat(roster: &mut Roster, now: u64, from: Incarnation) {
    assert_eq!(step(roster, now, roster::Event::Heartbeat { from, load: NodeLoad::default() }), []);
}

/// The heads's ticks from one moment to another, when it wants them. Returns who was declared dead, and when.
fn awake(roster: &mut Roster, from: u64, to: u64) -> Vec<(u64, Incarnation)> {
    let mut dead = Vec::new();
    for now in from..=to {
        if roster.next_deadline().is_some_and(|at| at <= ms(now)) {
            let out = step(roster, now, roster::Event::Tick);
            dead.extend(out.iter().filter_map(|effect| match effect {
                roster::Effect::Declared { incarnation, .. } => Some((now, *incarnation)),
                _ => None,
            }));
        }
    }
    dead
}

#[test]
fn names_keep_their_number_and_lives_get_new_epochs() {
    let mut roster = Roster::new(MemberSettings::default(), head());
    let first = join(&mut roster, 0, request("a", 1)).expect("joins");
    assert_eq!(first.incarnation, Incarnation::new(1, 2));
    assert_eq!(first.members.len(), 2, "the head and itself");
    assert_eq!(join(&mut roster, 0, request("b", 1)).expect("joins").incarnation, Incarnation::new(2, 3));
    let again = join(&mut roster, 9, request("a", 1)).expect("the same answer");
    assert_eq!((again.incarnation, roster.seq()), (first.incarnation, 3));
    let taken = join(&mut roster, 0, request("a", 2)).expect_err("living");
    assert_eq!(taken, JoinError::NameTaken { name: "a".into(), by: first.incarnation });
    assert!(taken.can_retry());
    step(&mut roster, 9, roster::Event::Leave { from: first.incarnation });
    assert_eq!(join(&mut roster, 9, request("a", 1)), Err(JoinError::LifeOver { life: first.incarnation }));
    assert_eq!(join(&mut roster, 9, request("a", 2)).expect("joins").incarnation, Incarnation::new(1, 4));
}

#[test]
fn refusals_name_the_nearest_valid_request() {
    let mut roster = Roster::new(MemberSettings::default(), head());
    let stranger = JoinRequest { protocol_version: 99, ..request("a", 1) };
    let version = join(&mut roster, 0, stranger).expect_err("another version");
    assert_eq!(version, JoinError::Version { yours: 99, mine: PROTOCOL_VERSION });
    assert!(!version.can_retry());
    let nearest = |name: &str, roster: &mut Roster| match join(roster, 0, request(name, 1)) {
        Err(JoinError::BadName { nearest, .. }) => nearest,
        other => panic!("`{name}` was answered {other:?}"),
    };
    for (bad, good) in [("", "node-1"), ("my node", "my-node"), (&"x".repeat(65), &"x".repeat(64))] {
        assert_eq!(nearest(bad, &mut roster), good);
        join(&mut roster, 0, request(good, 1)).expect("the suggestion is valid");
    }
    assert!(matches!(join(&mut roster, 0, request("head", 1)), Err(JoinError::NameTaken { .. })));
}

#[test]
fn the_silent_die_within_a_period_of_the_timeout() {
    let mut roster = Roster::new(MemberSettings::default(), head());
    assert_eq!(roster.next_deadline(), None, "alone there is nobody to watch");
    let a = join(&mut roster, 0, request("a", 1)).expect("joins").incarnation;
    let b = join(&mut roster, 0, request("b", 2)).expect("joins").incarnation;
    assert_eq!(awake(&mut roster, 0, SECOND), []);
    beat(&mut roster, 1_100, a);
    step(&mut roster, 1_900, roster::Event::Heard(a));
    let dead = awake(&mut roster, 1_001, 10 * SECOND);
    assert_eq!(dead, [(2_000, b), (4_000, a)]);
    assert_eq!(roster.next_deadline(), None);
    beat(&mut roster, 11_000, a);
    assert_eq!(roster.members().count(), 1, "a sign of life from the dead changes nothing");
}

#[test]
fn a_head_that_slept_forgives_once() {
    let mut roster = Roster::new(MemberSettings::default(), head());
    let a = join(&mut roster, 0, request("a", 1)).expect("joins").incarnation;
    let b = join(&mut roster, 0, request("b", 2)).expect("joins").incarnation;
    assert_eq!(awake(&mut roster, 0, SECOND), []);
    let woke = 60 * SECOND;
    assert_eq!(awake(&mut roster, woke, woke + SECOND), [], "it was the head that was silent");
    beat(&mut roster, woke + SECOND, a);
    let woke_again = 120 * SECOND;
    let dead = awake(&mut roster, woke_again, woke_again);
    assert_eq!(dead, [(woke_again, b)], "b was forgiven before, a was heard since");
    assert_eq!(awake(&mut roster, woke_again + 1, woke_again + 1_999), []);
    assert_eq!(awake(&mut roster, woke_again + 2_000, woke_again + 2_000), [(woke_again + 2_000, a)]);
}

#[test]
fn only_changed_loads_travel_and_newcomers_get_them_all() {
    let mut roster = Roster::new(MemberSettings::default(), head());
    let a = join(&mut roster, 0, request("a", 1)).expect("joins").incarnation;
    let heartbeat = |version| roster::Event::Heartbeat { from: a, load: load(a, version) };
    step(&mut roster, 1, heartbeat(2));
    step(&mut roster, 2, heartbeat(1));
    let news = Message::View { first: 3, entries: vec![], loads: vec![(a.node, load(a, 2))] };
    let to = |to| roster::Effect::Send { to, message: news.clone() };
    assert_eq!(step(&mut roster, 250, roster::Event::Tick), [to(Incarnation::HEAD), to(a)]);
    step(&mut roster, 251, heartbeat(2));
    assert_eq!(step(&mut roster, 500, roster::Event::Tick), []);
    let joined = join(&mut roster, 500, request("b", 1)).expect("joins");
    assert_eq!(joined.loads, [(a.node, load(a, 2))]);
    let mut view = View::new();
    see(&mut view, view::Event::Joined(Box::new(joined)));
    assert_eq!(view.load(a.node), Some(&load(a, 2)));
    let idle = view.load(NodeId::HEAD).map(|load| (load.version, load.available.clone()));
    assert_eq!(idle, Some((0, Resources::cpus(1))), "idle until it reports");
    assert_eq!(view.snapshot().nodes.len(), 3);
}

#[test]
fn a_view_asks_for_what_it_missed() {
    let mut roster = Roster::new(MemberSettings::default(), head());
    let me = join(&mut roster, 0, request("me", 1)).expect("joins");
    let mut view = View::new();
    let early = view::Event::Update { first: 9, entries: vec![], loads: vec![] };
    assert_eq!(see(&mut view, early.clone()), [], "before the welcome nothing counts");
    assert_eq!(see(&mut view, view::Event::Joined(Box::new(me.clone()))).len(), 2);
    assert_eq!(see(&mut view, early), [view::Effect::Resync(2)]);
    let a = join(&mut roster, 0, request("a", 1)).expect("joins").incarnation;
    step(&mut roster, 0, roster::Event::Leave { from: a });
    let resync = roster::Event::Resync { from: me.incarnation, have: view.seq() };
    let Some(roster::Effect::Send { message, .. }) = step(&mut roster, 0, resync).pop() else {
        panic!("no answer");
    };
    assert_eq!(see(&mut view, view::Event::from_message(message).expect("news")).len(), 2);
    assert!(!view.is_alive(a) && view.is_alive(me.incarnation));
    assert!(view.by_name("head").is_some() && view.by_name("a").is_none());
    let died = MemberEvent::Died { incarnation: me.incarnation, why: "test".into() };
    let fatal = view::Event::Update { first: 5, entries: vec![died], loads: vec![] };
    assert_eq!(see(&mut view, fatal), [view::Effect::Fenced { why: "test".into() }]);
}

#[test]
fn settings_leave_room_for_lost_heartbeats() {
    assert_eq!(MemberSettings::default().validate(), Ok(()));
    let tight = MemberSettings { health_period: ms(250), health_timeout: ms(700) };
    assert_eq!(tight.validate().map_err(|e| e.least), Err(ms(750)));
    assert!(MemberSettings { health_period: Nanos::ZERO, health_timeout: ms(1) }.validate().is_err());
}

#[test]
fn a_join_that_comes_again_changes_nothing_and_has_the_same_answer() {
    let mut roster = Roster::new(MemberSettings::default(), head());
    for name in ["A", "B"] {
        join(&mut roster, 0, request(name, 1)).expect("admitted");
    }
    let answer = |roster: &mut Roster| step(roster, 5, roster::Event::Join(request("A", 1)));
    let (before, first) = (format!("{roster:?}"), answer(&mut roster));
    assert_eq!((format!("{roster:?}"), first.len()), (before, 1), "one answer, and nothing else");
    assert_eq!(answer(&mut roster), first);
}
