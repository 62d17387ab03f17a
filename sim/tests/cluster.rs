//! Whole clusters under faults, in the simulator of this build: turmoil (`cargo test`) or madsim (`cargo madsim`).

mod common;

use common::{Answer, answer, content, digest, produce, square, told};
use mobula_protocol::member::ClusterView;
use mobula_protocol::{ByteSize, Nanos};
use mobula_runtime::{Blob, Context, ObjectRef, Question, TaskErrorKind};
use mobula_sim::check::quiesce;
use mobula_sim::{
    Cluster, ClusterSpec, DRIVER, FaultError, NodeSpec, NodeState, RunFailure, RunOptions, RunReport, SpecError,
    WorldKind, run,
};

const TASKS: u64 = 300;
const BIG: u64 = 2_000_000;
/// How many courses of events the sweep tries.
const SEEDS: u64 = 20;

fn on<F, T>(nodes: usize, seed: u64, driver: impl FnOnce(Cluster) -> F + Send + 'static) -> RunReport<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let options = RunOptions { seed, trace: true, max_time: Nanos::secs(120), ..RunOptions::default() };
    run(ClusterSpec::nodes(nodes), options, driver)
}

/// The report of a run that passed; shows the end of the log of one that did not.
fn passed<F, T>(
    nodes: usize,
    seed: u64,
    driver: impl FnOnce(Cluster) -> F + Send + 'static,
) -> RunReport<Result<T, String>>
where
    F: Future<Output = Result<T, String>> + Send + 'static,
    T: std::fmt::Debug + Send + 'static,
{
    let report = on(nodes, seed, driver);
    if !matches!(report.outcome, Ok(Ok(_))) {
        let tail = &report.lines[report.lines.len().saturating_sub(60)..];
        panic!("seed {seed}: {:?} at {} after\n{}", report.outcome, report.virtual_time, tail.join("\n"));
    }
    report
}

async fn at_rest(cluster: &Cluster) -> Answer {
    answer(quiesce(cluster, Nanos::secs(20)).await)
}

/// Many squares; a fault when a third of them is done; all of them right.
async fn squares(cluster: &Cluster, fault: impl AsyncFnOnce(&Cluster) -> Answer) -> Answer {
    let context = cluster.context();
    let squares: Vec<ObjectRef<u64>> =
        (0..TASKS).map(|i| square(i).submit(context)).collect::<Result<_, _>>().map_err(|why| why.to_string())?;
    answer(context.wait(&squares, squares.len() / 3, None).await)?;
    fault(cluster).await?;
    let values = told(context.get_all(&squares).await)?;
    assert!(values.iter().copied().eq((0..TASKS).map(|i| i * i)), "{values:?}");
    Ok(())
}

/// Objects in the stores of the nodes, each read on some other node and by the driver; a fault in the middle.
async fn digests(cluster: &Cluster, fault: impl AsyncFnOnce(&Cluster) -> Answer) -> Answer {
    const BYTES: u64 = 300_000;
    let context = cluster.context();
    let submit = |seed| {
        let blob = produce(BYTES, seed).spread().submit(context)?;
        let digest = digest(&blob).spread().submit(context)?;
        Ok::<_, mobula_runtime::Error>((blob, digest))
    };
    let (blobs, digests): (Vec<_>, Vec<_>) =
        told((0..40).map(submit).collect::<Result<Vec<_>, _>>())?.into_iter().unzip();
    answer(context.wait(&digests, 10, None).await)?;
    fault(cluster).await?;
    let read = told(context.get_all(&digests).await)?;
    assert!(read.iter().copied().eq((0..40).map(|seed| common::hash(&content(BYTES, seed)))), "{read:?}");
    for (seed, blob) in (0..).zip(&blobs) {
        assert!(*told(context.get(blob).await)? == *content(BYTES, seed), "object {seed}");
    }
    Ok(())
}

async fn squares_and_a_kill(cluster: Cluster) -> Answer {
    squares(&cluster, async |cluster| answer(cluster.kill("B").await)).await?;
    assert_eq!(cluster.nodes(), ["A", "C"]);
    assert_eq!(cluster.state_of("B"), Ok(NodeState::Killed));
    let counters = cluster.context().counters("square");
    assert_eq!((counters.submitted, counters.finished, counters.failed), (TASKS, TASKS, 0), "{counters:?}");
    assert!(counters.retried > 0, "B had something to do when it died: {counters:?}");
    at_rest(&cluster).await
}

#[test]
fn a_killed_node_costs_no_result_and_a_seed_is_a_course_of_events() {
    let first = passed(3, 7, squares_and_a_kill);
    let again = passed(3, 7, squares_and_a_kill);
    let differs = first.lines.iter().zip(&again.lines).find(|(first, again)| first != again);
    assert_eq!(differs, None);
    assert_eq!((first.event_log_hash, first.events), (again.event_log_hash, again.events));
    assert!(first.events > TASKS, "the log says something: {}", first.events);
    let other = passed(3, 8, squares_and_a_kill);
    assert_ne!(first.event_log_hash, other.event_log_hash);
}

#[test]
fn a_node_without_power_costs_no_result() {
    passed(3, 1, async |cluster: Cluster| {
        squares(&cluster, async |cluster| answer(cluster.power_off("A").await)).await?;
        at_rest(&cluster).await
    });
}

#[test]
fn a_short_pause_is_nobody_s_death() {
    passed(3, 2, async |cluster: Cluster| {
        squares(&cluster, async |cluster| {
            answer(cluster.pause("C").await)?;
            cluster.env().sleep(Nanos::millis(500)).await;
            assert_eq!(cluster.state_of("C"), Ok(NodeState::Paused));
            answer(cluster.resume("C").await)
        })
        .await?;
        assert_eq!(cluster.nodes(), ["A", "B", "C"]);
        at_rest(&cluster).await
    });
}

#[test]
fn a_node_that_slept_through_its_own_death_stops() {
    passed(3, 3, async |cluster: Cluster| {
        squares(&cluster, async |cluster| {
            answer(cluster.pause("C").await)?;
            cluster.env().sleep(Nanos::secs(4)).await;
            answer(cluster.resume("C").await)
        })
        .await?;
        cluster.env().sleep(Nanos::secs(3)).await;
        assert_eq!(cluster.state_of("C"), Ok(NodeState::Stopped));
        assert_eq!(cluster.nodes(), ["A", "B"]);
        // Its next life takes part again.
        answer(cluster.restart("C").await)?;
        answer(cluster.joined(&["C"]).await)?;
        squares(&cluster, async |_| Ok(())).await?;
        at_rest(&cluster).await
    });
}

#[test]
fn a_healed_partition_is_forgotten() {
    passed(3, 4, async |cluster: Cluster| {
        squares(&cluster, async |cluster| {
            answer(cluster.partition("A", DRIVER).await)?;
            answer(cluster.partition_oneway("B", "C").await)?;
            cluster.env().sleep(Nanos::millis(700)).await;
            answer(cluster.heal("A", DRIVER).await)?;
            answer(cluster.heal_all().await)
        })
        .await?;
        assert_eq!(cluster.nodes(), ["A", "B", "C"]);
        at_rest(&cluster).await
    });
}

#[test]
fn a_node_cut_off_for_too_long_is_replaced_by_the_others() {
    passed(3, 5, async |cluster: Cluster| {
        squares(&cluster, async |cluster| {
            for other in ["head", DRIVER, "B", "C"] {
                answer(cluster.partition("A", other).await)?;
            }
            Ok(())
        })
        .await?;
        answer(cluster.heal_all().await)?;
        cluster.env().sleep(Nanos::secs(12)).await;
        assert_eq!(cluster.state_of("A"), Ok(NodeState::Stopped), "it finds out that it was declared dead");
        at_rest(&cluster).await
    });
}

/// A fault of some kind at a node and a moment that the seed draws, under one of the two loads. Returns how often a task
/// ran again because of it.
async fn some_fault(cluster: Cluster) -> Result<u64, String> {
    let mut dice = cluster.env().rng("fault");
    let node = ["A", "B", "C"][dice.below(3) as usize];
    let many_squares = dice.chance(0.5);
    // While there is work: the digests take a few milliseconds.
    let moment = Nanos::micros(dice.below(if many_squares { 100_000 } else { 5_000 }));
    let silence = Nanos::micros(dice.below(4_000_000));
    let kind = dice.below(5);
    let fault = async |cluster: &Cluster| {
        let env = cluster.env();
        env.sleep(moment).await;
        match kind {
            0 => answer(cluster.kill(node).await),
            1 => answer(cluster.power_off(node).await),
            2 => answer(cluster.restart(node).await),
            3 => {
                answer(cluster.pause(node).await)?;
                env.sleep(silence).await;
                answer(cluster.resume(node).await)
            }
            _ => {
                for other in ["head", DRIVER] {
                    answer(cluster.partition_oneway(node, other).await)?;
                }
                env.sleep(silence).await;
                answer(cluster.heal_all().await)
            }
        }
    };
    if many_squares {
        squares(&cluster, fault).await?
    } else {
        digests(&cluster, fault).await?
    }
    let counters = ["square", "produce", "digest"].map(|label| cluster.context().counters(label));
    at_rest(&cluster).await?;
    Ok(counters.iter().map(|counters| counters.retried + counters.rebuilt).sum())
}

#[test]
fn no_seed_loses_a_result() {
    let again = (100..100 + SEEDS).map(|seed| match passed(3, seed, some_fault).outcome {
        Ok(Ok(again)) => again,
        other => panic!("{other:?}"),
    });
    assert!(again.sum::<u64>() > 0, "no fault met any work");
}

#[test]
fn an_added_node_takes_its_share() {
    passed(1, 6, async |cluster: Cluster| {
        squares(&cluster, async |cluster| {
            answer(cluster.add_node(NodeSpec::new("late", 2)).await)?;
            answer(cluster.joined(&["late"]).await)
        })
        .await?;
        let on = square(12).on("late").submit(cluster.context());
        assert_eq!(cluster.context().get(&told(on)?).await, Ok(144));
        at_rest(&cluster).await
    });
}

#[test]
fn a_restarted_node_is_another_life() {
    passed(2, 9, async |cluster: Cluster| {
        // At once: the head still takes the last life for alive.
        answer(cluster.restart("A").await)?;
        answer(cluster.joined(&["A"]).await)?;
        let view = told(cluster.context().ask(Question::Cluster).await)?;
        let lives: Vec<_> = view.nodes.iter().filter(|node| node.member.name == "A").collect();
        assert_eq!(lives.len(), 1, "{lives:?}");
        squares(&cluster, async |_| Ok(())).await?;
        at_rest(&cluster).await
    });
}

async fn copies<T>(context: &Context, of: &ObjectRef<T>) -> Vec<String> {
    context.ask(|reply| Question::Copies(of.id(), reply)).await.unwrap_or_default()
}

#[test]
fn the_only_copy_of_a_big_object_is_made_again() {
    passed(3, 10, async |cluster: Cluster| {
        let context = cluster.context();
        let big = told(produce(BIG, 42).prefer("A").submit(context))?;
        answer(context.wait(std::slice::from_ref(&big), 1, None).await)?;
        assert_eq!(copies(context, &big).await, ["A"]);
        answer(cluster.kill("A").await)?;
        let read = told(context.get(&big).await)?;
        assert_eq!(&*read, content(BIG, 42));
        assert_eq!(context.counters("produce").executions, 2);
        assert_eq!(context.counters("produce").rebuilt, 1);
        // Its readers are served as well.
        let hash = told(digest(&big).submit(context))?;
        assert_eq!(context.get(&hash).await, Ok(common::hash(&content(BIG, 42))));
        drop((big, read, hash));
        at_rest(&cluster).await
    });
}

#[test]
fn an_evicted_copy_is_made_again() {
    passed(2, 16, async |cluster: Cluster| {
        let context = cluster.context();
        let big = told(produce(BIG, 7).on("A").submit(context))?;
        answer(context.wait(std::slice::from_ref(&big), 1, None).await)?;
        assert_eq!(cluster.evict("A", big.id(), false).await, Ok(false), "a primary copy is not dropped by itself");
        assert_eq!(cluster.evict("B", big.id(), true).await, Ok(false), "there is none");
        assert_eq!(cluster.evict("A", big.id(), true).await, Ok(true));
        assert!(*told(context.get(&big).await)? == *content(BIG, 7));
        assert_eq!(context.counters("produce").executions, 2);
        drop(big);
        at_rest(&cluster).await
    });
}

#[test]
fn a_broadcast_goes_through_relays_and_goes_on_where_it_was_when_one_dies() {
    const LARGE: u64 = 60_000_000;
    let report = passed(4, 21, async |cluster: Cluster| {
        let context = cluster.context();
        let big = told(context.put(&Blob::from(content(LARGE, 5))).await)?;
        let read = |node: &str| digest(&big).on(node).max_retries(0).submit(context);
        let first = told(read("A"))?;
        cluster.env().sleep(Nanos::millis(15)).await;
        let others = told(["B", "C", "D"].into_iter().map(read).collect::<Result<Vec<_>, _>>())?;
        cluster.env().sleep(Nanos::millis(15)).await;
        answer(cluster.kill("A").await)?;
        for digest in &others {
            assert_eq!(context.get(digest).await, Ok(common::hash(&content(LARGE, 5))));
        }
        drop((big, first, others));
        at_rest(&cluster).await
    });
    let reached = |probe: &str| report.probes.get(probe).copied().unwrap_or_default();
    let counts = ["transfer.redirected", "transfer.relayed", "transfer.resumed"].map(reached);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn what_has_no_lineage_is_lost_with_its_only_node() {
    passed(2, 11, async |cluster: Cluster| {
        let context = cluster.context();
        let big = told(produce(BIG, 1).on("A").max_retries(0).submit(context))?;
        answer(context.wait(std::slice::from_ref(&big), 1, None).await)?;
        answer(cluster.kill("A").await)?;
        let why = context.get(&big).await.map(drop).unwrap_err();
        assert!(matches!(why.kind, TaskErrorKind::Unreconstructable(_)), "{why:?}");
        drop(big);
        at_rest(&cluster).await
    });
}

#[test]
fn a_held_reference_is_a_leak_that_is_named() {
    let report = on(1, 12, async |cluster: Cluster| {
        let held = produce(BIG, 1).submit(cluster.context()).expect("submitted");
        cluster.context().wait(std::slice::from_ref(&held), 1, None).await.map(drop).expect("made");
        let leaks = quiesce(&cluster, Nanos::secs(1)).await;
        drop(held);
        (leaks, quiesce(&cluster, Nanos::secs(20)).await)
    });
    let (held, dropped) = report.outcome.expect("a result");
    let told = held.expect_err("it is held").to_string();
    assert!(told.contains("driver (I27): 1 objects owned"), "{told}");
    assert!(told.contains("A (I27): 1 copies in the store"), "{told}");
    assert_eq!(dropped, Ok(()));
}

#[test]
fn faults_that_make_no_sense_are_errors_that_help() {
    passed(2, 13, async |cluster: Cluster| {
        let refused = |why: Result<(), FaultError>| why.unwrap_err().to_string();
        let node = |name| NodeSpec::new(name, 1);
        answer(cluster.add_node(node("worker-1")).await)?;
        assert_eq!(refused(cluster.kill("worker1").await), "there is no node `worker1`; did you mean `worker-1`?");
        let unknown = refused(cluster.partition("A", "something-else").await);
        assert_eq!(unknown, "there is no node `something-else`; the nodes are A, B, head, worker-1, driver");
        assert_eq!(refused(cluster.kill(DRIVER).await), "cannot kill the driver: it is who injects the faults");
        assert_eq!(refused(cluster.resume("A").await), "cannot resume `A`: it is running");
        answer(cluster.kill("A").await)?;
        assert_eq!(refused(cluster.kill("A").await), "cannot kill `A`: it is killed");
        let taken = refused(cluster.add_node(node("A")).await);
        assert_eq!(taken, "there is a node `A` already, killed; `restart` starts its next life");
        for name in ["", "a b", "head", DRIVER, "A_1"] {
            assert!(matches!(cluster.add_node(node(name)).await, Err(FaultError::Spec(SpecError::BadName { .. }))));
        }
        Ok(())
    });
}

#[test]
fn a_restarted_head_goes_on_and_nobody_notices() {
    passed(2, 14, async |cluster: Cluster| {
        let before = cluster.context().ask(Question::Cluster).await.map_err(|why| why.to_string())?;
        for _ in 0..3 {
            answer(cluster.restart("head").await)?;
            answer(cluster.joined(&["head"]).await)?;
        }
        answer(cluster.add_node(NodeSpec::new("late", 1)).await)?;
        answer(cluster.joined(&["A", "B", "late"]).await)?;
        let after = cluster.context().ask(Question::Cluster).await.map_err(|why| why.to_string())?;
        let lives = |view: &ClusterView| view.nodes.iter().map(|node| node.member.incarnation).collect::<Vec<_>>();
        assert_eq!(lives(&after)[..lives(&before).len()], lives(&before)[..], "nobody has joined again");
        Ok(())
    });
}

#[test]
fn a_cluster_that_cannot_be_says_why() {
    let fails = |spec: ClusterSpec, options: RunOptions| run(spec, options, async |_| ()).outcome.unwrap_err();
    let mut twice = ClusterSpec::nodes(2);
    twice.nodes[1].name = "A".into();
    let taken = RunFailure::Spec(SpecError::NameTaken { name: "A".into() });
    assert_eq!(fails(twice, RunOptions::default()), taken);
    let mut hasty = ClusterSpec::nodes(1);
    hasty.settings.health_timeout = hasty.settings.health_period;
    assert!(matches!(fails(hasty, RunOptions::default()), RunFailure::Spec(SpecError::Health(_))));
    let mut huge = ClusterSpec::nodes(1);
    huge.nodes[0].store = ByteSize(1 << 60);
    let RunFailure::Start(why) = fails(huge, RunOptions::default()) else { panic!("it has no such memory") };
    assert!(why.contains("A: "), "{why}");
    let other = if cfg!(madsim) { WorldKind::Turmoil } else { WorldKind::Madsim };
    let wrong = fails(ClusterSpec::nodes(1), RunOptions { world: other, ..RunOptions::default() }).to_string();
    assert!(wrong.contains(&other.to_string()) && wrong.contains("cargo"), "{wrong}");
}

#[test]
fn a_panic_and_a_silence_end_the_run() {
    let panic = on(1, 15, async |_: Cluster| panic!("planted")).outcome.map(|(): ()| ());
    assert_eq!(panic, Err(RunFailure::Panic { message: "planted".into(), node: DRIVER.into() }));
    let options = RunOptions { max_time: Nanos::secs(3), ..RunOptions::default() };
    let stuck = run(ClusterSpec::nodes(1), options, async |_| std::future::pending::<()>().await);
    assert!(matches!(stuck.outcome, Err(RunFailure::Stuck { at }) if at >= Nanos::secs(3)), "{:?}", stuck.outcome);
}
