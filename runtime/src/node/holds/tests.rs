//! The reader of a value, the keeper of the value, and the owner of what the value refers to, under every order of
//! messages that links allow.

use super::*;
use std::collections::BTreeMap;

const OWNER: Incarnation = Incarnation::new(1, 1);
const KEEPER: Incarnation = Incarnation::new(2, 2);
const READER: Incarnation = Incarnation::new(3, 3);

fn object(owner: Incarnation) -> ObjectId {
    TaskId { owner, seq: 1 }.result(0)
}

fn attempt(seq: u64) -> Reader {
    (TaskId { owner: KEEPER, seq }, Attempt(1))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Add,
    Remove,
    Added,
    Done,
}

/// What the reader does next, and what is on its way between whom.
#[derive(Clone)]
struct World {
    holds: Holds,
    script: Vec<fn(&mut World)>,
    /// An attempt that is over and not reported.
    over: bool,
    uses: u64,
    /// Registrations of the inner object at its owner.
    known: BTreeMap<Incarnation, i64>,
    /// What the keeper still keeps the outer value for.
    kept: u64,
    links: BTreeMap<(Incarnation, Incarnation), VecDeque<Word>>,
}

impl World {
    fn new(kept: u64, script: &[fn(&mut Self)]) -> Self {
        let mut holds = Holds::new(READER);
        // The reader is a registered holder of the outer value.
        holds.inherit(object(KEEPER));
        let script = script.iter().rev().copied().collect();
        let known = BTreeMap::from([(KEEPER, 1)]);
        Self { holds, script, over: false, uses: 0, known, kept, links: BTreeMap::new() }
    }

    fn say(&mut self, from: Incarnation, to: Incarnation, word: Word) {
        self.links.entry((from, to)).or_default().push_back(word);
    }

    fn read(&mut self) {
        self.uses += 1;
        if self.holds.hold(object(OWNER)) {
            self.say(READER, OWNER, Word::Add);
        }
        self.holds.read(object(OWNER), attempt(1));
    }

    fn forget(&mut self) {
        self.uses -= 1;
        self.holds.unhold(object(OWNER));
        self.go_on();
    }

    fn drop_outer(&mut self) {
        self.holds.unhold(object(KEEPER));
        self.go_on();
    }

    fn end(&mut self) {
        self.over = true;
        self.go_on();
    }

    fn go_on(&mut self) {
        for back in self.holds.returns() {
            self.say(READER, back.owner(), Word::Remove);
        }
        if self.over && !self.holds.waits(attempt(1)) {
            self.over = false;
            self.say(READER, KEEPER, Word::Done);
        }
    }

    fn hear(&mut self, from: Incarnation, to: Incarnation, word: Word) {
        match (to, word) {
            (OWNER, Word::Add) => {
                *self.known.entry(from).or_default() += 1;
                self.say(OWNER, from, Word::Added);
            }
            (OWNER, _) => *self.known.entry(from).or_default() -= 1,
            (KEEPER, _) => {
                self.kept -= 1;
                if self.kept == 0 {
                    self.say(KEEPER, OWNER, Word::Remove);
                }
            }
            _ => {
                self.holds.confirmed(object(OWNER));
                self.go_on();
            }
        }
    }

    /// Plays every order; returns how many there are.
    fn play(self) -> usize {
        let known: i64 = self.known.values().sum();
        assert!(self.uses == 0 || known > 0, "in use and known to nobody: {:?}", self.links);
        let busy: Vec<_> = self.links.iter().filter(|(_, link)| !link.is_empty()).map(|(pair, _)| *pair).collect();
        if busy.is_empty() && self.script.is_empty() {
            assert!(self.known.values().all(|count| *count == 0), "{:?} are left", self.known);
            assert_eq!((self.holds.len(), self.holds.unconfirmed().count(), self.over), (0, 0, false));
            return 1;
        }
        let mut orders = 0;
        for (from, to) in busy {
            let mut next = self.clone();
            let word = next.links.get_mut(&(from, to)).and_then(VecDeque::pop_front).expect("busy");
            next.hear(from, to, word);
            orders += next.play();
        }
        let mut next = self;
        if let Some(act) = next.script.pop() {
            act(&mut next);
            orders += next.play();
        }
        orders
    }
}

#[test]
fn a_reference_that_was_read_outlives_the_value_it_was_in() {
    let orders = World::new(1, &[World::read, World::drop_outer, World::forget]).play();
    assert!(orders > 10, "{orders}");
}

#[test]
fn an_attempt_that_read_a_reference_keeps_its_arguments_until_the_owner_knows() {
    // The keeper is the caller as well: the argument, and the registration of the reader.
    let orders = World::new(2, &[World::read, World::end, World::drop_outer, World::forget]).play();
    assert!(orders > 10, "{orders}");
}

#[test]
fn reading_forgetting_and_reading_again_counts_right() {
    use World as W;
    World::new(1, &[W::read, W::forget, W::read, W::read, W::drop_outer, W::forget, W::forget]).play();
}

#[test]
fn only_those_who_read_wait_and_an_owners_death_ends_it() {
    let mut holds = Holds::new(READER);
    assert!(holds.hold(object(OWNER)), "the owner is asked");
    holds.read(object(OWNER), attempt(1));
    assert!(holds.waits(attempt(1)) && !holds.waits(attempt(2)));
    assert!(!holds.hold(object(OWNER)), "it was asked already");
    holds.read(object(OWNER), attempt(2));
    assert!(holds.waits(attempt(2)), "it is not known yet for whoever reads it next");
    holds.inherit(object(KEEPER));
    holds.unhold(object(KEEPER));
    assert_eq!(holds.returns(), []);
    holds.owner_died(OWNER);
    assert!(!holds.waits(attempt(1)) && !holds.waits(attempt(2)));
    assert_eq!(holds.returns(), [object(KEEPER)]);
}
