use super::*;
use mobula_protocol::ByteSize;

fn invariants(ledger: &Ledger) -> Vec<&'static str> {
    of(ledger).map(|(invariant, _)| invariant).collect()
}

#[test]
fn an_empty_node_holds_all_invariants_whatever_its_capacity() {
    let mut ledger = Ledger::default();
    ledger.usage.capacity = ByteSize::mb(100);
    // Heartbeats are always on their way.
    ledger.backlog = 1;
    assert_eq!(invariants(&ledger), [""; 0]);
}

#[test]
fn every_amount_is_told_with_its_invariant() {
    let empty = Ledger::default;
    let mut pins = empty();
    pins.usage.pins = 2;
    let mut writing = empty();
    writing.usage.creating = ByteSize(10);
    let mut viewed = empty();
    viewed.usage.lingering = ByteSize(10);
    let mut copies = empty();
    (copies.usage.objects, copies.usage.sealed_cached) = (1, ByteSize(10));
    let cases = [
        (pins, vec!["I24"]),
        (writing, vec!["I24"]),
        (viewed, vec!["I24"]),
        (Ledger { bundles: 1, ..empty() }, vec!["I24"]),
        (copies, vec!["I27", "I27"]),
        (Ledger { objects: 1, tasks: 1, foreign: 1, ..empty() }, vec!["I27"; 3]),
        (Ledger { pending: 1, ..empty() }, vec!["I33"]),
    ];
    for (ledger, expected) in cases {
        assert_eq!(invariants(&ledger), expected, "{ledger:?}");
    }
}

#[test]
fn a_leak_names_the_node_the_amount_and_the_invariant() {
    let leaks = of(&Ledger { bundles: 3, ..Ledger::default() });
    let leaks = leaks.map(|(invariant, what)| Leak { invariant, node: "A".into(), what }).collect();
    let text = Leaks { waited: Nanos::secs(5), leaks }.to_string();
    assert_eq!(text, "not at rest after 5.00s: A (I24): 3 gets and task arguments under way");
}
