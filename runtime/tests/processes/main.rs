//! Worker processes, really: this very binary is what nodes start, which is why it has a main function of its own.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are about processes and their time"
)]

#[cfg(not(madsim))]
mod ends;
#[cfg(not(madsim))]
mod kills;
#[cfg(not(madsim))]
mod support;
#[cfg(not(madsim))]
mod tasks;
#[cfg(not(madsim))]
mod values;

/// Simulators have no processes: what they have instead is in `env/src/process/tests.rs` and in scenarios.
#[cfg(madsim)]
fn main() {}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Trial};
    use support::Answer;

    mobula_runtime::worker_main();
    if std::env::args().nth(1).as_deref() == Some(kills::VICTIM) {
        return kills::victim();
    }
    let mut arguments = Arguments::from_args();
    // Each counts the children of this process.
    arguments.test_threads = Some(1);
    let trial = |name: &str, test: fn() -> Answer| Trial::test(name, move || test().map_err(Into::into));
    let trials = vec![
        trial("a_process_that_ends_takes_nothing_with_it_and_its_end_is_told", ends::told_in_words),
        trial("a_crash_costs_the_budget_and_an_error_does_not", ends::budgets),
        trial("an_endless_loop_ends_with_its_cancel_and_its_cpu_is_free", ends::cancelled),
        trial("a_node_that_dies_kills_its_processes", ends::with_its_node),
        trial("a_node_ends_the_processes_of_an_owner_that_died", ends::with_its_owner),
        trial("large_values_are_read_where_they_are_and_nothing_stays_behind", values::large),
        trial("an_argument_that_is_kept_costs_the_process", values::kept),
        trial("what_cannot_be_passed_is_refused_by_name", values::refused),
        trial("processes_are_reused_and_few_are_idle", values::reused),
        trial("a_process_that_died_idle_is_replaced_and_nobody_pays", kills::idle),
        trial("processes_killed_at_random_moments_cost_no_byte_and_leave_nothing", kills::at_random_moments),
        trial("processes_do_not_outlive_a_killed_node", kills::with_the_program),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
