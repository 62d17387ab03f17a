//! What a process without the cluster's key may try, and must not get: the requests of a node, a task's owner and a
//! receiver, made by whoever an [`Env`] is. For rehearsals (scenario K06); the refusal itself is
//! [`ClusterKey`](crate::ClusterKey)'s.

use crate::node::{Node, ask_once};
use crate::settings::NodeSettings;
use crate::{StartError, wire};
use mobula_env::{Env, RpcError, WrongKey};
use mobula_protocol::link::Envelope;
use mobula_protocol::member::Member;
use mobula_protocol::{
    ByteSize, ClusterId, FunctionId, Incarnation, LeaseId, Message, Nanos, ObjectId, Placement, Resources,
    SchedulingClass,
};
use std::io;
use std::sync::Arc;

/// Longer than any answer takes, also on a machine that does other things.
const PATIENCE: Nanos = Nanos::secs(5);

/// What is tried.
#[derive(Clone, Debug)]
pub enum Trespass {
    /// To become a member: asks the head at this address.
    Join(String),
    /// To run a task: asks this node for a lease, as a task's owner does.
    Submit(Member),
    /// To read an object of so many bytes: asks this node for it, as a receiver does.
    Read(Member, ObjectId, ByteSize),
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    LetIn,
    /// It was not let in.
    Refused(WrongKey),
    /// Something else kept it from being answered.
    Failed(String),
}

/// Tries it as the process whose handle this is; ends within seconds.
pub async fn trespass(env: &Env, what: Trespass) -> Outcome {
    match what {
        Trespass::Join(head) => {
            let settings = NodeSettings {
                name: "stranger".to_owned(),
                resources: Resources::none(),
                store: ByteSize(1 << 20),
                spill: Vec::new(),
                head_grace: PATIENCE,
                ..NodeSettings::default()
            };
            match Node::join(env, &head, settings).await {
                Ok(_) => Outcome::LetIn,
                Err(StartError::WrongKey(why)) => Outcome::Refused(why),
                Err(why) => Outcome::Failed(why.to_string()),
            }
        }
        Trespass::Submit(node) => match submit(env, &node).await {
            Ok(()) | Err(RpcError::Status(..)) => Outcome::LetIn,
            Err(RpcError::WrongKey(why)) => Outcome::Refused(why),
            Err(why) => Outcome::Failed(why.to_string()),
        },
        Trespass::Read(node, object, size) => {
            let asked = ask_once(env, &node.bulk, node.incarnation, object, size.0);
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
            match env.timeout(PATIENCE, asked).await.map_err(late).and_then(|asked| asked) {
                Ok(()) => Outcome::LetIn,
                Err(why) => match why.get_ref().and_then(|inner| inner.downcast_ref::<WrongKey>()) {
                    Some(why) => Outcome::Refused(why.clone()),
                    None => Outcome::Failed(why.to_string()),
                },
            }
        }
    }
}

/// The first message of an owner that has a task to run there.
async fn submit(env: &Env, node: &Member) -> Result<(), RpcError> {
    let class = SchedulingClass {
        function: FunctionId::from("stranger"),
        resources: Resources::cpus(1),
        placement: Placement::default(),
        share: None,
    };
    let owner = Incarnation::new(u32::MAX, 1);
    let lease = LeaseId { owner, seq: 1 };
    let messages = vec![Message::LeaseRequest { lease, class: Arc::new(class), hops: 0 }];
    let envelope = Envelope { from: owner, to: node.incarnation, seq: 1, messages };
    let body = wire::write(&(ClusterId(0), envelope)).map_err(|why| RpcError::Status(why.code, why.message))?;
    env.rpc_client(&node.rpc).call(wire::EXCHANGE, body, PATIENCE).await.map(drop)
}
