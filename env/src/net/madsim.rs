//! madsim's streams, made to behave like sockets: what is written is sent without a flush, and a cut link is silent.
//!
//! madsim tells the death of a peer at once, through partitions and from machines without power. Here the end of a
//! stream, and errors on it, arrive when the link works again.

use crate::backend::simulator;
use crate::env::Env;
use mobula_protocol::Nanos;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How often a stream that has ended looks whether its link works again.
const LOOK: Nanos = Nanos::millis(1);

/// Accepts [`MadsimStream`]s.
pub(crate) struct MadsimListener {
    env: Env,
    listener: TcpListener,
}

impl MadsimListener {
    pub(crate) fn new(env: &Env, listener: TcpListener) -> Self {
        Self { env: env.clone(), listener }
    }

    pub(crate) async fn accept(&self) -> io::Result<MadsimStream> {
        let (stream, peer) = self.listener.accept().await?;
        Ok(MadsimStream::new(&self.env, stream, simulator::name_of(&self.env, peer.ip())))
    }
}

/// One end of a stream.
pub(crate) struct MadsimStream {
    env: Env,
    stream: TcpStream,
    peer: String,
    look: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl MadsimStream {
    /// `peer` is the name of the other node.
    pub(crate) fn new(env: &Env, stream: TcpStream, peer: String) -> Self {
        Self { env: env.clone(), stream, peer, look: None }
    }

    /// The name of the other node.
    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// Ready when the peer can be heard.
    fn poll_audible(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.env.place().is_silent(&self.peer) {
            let env = self.env.clone();
            let look = self.look.get_or_insert_with(|| Box::pin(async move { env.sleep(LOOK).await }));
            ready!(look.as_mut().poll(cx));
            self.look = None;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for MadsimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if read.is_err() || buf.filled().len() == before {
            ready!(self.poll_audible(cx));
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for MadsimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        let sent = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        if sent.is_err() {
            ready!(self.poll_audible(cx));
        }
        Poll::Ready(sent.and(written))
    }

    /// Everything written has been sent; flushing again would send an empty message.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
