//! Byte streams between nodes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
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
        Self { address, kind: ListenerKind::Madsim(listener) }
    }

    #[cfg(not(madsim))]
    pub(crate) fn tcp(listener: TcpListener, address: String) -> Self {
        Self { address, kind: ListenerKind::Tcp(listener) }
    }

    #[cfg(not(madsim))]
    pub(crate) fn memory(listener: memory::MemoryListener) -> Self {
        Self { address: listener.address().to_owned(), kind: ListenerKind::Memory(listener) }
    }

    #[cfg(not(madsim))]
    pub(crate) fn turmoil(listener: turmoil::net::TcpListener, address: String) -> Self {
        Self { address, kind: ListenerKind::Turmoil(listener) }
    }

    /// What others give to [`Env::connect`](crate::Env::connect) to reach this listener: `"host:port"`.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Waits for the next stream. An error concerns one attempt; the listener goes on, except when its network is gone.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.kind {
            #[cfg(madsim)]
            ListenerKind::Madsim(listener) => listener.accept().await.map(Stream::madsim),
            #[cfg(not(madsim))]
            ListenerKind::Tcp(listener) => {
                let (stream, _peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::tcp(stream))
            }
            #[cfg(not(madsim))]
            ListenerKind::Memory(listener) => listener.accept().await.map(Stream::memory),
            #[cfg(not(madsim))]
            ListenerKind::Turmoil(listener) => Ok(Stream::turmoil(listener.accept().await?.0)),
        }
    }
}

/// A byte stream to another node: ordered, reliable until an error or the end.
///
/// The other side sees the end when this is shut down or dropped. On madsim only dropping ends it: its streams cannot
/// be shut down by halves.
pub struct Stream(StreamKind);

enum StreamKind {
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

/// Calls `$method` of the stream inside.
macro_rules! forward {
    ($self:ident, $method:ident, $($arg:expr),*) => {
        match &mut $self.0 {
            #[cfg(madsim)]
            StreamKind::Madsim(s) => Pin::new(s).$method($($arg),*),
            #[cfg(not(madsim))]
            StreamKind::Tcp(s) => Pin::new(s).$method($($arg),*),
            #[cfg(not(madsim))]
            StreamKind::Memory(s) => Pin::new(s).$method($($arg),*),
            #[cfg(not(madsim))]
            StreamKind::Turmoil(s) => Pin::new(s).$method($($arg),*),
        }
    };
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
