use super::*;
use std::process::Command;

/// Lines are printed if `MOBULA_SHOW` is set.
fn quiet(seed: u64) -> Options {
    let out = std::env::temp_dir().join(format!("mobula-scenarios-{}-{seed}", std::process::id()));
    Options { seed, quiet: std::env::var_os("MOBULA_SHOW").is_none(), out: Some(out), ..Options::default() }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file of these steps on the nodes A and B.
fn text_of(steps: &str, rest: &str) -> String {
    format!(
        "name = \"test\"\nsteps = [\n{steps}\n]\n{rest}\n[cluster]\nnodes = [{{ name = \"A\" }}, {{ name = \"B\" }}]\n"
    )
}

fn play_steps(steps: &str, rest: &str) -> Report {
    play(file::parse("test.toml", &text_of(steps, rest)).expect("the file is right"), &quiet(1))
}

/// Plays all files of a directory; those that do not end as they say.
fn not_as_said(directory: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for report in run_path(&here(directory), &quiet(1)) {
        let as_said = match report.known_failing {
            None => report.outcome == Outcome::Passed,
            // One that passes now must lose its mark.
            Some(_) => report.is_known_failure(),
        };
        if !as_said {
            wrong.push(format!("{}: {:?} {:?}", report.name, report.outcome, report.failure));
        }
    }
    wrong
}

#[test]
fn every_catalogue_file_passes_in_the_simulator() {
    let wrong = not_as_said("catalogue");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_was_repaired_once_stays_repaired() {
    let wrong = not_as_said("regressions");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_main_job_gives_the_expected_answers() {
    let options = quiet(3);
    let report = run_file(&here("flights.toml"), &options);
    assert_eq!((report.outcome, &report.failure), (Outcome::Passed, &None));
    let out = options.out.expect("an output directory");
    for file in ["carriers.csv", "worst_routes.csv", "months.csv", "manufacturers.csv"] {
        assert!(out.join(file).is_file(), "{file} was not written");
    }
    std::fs::remove_dir_all(out).expect("the output directory can be removed");
}

#[test]
fn every_verb_works_once() {
    let text = std::fs::read_to_string(here("verbs.toml")).expect("the file is there");
    for word in file::words() {
        assert!(text.contains(&format!("{{ {word} = ")), "verbs.toml has no `{word}`");
    }
    let report = run_file(&here("verbs.toml"), &quiet(1));
    assert_eq!((report.outcome, &report.failure), (Outcome::Passed, &None));
}

#[test]
fn the_digest_depends_on_results_and_not_on_the_seed() {
    let runs = [1, 2, 3].map(|seed| run_file(&here("catalogue/A09.toml"), &quiet(seed)));
    assert!(runs.iter().all(|run| run.outcome == Outcome::Passed), "{runs:?}");
    assert_eq!(runs[0].digest, runs[1].digest);
    assert_eq!(runs[0].digest, runs[2].digest);
    assert_ne!(runs[0].event_log_hash, runs[1].event_log_hash);
    let other = run_file(&here("catalogue/D19.toml"), &quiet(1));
    assert_ne!(other.digest, runs[0].digest);
}

#[test]
#[ignore = "prints what the parent compares"]
fn child_process() {
    let report = run_file(&here("catalogue/A12.toml"), &Options { quiet: true, ..quiet(7) });
    println!("CHILD {:?} {:?} {} {}", report.outcome, report.event_log_hash, report.events, report.digest);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "two runs in one process would share their hash map keys")]
fn two_processes_have_one_event_log() {
    let child = || {
        let program = std::env::current_exe().expect("this program has a name");
        let args = ["--ignored", "--exact", "run::tests::child_process", "--nocapture"];
        let output = Command::new(program).args(args).output().expect("the child runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.find("CHILD").map(|at| line[at..].to_owned()));
        line.unwrap_or_else(|| panic!("the child said: {text}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let first = child();
    assert!(first.starts_with("CHILD Passed Some("), "{first}");
    assert_eq!(first, child());
}

#[test]
fn a_broken_expectation_names_its_line_and_what_was_found() {
    let report =
        play_steps("{ submit = \"echo\", args = [1], as = \"x\" },\n{ get = \"x\", expect = { value = 2 } },", "");
    let failure = report.failure.clone().expect("a failure");
    assert_eq!(failure.step.as_deref(), Some("test.toml:4"));
    assert_eq!((failure.checker.as_str(), failure.message.as_str()), ("expect", "x: expected 2, found 1"));
    assert_eq!((report.outcome, report.exit_code()), (Outcome::Failed, 1));
    assert_eq!(report.counters["executions"], 1);
    let document = report.to_json();
    let keys: Vec<&str> = document.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut wanted = [
        "name",
        "world",
        "seed",
        "outcome",
        "failure",
        "event_log_hash",
        "digest",
        "events",
        "virtual_ns",
        "wall_ms",
        "counters",
        "skipped_faults",
        "trace",
        "replay",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    assert_eq!(document["failure"]["step"], "test.toml:4");
}

#[test]
fn what_waits_forever_is_stuck_and_says_for_what() {
    let steps = "{ submit = \"echo\", args = [1], as = \"x\", resources = { gpu = 1 } },\n{ get = \"x\" },";
    let report = play_steps(steps, "[settings]\nmax_time = \"3s\"");
    assert_eq!((report.outcome, report.exit_code()), (Outcome::Stuck, 3));
    let failure = report.failure.expect("a failure");
    assert_eq!(failure.step.as_deref(), Some("test.toml:4"));
    assert!(failure.causal_chain.iter().any(|wait| wait.starts_with("driver: x (")), "{failure:?}");
}

#[test]
fn a_fault_that_never_comes_fails_the_run() {
    let fault = "[[fault]]\nwhen = \"finished(x) >= 2\"\ndo = { kill = \"B\" }";
    let report = play_steps("{ submit = \"echo\", args = [1], as = \"x\" }, { get = \"x\" },", fault);
    let failure = report.failure.expect("a failure");
    assert_eq!(failure.step.as_deref(), Some("test.toml:5"));
    assert_eq!(failure.message, "the steps were over before the fault came: when 2 of x are finished");
}

#[test]
fn a_fault_of_calls_that_too_few_calls_meet_fails_the_run() {
    let steps = "{ submit = \"echo\", args = [1], as = \"x\" }, { get = \"x\" },";
    let fault = "[[fault]]\ndo = { rpc = { kind = \"duplicate\", method = \"PushTask\", nth = 1, count = 2 } }";
    let failure = play_steps(steps, fault).failure.expect("a failure");
    assert_eq!(failure.step.as_deref(), Some("test.toml:6"));
    assert!(failure.message.starts_with("the steps were over before so many calls met the rpc fault"), "{failure:?}");
    let once = fault.replace("count = 2", "count = 1");
    assert_eq!(play_steps(steps, &once).outcome, Outcome::Passed);
    let scenario = file::parse("test.toml", &text_of(steps, fault)).expect("the file is right");
    assert_eq!(play(scenario, &Options { drawn: true, ..quiet(1) }).outcome, Outcome::Passed);
}

#[test]
fn a_node_that_is_added_has_the_store_of_the_cluster() {
    let text = "name = \"test\"\nsteps = [{ add_node = { name = \"C\" } }]\n[cluster]\nstore = \"30MB\"\n\
                nodes = [{ name = \"A\" }, { name = \"B\", store = \"20MB\" }]";
    let scenario = file::parse("test.toml", text).expect("the file is right");
    let file::Action::Fault(file::Fault::AddNode(added)) = &scenario.steps[0].action else { panic!("{scenario:?}") };
    let stores = scenario.cluster.nodes.iter().chain([added]).map(|node| node_spec(&scenario, node).store.0);
    assert_eq!(stores.collect::<Vec<_>>(), [30_000_000, 20_000_000, 30_000_000]);
}

#[test]
fn counters_at_the_end_are_compared() {
    let report = play_steps(
        "{ submit = \"echo\", args = [1], as = \"x\" }, { get = \"x\" },",
        "[expect]\nexecutions = { x = 2 }",
    );
    assert_eq!(report.failure.expect("a failure").message, "executions of x: expected 2, found 1");
}

#[test]
fn a_file_that_is_wrong_is_refused() {
    let report = run_file(&here("no-such-file.toml"), &Options { quiet: true, ..quiet(0) });
    assert_eq!((report.outcome, report.exit_code()), (Outcome::Refused, 2));
    let reports = run_path(&here("src/tasks"), &Options { quiet: true, ..quiet(0) });
    assert_eq!(exit_code(&reports), 2);
}
