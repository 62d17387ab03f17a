//! The rules of the module's documentation, by their numbers there.

use super::*;
use crate::{ByteSize, Machine, Nanos, TaskId};

const SIZE: u64 = 4 << 20;
const A: Incarnation = Incarnation::new(1, 1);
const B: Incarnation = Incarnation::new(2, 2);
const C: Incarnation = Incarnation::new(3, 3);
const D: Incarnation = Incarnation::new(4, 4);
const OWN: Incarnation = Incarnation::new(9, 9);

fn object() -> ObjectId {
    TaskId { owner: A, seq: 1 }.result(0)
}

fn ticket(stream: u32) -> Ticket {
    Ticket { attempt: Attempt(7), stream }
}

fn open(stream: u32, from: Incarnation, offset: u64, blamed: Option<Incarnation>) -> ReceiveEffect {
    ReceiveEffect::Open { ticket: ticket(stream), from, offset, blamed, direct: false }
}

fn close(stream: u32) -> ReceiveEffect {
    ReceiveEffect::Close { ticket: ticket(stream) }
}

struct Receiver {
    machine: Receive,
    now: Nanos,
}

impl Receiver {
    fn of(holders: &[Incarnation]) -> (Self, Vec<ReceiveEffect>) {
        let machine = Receive::new(OWN, object(), Attempt(7), ByteSize(SIZE));
        let mut receiver = Self { machine, now: Nanos::ZERO };
        let first = receiver.step(ReceiveEvent::Holders(holders.to_vec()));
        (receiver, first)
    }

    fn step(&mut self, event: ReceiveEvent) -> Vec<ReceiveEffect> {
        let mut out = vec![];
        self.machine.step(self.now, event, &mut out);
        self.machine.check().unwrap();
        out
    }

    fn arrived(&mut self, stream: u32, bytes: u64) -> Vec<ReceiveEffect> {
        self.step(ReceiveEvent::Arrived { ticket: ticket(stream), bytes })
    }

    fn broken(&mut self, stream: u32) -> Vec<ReceiveEffect> {
        self.step(ReceiveEvent::Broken { ticket: ticket(stream) })
    }

    fn redirected(&mut self, stream: u32, to: Incarnation) -> Vec<ReceiveEffect> {
        self.step(ReceiveEvent::Redirected { ticket: ticket(stream), to })
    }

    fn at_deadline(&mut self) -> Vec<ReceiveEffect> {
        self.now = self.machine.next_deadline().expect("a deadline");
        self.step(ReceiveEvent::Tick)
    }
}

#[test]
fn c20_a_transfer_goes_on_at_another_holder_where_it_was() {
    let (mut r, first) = Receiver::of(&[A, B]);
    let from = r.machine.source().unwrap();
    let other = if from == A { B } else { A };
    assert_eq!(first, [open(1, from, 0, None)]);
    r.arrived(1, 1000);
    assert_eq!(r.broken(1), [close(1), open(2, other, 1000, Some(from))]);
    assert_eq!(r.arrived(2, SIZE - 1000), [ReceiveEffect::Done]);
    assert_eq!(r.machine.next_deadline(), None);
    assert_eq!(r.step(ReceiveEvent::Holders(vec![C])), [], "it is whole");
}

#[test]
fn chunks_of_an_older_stream_and_duplicates_are_refused() {
    let (mut r, _) = Receiver::of(&[A]);
    assert!(r.machine.accepts(ticket(1), 0, 100));
    r.arrived(1, 100);
    assert!(!r.machine.accepts(ticket(1), 0, 100), "a duplicate");
    assert!(!r.machine.accepts(ticket(1), 200, 100), "a gap");
    assert!(!r.machine.accepts(ticket(1), 100, SIZE), "beyond the end");
    assert!(!r.machine.accepts(ticket(1), 100, 0));
    r.broken(1);
    r.at_deadline();
    assert!(r.machine.accepts(ticket(2), 100, 100));
    assert!(!r.machine.accepts(ticket(1), 100, 100), "of the stream before");
    let older = Ticket { attempt: Attempt(6), stream: 2 };
    assert!(!r.machine.accepts(older, 100, 100), "of the attempt before");
    assert_eq!(r.arrived(1, 100), [], "and counts for nothing");
    assert_eq!(r.broken(1), []);
    assert_eq!(r.machine.reached(), ByteSize(100));
}

#[test]
fn holders_are_asked_in_turn_and_then_after_a_growing_wait_without_end() {
    let (mut r, _) = Receiver::of(&[A, B]);
    let first = r.machine.source().unwrap();
    r.broken(1);
    assert_ne!(r.machine.source(), Some(first));
    assert_eq!(r.broken(2), [close(2)]);
    assert_eq!(r.machine.next_deadline(), Some(BACKOFF_FIRST));
    assert!(matches!(r.at_deadline()[..], [ReceiveEffect::Open { offset: 0, .. }]));
    for stream in 3..40 {
        r.broken(stream);
        let wait = r.machine.next_deadline().unwrap().saturating_sub(r.now);
        assert!(wait <= BACKOFF_LAST);
        r.at_deadline();
    }
}

#[test]
fn a_new_holder_ends_the_wait() {
    let (mut r, _) = Receiver::of(&[A]);
    r.broken(1);
    assert_eq!(r.step(ReceiveEvent::Holders(vec![A, B])), [open(2, B, 0, Some(A))]);
}

#[test]
fn silence_is_failure_and_so_is_a_relay_that_only_talks() {
    let (mut r, _) = Receiver::of(&[A, B]);
    let first = r.machine.source().unwrap();
    assert_eq!(r.at_deadline()[0], close(1));
    assert_eq!(r.now, SILENCE);
    assert_ne!(r.machine.source(), Some(first));
    r.redirected(2, C);
    let asked = r.now;
    while r.machine.source() == Some(C) {
        r.now += Nanos::secs(1);
        r.step(ReceiveEvent::Waiting { ticket: ticket(3) });
        r.step(ReceiveEvent::Tick);
    }
    assert_eq!(r.now.saturating_sub(asked), STALL);
}

#[test]
fn a_holder_may_keep_a_receiver_waiting_as_long_as_it_says_so() {
    let (mut r, _) = Receiver::of(&[A]);
    for _ in 0..60 {
        r.now += Nanos::secs(1);
        assert_eq!(r.step(ReceiveEvent::Waiting { ticket: ticket(1) }), []);
        assert_eq!(r.step(ReceiveEvent::Tick), []);
    }
}

#[test]
fn after_a_relay_the_holder_is_asked_again_with_a_complaint_and_in_the_end_for_itself() {
    let (mut r, _) = Receiver::of(&[A]);
    assert_eq!(r.redirected(1, C), [close(1), open(2, C, 0, None)]);
    r.arrived(2, 10);
    assert_eq!(r.broken(2), [close(2), open(3, A, 10, Some(C))]);
    r.redirected(3, B);
    r.broken(4);
    r.redirected(5, D);
    let last = r.broken(6);
    let direct = ReceiveEffect::Open { ticket: ticket(7), from: A, offset: 10, blamed: Some(D), direct: true };
    assert_eq!(last, [close(6), direct]);
}

#[test]
fn a_relay_that_sends_further_or_a_way_to_itself_is_a_failure() {
    let (mut r, _) = Receiver::of(&[A]);
    r.redirected(1, C);
    assert_eq!(r.redirected(2, D), [close(2), open(3, A, 0, Some(C))]);
    assert_eq!(r.redirected(3, OWN), [close(3)]);
}

#[test]
fn the_dead_are_left_at_once() {
    let (mut r, _) = Receiver::of(&[A, B]);
    let first = r.machine.source().unwrap();
    let other = if first == A { B } else { A };
    assert_eq!(r.step(ReceiveEvent::Died(C)), []);
    assert!(matches!(r.step(ReceiveEvent::Died(first))[..], [_, ReceiveEffect::Open { from, .. }] if from == other));
    r.step(ReceiveEvent::Died(other));
    assert_eq!(r.machine.next_deadline(), None, "there is nobody to ask");
    assert!(matches!(r.step(ReceiveEvent::Holders(vec![D]))[..], [ReceiveEffect::Open { from: D, .. }]));
}

#[test]
fn c26_receivers_spread_over_the_holders_the_same_way_in_every_run() {
    let holders: Vec<Incarnation> = (100..104).map(|n| Incarnation::new(n, n)).collect();
    let draw = || {
        (10..60).map(|n| {
            let mut machine = Receive::new(Incarnation::new(n, n), object(), Attempt(1), ByteSize(1));
            machine.step(Nanos::ZERO, ReceiveEvent::Holders(holders.clone()), &mut vec![]);
            machine.source()
        })
    };
    assert!(draw().eq(draw()));
    for holder in &holders {
        let asked = draw().filter(|from| *from == Some(*holder)).count();
        assert!((5..=22).contains(&asked), "{asked} of 50 receivers ask one of four holders");
    }
}

#[test]
fn an_object_without_bytes_is_whole_at_once() {
    let mut machine = Receive::new(OWN, object(), Attempt(1), ByteSize::ZERO);
    let mut out = vec![];
    machine.step(Nanos::ZERO, ReceiveEvent::Holders(vec![A]), &mut out);
    machine.step(Nanos::ZERO, ReceiveEvent::Holders(vec![A, B]), &mut out);
    assert_eq!(out, [ReceiveEffect::Done]);
}

struct Sender {
    machine: Serve,
    next: u64,
}

impl Sender {
    fn new(limit: u64) -> Self {
        Self { machine: Serve::new(OWN, ByteSize(limit), RELAYED), next: 0 }
    }

    fn step(&mut self, event: ServeEvent) -> Vec<ServeEffect> {
        let mut out = vec![];
        self.machine.step(Nanos::ZERO, event, &mut out);
        self.machine.check().unwrap();
        out
    }

    fn request(by: Incarnation) -> Request {
        Request { object: object(), size: ByteSize(SIZE), by, blamed: None, direct: false, whole: true }
    }

    /// Where the receiver is sent; to itself if it is served.
    fn ask(&mut self, request: Request) -> Incarnation {
        self.next += 1;
        let stream = StreamId(self.next);
        match self.step(ServeEvent::Asked { stream, request })[..] {
            [ServeEffect::Accept { stream: served }] if served == stream => OWN,
            [ServeEffect::Redirect { stream: served, to }] if served == stream => to,
            ref other => panic!("{other:?}"),
        }
    }

    fn ready(&mut self, stream: u64, bytes: u64) -> Vec<ServeEffect> {
        self.step(ServeEvent::Ready { stream: StreamId(stream), bytes: ByteSize(bytes) })
    }

    fn sent(&mut self, stream: u64) -> Vec<ServeEffect> {
        self.step(ServeEvent::Sent { stream: StreamId(stream) })
    }

    fn ended(&mut self, stream: u64, whole: bool) {
        assert_eq!(self.step(ServeEvent::Ended { stream: StreamId(stream), whole }), []);
    }
}

fn send(stream: u64) -> ServeEffect {
    ServeEffect::Send { stream: StreamId(stream) }
}

#[test]
fn a_broadcast_is_a_chain_and_a_gap_in_it_is_closed() {
    let mut s = Sender::new(100);
    let placed = [A, B, C, D].map(|by| s.ask(Sender::request(by)));
    assert_eq!(placed, [OWN, A, B, C]);
    // B dies. Whoever was below it is put below A, not below D, which is below it itself.
    let above = s.ask(Request { blamed: Some(B), ..Sender::request(C) });
    assert_eq!(above, A);
    assert_eq!(s.ask(Sender::request(Incarnation::new(5, 5))), D, "the chain grows at its end");
}

#[test]
fn whoever_insists_is_served_and_so_is_everybody_once_nobody_is() {
    let mut s = Sender::new(100);
    assert_eq!(s.ask(Sender::request(A)), OWN);
    assert_eq!(s.ask(Request { direct: true, ..Sender::request(B) }), OWN);
    s.ended(1, true);
    s.ended(2, false);
    assert_eq!(s.ask(Sender::request(C)), OWN, "the former receivers are holders by now, or gone");
}

#[test]
fn a_receiver_that_has_everything_frees_its_place_and_stays_a_relay() {
    let mut s = Sender::new(100);
    assert_eq!(s.ask(Sender::request(A)), OWN);
    assert_eq!(s.ask(Request { direct: true, ..Sender::request(B) }), OWN);
    s.ended(1, true);
    assert_eq!(s.ask(Sender::request(C)), A.max(B), "the newest that is free");
    s.ended(2, false);
    assert_eq!(s.ask(Sender::request(D)), OWN);
}

#[test]
fn small_objects_and_those_still_arriving_are_sent_to_whoever_asks() {
    let mut s = Sender::new(100);
    for by in [A, B] {
        assert_eq!(s.ask(Request { size: ByteSize(RELAYED.0 - 1), ..Sender::request(by) }), OWN);
        assert_eq!(s.ask(Request { whole: false, ..Sender::request(by) }), OWN);
    }
}

#[test]
fn what_goes_out_is_bounded_and_receivers_take_turns() {
    let mut s = Sender::new(100);
    for (by, count) in [(A, 3), (B, 1)] {
        for _ in 0..count {
            s.ask(Request { whole: false, ..Sender::request(by) });
        }
    }
    assert_eq!(s.ready(1, 60), [send(1)]);
    assert_eq!([s.ready(2, 60), s.ready(3, 30), s.ready(4, 60)], [[], [], []], "beyond the limit");
    assert_eq!(s.ready(4, 10), [], "one chunk a stream");
    assert_eq!(s.sent(1), [send(2)]);
    assert_eq!(s.ready(1, 60), []);
    assert_eq!(s.sent(2), [send(4), send(3)], "B before A's other streams");
    s.step(ServeEvent::Ended { stream: StreamId(4), whole: false });
    assert_eq!(s.machine.in_flight(), ByteSize(90), "and the first of A again");
}

#[test]
fn a_chunk_beyond_the_limit_goes_out_alone() {
    let mut s = Sender::new(100);
    s.ask(Sender::request(A));
    assert_eq!(s.ready(1, 500), [send(1)]);
    assert_eq!(s.sent(1), []);
}
