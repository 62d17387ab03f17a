//! `mobula mutants`: after how many seeds is each planted bug found, by which invariant, and in how small a plan?
//!
//! It measures the simulator, not the product. The canary must be found at once: if it is not, nothing else says anything.

use mobula_protocol::planted::{self, MUTANTS, Mutant};
use mobula_scenarios::search::{Document, Genome, Guided, Signature, play_twice, shrink, swarm};
use mobula_scenarios::{Options, Outcome};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Flags of `mutants`.
#[derive(clap::Args)]
pub struct MutantsArgs {
    /// The seeds to try, the last one excluded.
    #[arg(long, value_name = "FROM..TO", value_parser = super::sweep::seeds, default_value = "0..200")]
    seeds: Range<u64>,
    /// Only these bugs; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Keep plans that reach new situations and change them, instead of drawing every plan anew.
    #[arg(long)]
    guided: bool,
    /// Shrink what was found, playing at most so many plans each.
    #[arg(long, default_value_t = 0)]
    shrink: u64,
    /// Write the shrunk plans into this directory.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
}

/// Prints the table. Exit code 1 if a bug was not found, or if the plans fail without any bug.
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
    let chosen =
        MUTANTS.iter().filter(|mutant| args.only.is_empty() || args.only.iter().any(|name| name == mutant.name));
    println!("{:<36} {:>5}  {:<8} {:>8} {:>6}  what it does", "planted bug", "seeds", "found by", "shrunk", "s");
    let mut found = Vec::new();
    let mut missed = 0;
    for mutant in chosen {
        match hunt(mutant, args) {
            Some(runs) => found.push(runs),
            None => missed += 1,
        }
    }
    planted::activate(None);
    found.sort_unstable();
    let median = found.get(found.len() / 2).map_or_else(|| "-".to_owned(), u64::to_string);
    println!("{} found, {missed} not; median {median} seeds", found.len());
    ExitCode::from(u8::from(missed > 0))
}

/// Tries seeds until the bug is found; prints its line. Returns how many seeds it took.
fn hunt(mutant: &Mutant, args: &MutantsArgs) -> Option<u64> {
    let started = Instant::now();
    let mut search = Guided::default();
    for (tried, seed) in (1..).zip(args.seeds.clone()) {
        let options = Options { seed, quiet: true, ..Options::default() };
        let (genome, plan) = if args.guided { search.next(seed) } else { (Genome::of(seed), swarm(seed)) };
        planted::activate(Some(mutant.name));
        let report = play_twice(&plan, "swarm.toml", &options);
        search.learn(genome, &report);
        if matches!(report.outcome, Outcome::Passed) {
            continue;
        }
        // A plan that fails anyway finds nothing.
        planted::activate(None);
        if play_twice(&plan, "swarm.toml", &options).outcome != Outcome::Passed {
            println!("{:<36} seed {seed} fails without it as well, and is left out", mutant.name);
            continue;
        }
        let checker = Signature::of(&report).and(report.failure).map_or_else(String::new, |failure| {
            // A machine's own check names the invariant in its message.
            let invariant = failure.message.split_whitespace().find(|word| is_invariant(word)).map(str::to_owned);
            if failure.checker == "panic" { invariant.unwrap_or(failure.checker) } else { failure.checker }
        });
        let size = smallest(mutant, &plan, &options, args);
        let spent = started.elapsed().as_secs_f64();
        println!("{:<36} {tried:>5}  {checker:<8} {size:>8} {spent:>6.1}  {}", mutant.name, mutant.what);
        return Some(tried);
    }
    println!("{:<36} {:>5}  not found: {}", mutant.name, "-", mutant.what);
    None
}

fn is_invariant(word: &str) -> bool {
    let digits = word.strip_prefix('I').map(|rest| rest.chars().take_while(char::is_ascii_digit).count());
    digits.is_some_and(|digits| digits > 0)
}

/// How many steps and faults the shrunk plan has, and before.
fn smallest(mutant: &Mutant, plan: &Document, options: &Options, args: &MutantsArgs) -> String {
    if args.shrink == 0 {
        return "-".to_owned();
    }
    planted::activate(Some(mutant.name));
    match shrink(plan, options, args.shrink, &|plan, options| play_twice(plan, "swarm.toml", options)) {
        Ok(shrunk) => {
            if let Some(dir) = &args.save {
                let file = dir.join(format!("{}.toml", mutant.name));
                if let Err(why) =
                    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, shrunk.document.to_string()))
                {
                    eprintln!("error: {}: {why}", file.display());
                }
            }
            format!("{} of {}", shrunk.document.size(), plan.size())
        }
        Err(_) => "-".to_owned(),
    }
}
