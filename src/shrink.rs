//! `mobula shrink`: the smallest plan that fails in the same way.

use super::OneRun;
use mobula_scenarios::search::{Document, Shrunk, play_twice, shrink as smaller};
use mobula_scenarios::{Options, Report};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Flags of `shrink`.
#[derive(clap::Args)]
pub struct ShrinkArgs {
    #[command(flatten)]
    run: OneRun,
    /// Where the small scenario is written. Default: beside the large one, as small-NAME.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// The most plans to play.
    #[arg(long, default_value_t = 300)]
    limit: u64,
}

/// Shrinks a failing scenario and writes it down. Exit code 0 if it could, 1 if the scenario passes.
pub fn shrink(args: &ShrinkArgs) -> ExitCode {
    let path = &args.run.path;
    match try_shrink(args) {
        Ok(Ok((to, shrunk))) => {
            print!("{}", shrunk.document);
            let failure =
                shrunk.report.failure.map_or_else(String::new, |why| format!("{}: {}", why.checker, why.message));
            println!("\n{} plans played; this one fails with {failure}", shrunk.runs);
            println!("mobula run {} --seed {}", to.display(), args.run.seed);
            ExitCode::SUCCESS
        }
        Ok(Err(report)) => {
            let why = report.failure.map_or_else(|| "it passes".to_owned(), |failure| failure.message);
            eprintln!("error: {} does not fail with seed {}: {why}", path.display(), args.run.seed);
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

type Attempt = Result<(PathBuf, Shrunk), Box<Report>>;

fn try_shrink(args: &ShrinkArgs) -> Result<Attempt, String> {
    let path = &args.run.path;
    let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
    let document = Document::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
    let options = Options { quiet: true, ..args.run.options() };
    let file = path.display().to_string();
    super::without_panic_messages();
    let shrunk =
        match smaller(&document, &options, args.limit, &|document, options| play_twice(document, &file, options)) {
            Ok(shrunk) => shrunk,
            Err(report) => return Ok(Err(report)),
        };
    let to = args.output.clone().unwrap_or_else(|| beside(path));
    std::fs::write(&to, shrunk.document.to_string()).map_err(|why| format!("{}: {why}", to.display()))?;
    Ok(Ok((to, shrunk)))
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map_or_else(|| "plan.toml".into(), |name| name.to_string_lossy());
    path.with_file_name(format!("small-{name}"))
}
