//! The shell of the head: the roster and a link, and what they say to do.

use super::actors::{Actors, Mail};
use crate::error::StartError;
use crate::node::{Failure, Peers, REQUEST_TIMEOUT};
use crate::settings::HeadSettings;
use crate::wire::{self, JoinAnswer, Request};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use mobula_env::{Env, RpcCode, RpcServer, RpcService, RpcStatus, WorldKind};
use mobula_protocol::link::{self, Ack, Envelope, Link, LinkSettings};
use mobula_protocol::member::roster::{Effect as RosterEffect, Event as RosterEvent};
use mobula_protocol::member::{JoinRequest, Member, Roster};
use mobula_protocol::{ByteSize, Incarnation, Labels, Machine, Message, Nanos, Resources};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A running head. It serves until it is dropped or killed.
pub struct Head {
    address: String,
    _server: RpcServer,
}

enum Input {
    Join { request: JoinRequest, reply: oneshot::Sender<JoinAnswer> },
    Received { envelope: Envelope, reply: oneshot::Sender<Ack> },
    Acked { to: Incarnation, seq: u64, ack: Ack },
    Lost { to: Incarnation, seq: u64 },
    Refused { to: Incarnation, seq: u64 },
    Tick,
}

impl Head {
    /// Starts serving.
    ///
    /// # Errors
    /// A port in use, or health settings under which healthy nodes would die.
    pub async fn start(env: &Env, settings: HeadSettings) -> Result<Self, StartError> {
        settings.members.validate()?;
        let (inbox, inputs) = mpsc::unbounded_channel();
        let service = Arc::new(Service { inbox: inbox.clone() });
        let server = env.rpc_serve(settings.port, service).await.map_err(|why| StartError::port(settings.port, why))?;
        let address = server.address();
        let member = Member {
            incarnation: Incarnation::HEAD,
            name: "head".to_owned(),
            rpc: address.clone(),
            bulk: String::new(),
            total: Resources::none(),
            labels: Labels::new(),
        };
        let mut link = Link::new(LinkSettings::default());
        let mut effects = Vec::new();
        link.step(env.now(), link::Event::Started(Incarnation::HEAD), &mut effects);
        let roster = Roster::new(settings.members, member);
        let shell = Shell {
            env: env.clone(),
            actors: Actors::new(env.now(), roster.welcome_head(), settings.policy, env.rng("place actors").next_u64()),
            roster,
            link,
            peers: Peers::new(env, &address),
            inbox,
            joins: BTreeMap::new(),
            replies: BTreeMap::new(),
        };
        env.spawn("head", shell.run(inputs));
        Ok(Self { address, _server: server })
    }

    /// Where nodes join.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// The rpc service of the head.
struct Service {
    inbox: mpsc::UnboundedSender<Input>,
}

impl RpcService for Service {
    fn call(self: Arc<Self>, method: String, body: Bytes) -> BoxFuture<'static, Result<Bytes, RpcStatus>> {
        Box::pin(async move {
            let gone = || RpcStatus::new(RpcCode::Unavailable, "the head has stopped");
            match Request::parse(&method, &body)? {
                Request::Join(request) => {
                    let (reply, answer) = oneshot::channel();
                    self.inbox.send(Input::Join { request, reply }).map_err(|_| gone())?;
                    wire::write(&answer.await.map_err(|_| gone())?)
                }
                Request::Memory | Request::Why(_) => {
                    let message = "the head has no store and no tasks; ask a node";
                    Err(RpcStatus::new(RpcCode::FailedPrecondition, message))
                }
                Request::Exchange(envelope) => {
                    let (reply, ack) = oneshot::channel();
                    self.inbox.send(Input::Received { envelope, reply }).map_err(|_| gone())?;
                    wire::ack(ack.await.map_err(|_| gone())?)
                }
            }
        })
    }
}

struct Shell {
    env: Env,
    roster: Roster,
    actors: Actors,
    link: Link,
    peers: Peers,
    inbox: mpsc::UnboundedSender<Input>,
    /// Joins being answered, by nonce.
    joins: BTreeMap<u64, oneshot::Sender<JoinAnswer>>,
    /// Envelopes being answered.
    replies: BTreeMap<(Incarnation, u64), oneshot::Sender<Ack>>,
}

impl Shell {
    async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>) {
        loop {
            let now = self.env.now();
            let deadline = [self.roster.next_deadline(), self.link.next_deadline(), self.actors.next_deadline()]
                .into_iter()
                .flatten()
                .min();
            let wait = deadline.map_or(REQUEST_TIMEOUT, |deadline| deadline.saturating_sub(now));
            let input = match self.env.timeout(wait, inputs.recv()).await {
                Ok(Some(input)) => input,
                Ok(None) => return,
                Err(_) => Input::Tick,
            };
            let now = self.env.now();
            let (mut roster, mut link) = (Vec::new(), Vec::new());
            self.take(now, input, &mut roster, &mut link);
            while let Ok(input) = inputs.try_recv() {
                self.take(now, input, &mut roster, &mut link);
            }
            self.ticks(now, &mut roster, &mut link);
            while !(roster.is_empty() && link.is_empty()) {
                for effect in std::mem::take(&mut roster) {
                    self.roster_effect(now, effect, &mut link);
                }
                for effect in std::mem::take(&mut link) {
                    self.link_effect(now, effect, &mut roster, &mut link);
                }
                if roster.is_empty() {
                    self.link.step(now, link::Event::Flush, &mut link);
                }
            }
            if self.env.world() != WorldKind::Real {
                let checked = self.roster.check().and_then(|()| self.link.check()).and_then(|()| self.actors.check());
                checked.unwrap_or_else(|violation| panic!("{violation}"));
            }
        }
    }

    fn take(&mut self, now: Nanos, input: Input, roster: &mut Vec<RosterEffect>, link: &mut Vec<link::Effect>) {
        match input {
            Input::Join { request, reply } => {
                self.joins.insert(request.nonce, reply);
                self.roster.step(now, RosterEvent::Join(request), roster);
            }
            Input::Received { envelope, reply } => {
                self.replies.insert((envelope.from, envelope.seq), reply);
                self.roster.step(now, RosterEvent::Heard(envelope.from), roster);
                self.link.step(now, link::Event::Received(envelope), link);
            }
            Input::Acked { to, seq, ack } => self.link.step(now, link::Event::Acked { to, seq, ack }, link),
            Input::Lost { to, seq } => self.link.step(now, link::Event::Lost { to, seq }, link),
            Input::Refused { to, seq } => self.link.step(now, link::Event::Refused { to, seq }, link),
            Input::Tick => {}
        }
    }

    fn ticks(&mut self, now: Nanos, roster: &mut Vec<RosterEffect>, link: &mut Vec<link::Effect>) {
        if self.roster.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.roster.step(now, RosterEvent::Tick, roster);
        }
        if self.link.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.link.step(now, link::Event::Tick, link);
        }
        if self.actors.next_deadline().is_some_and(|deadline| deadline <= now) {
            let mut mail = Mail::new();
            self.actors.tick(now, &mut mail);
            self.post(now, mail, link);
        }
    }

    fn post(&mut self, now: Nanos, mail: Mail, link: &mut Vec<link::Effect>) {
        for (to, message) in mail {
            self.link.step(now, link::Event::Send { to, message }, link);
        }
    }

    fn roster_effect(&mut self, now: Nanos, effect: RosterEffect, link: &mut Vec<link::Effect>) {
        match effect {
            RosterEffect::Answer { nonce, result } => {
                if let Ok(joined) = &result {
                    self.link.step(now, link::Event::PeerKnown(joined.incarnation), link);
                    self.env.emit("admit", format_args!("{}", joined.incarnation));
                }
                if let Some(reply) = self.joins.remove(&nonce) {
                    // The caller is gone if its request ran out of time; it asks again with the same nonce.
                    let _ = reply.send(result.map(|joined| *joined));
                }
            }
            RosterEffect::Send { to: Incarnation::HEAD, message } => {
                let mut mail = Mail::new();
                self.actors.news(now, message, &mut mail);
                self.post(now, mail, link);
            }
            RosterEffect::Send { to, message } => self.link.step(now, link::Event::Send { to, message }, link),
            RosterEffect::Declared { incarnation, name, why } => {
                self.env.emit("declare-dead", format_args!("{name} ({incarnation}): {why}"));
                self.link.step(now, link::Event::PeerDied(incarnation), link);
                self.peers.keep(&self.roster.members().map(|member| member.rpc.clone()).collect());
            }
        }
    }

    fn link_effect(
        &mut self,
        now: Nanos,
        effect: link::Effect,
        roster: &mut Vec<RosterEffect>,
        out: &mut Vec<link::Effect>,
    ) {
        match effect {
            link::Effect::Transmit { envelope, load } => self.transmit(envelope, load),
            // Actors and checkpoints are limited where they are made, so this is a bug; the event log shows it.
            link::Effect::Undelivered { to, message } => {
                self.env.emit("undelivered", format_args!("a {} for {to} is too large to be sent", message.name()));
            }
            link::Effect::Deliver { from, message } => match message {
                Message::Heartbeat(load) => self.roster.step(now, RosterEvent::Heartbeat { from, load }, roster),
                Message::Leave => self.roster.step(now, RosterEvent::Leave { from }, roster),
                Message::ResyncView(have) => self.roster.step(now, RosterEvent::Resync { from, have }, roster),
                other => {
                    let mut mail = Mail::new();
                    if let Err(stray) = self.actors.deliver(now, from, other, &mut mail) {
                        self.env.emit("stray", format_args!("{} from {from}: not for the head", stray.name()));
                    }
                    self.post(now, mail, out);
                }
            },
            link::Effect::Reply { from, seq, ack } => {
                self.env.emit("recv", format_args!("{from} #{seq} {ack:?}"));
                if let Some(reply) = self.replies.remove(&(from, seq)) {
                    let _ = reply.send(ack);
                }
            }
            // Nobody declares the head dead: it is the one who declares.
            link::Effect::Fenced { by } => self.env.emit("stray", format_args!("{by} says that the head is dead")),
        }
    }

    fn transmit(&self, envelope: Arc<Envelope>, load: ByteSize) {
        self.env.emit("send", format_args!("{} #{} {}", envelope.to, envelope.seq, envelope.summary()));
        let address = self.roster.members().find(|member| member.incarnation == envelope.to);
        let address = address.map(|member| member.rpc.clone());
        let (peers, inbox) = (self.peers.clone(), self.inbox.clone());
        self.env.spawn("exchange", async move {
            let (to, seq) = (envelope.to, envelope.seq);
            let answer = match address {
                Some(address) => peers.exchange(&address, &envelope, load).await,
                None => Err(Failure::Lost),
            };
            let _ = inbox.send(match answer {
                Ok(ack) => Input::Acked { to, seq, ack },
                Err(Failure::Lost) => Input::Lost { to, seq },
                Err(Failure::Refused(_)) => Input::Refused { to, seq },
            });
        });
    }
}
