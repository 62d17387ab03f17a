//! What runs in the processes.

use mobula_runtime::process::attempt;
use mobula_runtime::{Blob, Context, Rest, Result, task};
use rustix::process::{Signal, getpid, kill_process};
use std::sync::Mutex;
use std::time::Duration;

#[task(process)]
pub fn pid() -> u32 {
    std::process::id()
}

/// Ends its process in this way in its first `times` executions; the number of the one that returns.
#[task(process)]
pub fn end(how: String, times: u32) -> std::result::Result<u32, String> {
    if attempt() > times {
        return Ok(attempt());
    }
    match how.as_str() {
        "abort" => std::process::abort(),
        "crash" => mobula_runtime::crash("on purpose"),
        "exit" => std::process::exit(3),
        // The first one only removes the handler of the standard library, which expects the instruction to fail again.
        "segv" => loop {
            kill_process(getpid(), Signal::SEGV).map_err(|why| why.to_string())?;
        },
        "panic" => panic!("on purpose"),
        other => Err(format!("no way to end: {other}")),
    }
}

/// Never returns.
#[task(process)]
pub fn endless() -> u32 {
    loop {
        std::hint::spin_loop();
    }
}

/// The sum of all bytes.
#[task(process)]
pub fn total(blobs: Rest<Blob>) -> u64 {
    blobs.0.iter().flat_map(|blob| blob.iter()).map(|byte| u64::from(*byte)).sum()
}

/// The same, after so many milliseconds in which its argument is in use.
#[task(process)]
pub fn total_later(blob: Blob, milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    blob.iter().map(|byte| u64::from(*byte)).sum()
}

#[task(process)]
pub fn make(bytes: u64, fill: u8) -> Blob {
    Blob::from(vec![fill; bytes as usize])
}

#[task(process)]
pub fn same(blob: Blob) -> Blob {
    blob
}

#[task(process, many)]
pub fn up_to(n: u64) -> Vec<u64> {
    (0..n).collect()
}

static KEPT: Mutex<Vec<Blob>> = Mutex::new(Vec::new());

/// Keeps its argument beyond its task.
#[task(process)]
pub fn keep(blob: Blob) -> u32 {
    KEPT.lock().unwrap().push(blob);
    std::process::id()
}

/// Waits for an endless child on node B, which it owns.
#[task]
pub async fn parent(context: Context) -> Result<u32> {
    let child = endless().on("B").submit(&context)?;
    context.get(&child).await
}

/// On a thread of the node.
#[task]
pub fn on_a_thread() -> u32 {
    std::process::id()
}
