use super::constraints::accepts;
use super::*;
use crate::FunctionId;
use crate::member::{Member, NodeLoad};
use proptest::prelude::*;
use std::sync::Arc;

fn node(id: u32, name: &str, total: Resources, available: Resources) -> NodeView {
    let member = Member {
        incarnation: Incarnation::new(id, id),
        name: name.into(),
        rpc: String::new(),
        bulk: String::new(),
        total,
        labels: [("zone".to_owned(), format!("z{}", id % 2))].into(),
    };
    NodeView { member, load: NodeLoad { version: 1, available, queued: 0, draining: false } }
}

/// Nodes 1.. with `total` and `free` cpus each.
fn cpus(nodes: &[(u64, u64)]) -> ClusterView {
    let nodes = nodes.iter().zip(1..);
    let nodes =
        nodes.map(|((total, free), id)| node(id, &format!("N{id}"), Resources::cpus(*total), Resources::cpus(*free)));
    ClusterView { nodes: nodes.map(Arc::new).collect(), ..Default::default() }
}

fn class(resources: Resources, placement: Placement) -> SchedulingClass {
    SchedulingClass { function: FunctionId::from("f"), resources, placement, share: None }
}

#[derive(Default)]
struct With {
    pending: BTreeMap<NodeId, Resources>,
    near: Vec<(NodeId, ByteSize)>,
    exclude: BTreeSet<NodeId>,
    home: Option<NodeId>,
    tie: u64,
}

impl With {
    fn pick(&self, policy: &dyn Policy, view: &ClusterView, class: &SchedulingClass) -> Decision {
        let With { pending, near, exclude, home, tie } = self;
        policy.pick(&Request { view, class, pending, near, home: *home, exclude, tie: *tie })
    }
}

fn at(id: u32) -> Decision {
    Decision::Node(Incarnation::new(id, id))
}

#[test]
fn hybrid_packs_below_one_half_and_spreads_above() {
    let one = class(Resources::cpus(1), Placement::Any);
    let with = With::default();
    assert_eq!(with.pick(&Hybrid, &cpus(&[(8, 8), (8, 6)]), &one), at(2), "a working node first");
    assert_eq!(with.pick(&Hybrid, &cpus(&[(8, 8), (8, 3)]), &one), at(1), "not above one half");
    assert_eq!(with.pick(&Hybrid, &cpus(&[(8, 1), (8, 3)]), &one), at(2), "the least used above it");
    let home = With { home: Some(NodeId(2)), ..With::default() };
    assert_eq!(home.pick(&Hybrid, &cpus(&[(8, 6), (8, 8)]), &one), at(2), "the own node among equals");
}

#[test]
fn hybrid_follows_the_bytes_to_a_node_with_room() {
    let one = class(Resources::cpus(1), Placement::Any);
    let with = With { near: vec![(NodeId(1), ByteSize(5)), (NodeId(2), ByteSize::mb(9))], ..With::default() };
    assert_eq!(with.pick(&Hybrid, &cpus(&[(8, 8), (8, 1)]), &one), at(2));
    assert_eq!(with.pick(&Hybrid, &cpus(&[(8, 8), (8, 0)]), &one), at(1));
    assert_eq!(with.pick(&Hybrid, &cpus(&[(8, 0), (8, 0)]), &one), Decision::Busy(Incarnation::new(2, 2)));
}

#[test]
fn what_needs_nothing_goes_to_a_driver_only_if_there_is_nobody_else() {
    let free = class(Resources::none(), Placement::Any);
    let home = With { home: Some(NodeId(1)), ..With::default() };
    for policy in [&Hybrid as &dyn Policy, &Spread, &Packed] {
        assert_eq!(home.pick(policy, &cpus(&[(0, 0), (8, 0)]), &free), at(2), "full, but not for this");
        assert_eq!(home.pick(policy, &cpus(&[(0, 0)]), &free), at(1));
    }
    let named = class(Resources::none(), Placement::Node { name: "N1".into(), soft: false });
    assert_eq!(home.pick(&Hybrid, &cpus(&[(0, 0), (8, 8)]), &named), at(1), "unless it is asked for by name");
}

#[test]
fn gpu_nodes_are_kept_for_gpu_work() {
    let mut view = cpus(&[(8, 8), (8, 2)]);
    let gpu = Resources::cpus(8).with("gpu", Amount::whole(1));
    view.nodes[0] = Arc::new(node(1, "N1", gpu.clone(), gpu));
    assert_eq!(With::default().pick(&Hybrid, &view, &class(Resources::cpus(1), Placement::Any)), at(2));
    let wants_gpu = class(Resources::none().with("gpu", Amount::whole(1)), Placement::Any);
    assert_eq!(With::default().pick(&Hybrid, &view, &wants_gpu), at(1));
}

#[test]
fn spread_and_packed_count_what_was_just_asked_for() {
    let one = class(Resources::cpus(1), Placement::Spread);
    let view = cpus(&[(4, 4), (4, 4)]);
    let with = With { pending: [(NodeId(1), Resources::cpus(1))].into(), ..With::default() };
    for policy in [&Hybrid as &dyn Policy, &Spread, &Packed, &Random] {
        assert_eq!(with.pick(policy, &view, &one), at(2), "{} under Placement::Spread", policy.name());
    }
    assert_eq!(with.pick(&Packed, &view, &class(Resources::cpus(1), Placement::Any)), at(1));
}

#[test]
fn says_what_is_missing_and_where() {
    let view = cpus(&[(1, 1), (2, 2), (2, 0)]);
    let why = |class| match With::default().pick(&Hybrid, &view, &class) {
        Decision::Infeasible(why) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(class(Resources::cpus(4), Placement::Any)), "needs 4 cpu; the largest node, N2, has 2");
    let gpu = Resources::cpus(1).with("gpu", Amount::whole(1));
    assert_eq!(why(class(gpu, Placement::Any)), "needs 1 gpu; no node has any gpu");
    let zone = Placement::Labels([("zone".to_owned(), "z9".to_owned())].into());
    assert_eq!(why(class(Resources::cpus(1), zone)), "needs a node labelled zone = z9");
    let hard = Placement::Node { name: "N1".into(), soft: false };
    assert_eq!(why(class(Resources::cpus(2), hard)), "needs 2 cpu; node N1 has 1");
}

#[test]
fn affinity_is_hard_or_soft() {
    let view = cpus(&[(4, 4), (4, 0)]);
    let pick = |name: &str, soft| {
        let placement = Placement::Node { name: name.into(), soft };
        With::default().pick(&Hybrid, &view, &class(Resources::cpus(1), placement))
    };
    assert_eq!(pick("N1", false), at(1));
    assert_eq!(pick("N2", false), Decision::Busy(Incarnation::new(2, 2)), "waits if merely busy");
    assert_eq!(pick("N2", true), Decision::Busy(Incarnation::new(2, 2)));
    assert_eq!(pick("N9", false), Decision::NoSuchNode("N9".into()));
    assert_eq!(pick("N9", true), at(1));
}

prop_compose! {
    fn views()(
        nodes in prop::collection::vec((0u64..5, 0u64..5, 0u64..2, any::<bool>(), 0u32..4), 0..12)
    ) -> ClusterView {
        let nodes = nodes.into_iter().zip(1..).map(|((total, free, gpu, draining, queued), id)| {
            let total = Resources::cpus(total).with("gpu", Amount::whole(gpu));
            let available = Resources::cpus(free.min(total.get("cpu").0 / 10_000)).with("gpu", Amount::whole(gpu));
            let mut node = node(id, &format!("N{id}"), total, available);
            node.load.draining = draining;
            node.load.queued = queued;
            node
        });
        ClusterView { nodes: nodes.map(Arc::new).collect(), ..Default::default() }
    }
}

fn placements() -> impl Strategy<Value = Placement> {
    prop_oneof![
        Just(Placement::Any),
        Just(Placement::Spread),
        (1..14u32, any::<bool>()).prop_map(|(id, soft)| Placement::Node { name: format!("N{id}"), soft }),
        (0..3u32).prop_map(|z| Placement::Labels([("zone".to_owned(), format!("z{z}"))].into())),
    ]
}

proptest! {
    /// Whatever the policy: a chosen node is alive, not draining, not excluded, satisfies the placement and has the
    /// resources (now for `Node`, in all for `Busy`); nothing waits while a node that may run it has room; and nothing
    /// is called infeasible that some node could run.
    #[test]
    fn no_policy_breaks_a_constraint(
        view in views(), placement in placements(), cpu in 0u64..5, gpu in 0u64..2,
        pending in prop::collection::btree_map((1u32..13).prop_map(NodeId), (0u64..4).prop_map(Resources::cpus), 0..4),
        near in prop::collection::vec(((1u32..14).prop_map(NodeId), (0u64..9).prop_map(ByteSize)), 0..4),
        exclude in prop::collection::btree_set((1u32..13).prop_map(NodeId), 0..3),
        home in prop::option::of((1u32..14).prop_map(NodeId)), tie in any::<u64>(), which in 0usize..4,
    ) {
        let policy = [&Hybrid as &dyn Policy, &Spread, &Packed, &Random][which];
        let class = class(Resources::cpus(cpu).with("gpu", Amount::whole(gpu)), placement);
        let with = With { pending, near, exclude, home, tie };
        let decision = with.pick(policy, &view, &class);
        prop_assert_eq!(&decision, &with.pick(policy, &view, &class), "pure");
        let usable = |n: &NodeView| {
            !n.load.draining && !with.exclude.contains(&n.member.incarnation.node)
                && accepts(&n.member, &class) && n.member.total.fits(&class.resources)
        };
        let has_room = |n: &NodeView| {
            let asked = with.pending.get(&n.member.incarnation.node);
            class.resources.iter().all(|(name, want)| {
                let asked = asked.map_or(0, |asked| asked.get(name).0);
                n.load.available.get(name).0.saturating_sub(asked) >= want.0
            })
        };
        let softly = match &class.placement {
            Placement::Node { name, soft: true } => view.nodes.iter().find(|n| n.member.name == *name && usable(n)),
            _ => None,
        };
        match decision {
            Decision::Node(to) | Decision::Busy(to) => {
                let node = view.nodes.iter().find(|n| n.member.incarnation == to).expect("alive");
                prop_assert!(usable(node) && softly.is_none_or(|wanted| wanted.member == node.member));
                if matches!(decision, Decision::Node(_)) {
                    prop_assert!(has_room(node));
                } else {
                    let mut others = view.nodes.iter().filter(|n| softly.is_none() && usable(n));
                    prop_assert!(!has_room(node) && !others.any(|n| has_room(n)), "it waits beside room");
                }
            }
            Decision::Infeasible(why) => {
                prop_assert!(!why.is_empty());
                prop_assert!(!view.nodes.iter().any(|n| usable(n)));
            }
            Decision::Leaving(name) => prop_assert!(view.nodes.iter().any(|n| n.member.name == name && n.load.draining)),
            Decision::GroupRemoved(group) => prop_assert!(false, "nobody asked for {}", group),
            Decision::NoSuchNode(name) => prop_assert!(view.nodes.iter().all(|n| n.member.name != name)),
        }
    }
}
