use super::*;

/// What a history breaks. Lines without numbers: `{node} {kind} {detail}`.
fn broken(lines: &[&str]) -> Option<(&'static str, u64)> {
    let watch = Watch::default();
    for (number, line) in lines.iter().enumerate() {
        watch.line(&format!("{number} {} {line}", number * 1_000));
    }
    watch.broken().map(|broken| (broken.invariant, broken.event))
}

const TWO_NODES: [&str; 5] =
    ["head admit n1.1", "head admit n2.2", "A joined n1.1", "B joined n2.2", "B joined A as n1.1"];

fn after_joining(lines: &[&str]) -> Option<(&'static str, u64)> {
    broken(&TWO_NODES.iter().chain(lines).copied().collect::<Vec<_>>()).map(|(name, event)| (name, event - 5))
}

#[test]
fn an_ordinary_history_breaks_nothing() {
    let history = [
        "A start x t7@n1.1 attempt 1 under l1@n1.1",
        "A finish t7@n1.1 attempt 1 returned 00aa",
        "A ref+ o7:0@n1.1",
        "A got o7:0@n1.1 00aa",
        "A ref- o7:0@n1.1",
        "A gone o7:0@n1.1",
        "B recv n1.1 #4 Taken",
        "head declare-dead A (n1.1): silent",
        "B died A (n1.1): silent",
        "B recv n1.1 #5 StaleSender",
    ];
    assert_eq!(after_joining(&history), None);
}

#[test]
fn values_come_from_attempts_and_do_not_change() {
    let made = "A finish t7@n1.1 attempt 1 returned 00aa";
    assert_eq!(after_joining(&[made, "A got o7:0@n1.1 00bb"]), Some(("I2", 1)));
    let again = "B finish t7@n1.1 attempt 2 returned 00bb";
    assert_eq!(after_joining(&[made, "A got o7:0@n1.1 00aa", again, "A got o7:0@n1.1 00bb"]), Some(("I4", 3)));
    // A task that makes references makes new ones each time.
    let (first, second) = ("A finish t7@n1.1 attempt 1 returned 00aa*", "B finish t7@n1.1 attempt 2 returned 00bb*");
    assert_eq!(after_joining(&[first, "A got o7:0@n1.1 00aa", second, "A got o7:0@n1.1 00bb"]), None);
    let lost = "A get-failed o7:0@n1.1 ObjectLost";
    assert_eq!(after_joining(&[made, lost, "A got o7:0@n1.1 00aa"]), Some(("I4", 2)));
}

#[test]
fn errors_need_their_reason() {
    assert_eq!(after_joining(&["B get-failed o7:0@n1.1 OwnerDied"]), Some(("I5", 0)));
    let dead = "head declare-dead A (n1.1): silent";
    assert_eq!(after_joining(&[dead, "B get-failed o7:0@n1.1 OwnerDied"]), None);
    assert_eq!(after_joining(&["B get-failed o7:0@n1.1 Cancelled"]), Some(("I5", 0)));
    assert_eq!(after_joining(&["B cancel o7:0@n1.1", "B get-failed o7:0@n1.1 Cancelled"]), None);
}

#[test]
fn one_attempt_at_a_time_unless_its_node_is_dead() {
    let (one, two) = ("A start x t7@n2.2 attempt 1 under l1@n2.2", "B start x t7@n2.2 attempt 2 under l2@n2.2");
    assert_eq!(after_joining(&[one, two]), Some(("I10", 1)));
    assert_eq!(after_joining(&[one, "A lease-end l1@n2.2", two]), None);
    assert_eq!(after_joining(&[one, "A finish t7@n2.2 attempt 1 crashed", two]), None);
    assert_eq!(after_joining(&[one, "world kill A", two]), None);
    assert_eq!(after_joining(&[one, "head declare-dead A (n1.1): silent", two]), None);
    let finished = "B finish t7@n2.2 attempt 2 returned 00aa";
    assert_eq!(after_joining(&[two, finished, one]), Some(("I11", 2)));
}

#[test]
fn what_is_held_is_not_given_up() {
    assert_eq!(after_joining(&["B ref+ o7:0@n1.1", "A gone o7:0@n1.1"]), Some(("I26", 1)));
    assert_eq!(after_joining(&["B ref+ o7:0@n1.1", "world power_off B", "A gone o7:0@n1.1"]), None);
    assert_eq!(after_joining(&["B ref+ o7:0@n1.1", "A free-by-hand o7:0@n1.1", "A gone o7:0@n1.1"]), None);
}

#[test]
fn leases_are_granted_once_and_verdicts_are_final() {
    assert_eq!(after_joining(&["A grant l1@n2.2", "B grant l1@n2.2"]), Some(("I34", 1)));
    let dead = "head declare-dead A (n1.1): silent";
    assert_eq!(after_joining(&[dead, dead]), Some(("I38", 1)));
    assert_eq!(after_joining(&["head admit n1.1"]), None);
    assert_eq!(after_joining(&[dead, "head admit n1.1"]), Some(("I38", 1)));
}

#[test]
fn nobody_listens_to_the_dead() {
    let died = "B died A (n1.1): silent";
    assert_eq!(after_joining(&[died, "B recv n1.1 #9 Taken"]), Some(("I39", 1)));
    assert_eq!(after_joining(&["B recv n1.0 #9 Taken"]), Some(("I39", 0)));
    assert_eq!(after_joining(&["B misaddressed n1.1 #9 n2.1", "B recv n1.1 #9 Taken"]), Some(("I39", 1)));
    assert_eq!(after_joining(&["B misaddressed n1.1 #9 n2.1", "B recv n1.1 #9 WrongReceiver"]), None);
    assert_eq!(after_joining(&["B recv head.1 #1 Taken"]), None);
}

#[test]
fn the_chain_leads_back_through_the_same_subject() {
    let watch = Watch::default();
    let lines = ["A put o3:0@n1.1 00aa", "A put o7:0@n1.1 00bb", "B ref+ o7:0@n1.1", "A gone o7:0@n1.1"];
    for (number, line) in lines.iter().enumerate() {
        watch.line(&format!("{number} 0 {line}"));
    }
    let broken = watch.broken().expect("a premature free");
    assert_eq!(broken.chain.len(), 3);
    assert!(broken.chain[2].ends_with("A put o7:0@n1.1 00bb"), "{:?}", broken.chain);
}
