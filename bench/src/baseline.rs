//! What the machine can do at best, measured in the same run as the figures it stands beside.

#![allow(clippy::disallowed_methods, reason = "the baseline of a task is a thread of the system")]

use crate::clock::Stopwatch;
use crate::sample::Sample;
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// The name of the baseline of tasks.
pub const CHANNEL: &str = "empty closures through a channel to a thread";
/// The name of the baseline of bytes.
pub const MEMCPY: &str = "memcpy of the same bytes on one thread";

type Closure = Box<dyn FnOnce() + Send>;

/// A thread that runs closures in order until the channel is closed.
fn worker() -> (mpsc::Sender<Closure>, JoinHandle<()>) {
    let (sender, closures) = mpsc::channel::<Closure>();
    let thread = std::thread::spawn(move || closures.into_iter().for_each(|closure| closure()));
    (sender, thread)
}

/// Seconds to send `count` empty closures through a channel to a thread and have them all run.
pub fn pipelined(repetitions: usize, count: usize) -> Sample {
    always(repetitions, || {
        let (sender, thread) = worker();
        let watch = Stopwatch::start();
        for _ in 0..count {
            sender.send(Box::new(|| ())).expect("the thread listens until the sender is dropped");
        }
        drop(sender);
        thread.join().expect("empty closures do not panic");
        watch.seconds()
    })
}

/// Microseconds for one empty closure and its answer, one at a time.
pub fn ping_pong(count: usize) -> Sample {
    let (sender, thread) = worker();
    let (answer, answers) = mpsc::channel();
    let sample = always(count, || {
        let answer = answer.clone();
        let watch = Stopwatch::start();
        let closure = move || answer.send(()).expect("the answer is awaited");
        sender.send(Box::new(closure)).expect("the thread listens until the sender is dropped");
        answers.recv().expect("the closure answers");
        watch.micros()
    });
    drop(sender);
    thread.join().expect("closures that answer do not panic");
    sample
}

/// Seconds to copy `from` into memory that was written before.
pub fn memcpy_warm(repetitions: usize, from: &[u8]) -> Sample {
    let mut to = from.to_vec();
    always(repetitions, || copy(from, &mut to))
}

/// Seconds to copy `from` into memory that no page exists for yet.
pub fn memcpy_cold(repetitions: usize, from: &[u8]) -> Sample {
    always(repetitions, || copy(from, &mut vec![0; from.len()]))
}

/// Seconds to copy `from` into a new allocation, `count` times.
pub fn memcpy_small(repetitions: usize, count: usize, from: &[u8]) -> Sample {
    always(repetitions, || {
        let watch = Stopwatch::start();
        (0..count).for_each(|_| drop(black_box(black_box(from).to_vec())));
        watch.seconds()
    })
}

fn copy(from: &[u8], to: &mut [u8]) -> f64 {
    let watch = Stopwatch::start();
    to.copy_from_slice(black_box(from));
    black_box(to);
    watch.seconds()
}

fn always(repetitions: usize, mut measure: impl FnMut() -> f64) -> Sample {
    let Ok(sample) = Sample::repeat(repetitions, || Ok::<_, Infallible>(measure()));
    sample
}
