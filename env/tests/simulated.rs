//! Both simulators: the same tests run on turmoil (`cargo test`) and on madsim (`cargo madsim`).

mod common;

use bytes::Bytes;
use common::{PORT, echo, echo_node};
use mobula_env::{
    Costs, Elapsed, Env, Resource, RpcCode, RpcError, SimConfig, SimFailure, SimHandle, SimReport, Task, TaskGone,
    WorldKind, compute, simulate,
};
use mobula_protocol::{ByteSize, Nanos};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc, oneshot};

/// The driver's result, or the test's failure.
fn run<T, F>(driver: impl FnOnce(Env, SimHandle) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    simulate(SimConfig::default(), driver).outcome.unwrap_or_else(|failure| panic!("{failure}"))
}

fn at(node: &str) -> String {
    format!("{node}:{PORT}")
}

/// Calls until it works; panics after 5 s of the model.
async fn until_served(env: &Env, node: &str) -> mobula_env::RpcClient {
    for _ in 0..50 {
        if let Ok(client) = env.rpc_connect(&at(node)).await
            && echo(&client, "there?").await.is_ok()
        {
            return client;
        }
        env.sleep(Nanos::millis(100)).await;
    }
    panic!("{node} does not serve")
}

#[test]
fn time_passes_as_asked() {
    run(|env, _| async move {
        assert_eq!(env.world(), if cfg!(madsim) { WorldKind::Madsim } else { WorldKind::Turmoil });
        let start = env.now();
        env.sleep(Nanos::millis(3)).await;
        let slept = env.now() - start;
        assert!(slept >= Nanos::millis(3) && slept < Nanos::micros(3_200), "{slept}");
        assert_eq!(env.timeout(Nanos::millis(1), std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(env.timeout(Nanos::millis(1), async { 5 }).await, Ok(5));
        let before = env.now();
        env.sleep(Nanos::ZERO).await;
        assert!(env.now() > before, "a sleep of zero lets time pass");
        let wall = env.wall();
        env.clock_jump(-1_000_000_000);
        assert!(env.wall() < wall && env.now() > before);
        let mut ticks = env.interval(Nanos::millis(1));
        let first = ticks.tick().await;
        env.sleep(Nanos::micros(2_500)).await;
        assert_eq!((ticks.tick().await, ticks.tick().await), (first + Nanos::millis(1), first + Nanos::millis(3)));
    });
}

#[test]
fn a_call_returns_what_the_service_answers() {
    run(|env, sim| async move {
        sim.start_node("A", 1, echo_node).await;
        let client = until_served(&env, "A").await;
        assert_eq!(echo(&client, "hello").await, Ok("hello".into()));
        let big = Bytes::from(vec![7u8; 1 << 20]);
        assert_eq!(client.call("echo", big.clone(), Nanos::secs(5)).await, Ok(big));
        let refused = client.call("refuse", Bytes::new(), Nanos::millis(500)).await;
        assert_eq!(refused, Err(RpcError::Status(RpcCode::FailedPrecondition, "not today".into())));
        let late = client.call("slow", Bytes::new(), Nanos::millis(5)).await;
        assert!(matches!(late, Err(RpcError::Timeout(_))), "{late:?}");
        let nobody = env.rpc_connect("A:1").await.unwrap_err();
        assert_eq!(nobody, RpcError::Refused("A:1".into()));
        let unknown = env.rpc_connect("Z:1").await.unwrap_err();
        assert!(matches!(unknown, RpcError::Unreachable(_)), "{unknown}");
    });
}

#[test]
fn a_handler_finishes_though_its_caller_has_gone() {
    let report = simulate(SimConfig::default(), |env, sim| async move {
        sim.start_node("A", 1, echo_node).await;
        let client = until_served(&env, "A").await;
        client.call("slow", Bytes::new(), Nanos::millis(5)).await.unwrap_err();
        env.sleep(Nanos::millis(300)).await;
    });
    report.outcome.unwrap();
    assert_eq!(report.probes.get("slow handler finished"), Some(&1));
}

#[test]
fn a_killed_node_closes_and_a_restarted_one_serves() {
    run(|env, sim| async move {
        sim.start_node("A", 1, echo_node).await;
        let client = until_served(&env, "A").await;
        let waiting = {
            let client = client.clone();
            env.spawn("waiting", async move { client.call("slow", Bytes::new(), Nanos::secs(60)).await })
        };
        env.sleep(Nanos::millis(10)).await;
        let killed = env.now();
        sim.kill("A").await;
        // The running call ends with the connection, long before its timeout.
        let broken = waiting.await.unwrap().unwrap_err();
        assert!(matches!(broken, RpcError::Unreachable(_)), "{broken}");
        assert!(env.now() - killed < Nanos::millis(100), "{}", env.now() - killed);
        env.sleep(Nanos::millis(10)).await;
        assert_eq!(env.rpc_connect(&at("A")).await.unwrap_err(), RpcError::Refused(at("A")));
        assert!(echo(&client, "dead").await.unwrap_err().is_retryable());
        sim.restart("A").await;
        until_served(&env, "A").await;
        assert_eq!(echo(&client, "back").await, Ok("back".into()));
    });
}

#[test]
fn a_node_without_power_is_silent() {
    run(|env, sim| async move {
        sim.start_node("A", 1, echo_node).await;
        let client = until_served(&env, "A").await;
        let waiting = {
            let client = client.clone();
            env.spawn("waiting", async move { client.call("slow", Bytes::new(), Nanos::secs(2)).await })
        };
        env.sleep(Nanos::millis(10)).await;
        let off = env.now();
        sim.power_off("A").await;
        let silence = waiting.await.unwrap().unwrap_err();
        assert!(matches!(silence, RpcError::Timeout(_)), "{silence}");
        assert!(env.now() - off > Nanos::millis(1_900));
        assert!(matches!(env.rpc_connect(&at("A")).await, Err(RpcError::Timeout(_))));
        sim.restart("A").await;
        until_served(&env, "A").await;
    });
}

#[test]
fn a_partition_silences_and_healing_restores() {
    run(|env, sim| async move {
        sim.start_node("A", 1, echo_node).await;
        let client = until_served(&env, "A").await;
        sim.partition("A", "driver").await;
        let cut = echo(&client, "cut").await.unwrap_err();
        assert!(matches!(cut, RpcError::Timeout(_)), "{cut}");
        let connect = env.connect(&at("A")).await.unwrap_err();
        assert_eq!(connect.kind(), io::ErrorKind::TimedOut);
        sim.heal("A", "driver").await;
        env.sleep(Nanos::millis(10)).await;
        assert_eq!(echo(&client, "healed").await, Ok("healed".into()));
        sim.partition_oneway("A", "driver").await;
        assert!(matches!(echo(&client, "half").await, Err(RpcError::Timeout(_))));
        sim.heal_all().await;
        env.sleep(Nanos::millis(10)).await;
        assert_eq!(echo(&client, "whole").await, Ok("whole".into()));
    });
}

#[test]
fn a_paused_node_stands_still() {
    fn counting(env: Env) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            env.clone().spawn("count", async move {
                loop {
                    env.sleep(Nanos::millis(1)).await;
                    env.emit("count", format_args!("-"));
                }
            });
        })
    }
    let report = simulate(SimConfig { trace: true, ..SimConfig::default() }, |env, sim| async move {
        sim.start_node("A", 1, echo_node).await;
        sim.start_node("B", 1, counting).await;
        let client = until_served(&env, "A").await;
        sim.pause("A").await;
        sim.pause("B").await;
        let from = env.now();
        let paused = echo(&client, "paused").await;
        assert!(matches!(paused, Err(RpcError::Timeout(_))), "{paused:?}");
        let to = env.now();
        sim.resume("A").await;
        sim.resume("B").await;
        assert_eq!(echo(&client, "resumed").await, Ok("resumed".into()));
        env.sleep(Nanos::millis(10)).await;
        (from, to)
    });
    let (from, to) = report.outcome.unwrap();
    let counted = report.lines.iter().filter(|line| line.contains(" B count "));
    let times: Vec<u64> = counted.map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    // One tick of turmoil's clock is 100 us.
    assert!(times.iter().all(|t| *t <= from.0 + 100_000 || *t >= to.0), "{from} {to} {times:?}");
    assert!(times.iter().any(|t| *t > to.0), "it goes on: {to} {times:?}");
}

/// Boots a node that sends back what it reads, five bytes at a time.
fn word_node(env: Env) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let listener = env.listen(PORT).await.unwrap();
        let accepting = env.clone();
        env.spawn("accept", async move {
            loop {
                let mut stream = listener.accept().await.unwrap();
                accepting.spawn("stream", async move {
                    let mut word = [0; 5];
                    while stream.read_exact(&mut word).await.is_ok() {
                        stream.write_all(&word).await.unwrap();
                    }
                });
            }
        });
    })
}

#[test]
fn a_stream_to_a_machine_without_power_is_silent() {
    run(|env, sim| async move {
        sim.start_node("A", 1, word_node).await;
        env.sleep(Nanos::millis(5)).await;
        let mut stream = env.connect(&at("A")).await.unwrap();
        sim.power_off("A").await;
        let mut word = [0; 5];
        let read = env.timeout(Nanos::secs(5), stream.read(&mut word)).await;
        assert!(read.is_err(), "{read:?}");
    });
}

#[test]
fn streams_carry_bytes_and_end_with_their_node() {
    run(|env, sim| async move {
        sim.start_node("A", 1, word_node).await;
        env.sleep(Nanos::millis(5)).await;
        let mut stream = env.connect(&at("A")).await.unwrap();
        let mut word = [0; 5];
        for text in [b"hello", b"again"] {
            // No flush: a socket sends what is written.
            stream.write_all(text).await.unwrap();
            stream.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, text);
        }
        sim.kill("A").await;
        let end = env.timeout(Nanos::millis(100), stream.read(&mut word)).await.expect("the end arrives");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    });
}

#[test]
fn the_power_cut_takes_what_was_not_synced_and_a_kill_nothing() {
    fn life(env: Env) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let disk = env.disk();
            let found = disk.list("").await.unwrap();
            env.emit("found", format_args!("{}", found.join(",")));
            if found.is_empty() {
                disk.write("synced", Bytes::from_static(b"1")).await.unwrap();
                disk.sync("synced").await.unwrap();
                disk.write("written", Bytes::from_static(b"2")).await.unwrap();
            }
        })
    }
    let report = simulate(SimConfig { trace: true, ..SimConfig::default() }, |env, sim| async move {
        sim.start_node("A", 1, life).await;
        env.sleep(Nanos::millis(10)).await;
        sim.kill("A").await;
        sim.restart("A").await;
        env.sleep(Nanos::millis(10)).await;
        sim.power_off("A").await;
        sim.restart("A").await;
        env.sleep(Nanos::millis(10)).await;
    });
    report.outcome.unwrap();
    let found: Vec<&str> = report.lines.iter().filter_map(|line| Some(line.split_once("found ")?.1)).collect();
    assert_eq!(found, ["", "synced,written", "synced"]);
}

#[test]
fn compute_takes_the_time_it_charges_on_the_cores_there_are() {
    let costs = Costs { task: Nanos::ZERO, ..Costs::default() };
    let report = simulate(SimConfig { cores: 2, costs, ..SimConfig::default() }, |env, _| async move {
        env.sleep(Nanos::millis(1)).await;
        let start = env.now();
        let job = |n: u64| {
            let env = env.clone();
            async move {
                env.compute(move || {
                    compute::charge(Nanos::millis(1));
                    n
                })
                .await
            }
        };
        let tasks: Vec<Task<u64>> = (0..4).map(|n| env.spawn("job", job(n))).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        (sum, env.now() - start)
    });
    let (sum, took) = report.outcome.unwrap();
    assert_eq!(sum, 6);
    assert!(took >= Nanos::millis(2) && took < Nanos::micros(2_200), "{took}");
}

#[test]
fn transfers_queue_for_the_network_card() {
    let costs = Costs { nic: ByteSize::mb(100), ..Costs::default() };
    let report = simulate(SimConfig { costs, ..SimConfig::default() }, |env, _| async move {
        let start = env.now();
        // Chunks far below a tick: no single wait is resolved, their sum is.
        for _ in 0..1_000 {
            env.charge(Resource::NicSend, ByteSize(1_000)).await;
        }
        env.now() - start
    });
    let took = report.outcome.unwrap();
    assert!(took >= Nanos::micros(9_800) && took <= Nanos::micros(10_200), "{took}");
}

#[test]
fn a_panic_anywhere_ends_the_run_with_its_message() {
    fn failure<T>(report: SimReport<T>) -> (String, String) {
        match report.outcome {
            Err(SimFailure::Panic { message, node }) => (message, node),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("no failure"),
        }
    }
    let in_task = simulate(SimConfig::default(), |env, sim| async move {
        sim.start_node("A", 1, |env| {
            Box::pin(async move {
                drop(env.spawn("bad", async { panic!("planted {}", 1) }));
            })
        })
        .await;
        env.sleep(Nanos::secs(100)).await;
    });
    assert_eq!(failure(in_task), ("planted 1".into(), "A".into()));
    let in_handler = simulate(SimConfig::default(), |env, sim| async move {
        sim.start_node("A", 1, echo_node).await;
        let client = until_served(&env, "A").await;
        let _ = client.call("panic", Bytes::new(), Nanos::secs(100)).await;
        env.sleep(Nanos::secs(100)).await;
    });
    assert_eq!(failure(in_handler), ("the handler's own panic".into(), "A".into()));
    let in_driver = simulate(SimConfig::default(), |_, sim| async move { sim.kill("B").await });
    let (message, node) = failure(in_driver);
    assert_eq!(node, "driver");
    assert!(message.contains("`B`") && message.contains("driver"), "{message}");
}

#[test]
fn a_driver_that_never_finishes_is_stuck() {
    let config = SimConfig { max_time: Nanos::millis(50), ..SimConfig::default() };
    let report = simulate(config, |_, _| std::future::pending::<()>());
    let Err(SimFailure::Stuck { at }) = report.outcome else { panic!("{:?}", report.outcome) };
    assert!(at >= Nanos::millis(50) && at < Nanos::millis(51), "{at}");
}

#[test]
fn time_stands_by_tasks_that_wake_each_other_without_a_message() {
    const ROUNDS: u64 = 20;
    let (ask, asked) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let asked = Arc::new(Mutex::new(asked));
    let through_memory = move |env: Env, sim: SimHandle| async move {
        let boot = move |_| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let asked = asked.clone();
            Box::pin(async move {
                while let Some(reply) = asked.lock().await.recv().await {
                    let _ = reply.send(());
                }
            })
        };
        sim.start_node("A", 1, boot).await;
        let sleeper = env.clone();
        env.spawn("sleeps", async move { sleeper.sleep(Nanos::secs(100)).await });
        let from = env.now();
        for _ in 0..ROUNDS {
            let (reply, answer) = oneshot::channel();
            ask.send(reply).expect("it listens");
            answer.await.expect("it answers");
        }
        let took = env.now() - from;
        assert!(took <= Nanos::millis(1) * ROUNDS, "{took}: as if nothing had happened");
    };
    run(through_memory);
}

#[test]
fn nothing_outlives_its_world() {
    let held = Arc::new(());
    let (driver, node) = (held.clone(), held.clone());
    let waiting = move |env: Env, sim: SimHandle| async move {
        env.spawn("waits", async move {
            let _held = driver;
            std::future::pending::<()>().await
        });
        let boot = move |env: Env| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let held = node.clone();
            Box::pin(async move {
                env.sleep(Nanos::secs(100)).await;
                drop(held);
            })
        };
        sim.start_node("A", 1, boot).await;
        env.sleep(Nanos::millis(1)).await;
    };
    run(waiting);
    assert_eq!(Arc::strong_count(&held), 1, "a task that still waits is dropped with all it holds");
}

#[test]
fn an_aborted_task_has_no_result() {
    run(|env, _| async move {
        let forever = env.spawn("forever", std::future::pending::<()>());
        env.sleep(Nanos::millis(1)).await;
        forever.abort();
        assert_eq!(forever.await, Err(TaskGone));
    });
}

#[test]
fn buggify_fires_only_when_asked_for() {
    let fired = |buggify, seed| {
        let config = SimConfig { buggify, seed, ..SimConfig::default() };
        let driver = |env: Env, _: SimHandle| async move { (0..100).filter(|_| env.buggify("site")).count() };
        simulate(config, driver).outcome.unwrap()
    };
    assert!((0..20).all(|seed| fired(false, seed) == 0));
    let armed = (0..20).filter(|seed| fired(true, *seed) > 0).count();
    assert!((1..15).contains(&armed), "a quarter of the runs arm a site, not {armed} of 20");
}
