//! The worker process's own end of the conversation.

use crate::local::receive_with;
use crate::log::lock;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The first argument of a worker process.
pub(super) const WORKER: &str = "mobula-worker";

/// What stands before each message of a worker process: what it is, and its length.
pub(super) const HEAD: usize = 9;
/// It has a request and begins with it.
pub(super) const BEGUN: u8 = 1;
/// The answer to it.
pub(super) const ANSWER: u8 = 2;
/// Something else.
pub(super) const WORD: u8 = 3;

/// Whether this program has asked if it is a worker process, and so can be one.
static SERVES: AtomicBool = AtomicBool::new(false);

pub(super) fn program_serves() -> bool {
    SERVES.load(Ordering::Relaxed)
}

/// The node's end of the conversation, if this process was started as a worker process. To be asked before anything else
/// in `main`: only a program that asks can be started as one.
///
/// # Errors
/// It was not a node that started it.
pub fn worker() -> Option<io::Result<WorkerEnd>> {
    if std::env::args_os().nth(1).is_none_or(|first| first != WORKER) {
        SERVES.store(true, Ordering::Relaxed);
        return None;
    }
    super::IS_WORKER.store(true, Ordering::Relaxed);
    Some(WorkerEnd::take().map_err(|why| io::Error::new(why.kind(), format!("not started by a node: {why}"))))
}

/// What a worker process has of its node. Both are one user's processes of one host.
#[derive(Debug)]
pub struct WorkerEnd {
    requests: BufReader<UnixStream>,
    speaker: Speaker,
    descriptor: Option<OwnedFd>,
}

/// Says words to the node, from any thread.
#[derive(Clone, Debug)]
pub struct Speaker(Arc<Mutex<UnixStream>>);

impl Speaker {
    /// # Errors
    /// The node is gone.
    pub fn say(&self, word: &[u8]) -> io::Result<()> {
        self.send(WORD, word)
    }

    fn send(&self, what: u8, message: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(HEAD + message.len().min(4096));
        frame.push(what);
        frame.extend((message.len() as u64).to_le_bytes());
        let mut stream = lock(&self.0);
        if message.len() <= 4096 {
            frame.extend(message);
            return stream.write_all(&frame);
        }
        stream.write_all(&frame)?;
        stream.write_all(message)
    }
}

impl WorkerEnd {
    fn take() -> io::Result<Self> {
        // The parent is the thread that started this process, and that one lives until it has reaped it.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let (_, mut descriptors) = receive_with(std::io::stdin().as_fd(), &mut [0; 1])?;
        if descriptors.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no conversation came over the standard input"));
        }
        let conversation = UnixStream::from(descriptors.remove(0));
        let speaker = Speaker(Arc::new(Mutex::new(conversation.try_clone()?)));
        Ok(Self { requests: BufReader::new(conversation), speaker, descriptor: descriptors.pop() })
    }

    /// The descriptor that came with it.
    pub fn descriptor(&self) -> Option<&OwnedFd> {
        self.descriptor.as_ref()
    }

    /// Speaks to the node.
    pub fn speaker(&self) -> Speaker {
        self.speaker.clone()
    }

    /// The next request, which counts as begun from now on; none when the node is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn request(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut len = [0; 8];
        match self.requests.read_exact(&mut len) {
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let request = read_message(&mut self.requests, u64::from_le_bytes(len))?;
        self.speaker.send(BEGUN, &[])?;
        Ok(Some(request))
    }

    /// Answers the last request.
    ///
    /// # Errors
    /// The node is gone.
    pub fn answer(&mut self, answer: &[u8]) -> io::Result<()> {
        self.speaker.send(ANSWER, answer)
    }
}

/// Reads a message of `len` bytes. It takes memory as the bytes come: its length may be nonsense.
pub(super) fn read_message(from: &mut impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(len.min(1 << 16) as usize);
    from.take(len).read_to_end(&mut message)?;
    if message.len() as u64 == len { Ok(message) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
