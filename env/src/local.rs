//! Connections between processes of one host, over which a descriptor can be passed.
//!
//! A Unix socket of type SEQPACKET: it keeps the bounds of messages, so that one send is one receive, and the system
//! closes it when the process at the other end dies, at whatever instruction. Only processes of the same user are let in.
//! Calls block, with one thread for each connection: a reply costs two switches between threads and nothing else.
//!
//! Simulated nodes share one process; there is nothing to connect to, and [`Env::serve_local`] says so.

use crate::files::naming;
use crate::{Env, WorldKind};
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

#[cfg(test)]
mod tests;

/// The longest message, in bytes.
pub const MESSAGE: usize = 4096;
/// Descriptors that can be passed at once.
const PASSED: usize = 2;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Answers the messages of one connection: is given a message, and fills the reply, which is sent unless it is empty.
/// Dropped when the other process has closed the connection or is dead, and never before.
pub type Answer = Box<dyn FnMut(&[u8], &mut Vec<u8>) + Send>;

/// What a process that connects is given first.
pub struct Welcome {
    /// The first message.
    pub greeting: Vec<u8>,
    /// Passed along with it.
    pub descriptor: OwnedFd,
    /// Answers all further messages.
    pub answer: Answer,
}

/// Makes a [`Welcome`] for each process that connects.
pub type LocalService = Arc<dyn Fn() -> io::Result<Welcome> + Send + Sync>;

/// Accepts connections until it is dropped. Those that exist then go on until the other process ends them.
#[derive(Debug)]
pub struct LocalServer {
    listener: Arc<OwnedFd>,
    path: PathBuf,
}

impl Env {
    /// Accepts processes of this user and host at the socket `path`, which nobody else may be listening on.
    ///
    /// # Errors
    /// `AddrInUse` if somebody is, `Unsupported` in a simulated world; otherwise the system's.
    pub fn serve_local(&self, path: &Path, service: LocalService) -> io::Result<LocalServer> {
        if self.world() != WorldKind::Real {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a simulated node has no processes beside it"));
        }
        let shown = path.display().to_string();
        let listener = Arc::new(listen(path).map_err(|e| naming(&shown, e))?);
        let accepting = listener.clone();
        thread::Builder::new().name("local accept".into()).spawn(move || accept(&accepting, &service))?;
        Ok(LocalServer { listener, path: path.to_owned() })
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        // Wakes the thread that accepts. Neither can fail for a socket that listens at a path that exists; if somebody
        // removed the file, that is done already.
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Both);
        let _ = std::fs::remove_file(&self.path);
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let listener = socket()?;
    if rustix::net::bind(&listener, &address) == Err(rustix::io::Errno::ADDRINUSE) {
        // A file that nobody listens on was left by a process that died.
        if rustix::net::connect(socket()?, &address).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
        rustix::net::bind(&listener, &address)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Accepts until the listener is shut down.
fn accept(listener: &OwnedFd, service: &LocalService) {
    loop {
        match retry_on_intr(|| rustix::net::accept_with(listener, SocketFlags::CLOEXEC)) {
            Ok(socket) => {
                let service = service.clone();
                // A connection that cannot be served is closed, which its process sees.
                let _ = thread::Builder::new().name("local client".into()).spawn(move || serve(&socket, &service));
            }
            // The process at the other end was gone before it was accepted.
            Err(rustix::io::Errno::CONNABORTED) => {}
            // No descriptors or memory left for now: those who wait are accepted when some are free.
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM) => {
                thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(_) => return,
        }
    }
}

/// One connection, to its end.
fn serve(socket: &OwnedFd, service: &LocalService) {
    let ours = rustix::process::geteuid();
    let same_user = rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == ours);
    let Some(mut welcome) = same_user.then(|| service().ok()).flatten() else { return };
    if send_with(socket.as_fd(), &welcome.greeting, &[welcome.descriptor.as_fd()]).is_err() {
        return;
    }
    let (mut message, mut reply) = (vec![0; MESSAGE], Vec::new());
    loop {
        // No bytes, or an error: the other process has closed the connection or is dead.
        let received = retry_on_intr(|| rustix::net::recv(socket, &mut message[..], RecvFlags::empty()));
        let Ok((len @ 1.., _)) = received else { return };
        reply.clear();
        (welcome.answer)(&message[..len], &mut reply);
        if !reply.is_empty() {
            // If it fails, the next receive says why.
            let _ = send(socket, &reply);
        }
    }
}

fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    retry_on_intr(|| rustix::net::send(socket, message, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Sends a message and passes descriptors along, at most [`PASSED`].
pub(crate) fn send_with(socket: BorrowedFd<'_>, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(descriptors));
    let parts = [IoSlice::new(message)];
    retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives a message, and the descriptors that were passed along.
pub(crate) fn receive_with(socket: BorrowedFd<'_>, message: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(message)];
    let received = retry_on_intr(|| rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let mut descriptors = Vec::new();
    for passed in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = passed {
            descriptors.extend(passed);
        }
    }
    Ok((received.bytes, descriptors))
}

/// A process's end of a connection. Calls of several threads take turns.
#[derive(Debug)]
pub struct LocalClient {
    socket: OwnedFd,
    /// Held from a request to its reply, so that each thread gets its own.
    turn: Mutex<()>,
}

impl LocalClient {
    /// Connects to the socket `path`. Returns the greeting and the descriptor as well.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` if nobody is there, `UnexpectedEof` if this process is not let in;
    /// `InvalidData` if the greeting is not one.
    pub fn connect(path: &Path) -> io::Result<(Self, Vec<u8>, OwnedFd)> {
        let shown = path.display().to_string();
        Self::try_connect(path).map_err(|e| naming(&shown, e))
    }

    fn try_connect(path: &Path) -> io::Result<(Self, Vec<u8>, OwnedFd)> {
        let socket = socket()?;
        retry_on_intr(|| rustix::net::connect(&socket, &SocketAddrUnix::new(path)?))?;
        let mut greeting = vec![0; MESSAGE];
        let (len, mut descriptors) = receive_with(socket.as_fd(), &mut greeting)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let none = || io::Error::new(io::ErrorKind::InvalidData, "the greeting comes without a descriptor");
        greeting.truncate(len);
        Ok((Self { socket, turn: Mutex::new(()) }, greeting, descriptors.pop().ok_or_else(none)?))
    }

    /// Sends a message and waits for the reply to it, which replaces what is in `reply`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the process at the other end is gone; otherwise the system's.
    pub fn call(&self, message: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; MESSAGE];
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        send(&self.socket, message)?;
        let (len, _) = retry_on_intr(|| rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()))?;
        drop(turn);
        reply.clear();
        reply.extend_from_slice(&buffer[..len]);
        if len == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Sends a message that has no reply.
    ///
    /// # Errors
    /// `BrokenPipe` if the process at the other end is gone; otherwise the system's.
    pub fn tell(&self, message: &[u8]) -> io::Result<()> {
        send(&self.socket, message)
    }
}
