//! Placement groups, shares and draining on embedded clusters: real threads, no sockets.
#![cfg(not(madsim))]

use mobula_runtime::{
    ActorDeath, ActorState, Context, Embedded, EmbeddedNode, HeadSettings, Nanos, Resources, Strategy, TaskErrorKind,
    actor, task,
};

const SOON: Nanos = Nanos::secs(20);

#[task]
fn double(n: u64) -> u64 {
    n * 2
}

#[task]
async fn sleep_for(context: Context, time: u64) -> u64 {
    context.env().sleep(Nanos(time)).await;
    time
}

fn cluster(nodes: &[(&str, u64)]) -> Embedded {
    let nodes: Vec<_> = nodes.iter().map(|(name, cpus)| EmbeddedNode::new(name, *cpus)).collect();
    Embedded::with(&nodes, HeadSettings::default(), 0).unwrap()
}

#[test]
fn tasks_of_a_group_use_what_was_set_aside_and_others_do_not() {
    let cluster = cluster(&[("A", 1), ("B", 2)]);
    let context = cluster.context_of("A").unwrap();
    cluster.block_on(async {
        let bundles = [Resources::cpus(1), Resources::cpus(1)];
        let group = context.placement_group(&bundles, Strategy::StrictSpread).unwrap();
        let mut nodes = group.ready(SOON).await.unwrap();
        nodes.sort_unstable();
        assert_eq!(nodes, ["A", "B"]);
        let inside: Vec<_> = (0..50).map(|n| double(n).in_group(&group).submit(context).unwrap()).collect();
        assert_eq!(context.get_all_within(&inside, SOON).await.unwrap().len(), 50);
        let both = double(1).cpus(2.0).submit(context).unwrap();
        assert_eq!(context.get_within(&both, Nanos::millis(200)).await.unwrap_err().kind, TaskErrorKind::GetTimeout);
        let stuck = sleep_for(Nanos::secs(3600).0).in_bundle(&group, 0).submit(context).unwrap();
        let wrong = double(1).in_bundle(&group, 2).submit(context).map(|_| ()).unwrap_err();
        assert!(wrong.message.contains("has 2 bundles"), "{wrong}");
        context.env().sleep(Nanos::millis(100)).await;
        drop(group);
        assert_eq!(context.get_within(&stuck, SOON).await.unwrap_err().kind, TaskErrorKind::GroupRemoved);
        assert_eq!(context.get_within(&both, SOON).await, Ok(2));
    });
}

/// Counts.
pub struct Counter(u64);

#[actor]
impl Counter {
    /// From here.
    pub fn new(start: u64) -> Self {
        Self(start)
    }

    /// One more.
    pub fn count(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[test]
fn actors_of_a_group_live_in_its_bundles_and_end_with_it() {
    let cluster = cluster(&[("A", 2), ("B", 1)]);
    let context = cluster.context_of("A").unwrap();
    cluster.block_on(async {
        let bundles = [Resources::cpus(1), Resources::cpus(1)];
        let group = context.placement_group(&bundles, Strategy::StrictSpread).unwrap();
        let wrong = Counter::actor(0).in_bundle(&group, 2).create(context).map(|_| ()).unwrap_err();
        assert!(wrong.message.contains("has 2 bundles"), "{wrong}");
        let first = Counter::actor(0).in_bundle(&group, 0).create(context).unwrap();
        let second = Counter::actor(10).in_bundle(&group, 1).detached().create(context).unwrap();
        let third = Counter::actor(20).in_group(&group).create(context).unwrap();
        assert_eq!(context.get_within(&first.count().submit(context).unwrap(), SOON).await, Ok(1));
        assert_eq!(context.get_within(&second.count().submit(context).unwrap(), SOON).await, Ok(11));
        // The one cpu that is not set aside is no place for the third.
        let waits = third.count().submit(context).unwrap();
        assert_eq!(context.get_within(&waits, Nanos::millis(200)).await.unwrap_err().kind, TaskErrorKind::GetTimeout);
        context.kill_actor(&first).unwrap();
        assert_eq!(context.get_within(&waits, SOON).await, Ok(21));
        drop(group);
        let removed = TaskErrorKind::ActorDied(ActorDeath::GroupRemoved);
        for actor in [&second, &third] {
            let error = context.get_within(&actor.count().submit(context).unwrap(), SOON).await.unwrap_err();
            assert!(error.kind == removed && error.message.contains("placement group"), "{error}");
            assert!(matches!(context.actor_state(actor).await, Ok(ActorState::Dead(_))));
        }
        let whole = double(1).cpus(2.0).submit(context).unwrap();
        assert_eq!(context.get_within(&whole, SOON).await, Ok(2));
    });
}

#[test]
fn a_job_is_told_that_the_group_of_its_driver_is_not_its_own() {
    // The keeper is B, which has more cpus.
    let cluster = cluster(&[("A", 1), ("B", 4)]);
    let context = cluster.context_of("A").unwrap();
    cluster.block_on(async {
        let group = context.placement_group(&[Resources::cpus(1)], Strategy::Pack).unwrap();
        group.ready(SOON).await.unwrap();
        let job = context.begin_job("j").await.unwrap();
        let why = job.submit("inside", double(1).in_group(&group)).await.map(|_| ()).unwrap_err();
        assert!(why.to_string().contains("is of the process that made it"), "{why}");
        let beside = job.submit("beside", double(1)).await.unwrap();
        assert_eq!(context.get_within(&beside, SOON).await, Ok(2));
        job.end(Ok(())).await.unwrap();
    });
}

#[test]
fn a_group_that_cannot_be_says_what_is_missing() {
    let cluster = cluster(&[("A", 1)]);
    let context = cluster.context().unwrap();
    cluster.block_on(async {
        let bundles = [Resources::cpus(1), Resources::cpus(1)];
        let group = context.placement_group(&bundles, Strategy::Pack).unwrap();
        let error = group.ready(Nanos::millis(100)).await.unwrap_err();
        assert!(
            error.message.contains("infeasible") && error.message.contains("no room for [1 cpu] [1 cpu], pack"),
            "{error}"
        );
        let none = context.placement_group(&[], Strategy::Pack).map(|_| ()).unwrap_err();
        assert_eq!(none.kind, TaskErrorKind::Unschedulable);
    });
}

#[test]
fn a_drained_node_gets_nothing_new() {
    let cluster = cluster(&[("A", 1), ("B", 4)]);
    let context = cluster.context_of("A").unwrap();
    cluster.block_on(async {
        context.drain("B", SOON).await.unwrap();
        let bound = double(1).on("B").submit(context).unwrap();
        let error = context.get_within(&bound, SOON).await.unwrap_err();
        assert!(error.kind == TaskErrorKind::Unschedulable && error.message.contains("draining"), "{error}");
        let free: Vec<_> = (0..20).map(|n| double(n).submit(context).unwrap()).collect();
        assert_eq!(context.get_all_within(&free, SOON).await.unwrap().len(), 20);
        assert_eq!(context.drain("C", SOON).await.unwrap_err().kind, TaskErrorKind::Unschedulable);
    });
}
