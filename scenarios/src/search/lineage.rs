//! Lineage-driven fault injection (Alvaro, Rosen and Hellerstein, "Lineage-driven Fault Injection", SIGMOD 2015).
//!
//! A run without faults succeeds, and its log says what the results rest on ([`mobula_sim::trace::support`]): messages
//! that arrived, steps of nodes that lived. Only a fault that takes one of them away can matter. So the search asks for
//! the smallest sets of faults that cut *every* derivation seen so far, and plays one that it has not played:
//!
//! - it fails: a bug, with the faults that show it;
//! - it succeeds: by another derivation (a retry, another copy, a rebuilt value), which the next sets must cut as well.
//!
//! A program is finished when no set within the bounds cuts all its derivations: then no such faults can hurt it. The
//! bounds are the paper's: at most [`FAULTS`] faults and [`CRASHES`] of them crashes. Where we differ: the programs are
//! plans drawn from seeds, and each is left after [`EACH`] plans for a new one, to which the search comes back when all
//! have had their turn; among equally small sets the kind of fault that was tried least goes first; and the derivation is
//! read from the log of a real implementation, not computed by the semantics of a logic program, so it may have too many
//! events, which costs runs, or lack some, which costs bugs.

use super::{Document, Genome};
use mobula_sim::Rng;
use mobula_sim::trace::{Event, Names, support};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// The most faults of a plan.
const FAULTS: usize = 3;
/// The most crashes of a plan.
const CRASHES: usize = 1;
/// How many plans one program gets before the next has its turn.
const EACH: u64 = 8;
/// How many sets are looked at before a program counts as finished.
const LOOK: usize = 20_000;

/// Something that a derivation needs, taken away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// The `nth` call from one node to another that carries this message fails: the request is lost, or the reply, or it is
    /// delivered and reported failed.
    Call { kind: &'static str, message: String, from: String, to: String, nth: u64 },
    /// The process of this node ends at the `nth` line of this kind, and is started again or not.
    Crash { node: String, kind: String, nth: u64, again: bool },
}

impl Cut {
    fn is_crash(&self) -> bool {
        matches!(self, Self::Crash { .. })
    }

    /// Cuts of one class are alike: at which place in the protocol, not when and where.
    fn class(&self) -> String {
        match self {
            Self::Call { kind, message, .. } => format!("{kind} {message}"),
            Self::Crash { kind, again, .. } => format!("crash {kind} {again}"),
        }
    }

    /// As an element of a plan's `fault`.
    fn planned(&self) -> Value {
        let mut fault = Table::new();
        let text = |text: &str| Value::String(text.to_owned());
        let number = |n: u64| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        let verb = |verb: &str, value: Value| Value::Table(Table::from_iter([(verb.to_owned(), value)]));
        match self {
            Self::Call { kind, message, from, to, nth } => {
                let words = [("kind", text(kind)), ("method", text(message)), ("from", text(from)), ("to", text(to))];
                let numbers = [("nth", number(*nth)), ("count", number(1))];
                let rpc = words.into_iter().chain(numbers).map(|(key, value)| (key.to_owned(), value)).collect();
                fault.insert("do".to_owned(), verb("rpc", Value::Table(rpc)));
            }
            Self::Crash { node, kind, nth, again } => {
                fault.insert("probe".to_owned(), text(kind));
                fault.insert("nth".to_owned(), number(*nth));
                let back = again.then(|| verb("restart", text(node)));
                fault.insert(
                    "do".to_owned(),
                    Value::Array([verb("kill", text(node))].into_iter().chain(back).collect()),
                );
            }
        }
        Value::Table(fault)
    }
}

/// What could be taken away from a successful run, by its log.
pub(super) fn cuts(lines: &[String]) -> BTreeSet<Cut> {
    let events = Event::parse_all(lines);
    let supporting = support(&events);
    let mut names = Names::default();
    events.iter().for_each(|event| names.learn(event));
    let mut calls: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (at, event) in events.iter().enumerate() {
        let nth = kinds.entry(&event.kind).or_default();
        *nth += 1;
        let (words, supports) = (event.words(), supporting.contains(&at));
        if let ("send", [to, _, carried]) = (event.kind.as_str(), &words[..]) {
            for message in carried.split('+') {
                let message = message.split('*').next().unwrap_or_default();
                let (from, to) = (event.node.as_str(), names.of(to));
                let nth = calls.entry((from, to, message)).or_default();
                *nth += 1;
                if supports {
                    found.extend(["request_lost", "reply_lost", "in_flight"].map(|kind| Cut::Call {
                        kind,
                        message: message.to_owned(),
                        from: from.to_owned(),
                        to: to.to_owned(),
                        nth: *nth,
                    }));
                }
            }
        } else if supports && !["driver", "head", "world"].contains(&event.node.as_str()) {
            let crash = |again| Cut::Crash { node: event.node.clone(), kind: event.kind.clone(), nth: *nth, again };
            found.extend([crash(true), crash(false)]);
        }
    }
    found
}

/// A plan without faults, and what is known of it.
struct Program {
    quiet: Document,
    /// How many nodes may crash: none where the work is such that an owner's death ends it with an error.
    crashes: usize,
    /// What each successful run needed.
    derivations: Vec<BTreeSet<Cut>>,
    played: BTreeSet<BTreeSet<Cut>>,
    /// Plans left in this turn.
    left: u64,
}

/// The state of a search.
#[derive(Default)]
pub struct Lineage {
    programs: Vec<Program>,
    /// The program of the plan that is being played.
    current: usize,
    /// How often each class of cuts was played.
    classes: BTreeMap<String, u64>,
}

impl std::fmt::Debug for Lineage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lineage({} programs)", self.programs.len())
    }
}

impl Lineage {
    /// The plan to play for a seed.
    pub fn next(&mut self, seed: u64) -> Document {
        let mut dice = Rng::new(seed, "lineage", "choice");
        if let Some(program) = self.programs.get_mut(self.current).filter(|program| program.left > 0)
            && let Some(set) = program.hypothesis(&self.classes, &mut dice)
        {
            program.left -= 1;
            set.iter().for_each(|cut| *self.classes.entry(cut.class()).or_default() += 1);
            let mut plan = program.quiet.clone();
            plan.table_mut().insert("fault".to_owned(), Value::Array(set.iter().map(Cut::planned).collect()));
            program.played.insert(set);
            return plan;
        }
        let genome = Genome::of(seed);
        let quiet = genome.plan().without_faults();
        self.current = self.programs.len();
        let (derivations, played) = (Vec::new(), BTreeSet::new());
        let crashes = if genome.spares_nodes() { 0 } else { CRASHES };
        self.programs.push(Program { quiet: quiet.clone(), crashes, derivations, played, left: EACH });
        quiet
    }

    /// Takes note of the log of the last plan, if it passed.
    pub fn learn(&mut self, lines: &[String]) {
        if let Some(program) = self.programs.get_mut(self.current) {
            program.derivations.push(cuts(lines));
        }
    }
}

impl Program {
    /// The smallest set that cuts all derivations and was not played.
    fn hypothesis(&self, classes: &BTreeMap<String, u64>, dice: &mut Rng) -> Option<BTreeSet<Cut>> {
        // Nothing is known of a program that never succeeded.
        let first = self.derivations.first()?;
        let all = self.derivations.iter().flatten().chain(first);
        let mut order: BTreeMap<&Cut, (u64, u64)> = BTreeMap::new();
        for cut in all {
            let tried = classes.get(&cut.class()).copied().unwrap_or_default();
            order.entry(cut).or_insert_with(|| (tried, dice.below(1 << 32)));
        }
        let mut looks = LOOK;
        (1..=FAULTS).find_map(|size| self.hit(&mut BTreeSet::new(), size, &order, &mut looks))
    }

    /// Adds at most `more` cuts until every derivation is hit.
    fn hit(
        &self,
        set: &mut BTreeSet<Cut>,
        more: usize,
        order: &BTreeMap<&Cut, (u64, u64)>,
        looks: &mut usize,
    ) -> Option<BTreeSet<Cut>> {
        *looks = looks.checked_sub(1)?;
        let whole = |derivation: &&BTreeSet<Cut>| set.is_disjoint(derivation);
        let Some(derivation) = self.derivations.iter().find(whole) else {
            return (!self.played.contains(set)).then(|| set.clone());
        };
        if more == 0 {
            return None;
        }
        let crashed = set.iter().filter(|cut| cut.is_crash()).count();
        let mut choices: Vec<&Cut> =
            derivation.iter().filter(|cut| !cut.is_crash() || crashed < self.crashes).collect();
        choices.sort_by_key(|cut| order.get(cut));
        choices.into_iter().find_map(|cut| {
            set.insert(cut.clone());
            let found = self.hit(set, more - 1, order, looks);
            set.remove(cut);
            found
        })
    }
}

#[cfg(test)]
mod tests;
