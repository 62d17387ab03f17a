//! The simulated disk misbehaves when it is told to.

use bytes::Bytes;
use mobula_env::{DiskDamage, DiskFaults, Env, SimConfig, SimHandle, simulate};
use mobula_protocol::Nanos;
use std::io;
use std::pin::Pin;

/// The driver's result, or the test's failure.
fn run<T, F>(driver: impl FnOnce(Env, SimHandle) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    simulate(SimConfig::default(), driver).outcome.unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads() {
    run(|env, sim| async move {
        let disk = env.disk().within("/mnt/a");
        disk.write("1", Bytes::from_static(b"0123")).await.unwrap();
        sim.disk_faults("driver", DiskFaults { full: true, ..DiskFaults::default() }).await;
        let why = disk.append("1", Bytes::from_static(b"4")).await.unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read("1", 0, 9).await.unwrap(), "0123");
        sim.disk_faults("driver", DiskFaults::default()).await;
        disk.append("1", Bytes::from_static(b"4")).await.unwrap();
        assert_eq!(env.disk().list("").await.unwrap(), ["mnt/a/1"]);
    });
}

#[test]
fn writes_fail_at_the_rate_that_was_set_and_take_as_long() {
    run(|env, sim| async move {
        let disk = env.disk();
        sim.disk_faults("driver", DiskFaults { error_rate: 0.5, ..DiskFaults::default() }).await;
        let mut failed = 0;
        for _ in 0..200 {
            failed += u32::from(disk.write("x", Bytes::from_static(b"1")).await.is_err());
        }
        assert!((60..140).contains(&failed), "{failed} of 200");
        sim.disk_faults("driver", DiskFaults { slower: 100, ..DiskFaults::default() }).await;
        let before = env.now();
        disk.write("x", Bytes::from(vec![0; 19 << 20])).await.unwrap();
        let took = env.now().saturating_sub(before);
        assert!(took >= Nanos::millis(900), "{took}");
    });
}

#[test]
fn files_are_damaged_behind_their_owners_back() {
    run(|env, sim| async move {
        let disk = env.disk();
        for name in ["spill/1", "spill/2", "spill/3", "other"] {
            disk.write(name, Bytes::from_static(b"0000")).await.unwrap();
        }
        assert_eq!(sim.damage_files("driver", "spill/1", DiskDamage::Lose).await, 1);
        assert_eq!(sim.damage_files("driver", "spill/2", DiskDamage::Truncate).await, 1);
        assert_eq!(sim.damage_files("driver", "spill/3", DiskDamage::FlipBit).await, 1);
        assert_eq!(disk.len("spill/1").await.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.len("spill/2").await.unwrap(), 2);
        assert_eq!(disk.read("spill/3", 0, 9).await.unwrap(), "0010");
        assert_eq!(disk.read("other", 0, 9).await.unwrap(), "0000");
    });
}

#[test]
fn the_next_life_sweeps_what_the_last_one_claimed() {
    fn life(env: Env) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let disk = env.disk().within("spill");
            let swept = disk.sweep("life-").await.unwrap();
            let claim = disk.claim(&format!("life-{}", swept.len())).await.unwrap();
            claim.disk().write("1", Bytes::from_static(b"1")).await.unwrap();
            assert_eq!(disk.sweep("life-").await.unwrap(), [] as [&str; 0], "not its own");
            env.emit("left", format_args!("{}", disk.list("").await.unwrap().join(",")));
        })
    }
    let report = simulate(SimConfig { trace: true, ..SimConfig::default() }, |env, sim| async move {
        sim.start_node("A", 1, life).await;
        env.sleep(Nanos::millis(10)).await;
        sim.restart("A").await;
        env.sleep(Nanos::millis(10)).await;
    });
    report.outcome.unwrap();
    let left: Vec<&str> = report.lines.iter().filter_map(|line| Some(line.split_once("left ")?.1)).collect();
    assert_eq!(left, ["life-0/1", "life-1/1"]);
}
