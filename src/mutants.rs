//! `mobula mutants`: after how many seeds does each search find each planted bug, by which invariant, and how small is the
//! plan that shows it?
//!
//! It measures the simulator, not the product. The canary must be found at once: if it is not, nothing else says anything.

use super::sweep;
use mobula_protocol::planted::{self, MUTANTS, Mutant};
use mobula_scenarios::search::{Document, Oracle, Search, Signature, Strategy, play_twice, shrink};
use mobula_scenarios::{Options, Outcome, Report};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Flags of `mutants`.
#[derive(clap::Args)]
pub struct MutantsArgs {
    /// The seeds to try, the last one excluded.
    #[arg(long, value_name = "FROM..TO", value_parser = sweep::seeds, default_value = "0..200")]
    seeds: Range<u64>,
    /// Only these bugs; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only these searches (random, coverage, lineage); may be repeated.
    #[arg(long, value_name = "SEARCH")]
    search: Vec<Strategy>,
    /// Shrink what was found, playing at most so many plans each.
    #[arg(long, default_value_t = 0)]
    shrink: u64,
    /// Write the shrunk plans into this directory.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Write the table into this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

/// Prints the table. Exit code 1 if no search found some bug, or one slept through the canary.
pub fn mutants(args: &MutantsArgs) -> ExitCode {
    if !planted::BUILT {
        eprintln!("error: this build has no planted bugs; type `cargo run --release --features planted -- mutants`");
        return ExitCode::from(2);
    }
    if let Some(unknown) = args.only.iter().find(|name| !MUTANTS.iter().any(|mutant| mutant.name == **name)) {
        let names: Vec<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        eprintln!("error: there is no planted bug `{unknown}`; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    super::without_panic_messages();
    let searches = match args.search.is_empty() {
        true => vec![Strategy::Random, Strategy::Coverage, Strategy::Lineage],
        false => args.search.clone(),
    };
    let mut lab = Lab { args, searches, oracle: Oracle::default(), sound: BTreeMap::new(), rows: Vec::new() };
    let chosen =
        MUTANTS.iter().filter(|mutant| args.only.is_empty() || args.only.iter().any(|name| name == mutant.name));
    lab.print_head();
    for mutant in chosen {
        let row = lab.hunt(mutant);
        row.print();
        let asleep = mutant.name == MUTANTS[0].name && row.seeds.iter().any(|seeds| *seeds != Some(1));
        lab.rows.push(row);
        if asleep {
            eprintln!("error: a search did not notice the canary, so it would notice nothing else");
            return ExitCode::FAILURE;
        }
    }
    print!("{}", lab.summary());
    if let Some(file) = &args.table
        && let Err(why) = std::fs::write(file, lab.markdown())
    {
        eprintln!("error: {}: {why}", file.display());
        return ExitCode::from(2);
    }
    let missed = lab.rows.iter().any(|row| row.seeds.iter().all(Option::is_none));
    ExitCode::from(u8::from(missed))
}

/// What is the same for all bugs.
struct Lab<'a> {
    args: &'a MutantsArgs,
    searches: Vec<Strategy>,
    /// Answers without any bug.
    oracle: Oracle,
    /// Whether a plan passes without any bug; only of those that a bug broke.
    sound: BTreeMap<String, bool>,
    rows: Vec<Row>,
}

/// What is known of a bug.
struct Row {
    mutant: &'static Mutant,
    /// After how many seeds each search found it.
    seeds: Vec<Option<u64>>,
    /// Which invariant broke first, in the first search that found it.
    checker: String,
    /// Steps and faults of its plan, and of what shrinking left.
    sizes: Option<(usize, usize)>,
    spent: f64,
}

impl Lab<'_> {
    fn hunt(&mut self, mutant: &'static Mutant) -> Row {
        let started = Instant::now();
        let mut row = Row { mutant, seeds: Vec::new(), checker: String::new(), sizes: None, spent: 0.0 };
        for strategy in self.searches.clone() {
            let found = self.search(mutant, strategy);
            row.seeds.push(found.as_ref().map(|found| found.0));
            if let Some((_, plan, report)) = found.filter(|_| row.checker.is_empty()) {
                row.checker = checker(&report);
                row.sizes = self.smallest(mutant, &plan, report.seed);
            }
        }
        planted::activate(None);
        row.spent = started.elapsed().as_secs_f64();
        row
    }

    /// Tries seeds until the bug is found: how many it took, the plan, and what it did.
    fn search(&mut self, mutant: &Mutant, strategy: Strategy) -> Option<(u64, Document, Report)> {
        let mut search = Search::new(strategy);
        for (tried, seed) in (1..).zip(self.args.seeds.clone()) {
            let options = Options { seed, quiet: true, ..Options::default() };
            let plan = search.next(seed);
            planted::activate(None);
            self.oracle.ask(&plan, "swarm.toml", &options);
            planted::activate(Some(mutant.name));
            let report = search.play(&plan, &mut self.oracle, &options);
            if report.outcome != Outcome::Passed && self.is_sound(mutant, &plan, &options) {
                return Some((tried, plan, report));
            }
        }
        None
    }

    /// A plan that fails anyway finds nothing.
    fn is_sound(&mut self, mutant: &Mutant, plan: &Document, options: &Options) -> bool {
        planted::activate(None);
        let (oracle, seed) = (&mut self.oracle, options.seed);
        let sound = *self.sound.entry(format!("{seed} {plan}")).or_insert_with(|| {
            let report = oracle.play(plan, "swarm.toml", options);
            if let Some(failure) = &report.failure {
                let file = std::env::temp_dir().join(format!("mobula-fails-anyway-{seed}.toml"));
                let _ = std::fs::write(&file, plan.to_string());
                let (what, file) = (&failure.message, file.display());
                println!("a plan fails without any planted bug: mobula run {file} --seed {seed}: {what}");
            }
            report.outcome == Outcome::Passed
        });
        planted::activate(Some(mutant.name));
        sound
    }

    /// How many steps and faults the plan has, and what is left of it.
    fn smallest(&self, mutant: &Mutant, plan: &Document, seed: u64) -> Option<(usize, usize)> {
        if self.args.shrink == 0 {
            return None;
        }
        planted::activate(Some(mutant.name));
        let options = Options { seed, quiet: true, ..Options::default() };
        let play = |plan: &Document, options: &Options| play_twice(plan, "swarm.toml", options);
        let shrunk = shrink(plan, &options, self.args.shrink, &play).ok()?;
        if let Some(dir) = &self.args.save {
            let file = dir.join(format!("{}.toml", mutant.name));
            if let Err(why) = save(dir, &file, mutant, seed, &shrunk.document) {
                eprintln!("error: {}: {why}", file.display());
            }
        }
        Some((plan.size(), shrunk.document.size()))
    }

    fn print_head(&self) {
        let names: String = self.searches.iter().map(|search| format!("{:>9}", search.to_string())).collect();
        println!("{:<36}{names}  {:<12} {:>8} {:>6}  what it does", "seeds until found", "found by", "shrunk", "s");
    }

    /// How many each search found, after how many seeds.
    fn summary(&self) -> String {
        let mut text = String::new();
        for (number, search) in self.searches.iter().enumerate() {
            let mut found: Vec<u64> = self.rows.iter().filter_map(|row| row.seeds[number]).collect();
            found.sort_unstable();
            let median = found.get(found.len() / 2).map_or_else(|| "-".to_owned(), u64::to_string);
            let all = self.rows.len();
            let _ =
                writeln!(text, "{search}: {} of {all} found, the median of those after {median} seeds", found.len());
        }
        text
    }

    /// The table for a file of the project.
    fn markdown(&self) -> String {
        let Range { start, end } = self.args.seeds;
        let mut command = format!("cargo run --release --features planted -- mutants --seeds {start}..{end}");
        if self.args.shrink > 0 {
            let _ = write!(command, " --shrink {}", self.args.shrink);
        }
        if let Some(file) = &self.args.table {
            let _ = write!(command, " --table {}", file.display());
        }
        let mut text = format!(
            "# Planted bugs: after how many seeds each search finds them\n\n```sh\n{command}\n```\n\n\
             Each bug is switched on alone (`protocol/src/planted.rs`). A search plays one plan a seed, in a simulator, until one\n\
             fails that passes without the bug. `-` is: not within these seeds. The invariant is the first that broke in the first\n\
             search that found the bug; `shrunk` counts the steps and faults of its plan, and what shrinking left of them.\n\n"
        );
        let names: String = self.searches.iter().map(|search| format!(" {search} |")).collect();
        let rule = " ---: |".repeat(self.searches.len());
        let _ = writeln!(
            text,
            "| planted bug |{names} invariant | shrunk | what it does |\n| --- |{rule} --- | --- | --- |"
        );
        for row in &self.rows {
            let seeds: String = row.seeds.iter().map(|seeds| format!(" {} |", shown(*seeds))).collect();
            let (name, what) = (row.mutant.name, row.mutant.what);
            let _ = writeln!(text, "| `{name}` |{seeds} {} | {} | {what} |", row.checker, row.shrunk());
        }
        let _ = write!(text, "\n{}", self.summary());
        text
    }
}

impl Row {
    fn shrunk(&self) -> String {
        self.sizes.map_or_else(|| "-".to_owned(), |(before, after)| format!("{before} to {after}"))
    }

    fn print(&self) {
        let seeds: String = self.seeds.iter().map(|seeds| format!("{:>9}", shown(*seeds))).collect();
        let (name, what, checker, shrunk) = (self.mutant.name, self.mutant.what, &self.checker, self.shrunk());
        println!("{name:<36}{seeds}  {checker:<12} {shrunk:>8} {:>6.1}  {what}", self.spent);
    }
}

fn shown(seeds: Option<u64>) -> String {
    seeds.map_or_else(|| "-".to_owned(), |seeds| seeds.to_string())
}

/// The name of what noticed. A machine's own check, which is a panic of its node, names the invariant in its message.
fn checker(report: &Report) -> String {
    let Some(failure) = report.failure.as_ref().filter(|_| Signature::of(report).is_some()) else {
        return String::new();
    };
    let invariant = failure.message.split_whitespace().find(|word| is_invariant(word));
    let invariant = invariant.map(|word| word.trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned());
    if failure.checker == "panic" { invariant.unwrap_or("panic".to_owned()) } else { failure.checker.clone() }
}

fn is_invariant(word: &str) -> bool {
    let digits = word.strip_prefix('I').map(|rest| rest.chars().take_while(char::is_ascii_digit).count());
    digits.is_some_and(|digits| digits > 0)
}

/// Writes the plan, below the command that plays it.
fn save(dir: &Path, file: &Path, mutant: &Mutant, seed: u64, plan: &Document) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let command = format!("run {} --seed {seed} --planted {}", file.display(), mutant.name);
    std::fs::write(file, format!("# cargo run --release --features planted -- {command}\n{plan}"))
}
