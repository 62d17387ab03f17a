//! What sockets can do by themselves: a process that sends, and this one, which receives.

#![allow(clippy::disallowed_methods, reason = "the baseline of a transfer is the socket of the system")]

use crate::child;
use crate::clock::Stopwatch;
use crate::sample::Sample;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// Seconds to receive `bytes` into memory that was written before, without the first of so many repetitions.
///
/// # Errors
/// No process or no connection.
pub fn copy(repetitions: usize, bytes: usize) -> Result<Sample, String> {
    let mut into = vec![1; bytes];
    with_peer(bytes, |stream| {
        let mut seconds = Vec::new();
        for _ in 0..repetitions {
            let watch = Stopwatch::start();
            stream.write_all(&[1])?;
            stream.read_exact(&mut into)?;
            seconds.push(watch.seconds());
        }
        Ok(Sample::warm(seconds))
    })
}

/// Seconds of a round trip of one byte each way.
///
/// # Errors
/// No process or no connection.
pub fn ping(repetitions: usize) -> Result<Sample, String> {
    copy(repetitions, 1)
}

/// The child's part: says where it listens, and answers each byte of one connection with `bytes` bytes.
///
/// # Errors
/// The system's.
pub fn send(bytes: usize) -> Result<(), String> {
    let serve = || -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?);
        io::stdout().flush()?;
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let from = vec![7; bytes];
        let mut asked = [0; 1];
        while stream.read(&mut asked)? > 0 {
            stream.write_all(&from)?;
        }
        Ok(())
    };
    serve().map_err(|why| why.to_string())
}

fn with_peer<T>(bytes: usize, act: impl FnOnce(&mut TcpStream) -> io::Result<T>) -> Result<T, String> {
    let mut peer = Peer::start(bytes)?;
    let mut connect = || -> io::Result<TcpStream> {
        let mut line = String::new();
        let out = peer.0.stdout.take().ok_or_else(|| io::Error::other("the sending process has no output"))?;
        BufReader::new(out).read_line(&mut line)?;
        let stream = TcpStream::connect(line.trim())?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let mut stream = connect().map_err(|why| why.to_string())?;
    act(&mut stream).map_err(|why| why.to_string())
}

/// The sending process; ends with this.
struct Peer(Child);

impl Peer {
    fn start(bytes: usize) -> Result<Self, String> {
        let mut command = Command::new(child::program()?);
        command.args(["raw-send", &bytes.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().map(Self).map_err(|why| format!("cannot start a process: {why}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
