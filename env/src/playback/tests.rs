use super::*;

/// When everything in these tests is sent.
const NOW: Nanos = Nanos::millis(1);
const TICK: Nanos = Nanos::micros(20);

fn kind(from: &str, to: &str, name: &str) -> MessageKind {
    (from.to_owned(), to.to_owned(), name.to_owned())
}

fn micros(delays: &[u64]) -> Vec<Option<Nanos>> {
    delays.iter().map(|delay| Some(Nanos::micros(*delay))).collect()
}

fn playback() -> Playback {
    let delays = BTreeMap::from([
        (kind("A", "B", "Push"), micros(&[300, 400])),
        (kind("A", "B", "Free"), vec![None, Some(Nanos::micros(500))]),
    ]);
    let spans = BTreeMap::from([(("x".to_owned(), 7, 1), Nanos::millis(3))]);
    let starts = BTreeMap::from([("A".to_owned(), vec![Nanos::millis(60)])]);
    Playback::new(Recorded { delays, spans, starts, ready: NOW })
}

/// Sends an envelope from A, which is there at once: the microseconds that it is to take.
fn sent(playback: &Playback, to: &str, id: Option<&str>, names: &[&str]) -> Option<u64> {
    let arrival = playback.sent("A", to, id.map(str::to_owned), names.iter().copied(), NOW);
    arrival.iter().for_each(|arrival| playback.arrived(*arrival, NOW, TICK));
    arrival.map(|arrival| (arrival.at - NOW).0 / 1_000)
}

#[test]
fn the_nth_of_a_kind_takes_what_the_nth_took_and_then_the_record_is_over() {
    let playback = playback();
    let pushes: Vec<_> = (0..3).map(|_| sent(&playback, "B", None, &["Push"])).collect();
    assert_eq!(pushes, [Some(300), Some(400), None]);
    assert_eq!(sent(&playback, "C", None, &["Push"]), None);
    assert_eq!(playback.followed(), Followed { as_recorded: 2, otherwise: 2 });
}

#[test]
fn an_envelope_takes_the_time_of_its_first_counterpart() {
    let playback = playback();
    assert_eq!(sent(&playback, "B", Some("1"), &["Free", "Push", "Push"]), Some(300));
    assert_eq!(playback.followed(), Followed { as_recorded: 1, otherwise: 2 });
    assert_eq!(sent(&playback, "B", Some("2"), &["Free"]), Some(500));
}

#[test]
fn an_envelope_that_is_sent_again_counts_once_and_takes_what_the_link_takes() {
    let playback = playback();
    let tries: Vec<_> = (0..3).map(|_| sent(&playback, "B", Some("1"), &["Push"])).collect();
    assert_eq!(tries, [Some(300), None, None]);
    assert_eq!(sent(&playback, "B", Some("2"), &["Push"]), Some(400));
    assert_eq!(playback.followed(), Followed { as_recorded: 2, otherwise: 0 });
}

#[test]
fn what_comes_later_than_recorded_does_not_count_as_recorded() {
    let playback = playback();
    let arrival = playback.sent("A", "B", None, ["Push"].into_iter(), NOW).expect("the record has it");
    assert_eq!(Arrival::parse(&arrival.to_string()), Some(arrival));
    playback.arrived(arrival, NOW + Nanos::micros(321), TICK);
    assert_eq!(playback.followed(), Followed { as_recorded: 0, otherwise: 1 });
    playback.arrived(arrival, NOW + Nanos::micros(320), TICK);
    assert_eq!(playback.followed(), Followed { as_recorded: 1, otherwise: 1 });
    assert_eq!((Arrival::parse("12"), Arrival::parse("12 x"), Arrival::parse("")), (None, None, None));
}

#[test]
fn each_life_of_a_node_comes_up_in_its_own_time() {
    let playback = playback();
    assert_eq!((playback.start("A"), playback.start("A")), (Some(Nanos::millis(60)), None));
    assert_eq!(playback.start("B"), None);
}

#[test]
fn executions_are_known_by_label_task_and_attempt() {
    let playback = playback();
    assert_eq!(playback.span("x", 7, 1), Some(Nanos::millis(3)));
    assert_eq!((playback.span("x", 7, 2), playback.span("x", 8, 1), playback.span("y", 7, 1)), (None, None, None));
}
