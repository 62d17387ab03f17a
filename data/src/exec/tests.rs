//! The executor against every completion order: random topologies, random outcomes, a check after every step.

use super::*;
use crate::DataError;
use mobula_runtime::{ByteSize, Machine, Nanos};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Every block of the model has this size, and the executor knows it from the start.
const BLOCK: u64 = 100;

/// A block of the model: who made it, and a trace of what went into it.
type Handle = (usize, u64, u64);

fn shape(source: Source) -> Shape {
    Shape { source, broadcasts: Vec::new(), parts: 1 }
}

/// A random chain: a source, then maps and gathers, some with a broadcast of its own source.
fn topologies() -> impl Strategy<Value = Topology> {
    let link = (0..4u8, 1..4u64, any::<bool>());
    (1..9u64, prop::collection::vec(link, 0..5)).prop_map(|(tasks, links)| {
        let mut ops = vec![shape(Source::Tasks(tasks))];
        for (kind, count, broadcast) in links {
            let side = broadcast.then(|| {
                ops.insert(0, shape(Source::Tasks(1)));
                // What was there moves up by one.
                for op in ops.iter_mut().skip(1) {
                    match &mut op.source {
                        Source::Map(input) | Source::Gather { input, .. } => *input += 1,
                        Source::Ready | Source::Tasks(_) => {}
                    }
                    op.broadcasts.iter_mut().for_each(|b| *b += 1);
                }
                0
            });
            let input = ops.len() - 1;
            let source = if kind < 2 {
                Source::Map(input)
            } else {
                ops[input].parts = count;
                Source::Gather { input, tasks: count, rows_wanted: None }
            };
            ops.push(Shape { source, broadcasts: side.into_iter().collect(), parts: 1 });
        }
        Topology(ops)
    })
}

struct World {
    executor: Executor<Handle>,
    topology: Topology,
    budget: u64,
    running: BTreeSet<(usize, u64)>,
    launched: BTreeSet<(usize, u64)>,
    consumer: Vec<u64>,
    emitted: Vec<Handle>,
    finished: bool,
}

impl World {
    fn new(topology: Topology, budget: u64, cap: usize) -> Self {
        let limits = Limits { memory: ByteSize(budget), tasks_per_operator: cap, first_estimate: ByteSize(BLOCK) };
        let executor = Executor::new(topology.clone(), BTreeMap::new(), limits);
        let (running, launched) = (BTreeSet::new(), BTreeSet::new());
        let (consumer, emitted) = (Vec::new(), Vec::new());
        let mut world = Self { executor, topology, budget, running, launched, consumer, emitted, finished: false };
        world.step(Event::Started);
        world
    }

    fn step(&mut self, event: Event<Handle>) {
        let mut effects = Vec::new();
        self.executor.step(Nanos::ZERO, event, &mut effects);
        self.executor.check().unwrap();
        for effect in effects {
            assert!(!self.finished, "nothing follows Finish");
            match effect {
                Effect::Launch { op, task, inputs } => self.launched(op, task, &inputs),
                Effect::Emit { index, block } => {
                    assert_eq!(index, self.emitted.len() as u64, "in order");
                    self.consumer.push(index);
                    self.emitted.push(block.handle);
                }
                Effect::Finish => self.finished = true,
                Effect::Fail { .. } => panic!("nothing failed"),
            }
        }
        let charged = self.executor.charged().0;
        assert!(charged <= self.budget || self.executor.running() <= 1, "{charged} of {} charged", self.budget);
    }

    fn launched(&mut self, op: usize, task: u64, inputs: &[Handle]) {
        assert!(self.launched.insert((op, task)), "launched once");
        self.running.insert((op, task));
        let shape = &self.topology.0[op];
        let mut expected: Vec<Handle> = match shape.source {
            Source::Ready | Source::Tasks(_) => Vec::new(),
            Source::Map(input) => vec![(input, task, 0)],
            Source::Gather { input, .. } => (0..tasks(&self.topology, input)).map(|t| (input, t, task)).collect(),
        };
        expected.extend(shape.broadcasts.iter().map(|side| (*side, 0, 0)));
        assert_eq!(inputs, expected, "inputs of ({op}, {task})");
    }

    fn finish(&mut self, op: usize, task: u64, rows: u64) {
        self.running.remove(&(op, task));
        let parts = self.topology.0[op].parts;
        let output = |part| Output { handle: (op, task, part), rows, bytes: ByteSize(BLOCK / parts) };
        self.step(Event::TaskFinished { op, task, outputs: (0..parts).map(output).collect() });
    }
}

fn tasks(topology: &Topology, op: usize) -> u64 {
    match topology.0[op].source {
        Source::Ready => 0,
        Source::Tasks(n) => n,
        Source::Map(input) => tasks(topology, input),
        Source::Gather { tasks, .. } => tasks,
    }
}

proptest! {
    #[test]
    fn everything_finishes_in_order_within_the_budget(
        topology in topologies(),
        budget in 1..30u64,
        cap in 1..5usize,
        choices in prop::collection::vec(any::<u16>(), 400),
    ) {
        let last = topology.0.len() - 1;
        let expected: Vec<Handle> = (0..tasks(&topology, last)).map(|t| (last, t, 0)).collect();
        let mut world = World::new(topology, budget * BLOCK, cap);
        for choice in choices {
            let (events, consumer) = (world.running.len() + world.consumer.len(), world.consumer.len());
            if events == 0 {
                break;
            }
            let pick = choice as usize % events;
            if pick < consumer {
                let index = world.consumer.remove(pick);
                world.step(Event::ConsumerTook { index });
            } else if let Some((op, task)) = world.running.iter().nth(pick - consumer).copied() {
                world.finish(op, task, 1);
            }
        }
        prop_assert!(world.finished);
        prop_assert_eq!(world.emitted, expected);
    }

    #[test]
    fn a_limit_stops_its_input_early(
        tasks in 1..20u64,
        wanted in 1..40u64,
        choices in prop::collection::vec(any::<u16>(), 60),
    ) {
        let gather = Source::Gather { input: 1, tasks: 1, rows_wanted: Some(wanted) };
        let topology = Topology(vec![shape(Source::Tasks(tasks)), shape(Source::Map(0)), shape(gather)]);
        let limits = Limits { memory: ByteSize(1000), tasks_per_operator: 2, first_estimate: ByteSize(BLOCK) };
        let mut executor: Executor<Handle> = Executor::new(topology, BTreeMap::new(), limits);
        let mut effects = Vec::new();
        executor.step(Nanos::ZERO, Event::Started, &mut effects);
        let mut running = Vec::new();
        let mut inputs_of_limit = None;
        // Every map output has two rows.
        let needed = tasks.min(wanted.div_ceil(2));
        for choice in choices {
            for effect in effects.drain(..) {
                match effect {
                    Effect::Launch { op, task, inputs } => {
                        if op == 2 {
                            inputs_of_limit = Some(inputs.len() as u64);
                        }
                        prop_assert!(task < executor.progress(op).total, "a dropped task was launched");
                        running.push((op, task));
                    }
                    Effect::Emit { .. } | Effect::Finish => {}
                    Effect::Fail { .. } => prop_assert!(false, "nothing failed"),
                }
            }
            if running.is_empty() {
                break;
            }
            let (op, task) = running.remove(choice as usize % running.len());
            let outputs = vec![Output { handle: (op, task, 0), rows: 2, bytes: ByteSize(BLOCK) }];
            executor.step(Nanos::ZERO, Event::TaskFinished { op, task, outputs }, &mut effects);
            executor.check().unwrap();
        }
        prop_assert_eq!(inputs_of_limit, Some(needed));
        prop_assert_eq!(executor.progress(1).total, needed);
    }
}

#[test]
fn the_first_failure_ends_it() {
    let mut world = World::new(Topology(vec![shape(Source::Tasks(3))]), 1000, 2);
    let mut effects = Vec::new();
    let error = DataError::bug("x");
    world.executor.step(Nanos::ZERO, Event::TaskFailed { op: 0, task: 1, error: error.clone() }, &mut effects);
    assert_eq!(effects, [Effect::Fail { op: 0, task: 1, error }]);
    effects.clear();
    let outputs = vec![Output { handle: (0, 0, 0), rows: 1, bytes: ByteSize(1) }];
    world.executor.step(Nanos::ZERO, Event::TaskFinished { op: 0, task: 0, outputs }, &mut effects);
    assert_eq!(effects, []);
}

#[test]
fn consumers_go_before_producers() {
    let topology = Topology(vec![shape(Source::Tasks(8)), shape(Source::Map(0))]);
    let mut world = World::new(topology, 100 * BLOCK, 2);
    assert_eq!(world.running, BTreeSet::from([(0, 0), (0, 1)]));
    world.finish(0, 1, 1);
    assert!(world.running.contains(&(1, 1)), "{:?}", world.running);
}

#[test]
fn duplicates_change_nothing() {
    let mut world = World::new(Topology(vec![shape(Source::Tasks(3))]), 1000, 2);
    world.finish(0, 0, 1);
    let before = (world.executor.progress(0), world.emitted.clone());
    world.finish(0, 0, 1);
    assert_eq!(before, (world.executor.progress(0), world.emitted));
}
