//! The receiving side: one task an attempt, which drives its [`Receive`] machine.
#![allow(clippy::disallowed_macros, reason = "the one select here is biased: its branches are looked at in order")]

use super::frame::{Asked, FRAME, Frame};
use super::source::Filled;
use super::{Bulk, Members, STEP};
use futures_util::future::BoxFuture;
use mobula_env::{Resource, Stream};
use mobula_protocol::pull::FetchFailure;
use mobula_protocol::transfer::{Receive, ReceiveEffect, ReceiveEvent, Ticket};
use mobula_protocol::{Attempt, ByteSize, Incarnation, Machine, Nanos, ObjectId};
use mobula_store::Region;
use mobula_store::codec::Verifier;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// Fills `region` with the object's bytes from the holders, which may change on the way.
///
/// # Errors
/// The bytes that arrived are wrong. While there is a holder there is no other error; the caller ends an attempt by
/// dropping it. Beside the result stands what lets others read along: to be dropped once the region is sealed.
pub(in crate::node) async fn receive(
    bulk: Bulk,
    object: ObjectId,
    attempt: Attempt,
    region: Region,
    holders: watch::Receiver<Vec<Incarnation>>,
) -> (Result<Region, FetchFailure>, Option<Filled>) {
    let size = region.size();
    let relay = (size >= bulk.relay_from).then(|| bulk.arriving.begin(object, attempt, size.0, region.filled()));
    let machine = Receive::new(bulk.me, object, attempt, size);
    let members = bulk.members.clone();
    let verifier = Verifier::new(usize::try_from(size.0).unwrap_or(usize::MAX));
    let reader = Reader { region, relay, verifier, damaged_by: None, incoming: None };
    let Reader { region, relay, verifier, damaged_by, .. } =
        Transfer { bulk, object, machine, reader, holders, members }.run().await;
    (if verifier.is_complete() { Ok(region) } else { Err(FetchFailure::Corrupt(damaged_by)) }, relay)
}

struct Transfer {
    bulk: Bulk,
    object: ObjectId,
    machine: Receive,
    reader: Reader,
    holders: watch::Receiver<Vec<Incarnation>>,
    members: watch::Receiver<Members>,
}

/// The buffer and the connection that fills it.
struct Reader {
    region: Region,
    relay: Option<Filled>,
    /// Reads along, while the bytes are in the cache.
    verifier: Verifier,
    /// Who sent what it found wrong: the rest need not come.
    damaged_by: Option<Incarnation>,
    incoming: Option<Incoming>,
}

/// A connection to a source.
struct Incoming {
    ticket: Ticket,
    from: Incarnation,
    state: State,
    /// What to do if a connection that lay idle proves to be dead: ask again on a new one.
    again: Option<BoxFuture<'static, io::Result<Stream>>>,
}

enum State {
    /// The request is on its way.
    Asking(BoxFuture<'static, io::Result<Stream>>),
    /// So much of a frame has been read.
    Framing { stream: Stream, frame: [u8; FRAME], read: usize },
    /// So many bytes of an accepted chunk are missing.
    Filling { stream: Stream, left: u64 },
}

/// What an attempt waits for.
enum Next {
    Heard(Heard),
    Holders,
    Members,
    Deadline,
    Stopped,
}

/// What came from a source.
enum Heard {
    /// Part of a frame, or the answer to a connection attempt.
    Something,
    Frame(Ticket, Frame),
    Bytes(u64),
    Broken,
}

impl Transfer {
    /// Ends when all bytes are there, or when some of them are known to be wrong.
    async fn run(mut self) -> Reader {
        let first = self.holders.borrow_and_update().clone();
        let mut next = ReceiveEvent::Holders(first);
        loop {
            if self.step(next) || self.reader.damaged_by.is_some() {
                return self.reader;
            }
            next = loop {
                if let Some(event) = self.happens().await {
                    break event;
                }
            };
        }
    }

    /// Waits for what happens next; none if it means nothing to the machine.
    async fn happens(&mut self) -> Option<ReceiveEvent> {
        let heard = match self.next().await {
            Next::Heard(heard) => heard,
            Next::Holders => return Some(ReceiveEvent::Holders(self.holders.borrow_and_update().clone())),
            Next::Members => {
                let living = self.members.borrow_and_update().clone();
                let source = self.machine.source().filter(|source| living.member(*source).is_none());
                return source.map(ReceiveEvent::Died);
            }
            Next::Deadline => return Some(ReceiveEvent::Tick),
            // The node has stopped: nobody waits for the object.
            Next::Stopped => return std::future::pending().await,
        };
        let env = &self.bulk.env;
        let incoming = self.reader.incoming.as_ref()?;
        let (ticket, from) = (incoming.ticket, incoming.from);
        match heard {
            Heard::Something => None,
            Heard::Bytes(bytes) => {
                env.charge(Resource::NicReceive, ByteSize(bytes)).await;
                Some(ReceiveEvent::Arrived { ticket, bytes })
            }
            Heard::Frame(said, Frame::Chunk { offset, bytes }) if self.machine.accepts(said, offset, bytes) => {
                self.reader.expect(bytes);
                None
            }
            Heard::Frame(said, Frame::Waiting) if said == ticket => Some(ReceiveEvent::Waiting { ticket }),
            Heard::Frame(said, Frame::Redirect(to)) if said == ticket => Some(ReceiveEvent::Redirected { ticket, to }),
            Heard::Frame(said, Frame::NotHere) if said == ticket => {
                self.keep_connection();
                Some(ReceiveEvent::Broken { ticket })
            }
            Heard::Frame(..) => {
                // Not an answer to this request: the connection is out of step.
                env.probe("transfer.refused");
                Some(ReceiveEvent::Broken { ticket })
            }
            Heard::Broken => {
                self.bulk.drop_idle(from);
                Some(ReceiveEvent::Broken { ticket })
            }
        }
    }

    /// Whatever comes first. What was not taken comes again.
    async fn next(&mut self) -> Next {
        let env = &self.bulk.env;
        let deadline = self.machine.next_deadline().unwrap_or(env.now() + Nanos::secs(3600));
        let mut heard = pin!(self.reader.hear());
        let mut holders = pin!(self.holders.changed());
        let mut members = pin!(self.members.changed());
        let mut passed = pin!(env.sleep_until(deadline));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(heard) = heard.as_mut().poll(cx) {
                return Poll::Ready(Next::Heard(heard));
            }
            if let Poll::Ready(changed) = holders.as_mut().poll(cx) {
                return Poll::Ready(changed.map_or(Next::Stopped, |()| Next::Holders));
            }
            if let Poll::Ready(changed) = members.as_mut().poll(cx) {
                return Poll::Ready(changed.map_or(Next::Stopped, |()| Next::Members));
            }
            passed.as_mut().poll(cx).map(|()| Next::Deadline)
        })
        .await
    }

    /// Steps the machine and does what it says. True when all bytes are there.
    fn step(&mut self, event: ReceiveEvent) -> bool {
        let (mut effects, mut done) = (Vec::new(), false);
        if let ReceiveEvent::Redirected { .. } = event {
            self.keep_connection();
        }
        self.machine.step(self.bulk.env.now(), event, &mut effects);
        debug_assert_eq!(self.machine.check(), Ok(()));
        for effect in effects {
            match effect {
                ReceiveEffect::Open { ticket, from, offset, blamed, direct } => {
                    if offset > 0 {
                        self.bulk.env.probe("transfer.resumed");
                    }
                    let (object, by, size) = (self.object, self.bulk.me, self.reader.region.size().0);
                    let asked = Asked { object, to: from, by, blamed, ticket, offset, size, direct };
                    self.bulk.env.emit("source", format_args!("{object} from {from} at {offset}"));
                    self.reader.incoming = Some(self.open(&asked));
                }
                ReceiveEffect::Close { ticket } => {
                    if self.reader.incoming.as_ref().is_some_and(|incoming| incoming.ticket == ticket) {
                        self.reader.incoming = None;
                    }
                }
                ReceiveEffect::Done => {
                    self.keep_connection();
                    done = true;
                }
            }
        }
        done
    }

    /// The answer to the request has ended in an orderly way: the connection can be used again.
    fn keep_connection(&mut self) {
        if let Some(Incoming { from, state: State::Framing { stream, read: 0, .. }, .. }) = self.reader.incoming.take()
        {
            self.bulk.put_idle(from, stream);
        }
    }

    fn open(&self, asked: &Asked) -> Incoming {
        let Asked { to: from, ticket, .. } = *asked;
        let request = asked.to_bytes();
        let address = self.members.borrow().member(from).map(|member| member.bulk.clone());
        let env = self.bulk.env.clone();
        let connect: BoxFuture<'static, io::Result<Stream>> = Box::pin(async move {
            let unknown = || io::Error::new(io::ErrorKind::NotFound, "it is not a living member");
            let stream = env.connect(&address.ok_or_else(unknown)?).await?;
            ask(stream, &request).await
        });
        match self.bulk.take_idle(from) {
            None => Incoming { ticket, from, state: State::Asking(connect), again: None },
            Some(stream) => {
                let asking = Box::pin(async move { ask(stream, &request).await });
                Incoming { ticket, from, state: State::Asking(asking), again: Some(connect) }
            }
        }
    }
}

async fn ask(mut stream: Stream, request: &[u8]) -> io::Result<Stream> {
    stream.write_all(request).await?;
    stream.flush().await?;
    Ok(stream)
}

impl Reader {
    /// The next `bytes` are those of a chunk.
    fn expect(&mut self, bytes: u64) {
        let Some(incoming) = &mut self.incoming else { return };
        let state = std::mem::replace(&mut incoming.state, State::Asking(Box::pin(std::future::pending())));
        if let State::Framing { stream, .. } = state {
            incoming.state = State::Filling { stream, left: bytes };
        }
    }

    /// Reads once. Nothing is lost if this is dropped while it waits. Waits for ever without a connection.
    async fn hear(&mut self) -> Heard {
        let Some(incoming) = &mut self.incoming else { return std::future::pending().await };
        let heard = match &mut incoming.state {
            State::Asking(asking) => match asking.await {
                Ok(stream) => {
                    incoming.state = State::Framing { stream, frame: [0; FRAME], read: 0 };
                    return Heard::Something;
                }
                Err(_) => Heard::Broken,
            },
            State::Framing { stream, frame, read } => match stream.read(&mut frame[*read..]).await {
                Ok(0) | Err(_) => Heard::Broken,
                Ok(n) => {
                    incoming.again = None;
                    *read += n;
                    if *read < FRAME {
                        return Heard::Something;
                    }
                    *read = 0;
                    Frame::parse(frame).map_or(Heard::Broken, |(ticket, frame)| Heard::Frame(ticket, frame))
                }
            },
            State::Filling { stream, left } => {
                let most = usize::try_from(*left).unwrap_or(STEP).min(STEP);
                match stream.read(&mut self.region.as_mut_slice()[..most]).await {
                    Ok(0) | Err(_) => Heard::Broken,
                    Ok(n) => {
                        *left -= n as u64;
                        self.region.fill(n);
                        let filled = self.region.filled();
                        if self.verifier.read(&filled).is_err() {
                            self.damaged_by.get_or_insert(incoming.from);
                        }
                        if let Some(relay) = &self.relay {
                            relay.grow(filled);
                        }
                        if *left == 0 {
                            incoming.turn_to_next_frame();
                        }
                        return Heard::Bytes(n as u64);
                    }
                }
            }
        };
        match (heard, incoming.again.take()) {
            (Heard::Broken, Some(again)) => {
                incoming.state = State::Asking(again);
                Heard::Something
            }
            (heard, _) => heard,
        }
    }
}

impl Incoming {
    fn turn_to_next_frame(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Asking(Box::pin(std::future::pending())));
        self.state = match state {
            State::Filling { stream, .. } => State::Framing { stream, frame: [0; FRAME], read: 0 },
            other => other,
        };
    }
}
