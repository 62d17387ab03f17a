use super::*;

/// Events at these microseconds.
fn events(lines: &[&str]) -> Vec<Event> {
    let line = |(number, line): (usize, &&str)| {
        let (micros, rest) = line.split_once(' ').expect("a time and the rest");
        format!("{number} {micros}000 {rest}")
    };
    Event::parse_all(&lines.iter().enumerate().map(line).collect::<Vec<_>>())
}

fn micros(delays: &[u64]) -> Vec<Option<Nanos>> {
    delays.iter().map(|delay| Some(Nanos::micros(*delay))).collect()
}

fn delays(recorded: &Recorded, from: &str, to: &str, name: &str) -> Vec<Option<Nanos>> {
    let kind = (from.to_owned(), to.to_owned(), name.to_owned());
    recorded.delays.get(&kind).cloned().unwrap_or_default()
}

/// When the driver begins.
const READY: Nanos = Nanos::micros(75);
const NAMES: [&str; 3] = ["0 A joined n1.1", "0 B joined n2.2", "0 C joined n3.3"];

fn with_names(lines: &[&str]) -> Vec<Event> {
    events(&[&NAMES, lines].concat())
}

#[test]
fn every_message_of_an_envelope_takes_its_time() {
    let events = with_names(&[
        "10 A send n2.2 #1 Push*2+Free",
        "15 A send n2.2 #2 Push",
        "20 A send n3.3 #1 Push",
        "40 B recv n1.1 #2 Taken",
        "70 B recv n1.1 #1 Taken",
    ]);
    let recorded = times(&events, READY).expect("the events are right");
    assert_eq!(delays(&recorded, "A", "B", "Push"), micros(&[60, 60, 25]));
    assert_eq!(delays(&recorded, "A", "B", "Free"), micros(&[60]));
    assert_eq!(delays(&recorded, "A", "C", "Push"), [None]);
}

#[test]
fn an_envelope_sent_again_is_the_same_and_a_sign_of_life_is_another() {
    let events = with_names(&[
        "10 A send n2.2 #1 Push",
        "20 A send head #0 Heartbeat",
        "25 head recv n1.1 #0 Taken",
        "30 A send n2.2 #1 Push",
        "33 B recv n1.1 #1 NotYetKnown",
        "40 A send head #0 Heartbeat",
        "50 A send n2.2 #1 Push",
        "51 B recv n1.1 #1 Taken",
        "52 head recv n1.1 #0 Taken",
    ]);
    let recorded = times(&events, READY).expect("the events are right");
    assert_eq!(delays(&recorded, "A", "B", "Push"), micros(&[3]));
    assert_eq!(delays(&recorded, "A", "head", "Heartbeat"), micros(&[5, 12]));
}

#[test]
fn the_next_life_of_a_node_counts_from_the_beginning() {
    let events = with_names(&[
        "10 A send n2.2 #1 Push",
        "11 B recv n1.1 #1 Taken",
        "20 world restart A",
        "25 A joined n1.2",
        "30 A send n2.2 #1 Push",
        "32 B recv n1.2 #1 Taken",
    ]);
    let recorded = times(&events, READY).expect("the events are right");
    assert_eq!(delays(&recorded, "A", "B", "Push"), micros(&[1, 2]));
}

#[test]
fn an_execution_does_not_last_while_another_has_its_lease() {
    let events = events(&[
        "10 A start my x t1@n1.1 attempt 1 under l1@n1.1",
        "11 A start my x t2@n1.1 attempt 1 under l1@n1.1",
        "12 B start my x t3@n1.1 attempt 2 under l1@n1.1",
        "20 A finish t1@n1.1 attempt 1 returned 00aa",
        "26 A finish t2@n1.1 attempt 1 returned 00aa",
        "27 B finish t4@n1.1 attempt 1 returned 00aa",
    ]);
    let spans = times(&events, READY).expect("the events are right").spans;
    let span = |task, micros| (("my x".to_owned(), task, 1), Nanos::micros(micros));
    assert_eq!(spans, BTreeMap::from([span(1, 10), span(2, 6)]));
}

#[test]
fn executions_that_cannot_be_told_apart_are_left_out() {
    let both = ["n1.1", "n2.2"].map(|owner| {
        let start = format!("10 A start x t1@{owner} attempt 1 under l1@{owner}");
        [start, format!("20 A finish t1@{owner} attempt 1 returned 00aa")]
    });
    let lines: Vec<&str> = both.iter().flatten().map(String::as_str).collect();
    assert_eq!(times(&events(&lines), READY).expect("the events are right").spans, BTreeMap::new());
}

#[test]
fn a_life_takes_from_its_start_to_its_admission_and_the_first_ones_from_the_beginning() {
    let events = with_names(&[
        "10 world start A cores=1",
        "12 world start B cores=1",
        "15 head admit n3.3",
        "60 head admit n2.2",
        "70 head admit n1.1",
        "80 world restart A",
        "85 head admit n1.2",
        "86 A joined n1.2",
    ]);
    let starts = times(&events, READY).expect("the events are right").starts;
    let micros = |micros: &[u64]| micros.iter().map(|time| Nanos::micros(*time)).collect::<Vec<_>>();
    let expected = [("A", micros(&[70, 5])), ("B", micros(&[60])), ("C", micros(&[15]))];
    assert_eq!(starts, BTreeMap::from(expected.map(|(node, times)| (node.to_owned(), times))));
}

#[test]
fn a_broken_event_is_named() {
    for (line, form) in [
        ("5 A send", "to whom"),
        ("5 A send n2.2", "to whom"),
        ("5 A send n2.2 1 Push", "as in `n1.1 #7"),
        ("5 A send n2.2 #1 Push*many", "to whom"),
        ("5 A send n2.2 #1 Push*99999999999", "to whom"),
        ("5 A start x 1@n1.1 attempt 1 under l1@n1.1", "which task"),
        ("5 A start x t1@n1.1 attempt one under l1@n1.1", "number of its attempt"),
    ] {
        let bad = times(&with_names(&[line]), READY).expect_err(line);
        assert_eq!((bad.at, bad.number), (3, 3));
        assert!(bad.to_string().contains(form), "{bad}");
    }
}

#[test]
fn pairs_of_two_senders_are_compared_where_both_arrived_in_both() {
    let recorded = with_names(&[
        "10 A send n3.3 #1 Push",
        "10 A send n3.3 #2 Free",
        "10 B send n3.3 #1 Push",
        "10 B send n3.3 #2 View",
        "20 C recv n1.1 #1 Taken",
        "21 C recv n2.2 #1 Taken",
        "22 C recv n1.1 #2 Taken",
        "23 C recv n2.2 #2 Taken",
    ]);
    let same = order(&recorded, &recorded).expect("the events are right");
    assert_eq!(same, Order { pairs: 3, kept: 3 });
    let played = with_names(&[
        "10 A send n3.3 #1 Push+Free",
        "10 B send n3.3 #1 Push",
        "10 B send n3.3 #2 Other",
        "20 C recv n1.1 #1 Taken",
        "21 C recv n2.2 #1 Taken",
        "23 C recv n2.2 #2 Taken",
    ]);
    assert_eq!(order(&recorded, &played).expect("the events are right"), Order { pairs: 2, kept: 1 });
}
