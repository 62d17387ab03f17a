//! The node's end: starting a worker process, talking to it, killing and reaping it.
//!
//! Each process has a thread of the node that starts it, reads what it says, and reaps it. It must be one thread from
//! start to end: the system kills a worker process when the *thread* that started it ends.

use super::worker::{ANSWER, BEGUN, HEAD, WORD, WORKER, program_serves, read_message};
use super::{Died, Hear, KILL, ProcessEnd, Setup};
use crate::Env;
use crate::local::send_with;
use crate::log::lock;
use rustix::net::SendFlags;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// The worker processes of a node that live, whose memory counts as the node's.
pub(crate) type Residents = Arc<Mutex<BTreeSet<u32>>>;

/// This program, also if its file was replaced since it was started.
const PROGRAM: &str = "/proc/self/exe";

type Answer = Result<Vec<u8>, Died>;

pub(super) struct Process {
    env: Env,
    conversation: Arc<UnixStream>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Once it runs, until it is reaped.
    child: Option<Child>,
    killed: bool,
    /// Who waits for an answer, and whether the process has begun with the request.
    caller: Option<oneshot::Sender<Answer>>,
    begun: bool,
    end: Option<ProcessEnd>,
}

impl State {
    fn kill(&mut self) {
        self.killed = true;
        if let Some(child) = &mut self.child {
            // It fails only for a process that has ended.
            let _ = child.kill();
        }
    }
}

impl Process {
    pub fn start(env: &Env, residents: Residents, setup: Setup) -> io::Result<Self> {
        if !program_serves() {
            let why =
                "this program cannot be a worker process: call `mobula_runtime::worker_main()` first in its `main`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let (conversation, theirs) = UnixStream::pair()?;
        let (greeting, stdin) = UnixStream::pair()?;
        let descriptors = [Some(theirs.as_fd()), setup.descriptor.as_ref().map(AsFd::as_fd)];
        let descriptors: Vec<_> = descriptors.into_iter().flatten().collect();
        send_with(greeting.as_fd(), &[0], &descriptors)?;
        let reading = conversation.try_clone()?;
        let state = Arc::new(Mutex::new(State::default()));
        let life = Life { state: state.clone(), hear: Some(setup.hear), end: ProcessEnd::NotStarted(String::new()) };
        let (name, stdin) = (format!("mobula-worker {}", env.node()), OwnedFd::from(stdin));
        let run = move || life.run(&name, stdin, reading, &residents);
        std::thread::Builder::new().name("worker process".into()).spawn(run)?;
        Ok(Self { env: env.clone(), conversation: Arc::new(conversation), state })
    }

    pub async fn call(&mut self, request: Vec<u8>) -> Answer {
        let (caller, answer) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if let Some(end) = &state.end {
                return Err(Died { begun: false, end: end.clone() });
            }
            (state.caller, state.begun) = (Some(caller), false);
        }
        self.send(&request).await;
        // The thread of the process keeps the caller until it has an answer or the end.
        answer.await.unwrap_or(Err(Died { begun: true, end: ProcessEnd::Signal(KILL) }))
    }

    /// A usual request goes at once, since the process has read all before it; the rest of a long one from a thread that
    /// may block. If it cannot be sent, the process is of no use.
    async fn send(&self, request: &[u8]) {
        let mut frame = Vec::with_capacity(8 + request.len());
        frame.extend((request.len() as u64).to_le_bytes());
        frame.extend(request);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::net::send(&*self.conversation, &frame, flags).unwrap_or(0);
        if sent == frame.len() {
            return;
        }
        let (to, state) = (self.conversation.clone(), self.state.clone());
        let rest = move || {
            if (&*to).write_all(&frame[sent..]).is_err() {
                lock(&state).kill();
            }
        };
        self.env.compute(rest).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        lock(&self.state).kill();
    }
}

/// What the thread of a process holds, from its start to its end, whatever comes between.
struct Life {
    state: Arc<Mutex<State>>,
    hear: Option<Hear>,
    end: ProcessEnd,
}

impl Life {
    fn run(mut self, name: &str, stdin: OwnedFd, conversation: UnixStream, residents: &Residents) {
        let mut command = Command::new(PROGRAM);
        // A group of its own: what a terminal sends to the program (SIGINT) is the program's business.
        command.arg0(name).arg(WORKER).stdin(Stdio::from(stdin)).process_group(0);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(why) => return self.end = ProcessEnd::NotStarted(why.to_string()),
        };
        // It holds the other end of the standard input.
        drop(command);
        let pid = child.id();
        lock(residents).insert(pid);
        {
            let mut state = lock(&self.state);
            state.child = Some(child);
            if state.killed {
                state.kill();
            }
        }
        self.listen(conversation);
        self.end = self.reap();
        lock(residents).remove(&pid);
    }

    /// Until the process has closed the conversation, or is gone.
    fn listen(&self, conversation: UnixStream) {
        let mut from = BufReader::new(conversation);
        loop {
            let mut head = [0; HEAD];
            let Ok(()) = from.read_exact(&mut head) else { return };
            let [what, len @ ..] = head;
            let Ok(message) = read_message(&mut from, u64::from_le_bytes(len)) else { return };
            match what {
                BEGUN => lock(&self.state).begun = true,
                ANSWER => {
                    let caller = lock(&self.state).caller.take();
                    // Whoever asked may not wait any more.
                    let _ = caller.map(|caller| caller.send(Ok(message)));
                }
                WORD => self.hear.iter().for_each(|hear| hear(&message)),
                // Whoever writes this is not the worker's loop any more.
                _ => return,
            }
        }
    }

    /// Ends the process if it has not ended, and waits for that; the lock is free meanwhile.
    fn reap(&self) -> ProcessEnd {
        let pid = {
            let mut state = lock(&self.state);
            state.kill();
            state.child.as_ref().map(Pid::from_child)
        };
        if let Some(pid) = pid {
            // Left for the wait below, so that nobody kills another process of the same number.
            let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), ended), Err(rustix::io::Errno::INTR)) {}
        }
        let child = lock(&self.state).child.take();
        match child.map(|mut child| child.wait()) {
            Some(Ok(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => ProcessEnd::Exit(code),
                (None, signal) => ProcessEnd::Signal(signal.unwrap_or_default()),
            },
            Some(Err(why)) => ProcessEnd::NotStarted(why.to_string()),
            None => ProcessEnd::NotStarted("it is not there".into()),
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // What it was lent is free before anybody hears that it is gone.
        self.hear = None;
        let mut state = lock(&self.state);
        state.end = Some(self.end.clone());
        if let Some(caller) = state.caller.take() {
            // Whoever asked may not wait any more.
            let _ = caller.send(Err(Died { begun: state.begun, end: self.end.clone() }));
        }
    }
}
