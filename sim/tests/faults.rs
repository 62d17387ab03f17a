//! Faults of calls and links: answers stay what they are, nothing is left, and no invariant over the history breaks.

mod common;

use common::{Answer, answer, content, digest, produce, told};
use mobula_protocol::Nanos;
use mobula_sim::check::quiesce;
use mobula_sim::{Cluster, ClusterSpec, DRIVER, HEAD, RpcFault, RpcFaultKind, RunOptions, RunReport, run};

const BYTES: u64 = 200_000;
const OBJECTS: u64 = 12;

/// What happens beside the work.
#[derive(Clone, Copy)]
enum Trouble {
    None,
    Hold,
    SlowLink,
    Loss,
    ClockJump,
}

async fn trouble(cluster: &Cluster, trouble: Trouble) -> Answer {
    match trouble {
        Trouble::None => Ok(()),
        Trouble::Hold => {
            answer(cluster.hold("A", DRIVER).await)?;
            cluster.env().sleep(Nanos::millis(300)).await;
            answer(cluster.release_messages("A", DRIVER).await)
        }
        Trouble::SlowLink => answer(cluster.slow_link("B", DRIVER, Nanos::millis(20)).await),
        Trouble::Loss => answer(cluster.lose("B", DRIVER, 0.3).await),
        Trouble::ClockJump => {
            answer(cluster.clock_jump("A", 3_600_000_000_000).await)?;
            answer(cluster.clock_jump(HEAD, -3_600_000_000_000).await)
        }
    }
}

/// Objects made on some node and read on another, and everything given back.
async fn work(cluster: Cluster, beside: Trouble) -> Answer {
    let context = cluster.context();
    let submit = |seed| {
        let blob = produce(BYTES, seed).spread().submit(context)?;
        digest(&blob).spread().submit(context)
    };
    let digests = told((0..OBJECTS).map(submit).collect::<Result<Vec<_>, mobula_runtime::Error>>())?;
    trouble(&cluster, beside).await?;
    let read = told(context.get_all(&digests).await)?;
    assert!(read.iter().copied().eq((0..OBJECTS).map(|seed| common::hash(&content(BYTES, seed)))), "{read:?}");
    drop(digests);
    answer(cluster.heal_all().await)?;
    answer(quiesce(&cluster, Nanos::secs(20)).await)
}

fn passed(seed: u64, rpc_faults: Vec<RpcFault>, buggify: bool, beside: Trouble) -> RunReport<Answer> {
    let options = RunOptions { seed, rpc_faults, buggify, max_time: Nanos::secs(120), ..RunOptions::default() };
    let report = run(ClusterSpec::nodes(2), options, move |cluster| work(cluster, beside));
    assert!(matches!(report.outcome, Ok(Ok(()))), "{:?}", report.outcome);
    assert_eq!(report.broken, None);
    report
}

#[test]
fn every_kind_of_fault_of_calls_leaves_the_answers_as_they_are() {
    for word in RpcFaultKind::WORDS {
        let kind = RpcFaultKind::of(word, Nanos::millis(5)).expect("a word of the list");
        let report = passed(3, vec![RpcFault { probability: 0.3, ..RpcFault::new(kind) }], false, Trouble::None);
        assert!(report.probes.get("rpc-fault").is_some_and(|faults| *faults > 10), "{word}: {:?}", report.probes);
    }
}

#[test]
fn a_fault_meets_the_calls_it_names_so_often() {
    let method = Some("PushTask".to_owned());
    let fault = RpcFault { method, nth: 2, count: Some(3), ..RpcFault::new(RpcFaultKind::InFlight) };
    let report = passed(3, vec![fault], false, Trouble::None);
    assert_eq!(report.probes.get("rpc-fault"), Some(&3));
}

#[test]
fn messages_of_the_dead_are_refused_and_counted() {
    let report = passed(3, vec![RpcFault::new(RpcFaultKind::StaleEpoch)], false, Trouble::None);
    assert!(report.probes.get("misaddressed").is_some_and(|seen| *seen > 10), "{:?}", report.probes);
}

#[test]
fn held_slow_and_lossy_links_and_wrong_clocks_change_no_answer() {
    let undisturbed = passed(3, Vec::new(), false, Trouble::None).virtual_time;
    for beside in [Trouble::Hold, Trouble::SlowLink, Trouble::Loss, Trouble::ClockJump] {
        let report = passed(3, Vec::new(), false, beside);
        let (took, lost) = (report.virtual_time, report.probes.get("rpc-fault").copied().unwrap_or_default());
        match beside {
            Trouble::Hold => assert!(took >= Nanos::millis(300), "{took}: nothing waited for what was held"),
            Trouble::SlowLink => assert!(took > undisturbed, "{took}, and {undisturbed} without"),
            Trouble::Loss => assert!(lost > 0, "no call was lost"),
            Trouble::None | Trouble::ClockJump => {}
        }
    }
}

#[test]
fn unlikely_paths_change_no_answer_and_some_are_taken() {
    let reports: Vec<_> = (1..=16).map(|seed| passed(seed, Vec::new(), true, Trouble::None)).collect();
    // A quarter of the sites are armed in a run.
    for site in ["exchange.late", "fetch.late", "node.short-turn"] {
        let taken = reports.iter().filter(|report| report.probes.contains_key(site)).count();
        assert!((1..reports.len()).contains(&taken), "{site} is taken in {taken} of {} runs", reports.len());
    }
}

#[test]
fn the_same_past_has_another_future() {
    let run_with = |branch| {
        let options = RunOptions { seed: 3, trace: true, branch, ..RunOptions::default() };
        run(ClusterSpec::nodes(2), options, |cluster| work(cluster, Trouble::None)).lines
    };
    let straight = run_with(None);
    // Not every seed arms a site that this run passes.
    let branches = [1, 2, 3, 4, 5, 6].map(|seed| run_with(Some((100, seed))));
    assert!(branches.iter().all(|branch| branch[..100] == straight[..100]));
    assert!(branches.iter().any(|branch| *branch != straight), "no future differs");
    assert_eq!(branches[0], run_with(Some((100, 1))));
}
