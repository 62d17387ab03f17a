use super::*;
use crate::run::{Failure, Options, Outcome, Report};

#[test]
fn every_seed_draws_a_plan_that_the_parser_takes() {
    for seed in 0..300 {
        let plan = swarm(seed);
        if let Err(why) = plan.scenario("swarm.toml") {
            panic!("seed {seed}: {why}\n{plan}");
        }
        let again = Document::parse(&plan.to_string()).expect("what is written can be read");
        assert_eq!(again, plan, "seed {seed}");
    }
}

#[test]
fn seeds_differ_and_repeat() {
    assert_eq!(swarm(7), swarm(7));
    assert_ne!(swarm(7), swarm(8));
}

#[test]
fn a_child_shares_most_of_its_plan() {
    let parent = Genome::of(3);
    let children: Vec<Genome> = (0..20).map(|seed| parent.mutated(seed)).collect();
    assert!(children.iter().all(|child| child != &parent && child.plan().scenario("x.toml").is_ok()));
    assert_eq!(children[4], parent.mutated(4));
}

#[test]
fn what_reaches_new_situations_is_kept() {
    let mut search = Guided::default();
    let mut report = Report::refused("x.toml".as_ref(), &Options::default(), String::new());
    report.coverage = ["owner/one/Submit".to_owned()].into();
    assert_eq!(search.learn(Genome::of(1), &report), 1);
    assert_eq!(search.learn(Genome::of(2), &report), 0);
    let drawn: Vec<Genome> = (0..40).map(|seed| search.next(seed).0).collect();
    let children = drawn.iter().zip(0..).filter(|(genome, seed)| **genome != Genome::of(*seed)).count();
    assert!((5..35).contains(&children), "{children} of 40 are children of what was kept");
    assert_eq!(search.situations(), 1);
}

#[test]
fn a_plan_without_faults_keeps_its_work() {
    let text = r#"
        name = "x"
        steps = [{ put = 1, as = "x" }, { parallel = [[{ kill = "A" }], [{ get = "x" }]] }, { heal = "all" }]
        [settings]
        buggify = true
        [[fault]]
        do = { rpc = { kind = "delay", count = 1 } }
        [cluster]
        nodes = [{ name = "A" }]
    "#;
    let quiet = Document::parse(text).expect("TOML").without_faults().to_string();
    assert!(quiet.contains("put") && quiet.contains("get"), "{quiet}");
    assert!(!["kill", "heal", "fault", "buggify"].iter().any(|word| quiet.contains(word)), "{quiet}");
}

/// Fails whenever a `kill` of A and a `get` are in the plan: what is needed, and nothing else, must be left.
fn fails_if_killed(document: &Document, options: &Options) -> Report {
    let text = document.to_string();
    let mut report = Report::refused("x.toml".as_ref(), options, String::new());
    (report.outcome, report.failure) = match text.contains("kill = \"A\"") && text.contains("get") {
        true => (Outcome::Failed, Some(Failure::new("I26", "given up"))),
        false => (Outcome::Passed, None),
    };
    report
}

#[test]
fn shrinking_leaves_what_the_failure_needs() {
    let plan = Document::parse(
        r#"
        name = "x"
        steps = [
          { submit = "produce", as = "x", bytes = "2MB", count = 40, max_retries = 3 },
          { parallel = [[{ sleep = "1s" }, { kill = "A" }, { restart = "A" }], [{ wait = "x" }]] },
          { submit = "produce", as = "z", bytes = "2MB" },
          { get = "x", timeout = "20s" },
          { get = "z" },
        ]
        [settings]
        inline = "1KB"
        [[fault]]
        do = { rpc = { kind = "delay", count = 1 } }
        [cluster]
        nodes = [{ name = "A" }, { name = "B" }, { name = "C" }]
        "#,
    )
    .expect("TOML");
    let shrunk = shrink(&plan, &Options::default(), 500, &fails_if_killed).expect("it fails");
    let text = shrunk.document.to_string();
    let steps: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with('{')).collect();
    assert_eq!(steps.len(), 3, "{text}");
    assert!(
        text.contains("nodes = [{ name = \"A\" }]") && !text.contains("settings") && !text.contains("fault"),
        "{text}"
    );
    assert!(text.contains("bytes = \"1B\"") && !text.contains("count"), "{text}");
    assert_eq!(Signature::of(&shrunk.report), Signature::of(&fails_if_killed(&plan, &Options::default())));
}

#[test]
fn what_passes_cannot_be_shrunk() {
    let plan = swarm(1);
    let passes = |_: &Document, options: &Options| {
        let mut report = Report::refused("x.toml".as_ref(), options, String::new());
        report.outcome = Outcome::Passed;
        report
    };
    assert!(shrink(&plan, &Options::default(), 10, &passes).is_err());
}
