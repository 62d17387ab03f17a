//! A generator whose attempts crash, lose their items and, in one property, differ; and a consumer that takes, drops,
//! asks again and leaves.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Yield,
    Take,
    Drop(usize),
    Crash,
    Kill,
    Evict(usize),
    Want(usize),
    Leave,
    /// From here on items are others than they were.
    Differ,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => Just(Op::Yield),
        6 => Just(Op::Take),
        3 => (0..8usize).prop_map(Op::Drop),
        1 => Just(Op::Crash),
        1 => Just(Op::Kill),
        2 => (0..8usize).prop_map(Op::Evict),
        3 => (0..8usize).prop_map(Op::Want),
        1 => Just(Op::Leave),
    ]
}

/// A generator and its consumer.
struct Play {
    w: World,
    id: TaskId,
    /// How many items the attempts yield, in turn.
    counts: Vec<u32>,
    ahead: Option<u32>,
    /// Where the running attempt is.
    at: u32,
    /// Items that any attempt has made, while no complete attempt had said how many there are.
    made: u32,
    /// How many there are.
    total: Option<u32>,
    /// Whether a complete attempt yielded more or fewer than that.
    mismatch: bool,
    /// Attempts that died.
    crashes: u32,
    /// What the items were when they were new, and what the running attempt has made.
    given: Vec<u64>,
    current: Vec<u64>,
    differed: bool,
    /// Items seen by the consumer, and those it still holds.
    seen: u32,
    held: Vec<ObjectId>,
    asked: bool,
    /// What the consumer was told at the end.
    end: Option<Result<(), TaskErrorKind>>,
    left: bool,
}

impl Play {
    fn new(counts: Vec<u32>, ahead: Option<u32>, retries: Retries) -> Self {
        let mut w = World { retries, ..World::new() };
        let id = w.generator(ahead);
        let (at, made, total, mismatch, crashes) = (0, 0, None, false, 0);
        let (given, current, differed) = (vec![], vec![], false);
        let (seen, held, asked, end, left) = (0, vec![], false, None, false);
        Self {
            w,
            id,
            counts,
            ahead,
            at,
            made,
            total,
            mismatch,
            crashes,
            given,
            current,
            differed,
            seen,
            held,
            asked,
            end,
            left,
        }
    }

    /// The node makes one more item, or comes to an end, as far as its credit goes. Says whether anything happened.
    fn work(&mut self) -> bool {
        self.w.assign();
        if self.w.running.is_empty() {
            return false;
        }
        let credit = self.w.credit(self.id);
        let within = self.ahead.is_none_or(|ahead| credit.upto <= self.seen + ahead);
        // A rebuild of a complete generator adds nothing that nobody has taken.
        assert!(within || self.total.is_some(), "{credit:?}, and {} are taken (I17)", self.seen);
        let items = self.counts[self.w.attempt(self.id).attempt.0 as usize % self.counts.len()];
        if self.at < items && self.at < credit.upto {
            self.w.yields(self.id, self.at);
            self.yielded();
            self.at += 1;
            if self.total.is_none() {
                self.made = self.made.max(self.at);
            }
        } else if self.at >= items || credit.stop {
            if !credit.stop {
                self.complete();
            }
            self.w.ends(self.id);
            self.at = 0;
        } else {
            return false;
        }
        self.receive();
        true
    }

    /// New items follow the same ones only.
    fn yielded(&mut self) {
        let (index, hash) = (self.at as usize, self.w.salt + u64::from(self.at));
        if index == 0 {
            self.current.clear();
        }
        if index == self.given.len() && self.w.owner.knows(self.id.result(self.at)) {
            assert_eq!(self.current, self.given, "item {index} follows others than it did");
            self.given.push(hash);
        }
        self.current.push(hash);
    }

    /// The running attempt has come to its own end.
    fn complete(&mut self) {
        let same = self.total.map_or(self.at >= self.made, |total| self.at == total);
        if same {
            self.total = Some(self.at);
        } else {
            self.mismatch = true;
        }
    }

    fn take(&mut self) {
        if !self.asked && !self.left && self.end.is_none() {
            self.asked = true;
            self.w.step(Event::Next(self.id));
            self.receive();
        }
    }

    fn receive(&mut self) {
        for (_, item) in std::mem::take(&mut self.w.next) {
            self.asked = false;
            match item {
                Ok(Some(item)) => {
                    assert_eq!(item, self.id.result(self.seen), "in order, once each");
                    self.seen += 1;
                    self.held.push(item);
                }
                Ok(None) => {
                    assert_eq!(Some(self.seen), self.total, "the end comes last");
                    self.end = Some(Ok(()));
                }
                Err(error) => {
                    assert!(
                        self.seen >= self.made || self.mismatch || self.differed,
                        "what is there comes first: {error}"
                    );
                    self.end = Some(Err(error.kind));
                }
            }
        }
    }

    fn crash(&mut self) {
        self.at = 0;
        self.crashes += 1;
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Yield => drop(self.work()),
            Op::Take => self.take(),
            Op::Drop(n) if !self.held.is_empty() => {
                let item = self.held.swap_remove(n % self.held.len());
                self.w.step(Event::Unsubscribe { object: item, by: ME });
                self.w.drop(item);
            }
            Op::Crash if !self.w.running.is_empty() => {
                self.crash();
                self.w.end(self.id, crashed());
            }
            Op::Kill => {
                let dead = self.w.home;
                self.w.home = Incarnation::new(dead.node.0, dead.epoch.0 + 10);
                if !self.w.running.is_empty() {
                    self.crash();
                }
                self.w.kill(dead);
            }
            Op::Evict(n) => {
                let home = self.w.home;
                let stored: Vec<ObjectId> = self.w.stores.get(&home).into_iter().flatten().copied().collect();
                if !stored.is_empty() {
                    self.w.evict(stored[n % stored.len()], home);
                }
            }
            Op::Want(n) if !self.held.is_empty() => {
                let object = self.held[n % self.held.len()];
                self.w.step(Event::Subscribe { object, by: ME });
            }
            Op::Leave if !self.left => {
                self.left = true;
                self.asked = false;
                self.w.step(Event::StreamDropped(self.id));
            }
            Op::Differ => {
                self.w.salt += 1000;
                self.differed = true;
            }
            _ => {}
        }
        self.receive();
    }

    /// No more faults: the consumer wants everything it holds, and the rest. Afterwards each has a value or an error.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "never quiet: {:?}", self.w.owner.waits());
            for object in self.held.clone() {
                self.w.step(Event::Subscribe { object, by: ME });
            }
            self.take();
            let pending = |item: &ObjectId| matches!(self.w.owner.locate(*item), Located::Pending);
            let all = !self.held.iter().any(pending);
            if !self.work() && all && (self.end.is_some() || self.left) {
                break;
            }
        }
    }

    /// Everything that was dropped is gone.
    fn leave(mut self) {
        for item in std::mem::take(&mut self.held) {
            self.w.step(Event::Unsubscribe { object: item, by: ME });
            self.w.drop(item);
        }
        self.apply(Op::Leave);
        while self.work() {}
        self.w.assert_empty();
    }

    /// Whether an error of this kind has a reason in what happened, and no budget was exceeded.
    fn judge(&self, kind: &TaskErrorKind) -> bool {
        let Retries { crashes, losses, .. } = self.w.retries;
        match kind {
            TaskErrorKind::WorkerCrashed | TaskErrorKind::NodeDied => crashes.is_some_and(|most| self.crashes > most),
            TaskErrorKind::ReplayMismatch => self.mismatch,
            TaskErrorKind::NondeterministicReplay => self.differed,
            TaskErrorKind::Unreconstructable(reason) => {
                let spent = losses.is_some_and(|most| self.w.counters("gen").rebuilt == u64::from(most));
                spent && (*reason == crate::UnreconstructableReason::RetriesDisabled) == (losses == Some(0))
            }
            _ => false,
        }
    }
}

fn ahead() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![Just(None), (1..4u32).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_the_consumer_sees_every_item_once(
        ops in prop::collection::vec(op(), 0..80), items in 0..6u32, ahead in ahead(),
    ) {
        let mut play = Play::new(vec![items], ahead, Retries { crashes: None, errors: None, losses: None, memory: None });
        ops.into_iter().for_each(|op| play.apply(op));
        play.settle();
        prop_assert!(play.left || play.end == Some(Ok(())), "every budget is endless: {:?}", play.end);
        prop_assert!(play.held.iter().all(|item| is_stored(&play.w.owner.locate(*item))));
        play.leave();
    }

    /// With budgets that end, and attempts that differ: items come in order as ever, and where there is an error, it
    /// says what happened (F06, F12).
    #[test]
    fn what_cannot_be_made_again_is_an_error_with_a_reason(
        ops in prop::collection::vec(op(), 0..80),
        counts in prop_oneof![prop::collection::vec(0..6u32, 1..2), prop::collection::vec(0..6u32, 2..4)],
        ahead in ahead(),
        (crashes, losses) in (0..3u32, 0..3u32),
    ) {
        let retries =
            Retries { crashes: Some(crashes), errors: Some(0), losses: Some(losses), memory: Some(0) };
        let mut play = Play::new(counts, ahead, retries);
        ops.into_iter().for_each(|op| play.apply(op));
        play.settle();
        if let Some(Err(kind)) = &play.end {
            prop_assert!(play.judge(kind), "{kind:?} for no reason");
        }
        prop_assert!(play.left || play.end.is_some());
        prop_assert!(play.w.counters("gen").rebuilt <= u64::from(losses));
        for item in &play.held {
            if let Located::Failed(error) = play.w.owner.locate(*item) {
                prop_assert!(play.judge(&error.kind), "{item}: {error} for no reason");
            }
        }
        play.leave();
    }

    /// Attempts that make other items: the consumer sees the beginning of one and its end, or an error between two.
    #[test]
    fn the_items_of_one_run_are_not_followed_by_those_of_another(
        ops in prop::collection::vec(prop_oneof![12 => op(), 1 => Just(Op::Differ)], 0..80),
        items in 0..6u32, ahead in ahead(),
    ) {
        let retries = Retries { crashes: None, errors: None, losses: None, memory: None };
        let mut play = Play::new(vec![items], ahead, retries);
        ops.into_iter().for_each(|op| play.apply(op));
        play.settle();
        if let Some(Err(kind)) = &play.end {
            prop_assert!(play.judge(kind), "{kind:?} for no reason");
        }
        prop_assert!(play.left || play.end.is_some());
        play.leave();
    }
}
