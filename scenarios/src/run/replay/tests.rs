use super::*;
use crate::file;
use mobula_runtime::Counters;

fn ended(digest: u64, tasks: &[(&str, u64, u64)]) -> Ended {
    let counters = |executions, retried| Counters { executions, retried, ..Counters::default() };
    let tasks = tasks.iter().map(|(label, executions, retried)| ((*label).to_owned(), counters(*executions, *retried)));
    Ended { outcome: "passed".to_owned(), digest, tasks: tasks.collect() }
}

/// Of a file that expects this.
fn expect(conditions: &str) -> Option<Assert> {
    let text = format!(
        "name = \"x\"\nsteps = [{{ submit = \"echo\", as = \"x\", args = [1] }}]\n[cluster]\nnodes = [{{ name = \"A\" }}]\n\
         [expect]\n{conditions}\n"
    );
    file::parse("mine.toml", &text).expect("the file is right").expect
}

#[test]
fn equal_ends_are_equal() {
    let end = ended(1, &[("x", 2, 1)]);
    assert_eq!(differences(&end, &end, expect("retried = 1").as_ref()), None);
}

#[test]
fn answers_and_executions_count_always_and_other_counters_if_something_is_expected_of_them() {
    let (before, after) = (ended(1, &[("x", 2, 1), ("y", 1, 0)]), ended(2, &[("x", 3, 2)]));
    let all = differences(&before, &after, None).expect("they differ");
    let digests = "digest 0000000000000001 there, 0000000000000002 here";
    assert_eq!(all, format!("{digests}; executions of x: 2 there, 3 here; executions of y: 1 there, 0 here"));
    let end = ended(1, &[("x", 2, 0)]);
    assert_eq!(differences(&ended(1, &[("x", 2, 1)]), &end, expect("rebuilt = 0").as_ref()), None);
    let retried = differences(&ended(1, &[("x", 2, 1)]), &end, expect("retried = { x = 0 }").as_ref());
    assert_eq!(retried.as_deref(), Some("retried of x: 1 there, 0 here"));
}

#[test]
fn a_run_that_failed_is_no_run_that_passed() {
    let failed = Ended { outcome: "failed".to_owned(), ..ended(2, &[]) };
    let said = differences(&failed, &ended(1, &[]), None);
    assert_eq!(said.as_deref(), Some("it failed, this run passed"));
}
