//! The tests, and the program under test.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "these tests are about processes and real time"
)]

mod kills;

use crate::common::{Answer, answer, content, produce, slow_square};
use clap::Parser;
use libtest_mimic::{Arguments, Trial};
use mobula_protocol::{ByteSize, Nanos};
use mobula_runtime::ObjectRef;
use mobula_sim::check::quiesce;
use mobula_sim::{
    Cluster, ClusterSpec, FaultError, LinkSpec, NodeSpec, NodeState, RunFailure, RunOptions, RunReport, WorldKind,
    child, run,
};
use rustix::process::{Pid, test_kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const TASKS: u64 = 200;
const BIG: u64 = 2_000_000;

#[derive(Parser)]
enum Program {
    Head(child::HeadArgs),
    Node(Box<child::NodeArgs>),
    /// A driver that prints its children's process ids and then waits to be killed.
    Orphan,
}

pub fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("head" | "node" | "orphan") => {}
        _ => return tests(),
    }
    let ended = match Program::parse() {
        Program::Head(args) => child::head(&args),
        Program::Node(args) => child::node(&args),
        Program::Orphan => {
            on(ClusterSpec::nodes(2), orphan).outcome.map(drop).expect("killed before");
            Ok(())
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn tests() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test is five processes; the machine has few cores.
    arguments.test_threads = Some(1);
    let trial = |name: &str, test: fn() -> Answer| Trial::test(name, move || test().map_err(Into::into));
    let trials = vec![
        trial("a_node_killed_with_sigkill_costs_no_result", killed),
        trial("a_stopped_node_is_declared_dead_and_finds_out", stopped),
        trial("the_only_copy_of_a_big_object_is_made_again", rebuilt),
        trial("an_added_and_a_restarted_node_take_part", added),
        trial("nodes_killed_at_random_moments_cost_no_byte_and_leave_nothing", kills::at_random_moments),
        trial("what_this_world_cannot_do_is_in_the_report", skipped),
        trial("a_child_that_cannot_start_says_why", refused),
        trial("a_panic_and_a_silence_leave_no_process", taken_down),
        trial("children_do_not_outlive_a_killed_driver", orphaned),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn on<T, F>(spec: ClusterSpec, driver: impl FnOnce(Cluster) -> F + Send + 'static) -> RunReport<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let options =
        RunOptions { world: WorldKind::Real, max_time: Nanos::secs(60), trace: true, ..RunOptions::default() };
    run(spec, options, driver)
}

fn passed<F>(driver: impl FnOnce(Cluster) -> F + Send + 'static) -> Answer
where
    F: Future<Output = Answer> + Send + 'static,
{
    let report = on(ClusterSpec::nodes(3), driver);
    answer(report.outcome)?;
    no_children()
}

/// Children of this process, from `/proc`: living ones and ones that nobody waited for.
fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // `pid (name) state parent ...`
    pids.filter(|pid| {
        stat(*pid).is_some_and(|stat| stat.rsplit(") ").next().unwrap_or("").split(' ').nth(1) == Some(&own))
    })
    .collect()
}

fn no_children() -> Answer {
    let left = children();
    if left.is_empty() { Ok(()) } else { Err(format!("processes left: {left:?}")) }
}

async fn squares(cluster: &Cluster, fault: impl AsyncFnOnce() -> Result<(), FaultError>) -> Answer {
    let context = cluster.context();
    let squares: Vec<ObjectRef<u64>> =
        (0..TASKS).map(|i| slow_square(i).submit(context)).collect::<Result<_, _>>().map_err(|why| why.to_string())?;
    answer(context.wait(&squares, squares.len() / 3, None).await)?;
    answer(fault().await)?;
    let values = context.get_all(&squares).await.map_err(|why| why.to_string())?;
    assert!(values.iter().copied().eq((0..TASKS).map(|i| i * i)), "{values:?}");
    Ok(())
}

fn killed() -> Answer {
    passed(async |cluster: Cluster| {
        squares(&cluster, async || cluster.kill("B").await).await?;
        assert_eq!(cluster.nodes(), ["A", "C"]);
        answer(quiesce(&cluster, Nanos::secs(10)).await)
    })
}

fn stopped() -> Answer {
    passed(async |cluster: Cluster| {
        squares(&cluster, async || cluster.pause("B").await).await?;
        answer(cluster.resume("B").await)?;
        answer(quiesce(&cluster, Nanos::secs(10)).await)?;
        // Its last life was declared dead; this is another one.
        answer(cluster.restart("B").await)?;
        answer(cluster.joined(&["B"]).await)?;
        squares(&cluster, async || cluster.power_off("A").await).await
    })
}

fn rebuilt() -> Answer {
    passed(async |cluster: Cluster| {
        let context = cluster.context();
        let big = produce(BIG, 42).prefer("A").submit(context).map_err(|why| why.to_string())?;
        answer(context.wait(std::slice::from_ref(&big), 1, None).await)?;
        answer(cluster.kill("A").await)?;
        let read = context.get(&big).await.map_err(|why| why.to_string())?;
        assert_eq!(&*read, content(BIG, 42));
        assert_eq!(context.counters("produce").rebuilt, 1);
        drop((big, read));
        answer(quiesce(&cluster, Nanos::secs(10)).await)
    })
}

fn added() -> Answer {
    passed(async |cluster: Cluster| {
        answer(cluster.add_node(NodeSpec::new("late", 1).store(ByteSize::mb(50))).await)?;
        answer(cluster.restart("A").await)?;
        answer(cluster.joined(&["late", "A"]).await)?;
        for node in ["late", "A"] {
            let there = slow_square(3).on(node).submit(cluster.context()).map_err(|why| why.to_string())?;
            assert_eq!(cluster.context().get(&there).await, Ok(9));
        }
        Ok(())
    })
}

fn skipped() -> Answer {
    let mut spec = ClusterSpec::nodes(1);
    spec.link = LinkSpec { bandwidth: ByteSize::mb(1), ..spec.link };
    let report = on(spec, async |cluster: Cluster| cluster.partition("A", "driver").await);
    let refused = report.outcome.map_err(|why| why.to_string())?.expect_err("there is no packet filter");
    let lines = &report.skipped_faults;
    assert!(lines.len() == 2 && lines[0].starts_with("link: skipped") && lines[1] == refused.to_string(), "{lines:?}");
    assert_eq!(report.event_log_hash, None);
    no_children()
}

fn refused() -> Answer {
    let mut spec = ClusterSpec::nodes(1);
    spec.nodes[0].store = ByteSize(1 << 60);
    let why = on(spec, async |_| ()).outcome.expect_err("there is no such memory").to_string();
    assert!(why.contains("the cluster did not start") && why.contains("A: "), "{why}");
    let options =
        RunOptions { world: WorldKind::Real, program: Some("/no/such/program".into()), ..RunOptions::default() };
    let why = run(ClusterSpec::nodes(1), options, async |_| ()).outcome.expect_err("no program").to_string();
    assert!(why.contains("/no/such/program"), "{why}");
    no_children()
}

fn taken_down() -> Answer {
    let panic = on(ClusterSpec::nodes(1), async |_| panic!("planted")).outcome.map(|(): ()| ());
    assert_eq!(panic, Err(RunFailure::Panic { message: "planted".into(), node: "driver".into() }));
    no_children()?;
    let options = RunOptions { world: WorldKind::Real, max_time: Nanos::secs(1), ..RunOptions::default() };
    let stuck = run(ClusterSpec::nodes(1), options, async |_| std::future::pending::<()>().await);
    assert!(matches!(stuck.outcome, Err(RunFailure::Stuck { .. })), "{:?}", stuck.outcome);
    no_children()
}

/// The driver of [`Program::Orphan`].
async fn orphan(cluster: Cluster) {
    // A stopped process cannot see that its input has ended.
    cluster.pause("B").await.expect("B runs");
    assert_eq!(cluster.state_of("B"), Ok(NodeState::Paused));
    println!("{}", children().iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    std::future::pending().await
}

fn orphaned() -> Answer {
    let program = std::env::current_exe().map_err(|why| why.to_string())?;
    let mut driver =
        Command::new(program).arg("orphan").stdout(Stdio::piped()).spawn().map_err(|why| why.to_string())?;
    let mut line = String::new();
    let output = driver.stdout.take().expect("it is piped");
    answer(BufReader::new(output).read_line(&mut line))?;
    answer(driver.kill())?;
    answer(driver.wait())?;
    let children: Vec<Pid> = line.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
    assert_eq!(children.len(), 3, "a head and two nodes: `{line}`");
    let deadline = Instant::now() + Duration::from_secs(10);
    while children.iter().any(|child| is_running(*child)) {
        if Instant::now() > deadline {
            return Err(format!("still there: {children:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Not gone, and not a zombie that whoever adopted it did not wait for.
fn is_running(child: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero())).unwrap_or_default();
    let zombie = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'));
    test_kill_process(child).is_ok() && !zombie
}
