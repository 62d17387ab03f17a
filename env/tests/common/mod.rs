//! A small service and a node that serves it, for all worlds.

use bytes::Bytes;
use mobula_env::{Env, RpcClient, RpcCode, RpcError, RpcService, RpcStatus};
use mobula_protocol::Nanos;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The port all services of the tests use in simulation.
pub const PORT: u16 = 9_000;

type Reply = Pin<Box<dyn Future<Output = Result<Bytes, RpcStatus>> + Send>>;

/// `echo` returns the body, `slow` after 100 ms, `now` the node's time; `refuse` fails, `panic` panics.
pub struct Echo(pub Env);

impl RpcService for Echo {
    fn call(self: Arc<Self>, method: String, body: Bytes) -> Reply {
        Box::pin(async move {
            match method.as_str() {
                "echo" => Ok(body),
                "slow" => {
                    self.0.sleep(Nanos::millis(100)).await;
                    self.0.probe("slow handler finished");
                    Ok(body)
                }
                "refuse" => Err(RpcStatus::new(RpcCode::FailedPrecondition, "not today")),
                "panic" => panic!("the handler's own panic"),
                other => Err(RpcStatus::new(RpcCode::Unimplemented, format!("no method {other}"))),
            }
        })
    }
}

/// The boot function of a node that serves [`Echo`] on [`PORT`] and says so in the log.
#[allow(dead_code, reason = "each test file is a crate of its own")]
pub fn echo_node(env: Env) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let server = env.rpc_serve(PORT, Arc::new(Echo(env.clone()))).await.expect("the port is free");
        env.emit("up", format_args!("{}", server.address()));
        // The server lives as long as this task.
        env.clone().spawn("serve", async move {
            std::future::pending::<()>().await;
            drop(server);
        });
    })
}

/// One call of `echo` with half a second of patience.
pub async fn echo(client: &RpcClient, text: &str) -> Result<String, RpcError> {
    let reply = client.call("echo", Bytes::copy_from_slice(text.as_bytes()), Nanos::millis(500)).await?;
    Ok(String::from_utf8(reply.to_vec()).expect("what was sent"))
}
