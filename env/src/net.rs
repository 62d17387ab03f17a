//! Byte streams between nodes.

use crate::env::Env;
use crate::key;
use futures_util::future::BoxFuture;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(not(madsim))]
use tokio::net::{TcpListener, TcpStream};

#[cfg(madsim)]
pub(crate) mod madsim;
#[cfg(not(madsim))]
pub(crate) mod memory;

/// Accepts byte streams; see [`Env::listen`](crate::Env::listen). Dropping it frees the port.
pub struct Listener {
    address: String,
    kind: ListenerKind,
    /// Whose key those who connect must have.
    guard: Option<Env>,
}

enum ListenerKind {
    #[cfg(madsim)]
    Madsim(madsim::MadsimListener),
    #[cfg(not(madsim))]
    Tcp(TcpListener),
    #[cfg(not(madsim))]
    Memory(memory::MemoryListener),
    #[cfg(not(madsim))]
    Turmoil(turmoil::net::TcpListener),
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.address)
    }
}

impl Listener {
    #[cfg(madsim)]
    pub(crate) fn madsim(listener: madsim::MadsimListener, address: String) -> Self {
        Self { address, kind: ListenerKind::Madsim(listener), guard: None }
    }

    #[cfg(not(madsim))]
    pub(crate) fn tcp(listener: TcpListener, address: String) -> Self {
        Self { address, kind: ListenerKind::Tcp(listener), guard: None }
    }

    #[cfg(not(madsim))]
    pub(crate) fn memory(listener: memory::MemoryListener) -> Self {
        Self { address: listener.address().to_owned(), kind: ListenerKind::Memory(listener), guard: None }
    }

    #[cfg(not(madsim))]
    pub(crate) fn turmoil(listener: turmoil::net::TcpListener, address: String) -> Self {
        Self { address, kind: ListenerKind::Turmoil(listener), guard: None }
    }

    /// What others give to [`Env::connect`](crate::Env::connect) to reach this listener: `"host:port"`.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// The same, which hands out only streams whose other side proves the key of `env`.
    pub(crate) fn guarded_by(mut self, env: &Env) -> Self {
        self.guard = Some(env.clone());
        self
    }

    /// Waits for the next stream. An error concerns one attempt; the listener goes on, except when its network is gone.
    ///
    /// Does not wait for the proof of the key: the stream's first read or write does, and fails with `PermissionDenied`
    /// without one. So who says nothing holds nobody up.
    pub async fn accept(&self) -> io::Result<Stream> {
        let (stream, who) = self.next().await?;
        Ok(match &self.guard {
            Some(env) => Stream(StreamKind::Guarded(Box::pin(key::admit(env.clone(), stream, self.address(), who)))),
            None => stream,
        })
    }

    /// The next stream, and what is known of its other side.
    async fn next(&self) -> io::Result<(Stream, String)> {
        match &self.kind {
            #[cfg(madsim)]
            ListenerKind::Madsim(listener) => {
                let stream = listener.accept().await?;
                let who = stream.peer().to_owned();
                Ok((Stream::madsim(stream), who))
            }
            #[cfg(not(madsim))]
            ListenerKind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::tcp(stream), peer.to_string()))
            }
            #[cfg(not(madsim))]
            ListenerKind::Memory(listener) => Ok((Stream::memory(listener.accept().await?), "this process".to_owned())),
            #[cfg(not(madsim))]
            ListenerKind::Turmoil(listener) => {
                let (stream, peer) = listener.accept().await?;
                let who = turmoil::reverse_lookup(peer.ip()).unwrap_or_else(|| peer.ip().to_string());
                Ok((Stream::turmoil(stream), who))
            }
        }
    }
}

/// A byte stream to another node: ordered, reliable until an error or the end.
///
/// The other side sees the end when this is shut down or dropped. On madsim only dropping ends it: its streams cannot
/// be shut down by halves.
pub struct Stream(StreamKind);

enum StreamKind {
    /// Accepted, and the other side has yet to prove the key. Polled by whoever polls the stream, so its two directions
    /// belong to one task until then.
    Guarded(BoxFuture<'static, io::Result<Stream>>),
    /// It has not.
    Refused,
    #[cfg(madsim)]
    Madsim(madsim::MadsimStream),
    #[cfg(not(madsim))]
    Tcp(TcpStream),
    #[cfg(not(madsim))]
    Memory(tokio::io::DuplexStream),
    #[cfg(not(madsim))]
    Turmoil(turmoil::net::TcpStream),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl Stream {
    #[cfg(madsim)]
    pub(crate) fn madsim(stream: madsim::MadsimStream) -> Self {
        Self(StreamKind::Madsim(stream))
    }

    #[cfg(not(madsim))]
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self(StreamKind::Tcp(stream))
    }

    #[cfg(not(madsim))]
    pub(crate) fn memory(stream: tokio::io::DuplexStream) -> Self {
        Self(StreamKind::Memory(stream))
    }

    #[cfg(not(madsim))]
    pub(crate) fn turmoil(stream: turmoil::net::TcpStream) -> Self {
        Self(StreamKind::Turmoil(stream))
    }
}

impl Stream {
    /// Ready when the other side has proved the key.
    fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let StreamKind::Guarded(admission) = &mut self.0 {
            *self = match ready!(admission.as_mut().poll(cx)) {
                Ok(stream) => stream,
                Err(why) => {
                    self.0 = StreamKind::Refused;
                    return Poll::Ready(Err(why));
                }
            };
        }
        Poll::Ready(Ok(()))
    }
}

/// Calls `$method` of the stream inside, once the other side has proved the key.
macro_rules! forward {
    ($self:ident, $method:ident, $cx:ident $(, $arg:expr)*) => {{
        ready!($self.poll_admitted($cx))?;
        match &mut $self.0 {
            StreamKind::Guarded(_) | StreamKind::Refused => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            #[cfg(madsim)]
            StreamKind::Madsim(s) => Pin::new(s).$method($cx $(, $arg)*),
            #[cfg(not(madsim))]
            StreamKind::Tcp(s) => Pin::new(s).$method($cx $(, $arg)*),
            #[cfg(not(madsim))]
            StreamKind::Memory(s) => Pin::new(s).$method($cx $(, $arg)*),
            #[cfg(not(madsim))]
            StreamKind::Turmoil(s) => Pin::new(s).$method($cx $(, $arg)*),
        }
    }};
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, poll_write, cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_shutdown, cx)
    }
}

#[cfg(not(madsim))]
impl tonic::transport::server::Connected for Stream {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}
