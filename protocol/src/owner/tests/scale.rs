//! Long chains and many tasks: no recursion, no quadratic work.

use super::*;
use crate::UnreconstructableReason as Reason;

const LONG: usize = 10_000;

fn chain(w: &mut World) -> Vec<ObjectId> {
    let mut links = vec![w.task("link", &[])];
    for _ in 1..LONG {
        let link = w.task("link", &[links[links.len() - 1]]);
        links.push(link);
    }
    links
}

fn unchecked() -> World {
    let mut world = World::new();
    world.checked = false;
    world
}

/// A rebuilt chain of lost ancestors, of which only the last is held; then all of its lineage goes at once.
#[test]
fn a_chain_of_lost_ancestors_is_rebuilt_and_released() {
    let mut w = unchecked();
    let links = chain(&mut w);
    links[..LONG - 1].iter().for_each(|link| w.drop(*link));
    w.run();
    assert_eq!((w.owner.objects(), w.owner.tasks(), w.stores[&A].len()), (LONG, LONG, 1));
    w.kill(A);
    w.home = B;
    assert!(is_stored(&w.get(links[LONG - 1])));
    assert!(links.iter().all(|link| w.ran(*link) == 2));
    w.owner.check().expect("invariants");
    w.drop(links[LONG - 1]);
    w.assert_empty();
}

#[test]
fn the_failure_of_the_first_ancestor_reaches_the_last_with_a_short_chain_of_causes() {
    let mut w = unchecked();
    let links = chain(&mut w);
    w.step(Event::Cancel { object: links[0], recursive: true });
    let error = w.get_error(links[LONG - 1]);
    let causes: Vec<&TaskError> = std::iter::successors(Some(&error), |error| error.cause.as_deref()).collect();
    assert!(causes.len() <= 6, "{error}");
    assert_eq!(causes[causes.len() - 1].kind, TaskErrorKind::Cancelled, "the root is kept");
    links.iter().for_each(|link| w.drop(*link));
    w.assert_empty();
}

#[test]
fn a_chain_that_cannot_be_rebuilt_fails_from_its_root() {
    let mut w = unchecked();
    w.retries.losses = Some(0);
    let root = w.task("root", &[]);
    w.retries = Retries::default();
    let mut last = root;
    for _ in 0..LONG {
        let next = w.task("link", &[last]);
        w.drop(last);
        last = next;
    }
    w.run();
    w.kill(A);
    let error = w.get_error(last);
    assert_eq!(error.kind, TaskErrorKind::Unreconstructable(Reason::RetriesDisabled));
    assert_eq!(w.ran(last), 1);
    w.drop(last);
    w.assert_empty();
}

/// The path of every small task, without the toy cluster around it.
#[test]
fn a_hundred_thousand_small_tasks_leave_nothing() {
    let mut owner = Owner::new(ME);
    let mut out = vec![];
    let class: Arc<SchedulingClass> = SchedulingClass {
        function: "f".into(),
        resources: Resources::default(),
        placement: Placement::Any,
        share: None,
    }
    .into();
    let label: Arc<str> = "f".into();
    let ids = (1..=100_000).map(|seq| TaskId { owner: ME, seq });
    let mut step = |event| {
        owner.step(Nanos(0), event, &mut out);
        out.clear();
    };
    for id in ids.clone() {
        let (label, class) = (label.clone(), class.clone());
        let spec = TaskSpec {
            id,
            label,
            class,
            args: vec![value(&[])],
            returns: 1,
            retries: Retries::default(),
            replay: Replay::Strict,
            durability: Durability::default(),
            stream: None,
            job: ME,
        };
        step(Event::Submit(spec.into()));
    }
    for task in ids.clone() {
        step(Event::Assigned { task, lease: LeaseId { owner: ME, seq: 1 }, to: A });
    }
    for task in ids.clone() {
        let result = TaskResult { place: ResultPlace::Inline(Bytes::from_static(b"r")), refs: vec![], hash: 1 };
        let outcome = TaskOutcome::Returned(vec![result]);
        step(Event::Done { from: A, task, attempt: Attempt(1), outcome });
    }
    for task in ids {
        step(Event::RefDropped(task.result(0)));
    }
    assert_eq!((owner.objects(), owner.tasks(), owner.directory.len()), (0, 0, 0));
    assert_eq!(owner.counters()[0].1.finished, 100_000);
}

#[test]
fn labels_that_a_program_makes_up_take_bounded_memory() {
    let mut w = World { checked: false, ..World::new() };
    let many = tasks::MOST_LABELS + 500;
    for n in 0..many {
        let x = w.task(&format!("small {n}"), &[]);
        w.run();
        w.drop(x);
    }
    assert_eq!(w.owner.counters().len(), tasks::MOST_LABELS + 1);
    assert_eq!(w.counters(tasks::OTHER_LABELS).finished, 500);
    assert_eq!(w.counters("small 7").finished, 1);
    w.assert_empty();
}
