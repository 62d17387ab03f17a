//! Remote procedure calls: one request, one reply, both opaque bytes, over gRPC.
//!
//! tonic is not visible outside this module. `transport` is its recipe for real sockets, memory and turmoil (the same
//! HTTP/2 everywhere) or the one for madsim.
//!
//! A failed call says nothing about whether the handler ran: the request or the reply may have been lost. Callers
//! retry, handlers are idempotent (the reply cache is a layer above).

use crate::env::{CONNECT_TIMEOUT, Elapsed, Env};
use crate::key::WrongKey;
use crate::log::lock;
use crate::playback::Arrival;
use crate::sim::host;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use mobula_protocol::Nanos;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

#[cfg(not(madsim))]
#[path = "rpc/http.rs"]
mod transport;
#[cfg(madsim)]
#[path = "rpc/madsim.rs"]
mod transport;

mod fault;

pub(crate) use fault::RpcFaults;
pub use fault::{RpcFault, RpcFaultKind};

pub(crate) mod pb {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("mobula");
}

/// The longest message in either direction, in bytes: a call with a longer one fails with [`RpcError::TooLarge`]. Bulk data
/// goes over [`Env::connect`].
pub const MESSAGE_LIMIT: usize = 128 << 20;

/// The metadata of a call that is to arrive at a certain time.
const ARRIVAL: &str = "mobula-arrival";
/// How long a call that is to be overtaken waits for the one that overtakes it.
const OVERTAKE: Nanos = Nanos::millis(50);
/// How often it looks.
const LOOK: Nanos = Nanos::micros(200);

/// What a node serves. One call may run many times, also at once: callers retry.
pub trait RpcService: Send + Sync + 'static {
    /// Runs `method` with its encoded arguments and returns the encoded result.
    fn call(self: Arc<Self>, method: String, body: Bytes) -> BoxFuture<'static, Result<Bytes, RpcStatus>>;
}

/// Why a service refuses or fails a call; the codes of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RpcCode {
    /// The arguments are wrong in any state of the system.
    InvalidArgument,
    /// The thing named does not exist.
    NotFound,
    /// The thing to create exists.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// Memory, quota or message size.
    ResourceExhausted,
    /// Not in this state of the system; retrying the same call does not help.
    FailedPrecondition,
    /// Beyond the end of something; gRPC's word for a message that is too large.
    OutOfRange,
    /// Lost against something concurrent.
    Aborted,
    /// No such method.
    Unimplemented,
    /// Not now; retry.
    Unavailable,
    /// The service stopped working on it.
    Cancelled,
    /// A bug of the service.
    Internal,
    /// Any other code.
    Unknown,
}

/// The pairs of codes: ours, gRPC's.
const CODES: [(RpcCode, tonic::Code); 13] = [
    (RpcCode::InvalidArgument, tonic::Code::InvalidArgument),
    (RpcCode::NotFound, tonic::Code::NotFound),
    (RpcCode::AlreadyExists, tonic::Code::AlreadyExists),
    (RpcCode::PermissionDenied, tonic::Code::PermissionDenied),
    (RpcCode::ResourceExhausted, tonic::Code::ResourceExhausted),
    (RpcCode::FailedPrecondition, tonic::Code::FailedPrecondition),
    (RpcCode::OutOfRange, tonic::Code::OutOfRange),
    (RpcCode::Aborted, tonic::Code::Aborted),
    (RpcCode::Unimplemented, tonic::Code::Unimplemented),
    (RpcCode::Unavailable, tonic::Code::Unavailable),
    (RpcCode::Cancelled, tonic::Code::Cancelled),
    (RpcCode::Internal, tonic::Code::Internal),
    (RpcCode::Unknown, tonic::Code::Unknown),
];

/// A call refused or failed by the service itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct RpcStatus {
    /// The kind of failure.
    pub code: RpcCode,
    /// For people.
    pub message: String,
}

impl RpcStatus {
    /// A status with this code and message.
    pub fn new(code: RpcCode, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// A call without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// Nobody serves at this address: the process is not running, or not yet.
    #[error("{0} refused the connection")]
    Refused(String),
    /// It did not let this process in: no handler has run, and no other attempt will succeed.
    #[error(transparent)]
    WrongKey(#[from] WrongKey),
    /// The connection could not be made or broke; with the address and the reason.
    #[error("cannot reach {0}")]
    Unreachable(String),
    /// No reply in time; with the address and the method.
    #[error("no reply in time from {0}")]
    Timeout(String),
    /// The message is longer than [`MESSAGE_LIMIT`]; with the address and its length. It never left.
    #[error("a message of {1} bytes for {0} is too large: the most is {MESSAGE_LIMIT}")]
    TooLarge(String, usize),
    /// The service's own answer.
    #[error("the service answered {0:?}: {1}")]
    Status(RpcCode, String),
}

impl RpcError {
    /// Whether the same call may succeed later. After all of these the handler may have run.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Unreachable(_) | Self::Timeout(_) => true,
            Self::TooLarge(..) | Self::WrongKey(_) => false,
            Self::Status(code, _) => matches!(code, RpcCode::Unavailable | RpcCode::Aborted | RpcCode::Cancelled),
        }
    }

    /// Whether the message is too large for this transport, now and ever. Nobody has read it then.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge(..) | Self::Status(RpcCode::OutOfRange | RpcCode::ResourceExhausted, _))
    }

    /// From a failed attempt to connect to `address`.
    fn connecting(address: &str, error: &io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<WrongKey>()) {
            return Self::WrongKey(WrongKey(address.to_owned()));
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(address.to_owned()),
            io::ErrorKind::TimedOut => Self::Timeout(address.to_owned()),
            _ => Self::Unreachable(format!("{address}: {error}")),
        }
    }

    /// From what tonic reports: the service's own answer, or what this side made of a broken connection.
    fn calling(address: &str, status: &tonic::Status) -> Self {
        if status.code() == tonic::Code::Unauthenticated {
            return Self::WrongKey(WrongKey(address.to_owned()));
        }
        if transport::is_answer(status) {
            let code = CODES.iter().find(|(_, theirs)| *theirs == status.code());
            return Self::Status(code.map_or(RpcCode::Unknown, |pair| pair.0), status.message().to_owned());
        }
        Self::broken(address, status)
    }

    /// From the chain of causes of a broken connection.
    fn broken(address: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            use io::ErrorKind::{ConnectionRefused, PermissionDenied, TimedOut};
            if let Some(io) = error.downcast_ref::<io::Error>()
                && matches!(io.kind(), ConnectionRefused | TimedOut | PermissionDenied)
            {
                return Self::connecting(address, io);
            }
            cause = error.source();
        }
        Self::Unreachable(format!("{address}: {error}"))
    }
}

/// Hands the calls that arrive to the service, each in a task of its own.
struct Door {
    env: Env,
    service: Arc<dyn RpcService>,
}

#[tonic::async_trait]
impl pb::rpc_server::Rpc for Door {
    async fn call(
        &self,
        request: tonic::Request<pb::CallRequest>,
    ) -> Result<tonic::Response<pb::CallReply>, tonic::Status> {
        transport::admit(&self.env, &request)?;
        let arrival = self.env.playback().and_then(|_| request.metadata().get(ARRIVAL)?.to_str().ok());
        let arrival = arrival.and_then(Arrival::parse).map(|arrival| (self.env.clone(), arrival));
        let pb::CallRequest { method, body } = request.into_inner();
        let handled = self.service.clone().call(method, body);
        let handled = async move {
            if let Some((env, arrival)) = arrival {
                env.arrive_as_recorded(arrival).await;
            }
            handled.await
        };
        // A task, because tonic drops this future when the caller goes away.
        match self.env.spawn("rpc handler", handled).await {
            Ok(Ok(body)) => Ok(tonic::Response::new(pb::CallReply { body })),
            Ok(Err(status)) => Err(status.into()),
            Err(_) => Err(tonic::Status::internal("the handler ended without a result")),
        }
    }
}

impl From<RpcStatus> for tonic::Status {
    fn from(status: RpcStatus) -> Self {
        let code = CODES.iter().find(|(ours, _)| *ours == status.code).map_or(tonic::Code::Unknown, |pair| pair.1);
        Self::new(code, status.message)
    }
}

/// A running server; see [`Env::rpc_serve`]. Dropping it stops accepting and lets running calls finish.
#[derive(Debug)]
pub struct RpcServer {
    address: String,
    /// Its drop is the signal to stop.
    _stop: oneshot::Sender<()>,
}

impl RpcServer {
    pub(crate) async fn start(env: &Env, port: u16, service: Arc<dyn RpcService>) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let address = transport::serve(env, port, Door { env: env.clone(), service }, stopped).await?;
        Ok(Self { address, _stop: stop })
    }

    /// What others give to [`Env::rpc_connect`]: `"host:port"`.
    pub fn address(&self) -> String {
        self.address.clone()
    }
}

/// A connection to one server, shared by its clones. It connects anew for the next call after a failure or a timeout: a
/// connection that lost a message may never work again.
#[derive(Clone)]
pub struct RpcClient {
    env: Env,
    address: Arc<str>,
    line: Arc<Line>,
    /// When what it sends is to arrive, if a record says.
    arrival: Option<Arrival>,
}

/// The connection the clones share.
#[derive(Default)]
struct Line {
    open: Mutex<Open>,
    /// Held while connecting: the others wait for the same connection.
    dialling: tokio::sync::Mutex<()>,
    /// Counts answered calls, for faults that reorder.
    answered: AtomicU64,
}

#[derive(Default)]
struct Open {
    channel: Option<transport::Channel>,
    /// Counts connections, so that a late failure of an old one does not close a new one.
    dialled: u64,
}

impl fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RpcClient({} to {})", self.env.node(), self.address)
    }
}

impl RpcClient {
    pub(crate) fn new(env: &Env, address: &str) -> Self {
        Self { env: env.clone(), address: address.into(), line: Arc::default(), arrival: None }
    }

    pub(crate) async fn connect(env: &Env, address: &str) -> Result<Self, RpcError> {
        let client = Self::new(env, address);
        client.channel().await?;
        Ok(client)
    }

    /// The address it was made for.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Calls `method` and waits at most `timeout` for its reply, including the time to connect if needed.
    pub async fn call(&self, method: &str, body: Bytes, timeout: Nanos) -> Result<Bytes, RpcError> {
        let fate = self.fate(|| std::iter::once(method));
        self.call_under(fate, method, body, timeout).await
    }

    /// What is to become of the next call, which has or carries these names: the caller hands it to
    /// [`RpcClient::call_under`]. The names are only asked for if there are faults at all.
    pub fn fate<'a, N: Iterator<Item = &'a str>>(&self, names: impl FnOnce() -> N) -> Option<RpcFaultKind> {
        let faults = self.env.rpc_faults();
        if faults.is_empty() {
            return None;
        }
        faults.fate(self.env.node(), host(&self.address), names())
    }

    /// In a simulation that plays a record, the client for one call that is to be under way as long as it was there. The
    /// same client elsewhere. `call` tells what is sent: a name of this envelope, if it may be sent again, and the names
    /// of its messages.
    pub fn as_recorded<'a, N: Iterator<Item = &'a str>>(mut self, call: impl FnOnce() -> (Option<String>, N)) -> Self {
        if let Some(playback) = self.env.playback() {
            let (id, names) = call();
            self.arrival = playback.sent(self.env.node(), host(&self.address), id, names, self.env.now());
        }
        self
    }

    /// [`RpcClient::call`] of a call whose fate is known. [`RpcFaultKind::StaleEpoch`] is the caller's business: only it
    /// knows what an epoch is.
    pub async fn call_under(
        &self,
        fate: Option<RpcFaultKind>,
        method: &str,
        body: Bytes,
        timeout: Nanos,
    ) -> Result<Bytes, RpcError> {
        let Some(kind) = fate else { return self.travel(method, body, timeout).await };
        self.env.emit("rpc-fault", format_args!("{} {method} to {}", kind.word(), host(&self.address)));
        let lost = || Err(RpcError::Unreachable(format!("{}: {} by a fault", self.address, kind.word())));
        match kind {
            RpcFaultKind::RequestLost => lost(),
            RpcFaultKind::ReplyLost => {
                // Whatever the answer is, nobody hears it.
                let _ = self.travel(method, body, timeout).await;
                lost()
            }
            RpcFaultKind::InFlight => {
                self.travel_alone(method, body, timeout);
                lost()
            }
            RpcFaultKind::Duplicate => {
                self.travel_alone(method, body.clone(), timeout);
                self.travel(method, body, timeout).await
            }
            RpcFaultKind::Delay(time) => {
                self.env.sleep(time).await;
                self.travel(method, body, timeout).await
            }
            RpcFaultKind::Reorder => {
                let (before, until) = (self.line.answered.load(Ordering::Relaxed), self.env.now() + OVERTAKE);
                while self.line.answered.load(Ordering::Relaxed) == before && self.env.now() < until {
                    self.env.sleep(LOOK).await;
                }
                self.travel(method, body, timeout).await
            }
            RpcFaultKind::StaleEpoch => self.travel(method, body, timeout).await,
        }
    }

    /// A call whose answer nobody waits for.
    fn travel_alone(&self, method: &str, body: Bytes, timeout: Nanos) {
        let (client, method) = (self.clone(), method.to_owned());
        self.env.spawn("unheard call", async move {
            // Its caller was told something else already.
            let _ = client.travel(&method, body, timeout).await;
        });
    }

    /// Sends a call through what holds and slows the link.
    async fn travel(&self, method: &str, body: Bytes, timeout: Nanos) -> Result<Bytes, RpcError> {
        let faults = self.env.rpc_faults();
        if faults.is_empty() {
            return self.send(method, body, timeout).await;
        }
        let (here, there) = (self.env.node(), host(&self.address));
        if !faults.is_held(here, there) && !faults.is_held(there, here) {
            self.env.sleep_if(faults.latency(here, there)).await;
            let answer = self.send(method, body, timeout).await;
            self.env.sleep_if(faults.latency(there, here)).await;
            return answer;
        }
        // In a task: what is held is delivered when it is released, even if nobody waits for the answer any more.
        let (client, method) = (self.clone(), method.to_owned());
        let held = self.env.spawn("held call", async move {
            let (faults, here, there) = (client.env.rpc_faults(), client.env.node(), host(&client.address));
            faults.passable(here, there).await;
            let answer = client.send(&method, body, timeout).await;
            faults.passable(there, here).await;
            answer
        });
        match self.env.timeout(timeout, held).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(gone)) => Err(RpcError::Unreachable(format!("{}: {gone}", self.address))),
            Err(Elapsed) => Err(RpcError::Timeout(format!("{} (held)", self.address))),
        }
    }

    async fn send(&self, method: &str, body: Bytes, timeout: Nanos) -> Result<Bytes, RpcError> {
        if body.len() > MESSAGE_LIMIT {
            return Err(RpcError::TooLarge(self.address.to_string(), body.len()));
        }
        let mut used = None;
        let attempt = async {
            let (channel, dialled) = self.channel().await?;
            used = Some(dialled);
            let request = pb::CallRequest { method: method.to_owned(), body };
            let mut client = pb::rpc_client::RpcClient::new(channel)
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT);
            let mut request = transport::proved(&self.env, request);
            if let Some(Ok(at)) = self.arrival.map(|arrival| arrival.to_string().parse()) {
                request.metadata_mut().insert(ARRIVAL, at);
            }
            let reply = client.call(request).await.map_err(|status| RpcError::calling(&self.address, &status));
            if matches!(reply, Err(RpcError::Refused(_) | RpcError::Unreachable(_)))
                && self.env.place().is_silent(&self.address)
            {
                // madsim reports a dead peer through a partition; nothing can arrive through one.
                std::future::pending::<()>().await;
            }
            Ok(reply?.into_inner().body)
        };
        let result = match self.env.timeout(timeout, attempt).await {
            Ok(result) => result,
            Err(Elapsed) => Err(RpcError::Timeout(format!("{} ({method})", self.address))),
        };
        if let (Some(dialled), Err(RpcError::Refused(_) | RpcError::Unreachable(_) | RpcError::Timeout(_))) =
            (used, &result)
        {
            self.hang_up(dialled);
        }
        self.line.answered.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// The open channel, or a new one.
    async fn channel(&self) -> Result<(transport::Channel, u64), RpcError> {
        if let Some(open) = self.open() {
            return Ok(open);
        }
        let _dialling = self.line.dialling.lock().await;
        if let Some(open) = self.open() {
            return Ok(open);
        }
        let dial = self.env.timeout(CONNECT_TIMEOUT, transport::dial(&self.env, &self.address));
        let channel = dial.await.unwrap_or_else(|Elapsed| Err(RpcError::Timeout(self.address.to_string())))?;
        let mut open = lock(&self.line.open);
        open.channel = Some(channel.clone());
        open.dialled += 1;
        Ok((channel, open.dialled))
    }

    fn open(&self) -> Option<(transport::Channel, u64)> {
        let open = lock(&self.line.open);
        open.channel.clone().map(|channel| (channel, open.dialled))
    }

    fn hang_up(&self, dialled: u64) {
        let mut open = lock(&self.line.open);
        if open.dialled == dialled {
            open.channel = None;
        }
    }
}
