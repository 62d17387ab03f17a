//! Generators: item by item, run ahead so far and no further, and run again without anybody noticing.

mod model;

use super::*;
use crate::Streaming;

impl World {
    fn generator(&mut self, ahead: Option<u32>) -> TaskId {
        self.stream(ahead, Placement::Any)
    }

    fn stream(&mut self, ahead: Option<u32>, placement: Placement) -> TaskId {
        let id = self.fresh();
        let (function, resources) = ("gen".into(), Resources::default());
        let class = SchedulingClass { function, resources, placement, share: None };
        let (retries, replay, stream) = (self.retries, self.replay, Some(Streaming { ahead }));
        let (label, class) = ("gen".into(), class.into());
        let (args, returns, durability, job) = (vec![], 0, Durability::default(), JOB);
        let spec = TaskSpec { id, label, class, args, returns, retries, replay, durability, stream, job };
        self.step(Event::Submit(spec.into()));
        self.assign();
        id
    }

    fn attempt(&self, id: TaskId) -> Running {
        self.running.iter().rev().find(|run| run.spec.id == id).expect("running").clone()
    }

    fn credit(&self, id: TaskId) -> Credit {
        self.credits[&(id, self.attempt(id).attempt)]
    }

    /// The running attempt yields item `index`.
    fn yields(&mut self, id: TaskId, index: u32) {
        let run = self.attempt(id);
        self.stores.entry(run.at).or_default().insert(id.result(index));
        let result = TaskResult { place: ResultPlace::Stored(BIG), refs: vec![], hash: self.salt + u64::from(index) };
        self.step(Event::Item { from: run.at, task: id, attempt: run.attempt, index, result });
    }

    fn ends(&mut self, id: TaskId) {
        self.end(id, TaskOutcome::Returned(vec![]));
    }

    /// Asks for the next item; none if it has to be waited for.
    fn take(&mut self, id: TaskId) -> Option<Result<Option<ObjectId>, TaskError>> {
        self.step(Event::Next(id));
        self.next.pop().map(|(_, item)| item)
    }

    fn item(&mut self, id: TaskId) -> ObjectId {
        self.take(id).expect("an item").expect("no error").expect("not the end")
    }
}

#[test]
fn items_come_in_order_once_and_then_the_end() {
    let mut w = World::new();
    let id = w.generator(None);
    assert_eq!(w.credit(id), Credit { upto: u32::MAX, stop: false });
    assert!(w.take(id).is_none(), "waits");
    w.yields(id, 0);
    assert_eq!(w.next.pop(), Some((id, Ok(Some(id.result(0))))), "is woken");
    w.yields(id, 1);
    assert_eq!(w.item(id), id.result(1));
    assert!(w.take(id).is_none());
    w.ends(id);
    assert_eq!(w.next.pop(), Some((id, Ok(None))));
    w.drop(id.result(0));
    w.drop(id.result(1));
    assert_eq!(w.take(id), Some(Ok(None)), "the end stays");
    w.step(Event::StreamDropped(id));
    w.assert_empty();
}

#[test]
fn f13_a_generator_runs_ahead_so_far_and_no_further() {
    let mut w = World::new();
    let id = w.generator(Some(2));
    assert_eq!(w.credit(id).upto, 2);
    w.yields(id, 0);
    w.yields(id, 1);
    let first = w.item(id);
    assert_eq!(w.credit(id).upto, 3);
    w.yields(id, 2);
    w.ends(id);
    let rest = [w.item(id), w.item(id)];
    w.step(Event::StreamDropped(id));
    [first, rest[0], rest[1]].iter().for_each(|item| w.drop(*item));
    w.assert_empty();
}

#[test]
fn a_crash_between_two_items_goes_unnoticed() {
    let mut w = World::new();
    let id = w.generator(Some(3));
    w.yields(id, 0);
    w.yields(id, 1);
    let first = w.item(id);
    w.drop(first);
    w.end(id, crashed());
    w.home = B;
    w.assign();
    for index in 0..3 {
        w.yields(id, index);
    }
    assert!(!w.has(B, id.result(0)), "nobody refers to it any more");
    assert_eq!(w.owner.directory.copies(id.result(1)), [A, B], "an equal copy is one more");
    w.ends(id);
    assert_eq!([w.item(id), w.item(id)], [id.result(1), id.result(2)]);
    assert_eq!(w.take(id), Some(Ok(None)));
    w.step(Event::StreamDropped(id));
    w.drop(id.result(1));
    w.drop(id.result(2));
    w.assert_empty();
}

#[test]
fn a_lost_item_of_a_complete_stream_is_rebuilt_alone() {
    let mut w = World::new();
    let id = w.generator(Some(8));
    (0..4).for_each(|index| w.yields(id, index));
    w.ends(id);
    let items: Vec<ObjectId> = (0..4).map(|_| w.item(id)).collect();
    w.evict(items[2], A);
    w.home = B;
    w.step(Event::Subscribe { object: items[2], by: ME });
    w.assign();
    (0..4).for_each(|index| w.yields(id, index));
    w.ends(id);
    assert_eq!(w.owner.directory.copies(items[2]), [B]);
    w.step(Event::Unsubscribe { object: items[2], by: ME });
    items.iter().for_each(|item| w.drop(*item));
    w.step(Event::StreamDropped(id));
    w.assert_empty();
}

#[test]
fn an_item_that_the_running_attempt_has_passed_is_made_by_the_next_one() {
    let mut w = World::new();
    let id = w.generator(Some(1));
    w.yields(id, 0);
    let first = w.item(id);
    w.yields(id, 1);
    w.evict(first, A);
    w.step(Event::Subscribe { object: first, by: ME });
    assert_eq!(w.credit(id), Credit { upto: 0, stop: true }, "it waits for a consumer that waits for it");
    w.ends(id);
    w.assign();
    assert_eq!(w.credit(id), Credit { upto: 2, stop: false });
    (0..2).for_each(|index| w.yields(id, index));
    assert!(is_stored(&w.owner.locate(first)));
    w.ends(id);
    assert_eq!((w.item(id), w.take(id)), (id.result(1), Some(Ok(None))));
    w.step(Event::Unsubscribe { object: first, by: ME });
    w.step(Event::StreamDropped(id));
    w.drop(first);
    w.drop(id.result(1));
    w.assert_empty();
}

#[test]
fn f06_more_or_fewer_items_than_before_are_an_error_where_they_matter() {
    for again in [2, 4] {
        let mut w = World::new();
        let id = w.generator(None);
        (0..3).for_each(|index| w.yields(id, index));
        w.ends(id);
        let items: Vec<ObjectId> = (0..3).map(|_| w.item(id)).collect();
        w.kill(A);
        w.home = B;
        w.step(Event::Subscribe { object: items[2], by: ME });
        w.assign();
        (0..again).for_each(|index| w.yields(id, index));
        w.ends(id);
        let lost = w.get_error_or_value(items[2]);
        assert_eq!(lost.is_err(), again == 2, "item 2 was there the second time: {lost:?}");
        assert_eq!(w.take(id).map(|end| end.map_err(|error| error.kind)), Some(Err(TaskErrorKind::ReplayMismatch)));
        w.step(Event::Unsubscribe { object: items[2], by: ME });
        items.iter().for_each(|item| w.drop(*item));
        w.step(Event::StreamDropped(id));
        w.assert_empty();
    }
}

impl World {
    fn get_error_or_value(&self, object: ObjectId) -> Result<(), TaskErrorKind> {
        match self.owner.locate(object) {
            Located::Failed(error) => Err(error.kind),
            _ => Ok(()),
        }
    }
}

#[test]
fn f12_without_budgets_what_is_there_stays_and_the_rest_is_an_error() {
    let mut w = World::new();
    w.retries = Retries { crashes: Some(0), errors: Some(0), losses: Some(0), memory: Some(0) };
    let id = w.generator(None);
    w.yields(id, 0);
    w.yields(id, 1);
    let first = w.item(id);
    w.end(id, crashed());
    let second = w.item(id);
    let end = w.take(id).expect("the end").expect_err("an error");
    assert_eq!(end.kind, TaskErrorKind::WorkerCrashed);
    w.evict(second, A);
    let error = w.get_error(second);
    assert_eq!(error.reason(), Some(crate::UnreconstructableReason::RetriesDisabled));
    w.step(Event::StreamDropped(id));
    w.drop(first);
    w.drop(second);
    w.assert_empty();
}

#[test]
fn f10_a_consumer_that_leaves_stops_the_generator_and_frees_the_rest() {
    let mut w = World::new();
    let id = w.generator(Some(2));
    w.yields(id, 0);
    w.yields(id, 1);
    let first = w.item(id);
    w.step(Event::StreamDropped(id));
    assert!(!w.has(A, id.result(1)));
    assert_eq!(w.credit(id), Credit { upto: 1, stop: true });
    w.yields(id, 2);
    assert!(!w.has(A, id.result(2)), "one that was on its way");
    w.ends(id);
    w.evict(first, A);
    w.step(Event::Subscribe { object: first, by: ME });
    w.assign();
    assert_eq!(w.credit(id), Credit { upto: 1, stop: true }, "as far as anything needs it");
    w.yields(id, 0);
    w.ends(id);
    assert!(is_stored(&w.owner.locate(first)));
    w.step(Event::Unsubscribe { object: first, by: ME });
    w.drop(first);
    w.assert_empty();

    let id = w.generator(None);
    w.yields(id, 0);
    w.step(Event::StreamDropped(id));
    assert_eq!(w.cancelled.len(), 1, "nobody has anything of it");
    w.ends(id);
    w.assert_empty();
}

#[test]
fn other_items_than_before_are_not_followed_by_new_ones() {
    let mut w = World::new();
    let id = w.generator(None);
    w.yields(id, 0);
    w.yields(id, 1);
    // Nobody refers to the one that will differ.
    let first = w.item(id);
    w.drop(first);
    w.end(id, crashed());
    w.assign();
    w.salt = 1000;
    w.yields(id, 0);
    w.salt = 0;
    w.yields(id, 1);
    w.yields(id, 2);
    assert_eq!(w.cancelled.len(), 1, "it is ended where that is seen");
    let second = w.item(id);
    let end = w.take(id).expect("the end").expect_err("an error");
    assert!(end.kind == TaskErrorKind::NondeterministicReplay && end.message.contains("before number 2"), "{end}");
    assert!(is_stored(&w.owner.locate(second)), "what was given stays");
    w.ends(id);
    w.step(Event::StreamDropped(id));
    w.drop(second);
    w.assert_empty();
}

/// The incarnation of an actor ends under a call that streams, twice: the budget is for once.
#[test]
fn f03_a_call_goes_on_in_the_next_incarnation_or_ends_after_what_was_made() {
    let mut w = World::new();
    w.retries = Retries { crashes: Some(1), errors: Some(0), losses: Some(0), memory: Some(0) };
    let actor = crate::actor::ActorId(w.fresh());
    let id = w.stream(Some(3), Placement::Actor(actor));
    w.yields(id, 0);
    w.yields(id, 1);
    let mut items = vec![w.item(id)];
    for (home, made) in [(B, 4), (A, 0)] {
        w.running.clear();
        let error = TaskError::new(TaskErrorKind::ActorUnavailable, "its incarnation ended");
        w.step(Event::CallLost { task: id, error });
        w.home = home;
        w.assign();
        (0..made).for_each(|index| w.yields(id, index));
    }
    items.extend((1..4).map(|_| w.item(id)));
    assert_eq!(items, (0..4).map(|index| id.result(index)).collect::<Vec<_>>(), "each once, in order");
    let end = w.take(id).expect("the end").expect_err("an error");
    assert_eq!(end.kind, TaskErrorKind::ActorUnavailable);
    w.step(Event::StreamDropped(id));
    items.iter().for_each(|item| w.drop(*item));
    w.assert_empty();
}
