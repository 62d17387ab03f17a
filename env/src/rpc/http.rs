//! tonic over our own [`Stream`]s: the same HTTP/2 on sockets, in memory and on turmoil.

use super::{Door, MESSAGE_LIMIT, RpcError, pb};
use crate::env::Env;
use crate::log::lock;
use crate::net::Stream;
use mobula_protocol::Nanos;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

pub(super) use tonic::transport::Channel;

/// HTTP/2 flow control: bytes under way on one call and on one connection. gRPC's default of 64 KiB would make every
/// larger message wait for round trips.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Serves on `port` until `stopped` resolves; returns the address.
pub(super) async fn serve(env: &Env, port: u16, door: Door, stopped: oneshot::Receiver<()>) -> io::Result<String> {
    let listener = env.listen(port).await?;
    let address = listener.address();
    let service = pb::rpc_server::RpcServer::new(door)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let pause = env.clone();
    let incoming = async_stream::stream! {
        loop {
            let next = listener.accept().await;
            let failed = next.is_err();
            yield next;
            if failed {
                // Out of descriptors, for example: do not spin until some are closed.
                pause.sleep(Nanos::millis(10)).await;
            }
        }
    };
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, async {
            // An error means that the server was dropped, which is the signal.
            let _ = stopped.await;
        });
    let name = address.clone();
    let reporter = env.clone();
    env.spawn("rpc server", async move {
        if let Err(e) = server.await {
            reporter.emit("rpc", format_args!("server {name} ended: {e}"));
        }
    });
    Ok(address)
}

/// Connects, so that errors come now and typed. tonic keeps the connector for when the connection breaks later.
pub(super) async fn dial(env: &Env, address: &str) -> Result<Channel, RpcError> {
    let first = env.connect(address).await.map_err(|e| RpcError::connecting(address, &e))?;
    let first = Arc::new(Mutex::new(Some(first)));
    let (again, to) = (env.clone(), address.to_owned());
    let connector = tower::service_fn(move |_| {
        let (first, env, to) = (first.clone(), again.clone(), to.clone());
        async move {
            let ready: Option<Stream> = lock(&first).take();
            let stream = match ready {
                Some(stream) => stream,
                None => env.connect(&to).await?,
            };
            Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    // The name in the URI is not looked up by anyone: the connector knows the address.
    let endpoint = tonic::transport::Endpoint::from_static("http://mobula")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    // In a task of the node, so that tonic's own tasks run and die there.
    let channel = env.spawn("rpc dial", async move { endpoint.connect_with_connector(connector).await });
    match channel.await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(e)) => Err(RpcError::broken(address, &e)),
        Err(gone) => Err(RpcError::Unreachable(format!("{address}: {gone}"))),
    }
}

/// The key was proved when the connection was made.
pub(super) fn proved<T>(_env: &Env, message: T) -> tonic::Request<T> {
    tonic::Request::new(message)
}

/// The connection that it came over has proved the key.
pub(super) fn admit<T>(_env: &Env, _request: &tonic::Request<T>) -> Result<(), tonic::Status> {
    Ok(())
}

/// Whether the service sent this status. Those that tonic makes on this side have a source.
pub(super) fn is_answer(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_none()
}
