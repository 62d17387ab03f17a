use super::*;
use crate::file;
use crate::run::Options;

const RECORD: &str = "# mobula record 1
# scenario mine.toml
# name a name of words
# seed 7
# ready 500
0 0 world start A cores=1
1 1000 A joined n1.1
2 2000 A send head #1 View
3 2500 head recv n1.1 #1 Taken
4 3000 A start x t1@n1.1 attempt 1 under l1@n1.1
5 9000 A finish t1@n1.1 attempt 1 returned 00aa
# fault 1 1500000000
# outcome passed
# digest 00000000000000ff
# tasks 1 2 3 4 5 6 a label
# end
";

fn parse(text: &str) -> Result<Record, String> {
    Record::parse("rec.log", text).map_err(|why| why.to_string())
}

fn scenario(name: &str) -> Scenario {
    let text = format!(
        "name = \"{name}\"\nsteps = [{{ sleep = \"2s\" }}]\n[cluster]\nnodes = [{{ name = \"A\" }}, {{ name = \"B\" }}]\n\
         [[fault]]\nat = \"1s\"\ndo = {{ pause = \"A\" }}\n[[fault]]\nat = \"2s\"\ndo = {{ resume = \"A\" }}\n"
    );
    file::parse("mine.toml", &text).expect("the file is right")
}

#[test]
fn a_record_says_what_is_needed_to_play_it_and_how_it_ended() {
    let record = parse(RECORD).expect("it is a record");
    assert_eq!((&*record.scenario, &*record.name, record.seed), ("mine.toml", "a name of words", 7));
    assert_eq!(record.events.len(), 6);
    assert_eq!(record.times.delays.values().flatten().collect::<Vec<_>>(), [&Some(Nanos(500))]);
    assert_eq!(record.times.ready, Nanos(500));
    assert_eq!(record.times.spans.into_values().collect::<Vec<_>>(), [Nanos(6_000)]);
    assert_eq!((&*record.ended.outcome, record.ended.digest), ("passed", 255));
    let tasks = Counters { submitted: 1, executions: 2, finished: 3, failed: 4, retried: 5, rebuilt: 6 };
    assert_eq!(record.ended.tasks, BTreeMap::from([("a label".to_owned(), tasks)]));
}

#[test]
fn what_is_written_is_what_is_read() {
    let scenario = scenario("a name of words");
    let journal = Journal::new(&Options::default());
    journal.fault_came(1, Nanos::millis(1_500));
    let ended = parse(RECORD).expect("it is a record").ended;
    let lines: Vec<String> = RECORD.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    assert_eq!(text(&scenario, 7, Nanos(500), &lines, &journal, &ended), RECORD);
    let broken = text(&scenario, 7, Nanos(500), &["0 0 A stop two\nlines".to_owned()], &journal, &ended);
    assert_eq!(parse(&broken).expect("it is a record").events[0].detail, "two lines");
}

#[test]
fn faults_come_when_they_came() {
    let record = parse(RECORD).expect("it is a record");
    let mut scenario = scenario("a name of words");
    record.time_faults(&mut scenario);
    let triggers: Vec<_> = scenario.faults.into_iter().map(|fault| fault.trigger).collect();
    assert_eq!(triggers, [Trigger::At(Nanos::secs(1)), Trigger::At(Nanos::millis(1_500))]);
}

#[test]
fn a_broken_record_is_refused_with_its_line() {
    for (old, new, said) in [
        ("# mobula record 1", "name = \"x\"", "rec.log:1: no record of a real run"),
        ("0 0 world", "what is this", "rec.log:6: `what is this start A cores=1` is no event"),
        ("#1 View", "View", "rec.log:8: event 2: a `send` says to whom"),
        ("t1@n1.1 attempt 1 under", "1 attempt 1 under", "rec.log:10: event 4: a `start` says which task"),
        ("# seed 7", "# seed seven", "rec.log:4: `seven` is no number"),
        ("# seed 7", "# sed 7", "rec.log:4: a record has no `# sed`; did you mean `seed`?"),
        ("# fault 1 1500000000", "# fault 1", "rec.log:12: a fault has a number and a time"),
        ("# digest 00000000000000ff", "# digest x", "rec.log:14: `x` is no digest"),
        ("1 2 3 4 5 6 a label", "1 2 3", "rec.log:15: `# tasks 1 2 3` has not six counters and a label"),
        ("# end\n", "", "rec.log: has no line `# end`: it was cut off"),
        ("# name a name of words\n", "", "rec.log: has no line `# name`"),
    ] {
        let why = parse(&RECORD.replace(old, new)).expect_err(said);
        assert!(why.contains(said), "{why}");
    }
    assert!(parse("").expect_err("nothing").contains("no record of a real run"));
    let why = Record::read(Path::new("nowhere/rec.log")).expect_err("there is none").to_string();
    assert!(why.contains("nowhere/rec.log: cannot be read"), "{why}");
}

#[test]
fn a_record_of_another_scenario_is_refused() {
    let record = parse(RECORD).expect("it is a record");
    assert!(record.clone().of(&scenario("a name of words")).is_ok());
    let why = record.of(&scenario("another")).expect_err("foreign").to_string();
    assert_eq!(why, "rec.log is a record of `a name of words` (mine.toml), not of `another`");
}
