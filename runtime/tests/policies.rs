//! A scheduling policy of one's own: all of it is here, and any cluster can use it.
#![cfg(not(madsim))]

use mobula_runtime::{
    Candidate, Context, Embedded, EmbeddedNode, HeadSettings, Nanos, Policy, Request, SharedPolicy, task,
};

/// The node whose name comes last, as long as it has room.
#[derive(Debug)]
struct LastName;

impl Policy for LastName {
    fn name(&self) -> &'static str {
        "last-name"
    }

    fn choose(&self, _: &Request<'_>, candidates: &[Candidate<'_>]) -> usize {
        let name = |index: &usize| &candidates[*index].node.member.name;
        (0..candidates.len()).max_by_key(name).unwrap_or(0)
    }
}

#[task]
async fn stay(context: Context, time: u64) -> u32 {
    context.env().sleep(Nanos(time)).await;
    context.incarnation().node.0
}

#[test]
fn a_fourth_policy_is_one_file() {
    let node = |name: &str| EmbeddedNode { policy: SharedPolicy::new(LastName), ..EmbeddedNode::new(name, 2) };
    let nodes = ["A", "B", "C"].map(node);
    let head = HeadSettings { policy: SharedPolicy::new(LastName), ..HeadSettings::default() };
    let cluster = Embedded::with(&nodes, head, 0).unwrap();
    let context = cluster.context_of("A").unwrap();
    let id = |name: &str| cluster.context_of(name).unwrap().incarnation().node.0;
    cluster.block_on(async {
        // Four at once fill the last two nodes and leave the first idle.
        let tasks: Vec<_> = (0..4).map(|_| stay(Nanos::millis(200).0).submit(context).unwrap()).collect();
        let mut ran = context.get_all_within(&tasks, Nanos::secs(20)).await.unwrap();
        ran.sort_unstable();
        let mut expected = vec![id("B"), id("B"), id("C"), id("C")];
        expected.sort_unstable();
        assert_eq!(ran, expected);
    });
}
