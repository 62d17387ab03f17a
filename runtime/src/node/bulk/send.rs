//! The sending side: one task a connection.

use super::frame::{Asked, Frame, REQUEST};
use super::outbound::{Place, Sending};
use super::source::Source;
use super::{Bulk, CHUNK, SIGN_OF_LIFE, STEP, TOGETHER};
use mobula_env::{Env, Listener, Resource, Stream};
use mobula_protocol::transfer::{Request, SILENCE, Ticket};
use mobula_protocol::{ByteSize, Nanos};
use std::future::Future;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A receiver that takes nothing for this long is given up, so that its chunk makes room for others'.
const STUCK: Nanos = Nanos(2 * SILENCE.0);

/// Serves the objects of this node until the node ends.
pub(in crate::node) async fn serve(bulk: Bulk, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let here = bulk.clone();
                // A connection that breaks is its reader's business.
                bulk.env.spawn("bulk send", async move {
                    let _ = Connection { bulk: here, stream }.answer().await;
                });
            }
            Err(why) => {
                bulk.env.emit("bulk", format_args!("accept failed: {:?}", why.kind()));
                bulk.env.sleep(Nanos::millis(10)).await;
            }
        }
    }
}

struct Connection {
    bulk: Bulk,
    stream: Stream,
}

impl Connection {
    async fn answer(mut self) -> io::Result<()> {
        loop {
            let mut request = [0; REQUEST];
            self.stream.read_exact(&mut request).await?;
            let asked = Asked::parse(&request);
            let Bulk { env, me, objects, arriving, outbound, .. } = &self.bulk;
            let here = Source::find(objects, arriving, env.now(), asked.object, asked.size).await;
            let Some(source) = here.filter(|_| asked.to == *me) else {
                self.say(asked.ticket, Frame::NotHere).await?;
                continue;
            };
            let Asked { object, by, blamed, direct, .. } = asked;
            let (size, whole) = (ByteSize(asked.size), source.is_whole());
            match outbound.ask(Request { object, size, by, blamed, direct, whole }) {
                Place::Redirect(to) => {
                    env.probe("transfer.redirected");
                    self.say(asked.ticket, Frame::Redirect(to)).await?;
                }
                Place::Serve(sending) => {
                    if !whole {
                        env.probe("transfer.relayed");
                    }
                    self.send(&asked, source, sending).await?;
                }
            }
        }
    }

    /// Sends the rest of the object, chunk by chunk, as it arrives and as its turn comes.
    async fn send(&mut self, asked: &Asked, mut source: Source, mut sending: Sending) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "it does not arrive here any more");
        let mut offset = asked.offset;
        while offset < asked.size {
            let chunk = self.signing(asked.ticket, source.read(offset, CHUNK)).await?.ok_or_else(gone)?;
            let turn = sending.ready(chunk.len());
            self.signing(asked.ticket, turn).await?.map_err(|_| gone())?;
            let frame = Frame::Chunk { offset, bytes: chunk.len() as u64 }.to_bytes(asked.ticket);
            if chunk.len() <= TOGETHER {
                charge(&self.bulk.env, chunk.len()).await;
                self.write(&[&frame[..], &chunk].concat()).await?;
            } else {
                self.write(&frame).await?;
                for step in chunk.chunks(STEP) {
                    charge(&self.bulk.env, step.len()).await;
                    self.write(step).await?;
                }
            }
            sending.sent();
            offset += chunk.len() as u64;
        }
        sending.whole = true;
        Ok(())
    }

    /// Waits for `work` and tells the receiver now and then that it is being waited for.
    async fn signing<T>(&mut self, ticket: Ticket, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            match self.bulk.env.timeout(SIGN_OF_LIFE, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) => self.say(ticket, Frame::Waiting).await?,
            }
        }
    }

    async fn say(&mut self, ticket: Ticket, frame: Frame) -> io::Result<()> {
        self.write(&frame.to_bytes(ticket)).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let stuck = |_| io::Error::new(io::ErrorKind::TimedOut, "the receiver takes nothing");
        self.bulk.env.timeout(STUCK, written).await.map_err(stuck)?
    }
}

async fn charge(env: &Env, bytes: usize) {
    env.charge(Resource::NicSend, ByteSize(bytes as u64)).await;
}
