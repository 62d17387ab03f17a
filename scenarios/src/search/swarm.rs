//! A plan drawn from a seed: how many nodes, which kinds of work, which kinds of faults, how much of each.
//!
//! Every seed leaves most kinds out: a run with everything in it hides what only a few together show. Each choice draws
//! from a stream of its own, so that a new kind of work does not change the faults of old seeds. Plans are bounded to what
//! a correct system survives: one node at a time is in trouble, it comes back, and retries are plenty.

mod actors;
mod memory;
mod trouble;
mod work;

use super::Document;
use mobula_sim::Rng;
use std::collections::BTreeMap;
use std::fmt::Write;
use work::WORK;

/// How likely a kind of work is in a plan: seven of them are in one.
const EACH: f64 = 0.25;

/// The plan of a seed.
pub fn swarm(seed: u64) -> Document {
    Genome::of(seed).plan()
}

/// What a plan is drawn from: a seed, and for some of the streams another one. A child of a genome differs from it in few
/// streams, so its plan shares the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genome {
    seed: u64,
    other: BTreeMap<String, u64>,
}

impl Genome {
    /// The genome with this seed for all streams.
    pub fn of(seed: u64) -> Self {
        Self { seed, other: BTreeMap::new() }
    }

    /// A child: one or two streams draw by `seed` from now on.
    pub fn mutated(&self, seed: u64) -> Self {
        let mut dice = Rng::new(seed, "swarm", "mutation");
        let streams = ["cluster", "work", "troubles", "head", "calls", "settings"].map(str::to_owned);
        let streams: Vec<String> =
            streams.into_iter().chain((0..WORK.len()).map(|kind| format!("work {kind}"))).collect();
        let mut child = self.clone();
        for _ in 0..1 + dice.below(2) {
            child.other.insert(streams[dice.below(streams.len() as u64) as usize].clone(), seed);
        }
        child
    }

    /// Its plan.
    pub fn plan(&self) -> Document {
        let text = text(self);
        match Document::parse(&text) {
            Ok(document) => document,
            Err(why) => unreachable!("{self:?} draws no TOML: {why}\n{text}"),
        }
    }

    /// Whether its plan leaves nodes alone. Its work may then be such that an owner's death ends it with an error.
    pub(super) fn spares_nodes(&self) -> bool {
        let (names, _) = nodes(self);
        trouble::of_nodes(&mut self.draw("troubles"), &names).is_empty()
    }

    fn draw(&self, stream: &str) -> Draw {
        Draw(Rng::new(self.other.get(stream).copied().unwrap_or(self.seed), "swarm", stream))
    }
}

struct Draw(Rng);

impl Draw {
    /// A number in `least..=most`.
    fn number(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below(most - least + 1)
    }

    fn chance(&mut self, p: f64) -> bool {
        self.0.chance(p)
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.0.below(words.len() as u64) as usize]
    }
}

#[derive(Default)]
struct Plan {
    /// Nothing happens to nodes, disks and links.
    quiet: bool,
    /// What does not fit into memory goes to disk; else it is dropped and made again.
    spills: bool,
    /// Lines of steps.
    work: Vec<String>,
    /// What is asked in the end.
    gets: Vec<String>,
}

/// The names of the nodes, and the text that describes them.
fn nodes(genome: &Genome) -> (Vec<String>, String) {
    let mut cluster = genome.draw("cluster");
    let names = &["A", "B", "C", "D"][..cluster.number(2, 4) as usize];
    let mut text = String::new();
    for name in names {
        let (cpus, store) = (cluster.number(1, 3), cluster.of(&["10MB", "20MB", "50MB", "100MB"]));
        let _ = writeln!(text, "  {{ name = \"{name}\", cpus = {cpus}, store = \"{store}\" }},");
    }
    (names.iter().map(|name| (*name).to_owned()).collect(), text)
}

fn text(genome: &Genome) -> String {
    let (names, nodes) = nodes(genome);
    let mut troubles = trouble::of_nodes(&mut genome.draw("troubles"), &names);
    let (spills, settings) = settings(&mut genome.draw("settings"));
    let mut plan = Plan { quiet: troubles.is_empty(), spills, ..Plan::default() };
    // No owner's death: the head is a machine of its own.
    troubles.steps.extend(trouble::of_head(&mut genome.draw("head")));
    let mut kinds = genome.draw("work");
    for (number, work) in WORK.iter().enumerate() {
        if kinds.chance(EACH) {
            work(&mut genome.draw(&format!("work {number}")), &mut plan, number as u64);
        }
    }
    if plan.work.is_empty() {
        WORK[0](&mut genome.draw("work 0"), &mut plan, 0);
    }
    let calls = trouble::of_calls(&mut genome.draw("calls"));

    let mut out = format!("name = \"swarm {}\"\nsource = \"mobula sweep --swarm\"\nsteps = [\n", genome.seed);
    let indented = |lines: &[String]| lines.iter().map(|line| format!("    {line},\n")).collect::<String>();
    if troubles.steps.is_empty() {
        out += &plan.work.iter().map(|line| format!("  {line},\n")).collect::<String>();
    } else {
        let (work, troubles) = (indented(&plan.work), indented(&troubles.steps));
        out += &format!("  {{ parallel = [[\n{work}  ], [\n{troubles}  ]] }},\n");
    }
    for get in &plan.gets {
        out += &format!("  {{ get = \"{get}\", expect = \"ok\" }},\n");
    }
    let _ = write!(out, "]\n\n[cluster]\nnodes = [\n{nodes}]\n\n{settings}");
    let _ = write!(out, "{}{calls}", troubles.planned);
    out
}

/// Whether nodes spill, and the text that says so among others.
fn settings(draw: &mut Draw) -> (bool, String) {
    let (timeout, inline) = (draw.of(&["1s", "2s", "3s"]), draw.of(&["100KB", "1KB", "10B"]));
    let buggify = draw.chance(0.5);
    // Bugs are in the order of events, which a coarse clock has as well. In steps of the default, a tenth of a
    // millisecond, nine tenths of a run's price would be steps in which nothing happens.
    let tick = draw.of(&["1ms", "2ms", "5ms"]);
    let spills = !draw.chance(0.25);
    let memory = if spills { "" } else { "memory_policy = \"evict\"\nspill = []\n" };
    let text = format!(
        "[settings]\nmax_time = \"40s\"\ntick = \"{tick}\"\nhealth_period = \"200ms\"\nhealth_timeout = \"{timeout}\"\n\
         inline = \"{inline}\"\nbuggify = {buggify}\n{memory}"
    );
    (spills, text)
}
