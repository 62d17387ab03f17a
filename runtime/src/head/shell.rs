//! The shell of the head: it waits, writes turns into the log, takes them, and does what they lead to.

use super::core::{Core, Event, Output, Turn};
use super::journal::{Journal, Wrote};
use super::log::{Log, LogError, snapshot};
use crate::error::StartError;
use crate::node::{Failure, Peers, REQUEST_TIMEOUT};
use crate::settings::HeadSettings;
use crate::wire::{self, ExchangeAnswer, JoinAnswer, OtherCluster, Request};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use mobula_env::{Env, RpcCode, RpcServer, RpcService, RpcStatus, WorldKind};
use mobula_protocol::job::JobInfo;
use mobula_protocol::link::{Ack, Envelope};
use mobula_protocol::member::JoinRequest;
use mobula_protocol::{ByteSize, ClusterId, Incarnation, Nanos};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// The most inputs of one turn.
const TURN: usize = 1024;

/// A running head. It serves until it is dropped or killed, or its log cannot be written.
pub struct Head {
    address: String,
    cluster: ClusterId,
    stopped: watch::Receiver<Option<String>>,
    _server: RpcServer,
}

pub(super) enum Input {
    Join {
        request: JoinRequest,
        reply: oneshot::Sender<JoinAnswer>,
    },
    Received {
        envelope: Envelope,
        reply: oneshot::Sender<Ack>,
    },
    /// What became of an envelope of ours.
    Exchanged(Event),
    /// Somebody wants to look; that is no turn.
    Jobs(Option<String>, oneshot::Sender<Vec<JobInfo>>),
    Wrote(Wrote),
}

impl Head {
    /// Starts serving: a new cluster, or, if there is one in its log, that one.
    ///
    /// # Errors
    /// A port in use, health settings under which healthy nodes would die, a log that cannot be gone on with.
    pub async fn start(env: &Env, settings: HeadSettings) -> Result<Self, StartError> {
        settings.members.validate()?;
        let (log, core) = match &settings.log {
            Some(directory) => {
                let (log, core) = Log::open(env.disk().within(directory), &settings.policy).await?;
                (Some(log), core)
            }
            None => (None, None),
        };
        let (inbox, inputs) = mpsc::unbounded_channel();
        let resumed = core.is_some();
        // The random streams of two lives of a head are equal, their births are not.
        let cluster = core.as_ref().map(Core::cluster);
        let cluster = cluster.unwrap_or_else(|| ClusterId(env.rng(&format!("cluster of {}", env.wall().0)).next_u64()));
        let service = Arc::new(Service { cluster, inbox: inbox.clone() });
        let server = env.rpc_serve(settings.port, service).await.map_err(|why| StartError::port(settings.port, why))?;
        let address = server.address();
        let logging = env.is_logged();
        let core = match core {
            Some(core) => core,
            None => {
                let seed = env.rng("place actors").next_u64();
                Core::new(cluster, settings.members, settings.policy, address.clone(), seed)
            }
        };
        let mut core = core.logging(logging);
        if core.settings() != settings.members {
            let members = core.settings();
            return Err(LogError::Settings { period: members.health_period, timeout: members.health_timeout }.into());
        }
        let mut first = Vec::new();
        if resumed {
            core.take(Turn { at: core.now(), events: vec![Event::Resumed] }, &mut first);
            env.emit("resumed", format_args!("{cluster} at turn {}", core.turns()));
        }
        let journal = match log {
            Some(mut log) => {
                log.begin(core.turns(), snapshot(&core)).await.map_err(LogError::Disk)?;
                Some(Journal::new(env.clone(), inbox.clone(), log, settings.log_grace))
            }
            None => None,
        };
        let (stop, stopped) = watch::channel(None);
        let shell = Shell {
            env: env.clone(),
            began: (core.now(), env.now()),
            core,
            journal,
            peers: Peers::new(env, &address, cluster),
            inbox,
            joins: BTreeMap::new(),
            replies: BTreeMap::new(),
            stop,
        };
        env.spawn("head", shell.run(first, inputs));
        Ok(Self { address, cluster, stopped, _server: server })
    }

    /// Where nodes join.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whose head it is: the same again if it was restarted with its log.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Resolves when the head has stopped by itself, with the reason.
    pub async fn stopped(&self) -> String {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await.map(|reason| reason.clone());
        reason.ok().flatten().unwrap_or_else(|| "the head's loop has ended".to_owned())
    }
}

/// The rpc service of the head.
struct Service {
    cluster: ClusterId,
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
                Request::Jobs(job) => {
                    let (reply, jobs) = oneshot::channel();
                    self.inbox.send(Input::Jobs(job, reply)).map_err(|_| gone())?;
                    wire::write(&jobs.await.map_err(|_| gone())?)
                }
                Request::Memory | Request::Why(_) => {
                    let message = "the head has no store and no tasks; ask a node";
                    Err(RpcStatus::new(RpcCode::FailedPrecondition, message))
                }
                Request::Exchange(cluster, _) if cluster != self.cluster => {
                    wire::write(&ExchangeAnswer::Err(OtherCluster { mine: self.cluster, yours: cluster }))
                }
                Request::Exchange(_, envelope) => {
                    let (reply, ack) = oneshot::channel();
                    self.inbox.send(Input::Received { envelope, reply }).map_err(|_| gone())?;
                    wire::write(&ExchangeAnswer::Ok(ack.await.map_err(|_| gone())?))
                }
            }
        })
    }
}

struct Shell {
    env: Env,
    /// The head's time when this life of it began, and the world's.
    began: (Nanos, Nanos),
    core: Core,
    /// None if there is no log: then every turn is done as soon as it is taken.
    journal: Option<Journal>,
    peers: Peers,
    inbox: mpsc::UnboundedSender<Input>,
    /// Joins being answered, by nonce.
    joins: BTreeMap<u64, oneshot::Sender<JoinAnswer>>,
    /// Envelopes being answered.
    replies: BTreeMap<(Incarnation, u64), oneshot::Sender<Ack>>,
    stop: watch::Sender<Option<String>>,
}

impl Shell {
    async fn run(mut self, first: Vec<Output>, mut inputs: mpsc::UnboundedReceiver<Input>) {
        self.execute(first);
        loop {
            let deadline = self.core.next_deadline();
            let wait = deadline.map_or(REQUEST_TIMEOUT, |deadline| deadline.saturating_sub(self.now()));
            let mut events = Vec::new();
            let mut next = match self.env.timeout(wait, inputs.recv()).await {
                Ok(Some(input)) => Some(input),
                Ok(None) => return,
                Err(_) => None,
            };
            while let Some(input) = next {
                match self.hear(input) {
                    Ok(event) => events.extend(event),
                    Err(why) => {
                        let why = format!("its log cannot be written: {why}");
                        self.env.emit("stop", format_args!("{why}"));
                        self.stop.send_replace(Some(why));
                        return;
                    }
                }
                next = if events.len() < TURN { inputs.try_recv().ok() } else { None };
            }
            self.turn(events);
            if let Some(journal) = &mut self.journal {
                journal.write(&self.core);
            }
        }
    }

    /// The head's time.
    fn now(&self) -> Nanos {
        self.began.0 + self.env.now().saturating_sub(self.began.1)
    }

    /// What an input means to the core.
    fn hear(&mut self, input: Input) -> Result<Option<Event>, std::io::Error> {
        Ok(Some(match input {
            Input::Join { request, reply } => {
                self.joins.insert(request.nonce, reply);
                Event::Join(request)
            }
            Input::Received { envelope, reply } => {
                self.replies.insert((envelope.from, envelope.seq), reply);
                Event::Received(envelope)
            }
            Input::Exchanged(event) => event,
            Input::Jobs(job, reply) => {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(self.core.jobs(job));
                return Ok(None);
            }
            Input::Wrote(wrote) => {
                if let Some(journal) = &mut self.journal {
                    let outputs = journal.wrote(wrote)?;
                    self.execute(outputs);
                }
                return Ok(None);
            }
        }))
    }

    /// Takes a turn, if there is anything to take.
    fn turn(&mut self, events: Vec<Event>) {
        let at = self.now();
        if events.is_empty() && self.core.next_deadline().is_none_or(|deadline| deadline > at) {
            return;
        }
        let turn = Turn { at, events };
        match &mut self.journal {
            Some(journal) => journal.take(turn, &mut self.core),
            None => {
                let mut outputs = Vec::new();
                self.core.take(turn, &mut outputs);
                self.execute(outputs);
            }
        }
        // As a node's: a large state is checked at fewer turns.
        if self.env.world() != WorldKind::Real && self.core.turns().is_multiple_of(1 + self.core.size() as u64 / 256) {
            self.core.check().unwrap_or_else(|violation| panic!("{violation}"));
        }
    }

    fn execute(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Answer { nonce, result } => {
                    if let Some(reply) = self.joins.remove(&nonce) {
                        // The caller is gone if its request ran out of time; it asks again with the same nonce.
                        let _ = reply.send(*result);
                    }
                }
                Output::Reply { from, seq, ack } => {
                    if let Some(reply) = self.replies.remove(&(from, seq)) {
                        let _ = reply.send(ack);
                    }
                }
                Output::Transmit { address, envelope, load } => self.transmit(address, envelope, load),
                Output::Living(addresses) => self.peers.keep(&addresses),
                Output::Log { kind, detail } => self.env.emit(kind, format_args!("{detail}")),
            }
        }
    }

    fn transmit(&self, address: Option<String>, envelope: Arc<Envelope>, load: ByteSize) {
        let (peers, inbox) = (self.peers.clone(), self.inbox.clone());
        self.env.spawn("exchange", async move {
            let (to, seq) = (envelope.to, envelope.seq);
            let exchanged = match address {
                Some(address) => peers.exchange(&address, &envelope, load).await,
                None => Err(Failure::Lost),
            };
            let _ = inbox.send(Input::Exchanged(match exchanged {
                Ok(ack) => Event::Acked { to, seq, ack },
                // Somebody else listens there now: the node is gone, as its silence will show.
                Err(Failure::Lost | Failure::OtherCluster(_)) => Event::Lost { to, seq },
                Err(Failure::Refused(_)) => Event::Refused { to, seq },
            }));
        });
    }
}
