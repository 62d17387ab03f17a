//! A child process: started with a pipe as its standard input, watched for its one line, ended with its parent.
//!
//! A child keeps running only while its standard input is open ([`crate::child`]). The pipe's other end is in this
//! process, so however this process ends, the child sees the end of its input and goes. A stopped child would not see
//! it; therefore each child leads a process group of its own: when its parent dies the group is orphaned, and the
//! kernel sends SIGHUP and SIGCONT to an orphaned group with a stopped member (POSIX, `_exit`).

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "the real world is made of processes")]

use mobula_runtime::{ClusterKey, KEY};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// How much of a log is shown when a child fails, in lines.
const TAIL: usize = 10;

/// A running child. Dropping it kills it and waits for it.
pub(crate) struct Process {
    child: Child,
    /// The child goes when this is closed.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts `program` with `args`, and with the cluster's key in its environment; its standard error goes to the file
    /// `log`. `said` gets its first line, or, if it ends without one, the last lines of the log.
    pub(crate) fn start(
        program: &Path,
        args: &[String],
        key: &ClusterKey,
        log: PathBuf,
        said: impl FnOnce(Result<String, String>) + Send + 'static,
    ) -> io::Result<Self> {
        let stderr = File::create(&log)?;
        let mut child = Command::new(program)
            .args(args)
            .env(KEY, key.secret())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", program.display())))?;
        let stdout = child.stdout.take();
        let stdin = child.stdin.take();
        let process = Self { child, _stdin: stdin };
        std::thread::Builder::new().name("child-output".to_owned()).spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut lines = BufReader::new(stdout).lines();
            said(match lines.next() {
                Some(Ok(line)) => Ok(line),
                Some(Err(why)) => Err(why.to_string()),
                None => Err(tail(&log)),
            });
            // Whatever else it says must not fill the pipe.
            lines.for_each(drop);
        })?;
        Ok(process)
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Whether it has ended.
    pub(crate) fn has_exited(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// SIGSTOP.
    pub(crate) fn stop(&self) -> io::Result<()> {
        Ok(kill_process(self.pid(), Signal::STOP)?)
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) -> io::Result<()> {
        Ok(kill_process(self.pid(), Signal::CONT)?)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(why) = self.kill() {
            eprintln!("cannot kill process {}: {why}", self.child.id());
        }
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_else(|why| format!("(no log: {why})"));
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    if last.is_empty() { "it ended without a word".to_owned() } else { last }
}
