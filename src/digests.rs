//! `mobula digests`: what each scenario answers in each world, as a table. The worlds are of two builds and many minutes, so
//! each run of the command fills the column of one world and keeps the others.

use super::Place;
use mobula_runtime::WorldKind;
use mobula_scenarios::{Options, Outcome, Report};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The columns, in their order.
const WORLDS: [WorldKind; 3] = [WorldKind::Turmoil, WorldKind::Madsim, WorldKind::Real];
/// What a cell says of a scenario that is not for its world, or was not played there yet.
const NONE: &str = "-";

/// Flags of `digests`.
#[derive(clap::Args)]
pub struct DigestsArgs {
    /// A scenario file, or a directory of them.
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The table: the column of this world is filled, the others stay.
    #[arg(long, value_name = "FILE", default_value = "out/digests.md")]
    table: PathBuf,
}

/// What was found in each world, by scenario.
#[derive(Debug, Default, PartialEq)]
struct Table(BTreeMap<String, [String; 3]>);

/// Plays all scenarios in one world and fills its column. Exit code 1 if one of them does not pass, or answers otherwise
/// than in another column.
pub fn digests(args: &DigestsArgs) -> ExitCode {
    let options = Options { quiet: true, ..args.place.options(args.seed) };
    match fill(args, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

fn fill(args: &DigestsArgs, options: &Options) -> Result<bool, String> {
    let named = |path: &Path, why: std::io::Error| format!("{}: {why}", path.display());
    let mut table = match std::fs::read_to_string(&args.table) {
        Ok(text) => Table::parse(&text),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Table::default(),
        Err(why) => return Err(named(&args.table, why)),
    };
    let column = WORLDS.iter().position(|world| *world == options.world);
    let column = column.ok_or_else(|| format!("{} has no column", options.world))?;
    let files = mobula_scenarios::files(&args.path).map_err(|why| named(&args.path, why))?;
    let mut all_passed = true;
    for file in &files {
        let scenario = mobula_scenarios::file::read(file).map_err(|why| why.to_string())?;
        let cell = if scenario.worlds.is_empty() || scenario.worlds.contains(&options.world) {
            let report = mobula_scenarios::run_file(file, options);
            all_passed &= report.outcome == Outcome::Passed || report.is_known_failure();
            println!("{}  {:>6} ms  {}", said(&report), report.wall_ms, scenario.name);
            said(&report)
        } else {
            NONE.to_owned()
        };
        table.0.entry(scenario.name).or_insert_with(|| WORLDS.map(|_| NONE.to_owned()))[column] = cell;
    }
    if let Some(folder) = args.table.parent() {
        std::fs::create_dir_all(folder).map_err(|why| named(folder, why))?;
    }
    std::fs::write(&args.table, table.markdown()).map_err(|why| named(&args.table, why))?;
    let differ = table.differing();
    println!("{} scenarios in {}, {} with other answers in another world", files.len(), options.world, differ.len());
    differ.iter().for_each(|name| println!("       {name}"));
    Ok(all_passed && differ.is_empty())
}

/// The digest of a run that passed, else how it ended.
fn said(report: &Report) -> String {
    match report.outcome {
        Outcome::Passed => format!("{:016x}", report.digest),
        _ if report.is_known_failure() => "known failing".to_owned(),
        other => other.word().to_owned(),
    }
}

impl Table {
    /// The rows of a table that [`Table::markdown`] wrote.
    fn parse(text: &str) -> Self {
        let rows = text.lines().filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
            match cells[..] {
                [name, turmoil, madsim, real, _] if name != "scenario" && !name.starts_with("---") => {
                    Some((name.to_owned(), [turmoil, madsim, real].map(|cell| cell.trim_matches('`').to_owned())))
                }
                _ => None,
            }
        });
        Self(rows.collect())
    }

    /// The scenarios that did not answer the same wherever they were played.
    fn differing(&self) -> Vec<&str> {
        let differs = |cells: &[String; 3]| {
            let mut played = cells.iter().filter(|cell| *cell != NONE);
            let first = played.next();
            played.any(|cell| Some(cell) != first)
        };
        self.0.iter().filter(|(_, cells)| differs(cells)).map(|(name, _)| name.as_str()).collect()
    }

    fn markdown(&self) -> String {
        let differ = self.differing();
        let mut text = "# What the scenarios answer in each world\n\n\
            The digest hashes the logical results of a run: what gets saw, what failed and how, what Datasets wrote. It is\n\
            the same in all worlds, and the same as without the faults. `-`: the file says that it is not for that world, or\n\
            it was not played there. Made by\n\n```sh\n\
            cargo run --release -- digests scenarios --table sim/DIGESTS.md\n\
            cargo run --release -- digests scenarios --table sim/DIGESTS.md --world real\n\
            cargo madsim-run digests scenarios --table sim/DIGESTS.md\n```\n\n\
            | scenario | turmoil | madsim | real | equal |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
        for (name, cells) in &self.0 {
            let cells: String = cells.iter().map(|cell| format!(" `{cell}` |")).collect();
            let equal = if differ.contains(&name.as_str()) { "no" } else { "yes" };
            let _ = writeln!(text, "| {name} |{cells} {equal} |");
        }
        let _ = writeln!(text, "\n{} scenarios, {} with other answers in another world.", self.0.len(), differ.len());
        text
    }
}

#[cfg(test)]
mod tests;
