//! `mobula jobs`: what became of the jobs of a running cluster.

use clap::Args;
use mobula_runtime::{ClusterKey, Env, JobInfo, RealConfig, jobs_of};
use std::process::ExitCode;

/// Flags of `jobs`.
#[derive(Args)]
pub struct JobsArgs {
    /// Address of the head, as it printed it.
    #[arg(long, value_name = "ADDR")]
    address: String,
    /// Print the log of this job instead of the list.
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Print one document instead of a table.
    #[arg(long)]
    json: bool,
}

/// Asks the head and prints what it says. Fails for a job it does not know.
pub fn jobs(args: &JobsArgs) -> ExitCode {
    let found = ask(&args.address, args.job.as_deref());
    match found {
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
        Ok(jobs) => {
            let text = match (args.json, &args.job) {
                (true, _) => serde_json::to_string_pretty(&jobs).unwrap_or_else(|why| format!("error: {why}")),
                (false, None) => table(&jobs),
                (false, Some(_)) => jobs.iter().map(log).collect(),
            };
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
    }
}

fn ask(address: &str, job: Option<&str>) -> Result<Vec<JobInfo>, String> {
    let key = ClusterKey::of_process().map_err(|why| why.to_string())?;
    let real = Env::real(RealConfig { node: "jobs".to_owned(), key, ..RealConfig::default() });
    let real = real.map_err(|why| why.to_string())?;
    let asked = |job| real.block_on(jobs_of(&real.env, address, job)).map_err(|why| why.to_string());
    let found = asked(job)?;
    match job {
        Some(name) if found.is_empty() => Err(unknown(name, &asked(None)?)),
        _ => Ok(found),
    }
}

fn unknown(name: &str, jobs: &[JobInfo]) -> String {
    let nearest = mobula_runtime::nearest(name, jobs.iter().map(|info| info.job.0.as_str()));
    let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
    format!("there is no job `{name}`{hint}")
}

fn table(jobs: &[JobInfo]) -> String {
    if jobs.is_empty() {
        return "no job was begun yet".to_owned();
    }
    let width = jobs.iter().map(|info| info.job.0.len()).max().unwrap_or(0).max("job".len());
    let mut text = format!("{:width$}  {:>7}  kept on  status\n", "job", "drivers");
    for info in jobs {
        let JobInfo { job, status, keeper, drivers, .. } = info;
        text += &format!("{:width$}  {:>7}  {:7}  {status}\n", job.0, drivers.len(), keeper.to_string());
    }
    text
}

fn log(info: &JobInfo) -> String {
    let before = if info.dropped > 0 { format!("({} lines before these)\n", info.dropped) } else { String::new() };
    before + &info.lines.iter().map(|line| format!("{line}\n")).collect::<String>()
}
