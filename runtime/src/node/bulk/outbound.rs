//! Everything a node sends, behind one lock: the [`Serve`] machine and who waits for it.

use super::lock;
use mobula_protocol::transfer::{Request, Serve, ServeEffect, ServeEvent, StreamId};
use mobula_protocol::{ByteSize, Incarnation, Machine, Nanos};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

#[derive(Clone)]
pub(super) struct Outbound(Arc<Mutex<Desk>>);

struct Desk {
    serve: Serve,
    streams: u64,
    /// Streams that wait for their turn.
    waiting: BTreeMap<StreamId, oneshot::Sender<()>>,
}

/// What a request becomes.
pub(super) enum Place {
    Serve(Sending),
    Redirect(Incarnation),
}

/// A stream that is being served, until it is dropped.
pub(super) struct Sending {
    outbound: Outbound,
    stream: StreamId,
    /// Whether the receiver has everything.
    pub whole: bool,
}

impl Outbound {
    pub fn new(me: Incarnation, limit: ByteSize, relayed: ByteSize) -> Self {
        let serve = Serve::new(me, limit, relayed);
        Self(Arc::new(Mutex::new(Desk { serve, streams: 0, waiting: BTreeMap::new() })))
    }

    /// Decides what becomes of a request.
    pub fn ask(&self, request: Request) -> Place {
        let mut desk = lock(&self.0);
        desk.streams += 1;
        let stream = StreamId(desk.streams);
        match desk.step(ServeEvent::Asked { stream, request }) {
            Some(to) => Place::Redirect(to),
            None => Place::Serve(Sending { outbound: self.clone(), stream, whole: false }),
        }
    }
}

impl Desk {
    /// Steps the machine and wakes whose turn has come. Says where a stream was redirected to.
    fn step(&mut self, event: ServeEvent) -> Option<Incarnation> {
        let (mut effects, mut redirected) = (Vec::new(), None);
        // This machine knows no time.
        self.serve.step(Nanos::ZERO, event, &mut effects);
        debug_assert_eq!(self.serve.check(), Ok(()));
        for effect in effects {
            match effect {
                ServeEffect::Accept { .. } => {}
                ServeEffect::Redirect { to, .. } => redirected = Some(to),
                ServeEffect::Send { stream } => {
                    // A stream that is no longer waiting ends, and with it its turn.
                    let _ = self.waiting.remove(&stream).map(|wake| wake.send(()));
                }
            }
        }
        redirected
    }
}

impl Sending {
    /// Asks for permission to send a chunk of `bytes`; the answer is its turn. To be followed by [`Sending::sent`].
    pub fn ready(&self, bytes: usize) -> oneshot::Receiver<()> {
        let (wake, turn) = oneshot::channel();
        let mut desk = lock(&self.outbound.0);
        desk.waiting.insert(self.stream, wake);
        desk.step(ServeEvent::Ready { stream: self.stream, bytes: ByteSize(bytes as u64) });
        turn
    }

    /// The chunk has left.
    pub fn sent(&self) {
        lock(&self.outbound.0).step(ServeEvent::Sent { stream: self.stream });
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut desk = lock(&self.outbound.0);
        desk.waiting.remove(&self.stream);
        desk.step(ServeEvent::Ended { stream: self.stream, whole: self.whole });
    }
}
