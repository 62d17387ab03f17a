use super::*;

const LOG: &str = "\
0 0 A joined n1.2
1 0 B joined n2.3
2 0 driver joined n3.4
3 0 B joined driver as n3.4
4 5 B send n3.4 #1 Heartbeat
5 10 driver submit x t1@n3.4
6 10 driver send n1.2 #1 PushTask
7 12 A recv n3.4 #1 Taken
8 12 A start x t1@n3.4 attempt 1 under l1@n3.4
9 20 A finish t1@n3.4 attempt 1 returned 1
10 20 A send n3.4 #1 TaskDone
11 22 driver recv n1.2 #1 Taken
12 22 driver got o1:0@n3.4 1";

fn lines() -> Vec<String> {
    LOG.lines().map(str::to_owned).collect()
}

#[test]
fn only_what_a_result_rests_on_is_taken_away() {
    let found = cuts(&lines());
    let classes: BTreeSet<String> = found.iter().map(Cut::class).collect();
    let wanted = ["request_lost PushTask", "reply_lost TaskDone", "crash start true", "crash finish false"];
    assert!(wanted.iter().all(|class| classes.contains(*class)), "{classes:?}");
    assert!(!classes.iter().any(|class| class.contains("Heartbeat")), "{classes:?}");
    assert!(found.iter().all(|cut| !matches!(cut, Cut::Crash { node, .. } if node != "A")), "{found:?}");
}

fn lost(message: &str, nth: u64) -> Cut {
    let (from, to) = ("driver".to_owned(), "A".to_owned());
    Cut::Call { kind: "request_lost", message: message.to_owned(), from, to, nth }
}

fn crash(nth: u64) -> Cut {
    Cut::Crash { node: "A".to_owned(), kind: "start".to_owned(), nth, again: true }
}

fn sets(derivations: Vec<Vec<Cut>>) -> Vec<BTreeSet<Cut>> {
    let derivations = derivations.into_iter().map(BTreeSet::from_iter).collect();
    let quiet = Document::parse("").expect("nothing is TOML");
    let mut program = Program { quiet, crashes: CRASHES, derivations, played: BTreeSet::new(), left: 0 };
    let mut found = Vec::new();
    while let Some(set) = program.hypothesis(&BTreeMap::new(), &mut Rng::new(1, "test", "dice")) {
        assert!(program.played.insert(set.clone()), "{set:?} twice");
        found.push(set);
    }
    found
}

#[test]
fn every_set_cuts_all_derivations_and_the_smallest_come_first() {
    let derivations = vec![vec![lost("a", 1), lost("b", 1)], vec![lost("a", 2), lost("b", 1)]];
    let found = sets(derivations.clone());
    assert_eq!(found[0], BTreeSet::from([lost("b", 1)]));
    for set in &found {
        assert!(derivations.iter().all(|derivation| derivation.iter().any(|cut| set.contains(cut))), "{set:?}");
    }
    assert!(found.contains(&BTreeSet::from([lost("a", 1), lost("a", 2)])));
}

#[test]
fn what_no_bounded_set_cuts_is_finished() {
    let independent = |n: u64| (1..=n).map(|n| vec![lost("a", n)]).collect::<Vec<_>>();
    assert_eq!(sets(independent(FAULTS as u64)).len(), 1);
    assert!(sets(independent(FAULTS as u64 + 1)).is_empty());
    assert!(sets(vec![vec![crash(1)], vec![crash(2)]]).is_empty(), "two crashes are one too many");
}

#[test]
fn a_hypothesis_is_a_plan_that_the_parser_takes() {
    let mut search = Lineage::default();
    let quiet = search.next(3);
    assert!(!quiet.to_string().contains("fault"), "{quiet}");
    search.learn(&lines());
    let plans: Vec<Document> = (4..4 + EACH).map(|seed| search.next(seed)).collect();
    for plan in &plans {
        assert_eq!(plan.without_faults(), quiet);
        assert!(plan.to_string().contains("[[fault]]"), "{plan}");
        plan.scenario("lineage.toml").unwrap_or_else(|why| panic!("{why}\n{plan}"));
    }
    assert_ne!(search.next(99).without_faults(), quiet, "the next program has its turn");
}
