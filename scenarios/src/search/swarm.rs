//! A plan drawn from a seed: how many nodes, which kinds of work, which kinds of faults, how much of each.
//!
//! Every seed leaves most kinds out: a run with everything in it hides what only a few together show. Each choice draws
//! from a stream of its own, so that a new kind of work does not change the faults of old seeds. Plans are bounded to what
//! a correct system survives: one node at a time is in trouble, it comes back, and retries are plenty.

use super::Document;
use mobula_sim::Rng;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The kinds of work: how a seed's plan begins, and what is asked at its end.
const WORK: [fn(&mut Draw, &mut Plan, u64); 9] = [map, chain, borrowed, lent, tree, nested, crashes, flaky, dropped];

/// The kinds of messages whose calls may meet faults.
const CALLS: [&str; 14] = [
    "Exchange",
    "LeaseRequest",
    "LeaseGranted",
    "LeaseReturn",
    "PushTask",
    "TaskStarted",
    "TaskDone",
    "Locate",
    "Located",
    "CopyAdded",
    "Free",
    "BorrowAdd",
    "BorrowRemove",
    "View",
];

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
        let streams = ["cluster", "work", "troubles", "calls", "settings"].map(str::to_owned);
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
    nodes: Vec<String>,
    /// Lines of steps.
    work: Vec<String>,
    /// What is asked in the end.
    gets: Vec<String>,
}

fn text(genome: &Genome) -> String {
    let mut plan = Plan::default();
    let mut cluster = genome.draw("cluster");
    let names = ["A", "B", "C", "D"];
    let mut nodes = Vec::new();
    for name in &names[..cluster.number(2, 4) as usize] {
        let (cpus, store) = (cluster.number(1, 3), cluster.of(&["20MB", "50MB", "100MB"]));
        nodes.push(format!("  {{ name = \"{name}\", cpus = {cpus}, store = \"{store}\" }},\n"));
        plan.nodes.push((*name).to_owned());
    }
    let mut kinds = genome.draw("work");
    for (number, work) in WORK.iter().enumerate() {
        if kinds.chance(0.35) {
            work(&mut genome.draw(&format!("work {number}")), &mut plan, number as u64);
        }
    }
    if plan.work.is_empty() {
        map(&mut genome.draw("work 0"), &mut plan, 0);
    }
    let troubles = troubles(&mut genome.draw("troubles"), &plan.nodes);
    let calls = calls(&mut genome.draw("calls"));
    let mut settings = genome.draw("settings");
    let (timeout, inline) = (settings.of(&["1s", "2s", "3s"]), settings.of(&["100KB", "1KB", "10B"]));
    let buggify = settings.chance(0.5);

    let mut out = format!("name = \"swarm {}\"\nsource = \"mobula sweep --swarm\"\nsteps = [\n", genome.seed);
    let indented = |lines: &[String]| lines.iter().map(|line| format!("    {line},\n")).collect::<String>();
    if troubles.is_empty() {
        out += &plan.work.iter().map(|line| format!("  {line},\n")).collect::<String>();
    } else {
        let (work, troubles) = (indented(&plan.work), indented(&troubles));
        out += &format!("  {{ parallel = [[\n{work}  ], [\n{troubles}  ]] }},\n");
    }
    for get in &plan.gets {
        out += &format!("  {{ get = \"{get}\", expect = \"ok\" }},\n");
    }
    let _ = write!(out, "]\n\n[cluster]\nnodes = [\n{}]\n\n[settings]\n", nodes.concat());
    let _ = write!(
        out,
        "max_time = \"40s\"\nhealth_period = \"200ms\"\nhealth_timeout = \"{timeout}\"\ninline = \"{inline}\"\n"
    );
    let _ = write!(out, "buggify = {buggify}\n{calls}");
    out
}

/// How the argument of one of `count` submissions names its own object.
fn each(count: u64) -> &'static str {
    if count > 1 { "[i]" } else { "" }
}

/// Values made here and used there.
fn map(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, bytes, seed) = (draw.number(1, 6), draw.of(&["100B", "2KB", "200KB", "2MB"]), draw.number(1, 99));
    let place = draw.of(&["", ", strategy = \"spread\"", ", prefer = \"A\"", ", prefer = \"B\""]);
    plan.work.push(format!(
        "{{ submit = \"produce\", as = \"x{k}\", bytes = \"{bytes}\", seed = {seed}, count = {count}, max_retries = 20{place} }}"
    ));
    let (place, each) =
        (draw.of(&["", ", strategy = \"spread\"", ", prefer = \"A\"", ", prefer = \"B\""]), each(count));
    plan.work.push(format!(
        "{{ submit = \"consume\", args = [\"$x{k}{each}\"], as = \"y{k}\", count = {count}, max_retries = 20{place} }}"
    ));
    if draw.chance(0.5) {
        plan.work.push(format!("{{ get = \"y{k}\", expect = \"ok\" }}"));
    }
    if draw.chance(0.3) {
        plan.gets.push(format!("x{k}"));
    }
    plan.gets.push(format!("y{k}"));
}

/// A value that depends on a value that depends on a value.
fn chain(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let bytes = draw.of(&["2KB", "200KB", "1MB"]);
    plan.work.push(format!("{{ submit = \"produce\", as = \"c{k}x0\", bytes = \"{bytes}\", max_retries = 20 }}"));
    let depth = draw.number(1, 5);
    for step in 1..=depth {
        let place = draw.of(&["", ", prefer = \"A\"", ", prefer = \"B\""]);
        let before = step - 1;
        plan.work.push(format!(
            "{{ submit = \"chain\", args = [\"$c{k}x{before}\"], as = \"c{k}x{step}\", max_retries = 20{place} }}"
        ));
        if draw.chance(0.5) {
            plan.work.push(format!("{{ release = \"c{k}x{before}\" }}"));
        }
    }
    if draw.chance(0.5) {
        plan.work.push(format!("{{ sleep = \"{}ms\" }}", draw.number(50, 2_000)));
    }
    plan.gets.push(format!("c{k}x{depth}"));
}

/// The driver's objects, read through references inside an argument.
fn borrowed(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (bytes, count) = (draw.of(&["1KB", "300KB", "1MB"]), draw.number(1, 4));
    plan.work.push(format!("{{ put = \"b{k}p\", bytes = \"{bytes}\", seed = {k} }}"));
    plan.work.push(format!(
        "{{ submit = \"read_inside\", args = [[\"$b{k}p\"]], as = \"b{k}r\", count = {count}, max_retries = 20 }}"
    ));
    if draw.chance(0.6) {
        plan.work.push(format!("{{ release = \"b{k}p\" }}"));
    }
    plan.gets.push(format!("b{k}r"));
}

/// A task's own object, lent to another task. Its owner is a worker's node, so this asks for quiet nodes: the plan says
/// `prefer`, and an owner's death is an error nobody retries. Only used while the producer is asked again on failure.
fn lent(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let count = draw.number(1, 3);
    let each = each(count);
    plan.work.push(format!("{{ put = \"l{k}p\", bytes = \"{}\", seed = {k} }}", draw.of(&["1KB", "500KB"])));
    plan.work.push(format!(
        "{{ submit = \"echo\", args = [[\"$l{k}p\"]], as = \"l{k}e\", count = {count}, max_retries = 20 }}"
    ));
    plan.work.push(format!("{{ release = \"l{k}p\" }}"));
    plan.work.push(format!(
        "{{ submit = \"read_inside\", args = [\"$l{k}e{each}\"], as = \"l{k}r\", count = {count}, max_retries = 20 }}"
    ));
    if draw.chance(0.5) {
        plan.work.push(format!("{{ release = \"l{k}e\" }}"));
    }
    plan.gets.push(format!("l{k}r"));
}

/// Tasks that submit tasks.
fn tree(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (depth, fanout) = (draw.number(1, 3), draw.number(1, 3));
    plan.work.push(format!(
        "{{ submit = \"tree\", as = \"t{k}\", depth = {depth}, fanout = {fanout}, max_retries = 20, retry_exceptions = 20 }}"
    ));
    plan.gets.push(format!("t{k}"));
}

/// Tasks that wait for tasks.
fn nested(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let depth = draw.number(1, 5);
    plan.work.push(format!(
        "{{ submit = \"nest\", args = [42], as = \"n{k}\", depth = {depth}, max_retries = 20, retry_exceptions = 20 }}"
    ));
    plan.gets.push(format!("n{k}"));
}

/// Workers that die.
fn crashes(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (times, count) = (draw.number(1, 3), draw.number(1, 3));
    plan.work
        .push(format!("{{ submit = \"crash\", as = \"k{k}\", times = {times}, count = {count}, max_retries = 20 }}"));
    plan.gets.push(format!("k{k}"));
}

/// Tasks that fail at first.
fn flaky(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let times = draw.number(1, 3);
    plan.work.push(format!(
        "{{ submit = \"fail\", as = \"f{k}\", times = {times}, max_retries = 20, retry_exceptions = {times} }}"
    ));
    plan.gets.push(format!("f{k}"));
}

/// Work whose results nobody wants any more.
fn dropped(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, bytes) = (draw.number(1, 8), draw.of(&["1KB", "1MB"]));
    plan.work.push(format!(
        "{{ submit = \"produce_slowly\", as = \"d{k}\", bytes = \"{bytes}\", time = \"{}ms\", count = {count}, max_retries = 20 }}",
        draw.number(10, 800)
    ));
    plan.work.push(format!("{{ submit = \"consume\", args = [\"$d{k}\"], as = \"d{k}c\", max_retries = 20 }}"));
    plan.work.push(format!("{{ sleep = \"{}ms\" }}", draw.number(1, 600)));
    plan.work.push(format!("{{ release = [\"d{k}\", \"d{k}c\"] }}"));
}

/// What happens to nodes and links, one after the other.
fn troubles(draw: &mut Draw, nodes: &[String]) -> Vec<String> {
    let mut steps = Vec::new();
    for _ in 0..draw.number(0, 3) {
        let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let (victim, peers) = (draw.of(&names), ["driver", "head", names[0], names[1]]);
        let others: Vec<&str> = peers.into_iter().filter(|peer| *peer != victim).collect();
        let peer = draw.of(&others);
        let (before, during) = (draw.number(1, 800), draw.number(1, 1_500));
        let (first, last) = match draw.number(0, 8) {
            0 | 1 => (format!("{{ kill = \"{victim}\" }}"), format!("{{ restart = \"{victim}\" }}")),
            2 => (format!("{{ power_off = \"{victim}\" }}"), format!("{{ restart = \"{victim}\" }}")),
            3 => (format!("{{ pause = \"{victim}\" }}"), format!("{{ restart = \"{victim}\" }}")),
            4 => (format!("{{ partition = [\"{victim}\", \"{peer}\"] }}"), "{ heal = \"all\" }".to_owned()),
            5 => (
                format!("{{ partition = [\"{peer}\", \"{victim}\"], oneway = true }}"),
                "{ heal = \"all\" }".to_owned(),
            ),
            6 => (
                format!("{{ hold = [\"{victim}\", \"{peer}\"] }}"),
                format!("{{ release_messages = [\"{victim}\", \"{peer}\"] }}"),
            ),
            7 => (
                format!("{{ slow_link = [\"{victim}\", \"{peer}\"], latency = \"{}ms\" }}", draw.number(1, 100)),
                "{ heal = \"all\" }".to_owned(),
            ),
            _ => {
                (format!("{{ loss = [\"{victim}\", \"{peer}\"], probability = 0.3 }}"), "{ heal = \"all\" }".to_owned())
            }
        };
        steps.extend([format!("{{ sleep = \"{before}ms\" }}"), first, format!("{{ sleep = \"{during}ms\" }}"), last]);
        // A node cut off for too long was declared dead, and only its next life counts.
        steps.push(format!("{{ restart = \"{victim}\" }}"));
    }
    steps
}

/// What happens to calls.
fn calls(draw: &mut Draw) -> String {
    let mut out = String::new();
    for _ in 0..draw.number(0, 4) {
        let kind =
            draw.of(&["request_lost", "reply_lost", "in_flight", "duplicate", "delay", "reorder", "stale_epoch"]);
        let (method, nth, count) = (draw.of(&CALLS), draw.number(1, 6), draw.number(1, 4));
        let _ = write!(
            out,
            "\n[[fault]]\ndo = {{ rpc = {{ kind = \"{kind}\", method = \"{method}\", nth = {nth}, count = {count} }} }}\n"
        );
    }
    out
}
