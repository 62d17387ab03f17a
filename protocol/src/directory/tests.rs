//! The directory against a model without indices, and the cases its documentation names.

use super::*;
use crate::{TaskError, TaskErrorKind, TaskId};
use bytes::Bytes;
use proptest::prelude::*;

fn node(n: u32) -> Incarnation {
    Incarnation::new(n, n)
}

fn object(seq: u64) -> ObjectId {
    TaskId { owner: node(1), seq }.result(0)
}

fn stored(size: u64, copies: &[u32]) -> Located {
    Located::Stored { size: ByteSize(size), copies: copies.iter().map(|n| node(*n)).collect() }
}

/// Who reads what the dead have left.
const HEIR: u32 = 1;

fn place(n: u32) -> SharedPlace {
    SharedPlace { root: "s3://pool".into(), life: format!("life-{n}").into(), file: 1, offset: 64 }
}

#[test]
fn a_subscriber_is_told_at_once_and_then_of_changes_only() {
    let (mut directory, mut out) = (Directory::default(), vec![]);
    directory.subscribe(object(1), node(9), &mut out);
    directory.stored(object(1), ByteSize(5), node(2), &mut out);
    directory.copy_added(object(1), node(2), ByteSize(5), &mut out);
    directory.copy_added(object(1), node(3), ByteSize(5), &mut out);
    directory.unsubscribe(object(1), node(9));
    directory.copy_added(object(1), node(4), ByteSize(5), &mut out);
    let told: Vec<Located> = out.into_iter().map(|notify| notify.located).collect();
    assert_eq!(told, [Located::Pending, stored(5, &[2]), stored(5, &[2, 3])]);
}

#[test]
fn a_copy_that_turns_up_late_ends_the_loss_but_only_in_the_accepted_size() {
    let (mut directory, mut out) = (Directory::default(), vec![]);
    assert_eq!(directory.copy_added(object(1), node(3), ByteSize(5), &mut out), Added::Refused, "never stored");
    directory.stored(object(1), ByteSize(5), node(2), &mut out);
    assert_eq!(directory.node_died(node(2), node(1), &mut out).lost, [object(1)]);
    assert_eq!(directory.locate(object(1)), Located::Pending);
    assert_eq!(directory.copy_added(object(1), node(3), ByteSize(6), &mut out), Added::Refused);
    assert_eq!(directory.copy_added(object(1), node(3), ByteSize(5), &mut out), Added::Found);
    assert_eq!(directory.locate(object(1)), stored(5, &[3]));
}

#[test]
fn replaced_and_forgotten_copies_are_handed_back_to_be_freed() {
    let (mut directory, mut out) = (Directory::default(), vec![]);
    directory.stored(object(1), ByteSize(5), node(2), &mut out);
    assert_eq!(directory.stored(object(1), ByteSize(6), node(3), &mut out), [node(2)]);
    assert_eq!(directory.forget(object(1)), [node(3)]);
    assert!(directory.is_empty());
    directory.check().unwrap();
}

#[test]
fn the_hot_path_keeps_nothing_after_forget_and_tells_nobody() {
    let (mut directory, mut out) = (Directory::default(), vec![]);
    directory.set(object(1), Located::Inline(Bytes::from_static(b"1")), &mut out);
    directory.forget(object(1));
    assert!(directory.is_empty() && out.is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Set(u64, u8),
    Stored(u64, u64, u32),
    Added(u64, u64, u32),
    Removed(u64, u32),
    Spilled(u64, u32),
    Dropped(u64),
    Died(u32),
    Subscribe(u64, u32),
    Unsubscribe(u64, u32),
    Forget(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let (o, n, size) = (0..4u64, 2..6u32, 1..3u64);
    prop_oneof![
        1 => (o.clone(), 0..3u8).prop_map(|(o, what)| Op::Set(o, what)),
        1 => (o.clone(), size.clone(), n.clone()).prop_map(|(o, s, n)| Op::Stored(o, s, n)),
        3 => (o.clone(), size, n.clone()).prop_map(|(o, s, n)| Op::Added(o, s, n)),
        2 => (o.clone(), n.clone()).prop_map(|(o, n)| Op::Removed(o, n)),
        2 => (o.clone(), n.clone()).prop_map(|(o, n)| Op::Spilled(o, n)),
        1 => o.clone().prop_map(Op::Dropped),
        1 => n.clone().prop_map(Op::Died),
        2 => (o.clone(), n.clone()).prop_map(|(o, n)| Op::Subscribe(o, n)),
        1 => (o.clone(), n).prop_map(|(o, n)| Op::Unsubscribe(o, n)),
        1 => o.prop_map(Op::Forget),
    ]
}

/// The same answers from one plain list, without indices, without dropping entries.
#[derive(Default)]
struct Model {
    located: BTreeMap<u64, Located>,
    lost: BTreeMap<u64, u64>,
    /// Whose copy lies in shared storage.
    shared: BTreeMap<u64, u32>,
    /// What each subscriber was told last.
    told: BTreeMap<(u64, u32), Located>,
}

impl Model {
    fn at(&self, o: u64) -> Located {
        self.located.get(&o).cloned().unwrap_or(Located::Pending)
    }

    fn add(&mut self, o: u64, size: u64, n: u32) -> Added {
        let mut copies = match self.at(o) {
            Located::Stored { size: known, copies } if known == ByteSize(size) => copies,
            Located::Pending if self.lost.get(&o) == Some(&size) => {
                self.lost.remove(&o);
                self.located.insert(o, stored(size, &[n]));
                return Added::Found;
            }
            _ => return Added::Refused,
        };
        copies.push(node(n));
        copies.sort();
        copies.dedup();
        self.located.insert(o, Located::Stored { size: ByteSize(size), copies });
        Added::Further
    }

    fn remove(&mut self, o: u64, n: u32) -> Gone {
        let Located::Stored { size, mut copies } = self.at(o) else { return Gone::Still };
        if !copies.contains(&node(n)) {
            return Gone::Still;
        }
        if self.shared.get(&o) == Some(&n) {
            self.shared.remove(&o);
        }
        copies.retain(|at| *at != node(n));
        if copies.is_empty() {
            self.lost.insert(o, size.0);
            self.located.remove(&o);
            return Gone::Last;
        }
        self.located.insert(o, Located::Stored { size, copies });
        Gone::Still
    }
}

fn apply(directory: &mut Directory, model: &mut Model, op: Op, out: &mut Vec<Notify>) {
    match op {
        Op::Set(o, what) => {
            let located = match what {
                0 => Located::Pending,
                1 => Located::Inline(Bytes::from_static(b"x")),
                _ => Located::Failed(TaskError::new(TaskErrorKind::Freed, "freed")),
            };
            model.lost.remove(&o);
            model.shared.remove(&o);
            model.located.insert(o, located.clone());
            directory.set(object(o), located, out);
        }
        Op::Stored(o, size, n) => {
            let same = matches!(model.at(o), Located::Stored { size: known, .. } if known == ByteSize(size));
            if same {
                model.add(o, size, n);
            } else {
                model.lost.remove(&o);
                model.shared.remove(&o);
                model.located.insert(o, stored(size, &[n]));
            }
            directory.stored(object(o), ByteSize(size), node(n), out);
        }
        Op::Added(o, size, n) => {
            assert_eq!(directory.copy_added(object(o), node(n), ByteSize(size), out), model.add(o, size, n));
        }
        Op::Removed(o, n) => assert_eq!(directory.copy_removed(object(o), node(n), out), model.remove(o, n)),
        Op::Spilled(o, n) => {
            if matches!(model.at(o), Located::Stored { copies, .. } if copies.contains(&node(n))) {
                model.shared.insert(o, n);
            }
            directory.spilled(object(o), node(n), place(n));
        }
        Op::Dropped(o) => {
            let copies = match model.at(o) {
                Located::Stored { copies, .. } => copies,
                _ => vec![],
            };
            for at in &copies {
                model.remove(o, at.node.0);
            }
            assert_eq!(directory.drop_copies(object(o), out), copies);
        }
        Op::Died(n) => {
            model.told.retain(|(_, by), _| *by != n);
            let mut expected = Bereaved::default();
            for o in 0..4 {
                if model.shared.get(&o) == Some(&n) {
                    let Located::Stored { size, .. } = model.at(o) else { panic!("only a copy can be spilled") };
                    // The heir first: it is never the last copy that goes.
                    model.add(o, size.0, HEIR);
                    model.remove(o, n);
                    expected.inherited.push((object(o), size, place(n)));
                } else if model.remove(o, n) == Gone::Last {
                    expected.lost.push(object(o));
                }
            }
            assert_eq!(directory.node_died(node(n), node(HEIR), out), expected);
        }
        Op::Subscribe(o, n) => {
            model.told.remove(&(o, n));
            directory.subscribe(object(o), node(n), out);
            assert_eq!(out.len(), 1, "an answer at once");
            model.told.insert((o, n), out.pop().expect("one").located);
        }
        Op::Unsubscribe(o, n) => {
            model.told.remove(&(o, n));
            directory.unsubscribe(object(o), node(n));
        }
        Op::Forget(o) => {
            model.told.retain(|(of, _), _| *of != o);
            model.lost.remove(&o);
            model.shared.remove(&o);
            model.located.remove(&o);
            directory.forget(object(o));
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_the_model(ops in prop::collection::vec(op(), 0..80)) {
        let (mut directory, mut model) = (Directory::default(), Model::default());
        for op in ops {
            let mut out = vec![];
            apply(&mut directory, &mut model, op, &mut out);
            directory.check().map_err(|v| TestCaseError::fail(v.to_string()))?;
            for (at, promoted) in directory.take_promoted() {
                prop_assert!(directory.copies(promoted).contains(&at), "{} has no copy of {}", at, promoted);
            }
            for Notify { to, object, located } in out {
                let told = model.told.get_mut(&(object.task.seq, to.node.0)).expect("only subscribers are told");
                prop_assert_ne!(&*told, &located, "told the same twice");
                *told = located;
            }
            for ((o, by), told) in &model.told {
                prop_assert_eq!(told, &model.at(*o), "subscriber {} of {} is behind", by, o);
            }
            for o in 0..4 {
                prop_assert_eq!(directory.locate(object(o)), model.at(o));
            }
        }
    }
}

#[test]
fn the_copy_that_is_left_becomes_the_primary_one() {
    let (mut directory, mut out) = (Directory::default(), Vec::new());
    let (x, size) = (object(1), ByteSize(10));
    directory.stored(x, size, node(2), &mut out);
    directory.copy_added(x, node(1), size, &mut out);
    directory.copy_added(x, node(3), size, &mut out);
    directory.copy_removed(x, node(1), &mut out);
    assert!(directory.take_promoted().is_empty(), "the primary one is where it was");
    directory.node_died(node(2), node(9), &mut out);
    assert_eq!(directory.take_promoted(), [(node(3), x)]);
    directory.copy_removed(x, node(3), &mut out);
    assert!(directory.take_promoted().is_empty(), "nothing is left to promote");
    directory.copy_added(x, node(4), size, &mut out);
    assert_eq!(directory.take_promoted(), [(node(4), x)], "a copy that was on its way");
    directory.check().unwrap();
}

#[test]
fn a_copy_in_shared_storage_becomes_the_heirs() {
    let (mut directory, mut out) = (Directory::default(), Vec::new());
    let (x, size) = (object(1), ByteSize(5));
    directory.spilled(x, node(2), place(2));
    assert_eq!(directory.shared(x), None, "there is no such copy");
    directory.stored(x, size, node(2), &mut out);
    directory.spilled(x, node(2), place(2));
    assert_eq!(directory.shared(x), Some(&place(2)));
    directory.subscribe(x, node(9), &mut out);
    out.clear();
    let bereaved = directory.node_died(node(2), node(HEIR), &mut out);
    assert_eq!(bereaved, Bereaved { lost: vec![], inherited: vec![(x, size, place(2))] });
    assert_eq!(out.iter().map(|told| &told.located).collect::<Vec<_>>(), [&stored(5, &[HEIR])], "never pending");
    assert!(directory.take_promoted().is_empty(), "the heir knows that it is the primary one");
    assert_eq!(directory.copy_removed(x, node(HEIR), &mut out), Gone::Last, "a damaged file is a loss like any other");
    directory.check().unwrap();
}
