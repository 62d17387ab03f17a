//! Examples, and a model test in which every request and every reply may be lost, repeated, late or out of order.

mod model;

use super::*;
use crate::{ByteSize, Incarnation, Machine, Message, Nanos};

const ME: Incarnation = Incarnation::new(1, 2);
const PEER: Incarnation = Incarnation::new(2, 3);

fn settings() -> LinkSettings {
    LinkSettings { window: 2, batch: 3, retry_first: Nanos(10), retry_max: Nanos(35), ..LinkSettings::default() }
}

fn step(link: &mut Link, now: u64, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    link.step(Nanos(now), event, &mut out);
    link.check().expect("invariants");
    out
}

/// A link of `ME` that knows `PEER`.
fn started() -> Link {
    let mut link = Link::new(settings());
    step(&mut link, 0, Event::Started(ME));
    step(&mut link, 0, Event::PeerKnown(PEER));
    link
}

fn send(link: &mut Link, to: Incarnation, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert_eq!(step(link, 0, Event::Send { to, message: Message::ResyncView(n) }), [], "sending only queues");
    }
}

/// The envelopes among the effects, as (number, messages in it).
fn transmitted(effects: &[Effect]) -> Vec<(u64, usize)> {
    let envelope = |effect: &Effect| match effect {
        Effect::Transmit { envelope, .. } => Some((envelope.seq, envelope.messages.len())),
        _ => None,
    };
    effects.iter().filter_map(envelope).collect()
}

fn envelope(from: Incarnation, to: Incarnation, seq: u64) -> Event {
    Event::Received(Envelope { from, to, seq, messages: vec![Message::ResyncView(seq)] })
}

fn reply(from: Incarnation, seq: u64, ack: Ack) -> Effect {
    Effect::Reply { from, seq, ack }
}

fn deliver(from: Incarnation, n: u64) -> Effect {
    Effect::Deliver { from, message: Message::ResyncView(n) }
}

#[test]
fn flush_fills_the_window_and_acks_move_it_on() {
    let mut link = started();
    send(&mut link, PEER, 0..8);
    assert_eq!(transmitted(&step(&mut link, 0, Event::Flush)), [(1, 3), (2, 3)]);
    assert_eq!(transmitted(&step(&mut link, 0, Event::Flush)), []);
    let acked = |seq| Event::Acked { to: PEER, seq, ack: Ack::Taken };
    assert_eq!(transmitted(&step(&mut link, 1, acked(2))), [], "the window starts at the oldest unanswered envelope");
    assert_eq!(transmitted(&step(&mut link, 1, acked(1))), [(3, 2)]);
    step(&mut link, 1, acked(3));
    assert_eq!(link.backlog(), 0);
}

#[test]
fn large_values_travel_in_smaller_envelopes() {
    let mut link = started();
    let value = crate::Located::Inline(vec![0; 600_000].into());
    let object = crate::TaskId { owner: ME, seq: 1 }.result(0);
    for _ in 0..2 {
        let message = Message::Located { object, located: value.clone() };
        step(&mut link, 0, Event::Send { to: PEER, message });
    }
    assert_eq!(transmitted(&step(&mut link, 0, Event::Flush)), [(1, 1), (2, 1)]);
}

/// A value that weighs this much with what is around it.
fn value(bytes: usize) -> Message {
    let object = crate::TaskId { owner: ME, seq: 1 }.result(0);
    Message::Located { object, located: crate::Located::Inline(vec![0; bytes - 64].into()) }
}

#[test]
fn bytes_in_flight_are_bounded_and_requests_are_given_their_time() {
    let bytes = |n: u64| ByteSize(n * 1000);
    let settings = LinkSettings { window: 8, batch_bytes: bytes(1), window_bytes: bytes(2), ..settings() };
    let mut link = Link::new(settings);
    step(&mut link, 0, Event::Started(ME));
    step(&mut link, 0, Event::PeerKnown(PEER));
    for size in [900, 900, 900, 5000, 100] {
        step(&mut link, 0, Event::Send { to: PEER, message: value(size) });
    }
    let loads = |effects: Vec<Effect>| -> Vec<(u64, u64)> {
        let load = |effect| match effect {
            Effect::Transmit { envelope, load } => Some((envelope.seq, load.0)),
            _ => None,
        };
        effects.into_iter().filter_map(load).collect()
    };
    assert_eq!(loads(step(&mut link, 0, Event::Flush)), [(1, 900), (2, 1800)], "the third would be too much");
    step(&mut link, 0, Event::Lost { to: PEER, seq: 1 });
    assert_eq!(loads(step(&mut link, 10, Event::Tick)), [(1, 3600)], "twice the time");
    let acked = |seq| Event::Acked { to: PEER, seq, ack: Ack::Taken };
    assert_eq!(loads(step(&mut link, 11, acked(1))), [(3, 1800)]);
    assert_eq!(loads(step(&mut link, 11, acked(2))), []);
    assert_eq!(loads(step(&mut link, 11, acked(3))), [(4, 5000)], "alone, however large");
    assert_eq!(loads(step(&mut link, 11, acked(4))), [(5, 100)]);
}

#[test]
fn a_message_beyond_the_limit_is_given_back_and_delays_nothing() {
    let mut link = Link::new(LinkSettings { message_bytes: ByteSize(1000), ..settings() });
    step(&mut link, 0, Event::Started(ME));
    step(&mut link, 0, Event::PeerKnown(PEER));
    let message = value(1001);
    let given_back = [Effect::Undelivered { to: PEER, message: message.clone() }];
    assert_eq!(step(&mut link, 0, Event::Send { to: PEER, message }), given_back);
    send(&mut link, PEER, 0..1);
    assert_eq!(transmitted(&step(&mut link, 0, Event::Flush)), [(1, 1)]);
    assert_eq!(link.counters().undelivered, 1);
}

#[test]
fn what_the_transport_refuses_is_given_back_once_and_its_number_travels_empty() {
    let mut link = started();
    send(&mut link, PEER, 0..4);
    step(&mut link, 0, Event::Flush);
    let refused = step(&mut link, 0, Event::Refused { to: PEER, seq: 1 });
    let given_back = refused.iter().filter(|effect| matches!(effect, Effect::Undelivered { to: PEER, .. })).count();
    assert_eq!((given_back, transmitted(&refused)), (3, vec![(1, 0)]));
    step(&mut link, 0, Event::Lost { to: PEER, seq: 1 });
    assert_eq!(transmitted(&step(&mut link, 10, Event::Tick)), [(1, 0)], "the receiver waits for the number");
    assert_eq!(link.backlog(), 1);
}

#[test]
fn a_sign_of_life_passes_everything_and_is_not_repeated() {
    let pulse = |version| {
        let load = crate::member::NodeLoad { version, ..Default::default() };
        Message::Heartbeat(load)
    };
    let mut link = started();
    send(&mut link, PEER, 0..20);
    assert_eq!(transmitted(&step(&mut link, 0, Event::Flush)), [(1, 3), (2, 3)], "the window is full");
    for version in [1, 2] {
        assert_eq!(step(&mut link, 0, Event::Send { to: PEER, message: pulse(version) }), []);
    }
    let [Effect::Transmit { envelope, .. }] = &step(&mut link, 0, Event::Flush)[..] else { panic!("one envelope") };
    assert_eq!((envelope.seq, &envelope.messages[..]), (Envelope::PULSE, &[pulse(2)][..]), "only the newest");
    let mut lost = step(&mut link, 0, Event::Lost { to: PEER, seq: Envelope::PULSE });
    lost.extend(step(&mut link, 99, Event::Tick));
    assert_eq!((lost, link.next_deadline()), (vec![], None));
    let stale = Event::Acked { to: PEER, seq: Envelope::PULSE, ack: Ack::StaleSender };
    assert_eq!(step(&mut link, 99, stale), [Effect::Fenced { by: PEER }], "it brings the news of one's death");

    let mut receiver = started();
    let received = Event::Received(Envelope { from: PEER, to: ME, seq: Envelope::PULSE, messages: vec![pulse(7)] });
    let delivered = [Effect::Deliver { from: PEER, message: pulse(7) }, reply(PEER, Envelope::PULSE, Ack::Taken)];
    assert_eq!(step(&mut receiver, 0, received), delivered);
}

#[test]
fn failures_back_off_without_end() {
    let mut link = started();
    send(&mut link, PEER, 0..1);
    step(&mut link, 0, Event::Flush);
    let mut now = 0;
    for rest in [10, 20, 35, 35, 35] {
        step(&mut link, now, Event::Lost { to: PEER, seq: 1 });
        assert_eq!(link.next_deadline(), Some(Nanos(now + rest)));
        assert_eq!(step(&mut link, now + rest - 1, Event::Tick), []);
        now += rest;
        assert_eq!(transmitted(&step(&mut link, now, Event::Tick)), [(1, 1)]);
        assert_eq!(link.next_deadline(), None);
    }
    for _ in 0..200 {
        step(&mut link, now, Event::Acked { to: PEER, seq: 1, ack: Ack::NotYetKnown });
        now += 35;
        assert_eq!(transmitted(&step(&mut link, now, Event::Tick)), [(1, 1)]);
    }
    assert_eq!(link.counters().retransmitted, 205);
}

#[test]
fn messages_to_the_unknown_wait_and_to_the_dead_are_dropped() {
    let mut link = started();
    let later = Incarnation::new(2, 9);
    send(&mut link, later, 0..2);
    assert_eq!(step(&mut link, 0, Event::Flush), []);
    step(&mut link, 0, Event::PeerKnown(later));
    assert_eq!(transmitted(&step(&mut link, 0, Event::Flush)), [(1, 2)]);
    send(&mut link, PEER, 0..1);
    assert_eq!(link.counters().dropped, 1, "a newer life implies the death of the older");
    step(&mut link, 0, Event::PeerDied(later));
    assert_eq!((link.counters().dropped, link.backlog()), (3, 0));
    step(&mut link, 0, Event::PeerKnown(later));
    send(&mut link, later, 0..1);
    assert_eq!(link.counters().dropped, 4, "the dead do not come back");
}

#[test]
fn receiver_orders_and_deduplicates() {
    let mut link = started();
    assert_eq!(step(&mut link, 0, envelope(PEER, ME, 2)), [reply(PEER, 2, Ack::Taken)]);
    assert_eq!(step(&mut link, 0, envelope(PEER, ME, 2)), [reply(PEER, 2, Ack::Taken)]);
    assert_eq!(step(&mut link, 0, envelope(PEER, ME, 3)), [reply(PEER, 3, Ack::NotYetKnown)], "beyond the window");
    let both = [deliver(PEER, 1), deliver(PEER, 2), reply(PEER, 1, Ack::Taken)];
    assert_eq!(step(&mut link, 0, envelope(PEER, ME, 1)), both);
    assert_eq!(step(&mut link, 0, envelope(PEER, ME, 1)), [reply(PEER, 1, Ack::Taken)]);
    assert_eq!(step(&mut link, 0, envelope(PEER, ME, 0)), [reply(PEER, 0, Ack::Taken)], "no sign of life: harmless");
    let counters = link.counters();
    assert_eq!((counters.delivered, counters.duplicates, counters.put_off), (2, 2, 1));
}

#[test]
fn epochs_are_compared_before_anything_else() {
    let mut link = Link::new(settings());
    assert_eq!(step(&mut link, 0, envelope(Incarnation::HEAD, ME, 1)), [reply(Incarnation::HEAD, 1, Ack::NotYetKnown)]);
    step(&mut link, 0, Event::Started(ME));
    assert_eq!(step(&mut link, 0, envelope(PEER, ME, 1)), [reply(PEER, 1, Ack::NotYetKnown)]);
    step(&mut link, 0, Event::PeerKnown(PEER));
    let earlier_me = Incarnation::new(1, 1);
    assert_eq!(step(&mut link, 0, envelope(PEER, earlier_me, 1)), [reply(PEER, 1, Ack::WrongReceiver)]);
    assert_eq!(step(&mut link, 0, envelope(earlier_me, ME, 1)), [reply(earlier_me, 1, Ack::StaleSender)]);
    step(&mut link, 0, Event::PeerDied(PEER));
    assert_eq!(step(&mut link, 0, envelope(PEER, ME, 1)), [reply(PEER, 1, Ack::StaleSender)]);
    let counters = link.counters();
    assert_eq!((counters.refused_stale, counters.refused_wrong_receiver, counters.put_off), (2, 1, 2));
}

#[test]
fn the_fenced_fall_silent() {
    let mut link = started();
    send(&mut link, PEER, 0..7);
    step(&mut link, 0, Event::Flush);
    step(&mut link, 0, Event::Lost { to: PEER, seq: 1 });
    let stale = Event::Acked { to: PEER, seq: 2, ack: Ack::StaleSender };
    assert_eq!(step(&mut link, 0, stale.clone()), [Effect::Fenced { by: PEER }]);
    assert_eq!(step(&mut link, 0, stale), []);
    send(&mut link, PEER, 0..1);
    assert_eq!(step(&mut link, 0, Event::Flush), []);
    assert_eq!(step(&mut link, 99, Event::Tick), []);
    assert_eq!(step(&mut link, 99, envelope(PEER, ME, 1)), [reply(PEER, 1, Ack::WrongReceiver)]);
    assert_eq!((link.counters().dropped, link.counters().delivered, link.is_fenced()), (8, 0, true));
}

#[test]
#[should_panic(expected = "ResyncView to n1.2")]
fn nobody_links_to_itself() {
    send(&mut started(), ME, 0..1);
}
