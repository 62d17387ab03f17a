//! `kill -9`: of processes, idle and at work, and of the program that has them.

use crate::support::{Answer, children, context, descriptors, empty, node, told, until};
use crate::tasks::{endless, make, pid, total};
use mobula_runtime::{Blob, ObjectRef};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Values that are made, read and lost in one round.
const VALUES: u8 = 6;
const BYTES: usize = 600_000;
/// A round is over before this many microseconds have passed, mostly.
const MOMENTS: u64 = 60_000;

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

pub fn idle() -> Answer {
    let cluster = node(1)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        for _ in 0..10 {
            let one = told(context.get(&told(pid().submit(&context))?).await)?;
            kill(one);
            // Whether its node has noticed by now or not.
            let next = told(pid().max_retries(0).submit(&context))?;
            assert_ne!(told(context.get(&next).await)?, one);
        }
        until("each was waited for", || children().len() == 1)
    })
}

/// 20 times, or as often as `MOBULA_KILLS` says.
pub fn at_random_moments() -> Answer {
    let kills = std::env::var("MOBULA_KILLS").ok().map_or(Ok(20), |kills| kills.parse::<u64>());
    let kills = kills.map_err(|why| format!("MOBULA_KILLS: {why}"))?;
    let cluster = node(2)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        let mut random = context.env().rng("kills");
        told(context.get(&told(pid().submit(&context))?).await)?;
        let open = descriptors();
        for round in 0..kills {
            let put = told(context.put(&Blob::from(vec![1; BYTES])).await)?;
            let made = (0..VALUES).map(|fill| make(BYTES as u64, fill).max_retries(50).submit(&context));
            let made: Vec<ObjectRef<Blob>> = told(made.collect())?;
            let sums = made.iter().map(|blob| total(&[blob.clone(), put.clone()]).max_retries(50).submit(&context));
            let sums: Vec<ObjectRef<u64>> = told(sums.collect())?;
            for _ in 0..3 {
                std::thread::sleep(Duration::from_micros(random.below(MOMENTS / 3)));
                let alive = children();
                if !alive.is_empty() {
                    kill(alive[random.below(alive.len() as u64) as usize]);
                }
            }
            let found = told(context.get_all(&sums).await)?;
            let wanted = (0..u64::from(VALUES)).map(|fill| (fill + 1) * BYTES as u64);
            assert!(found.iter().copied().eq(wanted), "round {round}: {found:?}");
        }
        empty(&context).await?;
        until("all that were killed were waited for", || children().len() <= 2)?;
        until("their descriptors are closed", || descriptors() <= open + 4)
    })?;
    drop((context, cluster));
    until("nothing is left", || children().is_empty())
}

/// The first argument of the program that is killed.
pub const VICTIM: &str = "victim";

/// Prints the ids of an idle process and of one that never ends, and waits to be killed.
pub fn victim() -> ExitCode {
    let run = || -> Answer {
        let cluster = node(2)?;
        let context = context(&cluster)?;
        cluster.block_on(async {
            let _endless = told(endless().submit(&context))?;
            told(context.get(&told(pid().submit(&context))?).await)?;
            until("one is idle and one runs", || children().len() == 2)?;
            println!("{}", children().iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        })
    };
    run().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

pub fn with_the_program() -> Answer {
    let program = told(std::env::current_exe())?;
    let mut victim = told(Command::new(program).arg(VICTIM).stdout(Stdio::piped()).spawn())?;
    let mut line = String::new();
    let output = victim.stdout.take().ok_or("it is piped")?;
    told(BufReader::new(output).read_line(&mut line))?;
    told(victim.kill())?;
    told(victim.wait())?;
    let left: Vec<u32> = line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    assert_eq!(left.len(), 2, "`{line}`");
    // Whoever adopts them may not wait for them: a zombie runs no more.
    let runs = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    until("they are gone", || !left.iter().any(runs))
}
