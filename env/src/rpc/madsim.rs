//! madsim's own tonic: the same generated service, requests travel as values.

use super::{Door, RpcError, pb};
use crate::backend::simulator;
use crate::env::Env;
use crate::key;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::sync::oneshot;

pub(super) use tonic::transport::Channel;

/// Serves on `port` until `stopped` resolves; returns the address.
pub(super) async fn serve(env: &Env, port: u16, door: Door, stopped: oneshot::Receiver<()>) -> io::Result<String> {
    // madsim's server binds in its own task and tells nobody the port, so a free one is found by binding it first.
    let probe = env.listen(port).await?;
    let address = probe.address();
    drop(probe);
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(port);
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let name = address.clone();
    let reporter = env.clone();
    env.spawn("rpc server", async move {
        let service = pb::rpc_server::RpcServer::new(door);
        let server = tonic::transport::Server::builder().add_service(service).serve_with_shutdown(at, async {
            // An error means that the server was dropped, which is the signal.
            let _ = stopped.await;
        });
        if let Err(e) = server.await {
            reporter.emit("rpc", format_args!("server {name} ended: {e}"));
        }
    });
    // The task above binds the port within a few simulator microseconds; callers may connect once we return.
    env.sleep(env.place().tick()).await;
    Ok(address)
}

/// Checks that somebody serves at `address`; madsim opens one connection a call.
pub(super) async fn dial(env: &Env, address: &str) -> Result<Channel, RpcError> {
    let connecting = |e: io::Error| RpcError::connecting(address, &e);
    simulator::reachable(env, address).await.map_err(connecting)?;
    let at = simulator::resolve(env, address).map_err(connecting)?;
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{at}")).map_err(|e| RpcError::broken(address, &e))?;
    endpoint.connect().await.map_err(|e| RpcError::broken(address, &e))
}

/// The metadata with the proof of the cluster's key.
const PROOF: &str = "mobula-key";

/// A request that shows the key: here calls are no bytes on a connection that could have proved it.
pub(super) fn proved<T>(env: &Env, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Ok(proof) = key::token(env.key()).to_hex().as_str().parse() {
        request.metadata_mut().insert(PROOF, proof);
    }
    request
}

/// Refuses a call that does not show the key, before anything of it is read.
pub(super) fn admit<T>(env: &Env, request: &tonic::Request<T>) -> Result<(), tonic::Status> {
    let shown = request.metadata().get(PROOF).and_then(|proof| blake3::Hash::from_hex(proof.as_bytes()).ok());
    if shown.is_some_and(|shown| shown == key::token(env.key())) {
        return Ok(());
    }
    let who = request.remote_addr().map_or_else(|| "somebody".to_owned(), |peer| simulator::name_of(env, peer.ip()));
    env.refuse(&who);
    Err(tonic::Status::unauthenticated("no proof of the cluster's key"))
}

/// Whether the service sent this status. madsim's server dates its answers, its client does not date what it makes
/// itself.
pub(super) fn is_answer(status: &tonic::Status) -> bool {
    status.metadata().get("date").is_some()
}
