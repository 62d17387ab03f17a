//! Requests to peers: one exchange of an envelope for its answer.
//!
//! A request gets [`REQUEST_TIMEOUT`], and [`SLOWEST_BYTE`] for each byte under way to the peer: a limit that does not
//! grow with the bytes would fail on a slow network for ever, each time after half of them had arrived. Signs of life have
//! a connection of their own, so that they share neither the bytes under way nor the fate of a connection that carries
//! bulky messages.

use crate::wire::{self, ExchangeAnswer, OtherCluster};
use mobula_env::{Env, RpcClient, RpcFaultKind};
use mobula_protocol::link::{Ack, Envelope};
use mobula_protocol::{ByteSize, ClusterId, Epoch, Incarnation, Message, Nanos, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long one request to a peer may take, besides its bytes, before it counts as lost and is sent again. Well below any
/// sensible health timeout, so that news is not held up for long by a short partition that swallowed one request
/// (scenarios I04, I05, E18).
pub(crate) const REQUEST_TIMEOUT: Nanos = Nanos::millis(800);
/// The time that each byte under way is given at the first try of a request: that of a network of 80 Mb/s. The link asks
/// for twice as much with each further try.
const SLOWEST_BYTE: Nanos = Nanos(100);

/// Why an envelope was not answered.
pub(crate) enum Failure {
    /// The request or its reply was lost, or is late: it may have been heard.
    Lost,
    /// It is too large for the transport, with the transport's words: nobody has heard it, and nobody ever will.
    Refused(String),
    /// A member of another cluster listens there: it was not read.
    OtherCluster(OtherCluster),
}

/// Connections to peers, by rpc address.
#[derive(Clone)]
pub(crate) struct Peers {
    env: Env,
    /// Where the head is: the only peer without a place in the membership log at this side.
    head: String,
    /// Whose member this is: only members of one cluster understand each other.
    cluster: ClusterId,
    /// By address; true is the one for signs of life.
    clients: Arc<Mutex<BTreeMap<(String, bool), RpcClient>>>,
}

impl Peers {
    /// No connections yet.
    pub fn new(env: &Env, head: &str, cluster: ClusterId) -> Self {
        Self { env: env.clone(), head: head.to_owned(), cluster, clients: Arc::default() }
    }

    /// Makes one request with an envelope, while about `load` bytes are under way.
    pub async fn exchange(&self, address: &str, envelope: &Envelope, load: ByteSize) -> Result<Ack, Failure> {
        let address = if envelope.to.node == NodeId::HEAD { &self.head } else { address };
        let client = self.client(address, envelope.seq == Envelope::PULSE);
        let body = wire::write(&(self.cluster, envelope)).map_err(|why| Failure::Refused(why.message))?;
        let messages = || envelope.messages.iter().map(Message::name);
        let names = || messages().chain([wire::EXCHANGE]);
        let fate = client.fate(names);
        if fate == Some(RpcFaultKind::StaleEpoch) {
            self.haunt(&client, envelope).await;
        }
        let client = client.as_recorded(|| (name_of(envelope), messages()));
        let reply = client.call_under(fate, wire::EXCHANGE, body, REQUEST_TIMEOUT + SLOWEST_BYTE * load.0).await;
        // Every other failure is a lost request to the link, which sends it again.
        let failure = |why: mobula_env::RpcError| match why.is_too_large() {
            true => Failure::Refused(why.to_string()),
            false => Failure::Lost,
        };
        let answer: ExchangeAnswer = wire::read(&reply.map_err(failure)?).map_err(|_| Failure::Lost)?;
        answer.map_err(Failure::OtherCluster)
    }

    /// Forgets the connections to all but these addresses and the head.
    pub fn keep(&self, living: &BTreeSet<String>) {
        self.clients().retain(|(address, _), _| *address == self.head || living.contains(address));
    }

    fn client(&self, address: &str, pulse: bool) -> RpcClient {
        let key = (address.to_owned(), pulse);
        self.clients().entry(key).or_insert_with(|| self.env.rpc_client(address)).clone()
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<(String, bool), RpcClient>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what the dead would send: the envelope as if from the sender's life before, and as if for the receiver's.
    /// Whoever acts on either breaks invariant I39.
    async fn haunt(&self, client: &RpcClient, envelope: &Envelope) {
        let before = |of: Incarnation| Incarnation { epoch: Epoch(of.epoch.0.saturating_sub(1)), ..of };
        let from = Envelope { from: before(envelope.from), ..envelope.clone() };
        let to = Envelope { to: before(envelope.to), ..envelope.clone() };
        for ghost in [from, to] {
            if let Ok(body) = wire::write(&(self.cluster, ghost)) {
                // Refused or not, the answer is not for a living sender.
                let _ = client.call_under(None, wire::EXCHANGE, body, REQUEST_TIMEOUT).await;
            }
        }
    }
}

/// What tells an envelope that may be sent again from all others.
fn name_of(envelope: &Envelope) -> Option<String> {
    let Envelope { from, to, seq, .. } = envelope;
    (*seq != Envelope::PULSE).then(|| format!("{from} {to} {seq}"))
}
