//! `mobula memory`: what is in the stores of a running cluster.

use clap::Args;
use mobula_runtime::{
    ByteSize, ClusterKey, Context, Env, Holding, Incarnation, MemoryReport, Nanos, Node, NodeSettings,
};
use mobula_runtime::{RealConfig, Resources, by_job, owned};
use std::fmt::Write;
use std::process::ExitCode;

/// The store of this command, which keeps nothing.
const OWN_STORE: ByteSize = ByteSize(1 << 20);

/// How long it waits until the head has read that it leaves.
const GOODBYE: Nanos = Nanos::secs(1);

/// Flags of `memory`.
#[derive(Args)]
pub struct MemoryArgs {
    /// Address of the head, as it printed it.
    #[arg(long, value_name = "ADDR")]
    address: String,
    /// List each object, and the copies that left memory last.
    #[arg(long)]
    objects: bool,
    /// Print one document instead of a table.
    #[arg(long)]
    json: bool,
}

/// Asks all nodes and prints what they say. Fails if one did not answer.
pub fn memory(args: &MemoryArgs) -> ExitCode {
    match ask(&args.address) {
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
        Ok(answers) => {
            let (reports, silent): (Vec<_>, Vec<_>) =
                answers.into_iter().map(|(_, answer)| answer).partition(Result::is_ok);
            let reports: Vec<MemoryReport> = reports.into_iter().flatten().collect();
            let text = if args.json { json(&reports) } else { table(&reports, args.objects) };
            println!("{}", text.trim_end());
            silent.iter().filter_map(|answer| answer.as_ref().err()).for_each(|why| eprintln!("error: {why}"));
            if silent.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

type Answers = Vec<(String, mobula_runtime::Result<MemoryReport>)>;

fn ask(address: &str) -> Result<Answers, Box<dyn std::error::Error>> {
    let (mut answers, me) = visit("memory", address, async |context| {
        let me = context.incarnation();
        context.cluster_memory().await.map(|answers| (answers, me))
    })?;
    answers.retain(|(_, answer)| answer.as_ref().map_or(true, |report| report.incarnation != me));
    Ok(answers)
}

/// Asks a cluster something. Joins for a moment as a driver does: only a member knows the others.
pub fn visit<T>(
    what: &str,
    address: &str,
    question: impl AsyncFnOnce(&Context) -> mobula_runtime::Result<T>,
) -> Result<T, Box<dyn std::error::Error>> {
    let name = format!("{what}-{}", std::process::id());
    let key = ClusterKey::of_process()?;
    let real = Env::real(RealConfig { node: name.clone(), key, ..RealConfig::default() })?;
    let (resources, spill) = (Resources::none(), Vec::new());
    let settings = NodeSettings { name, resources, store: OWN_STORE, spill, ..NodeSettings::default() };
    let node = real.block_on(Node::join(&real.env, address, settings))?;
    let answer = real.block_on(async {
        let answer = question(node.context()).await;
        node.leave(GOODBYE).await;
        answer
    });
    real.kill();
    Ok(answer?)
}

fn json(reports: &[MemoryReport]) -> String {
    let document = serde_json::json!({ "nodes": reports, "jobs": by_job(reports) });
    serde_json::to_string_pretty(&document).unwrap_or_else(|why| format!("error: {why}"))
}

fn table(reports: &[MemoryReport], objects: bool) -> String {
    let heads = [
        "node",
        "capacity",
        "used",
        "peak",
        "primary",
        "cached",
        "creating",
        "lingering",
        "pinned",
        "spilled",
        "files",
        "objects",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(reports.iter().map(|node| {
        let usage = node.usage;
        let bytes = [
            usage.capacity,
            usage.total(),
            usage.peak,
            usage.sealed_primary,
            usage.sealed_cached,
            usage.creating,
            usage.lingering,
            usage.pinned,
            usage.spilled,
        ];
        let bytes = bytes.iter().map(ByteSize::to_string);
        let counts = [usage.files.to_string(), node.objects.len().to_string()];
        std::iter::once(node.node.clone()).chain(bytes).chain(counts).collect::<Vec<String>>()
    }));
    let mut text = aligned(&rows);
    let mut owners = vec![["node", "owner", "memory", "spilled", "objects"].map(str::to_owned).to_vec()];
    for node in reports {
        owners.extend(node.owners.iter().map(|owner| {
            let (who, objects) = (owner.owner.to_string(), owner.objects.to_string());
            vec![node.node.clone(), who, owner.memory.to_string(), owner.spilled.to_string(), objects]
        }));
    }
    text += &format!("\n{}\n{}", aligned(&owners), aligned(&job_rows(reports)));
    if objects {
        text += &format!("\n{}\n{}", aligned(&object_rows(reports)), aligned(&departed_rows(reports)));
    }
    text
}

fn job_rows(reports: &[MemoryReport]) -> Vec<Vec<String>> {
    let mut rows = vec![["job", "memory", "spilled", "objects"].map(str::to_owned).to_vec()];
    rows.extend(by_job(reports).into_iter().map(|usage| {
        let job = usage.job.map_or("unknown".to_owned(), |job| named(reports, job));
        vec![job, usage.memory.to_string(), usage.spilled.to_string(), usage.objects.to_string()]
    }));
    rows
}

/// The name of a process, if it is among these.
fn named(reports: &[MemoryReport], who: Incarnation) -> String {
    let found = reports.iter().find(|report| report.incarnation == who);
    found.map_or(who.to_string(), |report| report.node.clone())
}

/// Who keeps an object, by its owner's word.
fn holders(reports: &[MemoryReport], owned: &Holding) -> String {
    let counts = [
        (owned.local, "references"),
        (owned.arguments, "arguments"),
        (owned.inside, "inside values"),
        (owned.lineage, "lineage"),
    ];
    let mut held: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    held.extend(owned.borrowers.iter().map(|by| named(reports, *by)));
    if held.is_empty() { "nobody".to_owned() } else { held.join(", ") }
}

fn object_rows(reports: &[MemoryReport]) -> Vec<Vec<String>> {
    let heads = [
        "node", "object", "size", "state", "copy", "on disk", "pins", "views", "age", "idle", "job", "made by",
        "copies", "held by",
    ];
    let owners = owned(reports);
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for node in reports {
        rows.extend(node.objects.iter().map(|object| {
            let copy = if object.primary { "primary" } else { "cached" };
            let on_disk = if object.on_disk { "yes" } else { "no" };
            let says = owners.get(&object.object);
            let told = |tell: &dyn Fn(&Holding) -> String| says.map_or("?".to_owned(), |owned| tell(owned));
            vec![
                node.node.clone(),
                object.object.to_string(),
                object.size.to_string(),
                object.state.clone(),
                copy.to_owned(),
                on_disk.to_owned(),
                object.pins.to_string(),
                object.views.to_string(),
                object.age.to_string(),
                object.idle.to_string(),
                told(&|owned| named(reports, owned.job)),
                told(&|owned| owned.maker.to_string()),
                told(&|owned| owned.copies.iter().map(|at| named(reports, *at)).collect::<Vec<_>>().join(" ")),
                told(&|owned| holders(reports, owned)),
            ]
        }));
    }
    rows
}

fn departed_rows(reports: &[MemoryReport]) -> Vec<Vec<String>> {
    let mut rows = vec![["node", "left memory", "size", "ago", "why"].map(str::to_owned).to_vec()];
    for node in reports {
        rows.extend(node.departed.iter().map(|gone| {
            let (object, size, ago) = (gone.object.to_string(), gone.size.to_string(), gone.age.to_string());
            vec![node.node.clone(), object, size, ago, gone.why.clone()]
        }));
    }
    rows
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}
