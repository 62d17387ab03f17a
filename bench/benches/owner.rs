//! The owner machine alone: what one small task costs in its transition table, from its submission to the last reference.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mobula_protocol::owner::{Effect, Event, Owner};
use mobula_protocol::{Attempt, Incarnation, LeaseId, Machine, Nanos, Placement, Resources, ResultPlace, Retries};
use mobula_protocol::{SchedulingClass, TaskId, TaskOutcome, TaskResult, TaskSpec};
use std::hint::black_box;
use std::sync::Arc;

const ME: Incarnation = Incarnation::new(1, 1);
const NODE: Incarnation = Incarnation::new(2, 1);
/// Tasks of one round.
const TASKS: u64 = 1_000;

/// What all tasks of a round share.
struct Round {
    label: Arc<str>,
    class: Arc<SchedulingClass>,
    out: Vec<Effect>,
}

impl Round {
    fn new() -> Self {
        let (resources, placement) = (Resources::cpus(1), Placement::Any);
        let class = Arc::new(SchedulingClass { function: "f".into(), resources, placement, share: None });
        Self { label: "f".into(), class, out: Vec::new() }
    }

    fn step(&mut self, owner: &mut Owner, event: Event) {
        owner.step(Nanos::ZERO, event, &mut self.out);
        black_box(&self.out);
        self.out.clear();
    }

    fn submit(&mut self, owner: &mut Owner, id: TaskId) {
        let (label, class) = (self.label.clone(), self.class.clone());
        let spec = TaskSpec {
            id,
            label,
            class,
            args: Vec::new(),
            returns: 1,
            retries: Retries::default(),
            replay: Default::default(),
            durability: mobula_protocol::Durability::default(),
            stream: None,
            job: id.owner,
        };
        self.step(owner, Event::Submit(Arc::new(spec)));
    }

    fn finish(&mut self, owner: &mut Owner, task: TaskId) {
        let lease = LeaseId { owner: ME, seq: 1 };
        self.step(owner, Event::Assigned { task, lease, to: NODE });
        let place = ResultPlace::Inline(bytes::Bytes::from_static(b"result"));
        let outcome = TaskOutcome::Returned(vec![TaskResult { place, refs: Vec::new(), hash: 1 }]);
        self.step(owner, Event::Done { from: NODE, task, attempt: Attempt(1), outcome });
        self.step(owner, Event::RefDropped(task.result(0)));
    }
}

fn task(seq: u64) -> TaskId {
    TaskId { owner: ME, seq }
}

/// An owner with so many tasks queued that are never assigned.
fn crowded(round: &mut Round, queued: u64) -> Owner {
    let mut owner = Owner::new(ME);
    (TASKS..TASKS + queued).for_each(|seq| round.submit(&mut owner, task(seq)));
    owner
}

fn cycle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("owner/submit_assign_done_drop");
    group.throughput(Throughput::Elements(TASKS));
    for queued in [0, 100_000] {
        let mut round = Round::new();
        let mut owner = crowded(&mut round, queued);
        group.bench_function(format!("beside {queued} queued"), |bencher| {
            bencher.iter(|| {
                (0..TASKS).for_each(|seq| round.submit(&mut owner, task(seq)));
                (0..TASKS).for_each(|seq| round.finish(&mut owner, task(seq)));
            });
        });
        assert_eq!(owner.tasks() as u64, queued, "every other task is over and forgotten");
    }
    group.finish();
}

fn submit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("owner/submit");
    group.throughput(Throughput::Elements(TASKS));
    let mut round = Round::new();
    group.bench_function("into an empty owner", |bencher| {
        bencher.iter_batched(
            || Owner::new(ME),
            |mut owner| {
                (0..TASKS).for_each(|seq| round.submit(&mut owner, task(seq)));
                owner
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, cycle, submit);
criterion_main!(benches);
