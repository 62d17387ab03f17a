//! The three searches, behind one name: which plan is next, and what was learned from the last.

use super::{Document, Genome, Guided, Lineage, Oracle, swarm};
use crate::run::{Options, Outcome, Report};

/// How plans are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumString, strum::Display, strum::EnumIter)]
#[strum(serialize_all = "lowercase")]
pub enum Strategy {
    /// Each is drawn from its seed.
    Random,
    /// Those that reached new situations are changed a little.
    Coverage,
    /// Faults are those that cut every derivation of a success seen so far.
    Lineage,
}

/// A search under way.
#[derive(Debug)]
pub enum Search {
    /// [`Strategy::Random`].
    Random,
    /// [`Strategy::Coverage`], and what the plan being played was drawn from.
    Coverage(Guided, Genome),
    /// [`Strategy::Lineage`].
    Lineage(Lineage),
}

impl Search {
    /// Nothing is known yet.
    pub fn new(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Random => Self::Random,
            Strategy::Coverage => Self::Coverage(Guided::default(), Genome::of(0)),
            Strategy::Lineage => Self::Lineage(Lineage::default()),
        }
    }

    /// The plan to play for a seed.
    pub fn next(&mut self, seed: u64) -> Document {
        match self {
            Self::Random => swarm(seed),
            Self::Coverage(guided, genome) => {
                let (drawn, plan) = guided.next(seed);
                *genome = drawn;
                plan
            }
            Self::Lineage(lineage) => lineage.next(seed),
        }
    }

    /// Plays the plan that [`Search::next`] gave, and learns from it.
    pub fn play(&mut self, plan: &Document, oracle: &mut Oracle, options: &Options) -> Report {
        let options = Options { keep_lines: matches!(self, Self::Lineage(_)), ..options.clone() };
        let mut report = oracle.play(plan, "swarm.toml", &options);
        // They are read here, and large.
        let lines = std::mem::take(&mut report.lines);
        match self {
            Self::Random => {}
            Self::Coverage(guided, genome) => {
                guided.learn(genome.clone(), &report);
            }
            Self::Lineage(lineage) if report.outcome == Outcome::Passed => lineage.learn(&lines),
            Self::Lineage(_) => {}
        }
        report
    }
}
