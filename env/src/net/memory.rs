//! A network inside one process: nodes find each other by name in a registry and talk over channels.

use crate::log::lock;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Bytes in flight on a stream before the writer waits; of the order of a loopback socket's buffers.
const BUFFER: usize = 256 * 1024;
/// Streams waiting to be accepted before further ones are refused; Linux's default backlog is of this order.
const BACKLOG: usize = 1024;
/// Where ports given out by the network start.
const FIRST_FREE_PORT: u16 = 40_000;

/// A network inside this process, shared by the nodes that are to reach each other. See
/// [`RealNet::Memory`](crate::RealNet::Memory).
#[derive(Clone, Debug, Default)]
pub struct MemoryNet(Arc<Registry>);

/// Who listens where. An entry whose listener is gone counts as absent.
#[derive(Debug, Default)]
struct Registry(Mutex<BTreeMap<String, mpsc::Sender<DuplexStream>>>);

impl MemoryNet {
    /// A network without listeners.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn listen(&self, node: &str, port: u16) -> io::Result<MemoryListener> {
        let mut listeners = lock(&self.0.0);
        listeners.retain(|_, listener| !listener.is_closed());
        let mut candidates = if port == 0 { FIRST_FREE_PORT..=u16::MAX } else { port..=port };
        let address = candidates
            .find_map(|port| Some(format!("{node}:{port}")).filter(|address| !listeners.contains_key(address)))
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, format!("{node}:{port} is in use")))?;
        let (send, incoming) = mpsc::channel(BACKLOG);
        listeners.insert(address.clone(), send);
        Ok(MemoryListener { address, incoming: tokio::sync::Mutex::new(incoming) })
    }

    pub(crate) fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens on {address}"));
        let listener = lock(&self.0.0).get(address).cloned().ok_or_else(refused)?;
        let (near, far) = tokio::io::duplex(BUFFER);
        listener.try_send(far).map_err(|_| refused())?;
        Ok(near)
    }
}

/// The accepting side; dropping it frees the address.
#[derive(Debug)]
pub(crate) struct MemoryListener {
    address: String,
    incoming: tokio::sync::Mutex<mpsc::Receiver<DuplexStream>>,
}

impl MemoryListener {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn accept(&self) -> io::Result<DuplexStream> {
        let next = self.incoming.lock().await.recv().await;
        next.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the network is gone"))
    }
}
