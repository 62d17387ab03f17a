use super::*;
use crate::compute::charge;
use crate::{SimConfig, simulate};
use mobula_protocol::Nanos;
use std::sync::Mutex;

#[test]
fn an_end_is_told_in_words() {
    let words = |end: ProcessEnd| end.to_string();
    assert_eq!(words(ProcessEnd::Signal(11)), "its process was ended by signal 11 (SIGSEGV)");
    assert_eq!(words(ProcessEnd::Signal(64)), "its process was ended by signal 64 (unknown)");
    assert_eq!(words(ProcessEnd::Exit(3)), "its process exited with code 3");
    assert_eq!(words(ProcessEnd::NotStarted("why".into())), "its process could not be started: why");
}

/// Charges as many milliseconds as the request says; dies of 0.
fn stand_in() -> StandIn {
    Box::new(|request| {
        let [time] = request else { panic!("a request has one byte, not {}", request.len()) };
        if *time == 0 {
            std::panic::resume_unwind(Box::new("abort"));
        }
        charge(Nanos::millis(u64::from(*time)));
        vec![*time, 1]
    })
}

/// A process, and what tells whether it is gone.
fn start(env: &Env) -> (Process, std::sync::Weak<Mutex<()>>) {
    let alive = Arc::new(Mutex::new(()));
    let gone = Arc::downgrade(&alive);
    let hear: Hear = Arc::new(move |_| drop(alive.lock()));
    let setup = Setup { descriptor: None, hear, stand_in: stand_in() };
    (env.start_process(setup).expect("a simulator has stand-ins"), gone)
}

#[test]
fn a_simulated_process_takes_its_time_and_gives_back_the_rest_when_it_is_killed() {
    let report = simulate(SimConfig::default(), |env, _| async move {
        let (mut process, gone) = start(&env);
        assert_eq!(process.call(vec![1]).await, Ok(vec![1, 1]));
        let began = env.now();
        assert_eq!(process.call(vec![50]).await, Ok(vec![50, 1]));
        let took = env.now().saturating_sub(began);
        assert!((Nanos::millis(50)..Nanos::millis(52)).contains(&took), "{took}");
        // Killed after 10 of 200 milliseconds, on both cores: what comes next does not wait for the others.
        let (mut other, _) = start(&env);
        assert_eq!(other.call(vec![1]).await, Ok(vec![1, 1]));
        let both = futures_util::future::join(process.call(vec![200]), other.call(vec![200]));
        assert!(env.timeout(Nanos::millis(10), both).await.is_err());
        assert!(gone.upgrade().is_some());
        drop(process);
        assert!(gone.upgrade().is_none());
        let began = env.now();
        env.compute(|| charge(Nanos::millis(1))).await;
        let took = env.now().saturating_sub(began);
        assert!(took < Nanos::millis(3), "the core was kept for {took}");
    });
    report.outcome.unwrap();
}

#[test]
fn a_panic_of_the_stand_in_is_an_abort_and_nothing_is_begun_after_it() {
    let report = simulate(SimConfig::default(), |env, _| async move {
        let (mut process, _) = start(&env);
        let end = ProcessEnd::Signal(ABORT);
        assert_eq!(process.call(vec![0]).await, Err(Died { begun: true, end: end.clone() }));
        assert_eq!(process.call(vec![1]).await, Err(Died { begun: false, end }));
    });
    report.outcome.unwrap();
}
