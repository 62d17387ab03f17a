//! `mobula calibrate`: what this machine can do, as constants of the cost model.
//!
//! Each figure is the best of a few repetitions: what a machine can do when nobody disturbs it is what it will do again.

use mobula_runtime::{ByteSize, Embedded, Nanos, task};
use mobula_sim::Profile;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Flags of `calibrate`.
#[derive(clap::Args)]
pub struct CalibrateArgs {
    /// Where the profile is written.
    #[arg(short = 'o', long = "output", value_name = "FILE", default_value = "out/machine.profile")]
    output: PathBuf,
}

const REPETITIONS: usize = 5;
const BYTES: usize = 128 << 20;
const CHUNK: usize = 1 << 20;
const PINGS: u32 = 2_000;
const TASKS: u64 = 20_000;

/// Measures, prints and writes the profile.
pub fn calibrate(args: &CalibrateArgs) -> ExitCode {
    let written = measure(args.output.parent().unwrap_or(Path::new("."))).and_then(|profile| {
        let text = format!("# Measured by `mobula calibrate`. Bytes a second, and nanoseconds.\n{profile}");
        std::fs::write(&args.output, &text)?;
        print!("{text}");
        Ok(())
    });
    match written {
        Ok(()) => {
            println!("written to {}", args.output.display());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {}: {why}", args.output.display());
            ExitCode::FAILURE
        }
    }
}

/// This machine; `directory` is on the disk in question.
fn measure(directory: &Path) -> std::io::Result<Profile> {
    std::fs::create_dir_all(directory)?;
    let cores = std::thread::available_parallelism()?.get() as u32;
    let (disk, disk_latency) = disk(directory)?;
    let (loopback, latency) = loopback()?;
    Ok(Profile { cores, loopback, latency, disk, disk_latency, memory: memory(), task: per_task(cores)? })
}

/// The shortest time `work` takes, in seconds.
fn best(mut work: impl FnMut() -> std::io::Result<()>) -> std::io::Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let started = Instant::now();
        work()?;
        least = least.min(started.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn rate(seconds: f64) -> ByteSize {
    ByteSize((BYTES as f64 / seconds) as u64)
}

fn nanos(seconds: f64) -> Nanos {
    Nanos((seconds * 1e9).max(1.0) as u64)
}

fn memory() -> ByteSize {
    let (from, mut to) = (vec![1_u8; BYTES], vec![0_u8; BYTES]);
    let seconds = best(|| {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        Ok(())
    });
    rate(seconds.unwrap_or(f64::INFINITY))
}

/// Bytes a second written with one fsync, and the time of a small write with one.
fn disk(directory: &Path) -> std::io::Result<(ByteSize, Nanos)> {
    let path = directory.join(format!("calibrate-{}", std::process::id()));
    let bytes = vec![7_u8; BYTES];
    let write = |bytes: &[u8]| {
        let mut file = std::fs::File::create(&path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    let (large, small) = (best(|| write(&bytes)), best(|| write(&bytes[..4096])));
    std::fs::remove_file(&path)?;
    let small = small?;
    Ok((rate((large? - small).max(1e-9)), nanos(small)))
}

/// Bytes a second from one thread to another over a socket, and half of a round trip.
fn loopback() -> std::io::Result<(ByteSize, Nanos)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let (mut one, mut chunk) = ([0_u8; 1], vec![0_u8; CHUNK]);
        for _ in 0..PINGS {
            stream.read_exact(&mut one)?;
            stream.write_all(&one)?;
        }
        for _ in 0..REPETITIONS {
            for _ in 0..BYTES / CHUNK {
                stream.read_exact(&mut chunk)?;
            }
            stream.write_all(&one)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut one, chunk) = ([0_u8; 1], vec![7_u8; CHUNK]);
    let started = Instant::now();
    for _ in 0..PINGS {
        stream.write_all(&one)?;
        stream.read_exact(&mut one)?;
    }
    let round = started.elapsed().as_secs_f64() / f64::from(PINGS);
    let seconds = best(|| {
        for _ in 0..BYTES / CHUNK {
            stream.write_all(&chunk)?;
        }
        stream.read_exact(&mut one)
    })?;
    echo.join().map_err(|_| std::io::Error::other("the receiving thread panicked"))??;
    Ok((rate(seconds), nanos(round / 2.0)))
}

#[task]
fn nothing(n: u64) -> u64 {
    n
}

/// Time of a core for each of many empty tasks, on a cluster in this process that has all cores.
fn per_task(cores: u32) -> std::io::Result<Nanos> {
    let failed = |why: &dyn std::fmt::Display| std::io::Error::other(format!("tasks cannot be measured: {why}"));
    let cluster = Embedded::start().map_err(|why| failed(&why))?;
    let context = cluster.context().ok_or_else(|| failed(&"the cluster has no node"))?;
    let seconds = best(|| {
        cluster.block_on(async {
            let all = (0..TASKS).map(|n| nothing(n).submit(context)).collect::<Result<Vec<_>, _>>();
            let all = all.map_err(|why| failed(&why))?;
            context.get_all(&all).await.map(drop).map_err(|why| failed(&why))
        })
    })?;
    Ok(nanos(seconds / TASKS as f64 * f64::from(cores)))
}
