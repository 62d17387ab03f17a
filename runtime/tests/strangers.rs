//! Who has not the cluster's key gets nothing from real ports, is told so, and is counted.
#![cfg(not(madsim))]

use mobula_env::{RealNode, RpcError};
use mobula_runtime::{
    ClusterKey, Env, Head, HeadSettings, KEY, Nanos, Node, NodeSettings, Outcome, Question, RealConfig, Resources,
    StartError, Trespass, jobs_of, task, trespass,
};
use std::net::Ipv4Addr;

#[task]
fn double(x: u64) -> u64 {
    2 * x
}

fn key(secret: &str) -> Option<ClusterKey> {
    Some(ClusterKey::new(secret).expect("long enough"))
}

fn process(name: &str, key: Option<ClusterKey>) -> RealNode {
    Env::real(RealConfig { node: name.to_owned(), key, threads: 2, ..RealConfig::default() }).expect("threads")
}

fn settings(name: &str, cpus: u64) -> NodeSettings {
    NodeSettings { name: name.to_owned(), resources: Resources::cpus(cpus), spill: vec![], ..NodeSettings::default() }
}

#[test]
fn a_stranger_is_refused_at_every_port_and_the_cluster_works_on() {
    let own = key("the key of this very cluster");
    let (there, here) = (process("head", own.clone()), process("A", own));
    let head = there.block_on(Head::start(&there.env, HeadSettings::default())).expect("a head");
    let node = here.block_on(Node::join(&here.env, head.address(), settings("A", 1))).expect("a node with the key");
    let context = node.context().clone();
    let (object, member) = here.block_on(async {
        let object = context.put(&vec![7u8; 1 << 20]).await.expect("room");
        let view = context.ask(Question::Cluster).await.expect("it runs");
        (object, view.nodes.iter().find(|node| node.member.name == "A").expect("it is a member").member.clone())
    });
    for (number, wrong) in [None, key("the key of another cluster")].into_iter().enumerate() {
        let stranger = process("stranger", wrong);
        let joined = stranger.block_on(Node::join(&stranger.env, head.address(), settings("B", 1)));
        let why = joined.err().expect("it is refused");
        assert!(matches!(&why, StartError::WrongKey(_)), "{why}");
        let said = why.to_string();
        assert!(said.contains(head.address()) && said.contains(KEY), "{said}");
        let jobs = stranger.block_on(jobs_of(&stranger.env, head.address(), None));
        assert!(matches!(jobs, Err(RpcError::WrongKey(_))), "{jobs:?}");
        let size = size_of(&here, &context, object.id());
        for what in [Trespass::Submit(member.clone()), Trespass::Read(member.clone(), object.id(), size)] {
            let outcome = stranger.block_on(trespass(&stranger.env, what));
            assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
        let each = 2 * (number as u64 + 1);
        assert_eq!((there.env.refused(), here.env.refused()), (each, each));
    }
    // The same requests by somebody who has the key are answered.
    let friend = process("friend", key("the key of this very cluster"));
    let size = size_of(&here, &context, object.id());
    for what in [
        Trespass::Join(head.address().to_owned()),
        Trespass::Submit(member.clone()),
        Trespass::Read(member, object.id(), size),
    ] {
        assert_eq!(friend.block_on(trespass(&friend.env, what)), Outcome::LetIn);
    }
    let doubled = here.block_on(async { context.get(&double(21).submit(&context)?).await });
    assert_eq!(doubled, Ok(42));
}

fn size_of(
    here: &RealNode,
    context: &mobula_runtime::Context,
    object: mobula_runtime::ObjectId,
) -> mobula_runtime::ByteSize {
    let report = here.block_on(context.memory()).expect("it runs");
    report.objects.iter().find(|held| held.object == object).expect("it is there").size
}

#[test]
fn a_head_without_a_key_does_not_start_where_other_machines_reach_it() {
    let config = RealConfig { bind: Ipv4Addr::UNSPECIFIED.into(), threads: 1, ..RealConfig::default() };
    let open = Env::real(config.clone()).expect("threads");
    let why = open.block_on(Head::start(&open.env, HeadSettings::default())).err().expect("it does not start");
    assert!(why.to_string().contains("0.0.0.0") && why.to_string().contains(KEY), "{why}");
    let closed = Env::real(RealConfig { key: key("the key of this very cluster"), ..config }).expect("threads");
    let head = closed.block_on(Head::start(&closed.env, HeadSettings::default())).expect("with a key it starts");
    let alone = closed.block_on(async { closed.env.timeout(Nanos::millis(50), head.stopped()).await });
    assert!(alone.is_err(), "it runs");
}
