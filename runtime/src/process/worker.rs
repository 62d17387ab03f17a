//! The loop of a worker process.

use super::{RELEASE, Say, serve};
use crate::node::death;
use bytes::Bytes;
use mobula_env::process::{Speaker, WorkerEnd, worker};
use mobula_store::client::Link;
use mobula_store::{Client, Loan};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Makes this process a worker process if a node has started it as one; then this never returns. To be called first thing
/// in `main` by every program with `#[task(process)]` functions; `#[mobula::main]` does that.
pub fn worker_main() {
    let Some(end) = worker() else { return };
    let code = match end.and_then(work) {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("error: worker process: {why}");
            1
        }
    };
    std::process::exit(code)
}

/// Serves until the node is gone.
fn work(mut end: WorkerEnd) -> io::Result<()> {
    let speaker = end.speaker();
    let client = match end.descriptor() {
        Some(arena) => Some(Client::attached(Arc::new(Loans(speaker.clone())), arena).map_err(io::Error::other)?),
        None => None,
    };
    let borrow = |loan: Loan| -> Option<Bytes> { client.as_ref()?.borrow(loan) };
    // It fails only if the node is gone, and with it this process.
    let say: Say = Arc::new(move |word| drop(speaker.say(word)));
    while let Some(request) = end.request()? {
        match catch_unwind(AssertUnwindSafe(|| serve(&request, &borrow, &say))) {
            Ok(answer) => end.answer(&answer)?,
            Err(panic) => {
                let (Ok(why) | Err(why)) = death(&*panic);
                eprintln!("worker process {}: {why}", std::process::id());
                std::process::abort()
            }
        }
    }
    Ok(())
}

/// Tells the node which loans are over.
struct Loans(Speaker);

impl Link for Loans {
    fn call(&self, _: &[u8], _: &mut Vec<u8>) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a worker process reads what it was lent, and asks for nothing"))
    }

    fn tell(&self, message: &[u8]) {
        let mut word = vec![RELEASE];
        word.extend_from_slice(message);
        // It fails only if the node is gone, and then there is nothing to release.
        let _ = self.0.say(&word);
    }
}
