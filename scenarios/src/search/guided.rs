//! Coverage-guided search: plans that put some machine in a situation no plan has before are kept, and changed a little.
//!
//! A situation is (machine, how full it was, event). Every other plan is a fresh one, so that the search cannot get lost in
//! what it knows.

use super::{Document, Genome};
use crate::run::Report;
use mobula_sim::Rng;
use std::collections::BTreeSet;

/// The state of a search.
#[derive(Debug, Default)]
pub struct Guided {
    seen: BTreeSet<String>,
    pool: Vec<Genome>,
}

impl Guided {
    /// The plan to play for a seed, and what it was drawn from.
    pub fn next(&self, seed: u64) -> (Genome, Document) {
        let mut dice = Rng::new(seed, "guided", "choice");
        let genome = match self.pool.len() as u64 {
            0 => Genome::of(seed),
            _ if dice.chance(0.5) => Genome::of(seed),
            // The latest discoveries are the rarest: of two, the later one.
            many => self.pool[dice.below(many).max(dice.below(many)) as usize].mutated(seed),
        };
        let plan = genome.plan();
        (genome, plan)
    }

    /// Takes note of a run. Says how many situations were new.
    pub fn learn(&mut self, genome: Genome, report: &Report) -> usize {
        let before = self.seen.len();
        self.seen.extend(report.coverage.iter().cloned());
        let new = self.seen.len() - before;
        if new > 0 {
            self.pool.push(genome);
        }
        new
    }

    /// How many situations all runs have been in.
    pub fn situations(&self) -> usize {
        self.seen.len()
    }
}
