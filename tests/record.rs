//! A real run leaves a record, and a simulation plays it again: as a person does it at the command line.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "this test starts the program and writes the files it is given")]

use std::path::PathBuf;
use std::process::{Command, Output};

const SCENARIO: &str = "name = \"a sum of two nodes\"
steps = [
  { submit = \"echo\", args = [20], as = \"x\", on = \"A\" },
  { submit = \"echo\", args = [22], as = \"y\", on = \"B\" },
  { submit = \"sum\", args = [\"$x\", \"$y\"], as = \"z\", on = \"A\" },
  { get = \"z\", expect = { value = 42 } },
]
[cluster]
nodes = [{ name = \"A\", cpus = 1 }, { name = \"B\", cpus = 1 }]
[expect]
failed = 0
";

/// A folder with the scenario and the record of a real run of it, gone when the test ends.
struct Recorded {
    folder: PathBuf,
    scenario: String,
    record: String,
}

impl Recorded {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("mobula-record-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let recorded = Self { scenario: path("sum.toml"), record: path("sum.record"), folder };
        std::fs::write(&recorded.scenario, SCENARIO).expect("the scenario can be written");
        let output = recorded.run(&["--world", "real", "--seed", "5", "--trace", &recorded.record]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        recorded
    }

    /// Runs the scenario with these flags.
    fn run(&self, flags: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mobula"));
        command.current_dir(&self.folder).args(["run", &self.scenario]).args(flags);
        command.env("MOBULA_KEY", "the key of these tests");
        command.output().expect("the program starts")
    }

    /// Plays the record, changed in this way, in the simulator: the document it prints.
    fn play(&self, change: impl Fn(&str) -> String) -> (Option<i32>, serde_json::Value) {
        let output = self.run(&["--json", "--as-recorded", &self.changed(change)]);
        let document = serde_json::from_slice(&output.stdout);
        (output.status.code(), document.unwrap_or_else(|why| panic!("{why}: {}", text(&output))))
    }

    /// Plays the record, changed in this way: it must be refused with these words.
    fn refused(&self, change: impl Fn(&str) -> String, words: &[&str]) {
        refused(&self.run(&["--as-recorded", &self.changed(change)]), words);
    }

    fn changed(&self, change: impl Fn(&str) -> String) -> String {
        let text = std::fs::read_to_string(&self.record).expect("the run wrote a record");
        let path = self.folder.join("changed.record");
        std::fs::write(&path, change(&text)).expect("the record can be written");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn refused(output: &Output, words: &[&str]) {
    let said = text(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}

/// Moves the time of every event of this kind whose line contains `part` by so many milliseconds.
fn later(record: &str, kind: &str, part: &str, millis: u64) -> String {
    let moved = |line: &str| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            [number, at, node, rest] if rest.starts_with(&format!("{kind} ")) && line.contains(part) => {
                let at: u64 = at.parse().expect("a time");
                format!("{number} {} {node} {rest}", at + millis * 1_000_000)
            }
            _ => line.to_owned(),
        }
    };
    record.lines().map(|line| moved(line) + "\n").collect()
}

#[test]
fn a_record_is_played_again_and_must_end_in_the_same_way() {
    let recorded = Recorded::new("same");
    let (code, document) = recorded.play(str::to_owned);
    assert_eq!((code, document["outcome"].as_str()), (Some(0), Some("passed")), "{document}");
    assert_eq!(document["seed"].as_u64(), Some(5), "the seed of the record");
    let played = &document["as_recorded"];
    let (as_recorded, others) = (played["messages"].as_u64(), played["other_messages"].as_u64());
    assert!(as_recorded > Some(10) && as_recorded > others, "{played}");
}

#[test]
fn messages_and_executions_take_the_recorded_time() {
    let recorded = Recorded::new("times");
    let millis = |(code, document): (Option<i32>, serde_json::Value)| {
        assert_eq!(code, Some(0), "{document}");
        document["virtual_ns"].as_u64().expect("a number") / 1_000_000
    };
    let before = millis(recorded.play(str::to_owned));
    let slow_task = millis(recorded.play(|record| {
        let start = record.lines().find(|line| line.contains(" start z t")).expect("z began");
        let task = start.split(' ').nth(5).expect("a task");
        later(record, "finish", task, 7_000)
    }));
    // To clean up takes up to a few periods of the nodes' reports.
    assert!((6_900..9_000).contains(&(slow_task - before)), "{slow_task} ms, {before} ms before");
    // The driver asks A for a lease, and then sends it a task. A request that takes longer than 800 ms is made again.
    let slow_link = millis(recorded.play(|record| later(record, "recv", " A recv ", 600)));
    assert!(slow_link >= before + 1_200, "{slow_link} ms, {before} ms before");
}

#[test]
fn another_end_is_a_failure() {
    let recorded = Recorded::new("other");
    let (code, document) = recorded.play(|record| {
        let digest = record.lines().find(|line| line.starts_with("# digest ")).expect("there is one");
        record.replace(digest, "# digest 00000000000000aa").replace("# tasks 1 1 ", "# tasks 1 2 ")
    });
    assert_eq!((code, document["outcome"].as_str()), (Some(1), Some("failed")));
    let said = document["failure"]["message"].as_str().expect("a failure").to_owned();
    assert!(said.starts_with("the record ended otherwise: digest 00000000000000aa there"), "{said}");
    assert!(said.contains("executions of z: 2 there, 1 here"), "{said}");
    let (code, document) = recorded.play(|record| record.replace("# outcome passed", "# outcome failed"));
    let said = document["failure"]["message"].as_str().expect("a failure").to_owned();
    assert_eq!((code, &*said), (Some(1), "the record ended otherwise: it failed, this run passed"));
}

#[test]
fn what_is_no_record_of_the_scenario_is_refused() {
    let recorded = Recorded::new("refused");
    recorded.refused(|_| SCENARIO.to_owned(), &["changed.record:1", "no record of a real run", "--world real --trace"]);
    recorded.refused(|record| record.replace("# end\n", ""), &["changed.record", "no line `# end`"]);
    recorded.refused(|record| record.replace("# seed", "# sed"), &["changed.record:4", "did you mean `seed`"]);
    let foreign = |record: &str| record.replace("# name a sum", "# name the sum");
    recorded.refused(foreign, &["is a record of `the sum of two nodes`", "sum.toml", "not of `a sum of two nodes`"]);
    refused(&recorded.run(&["--as-recorded", "nowhere.record"]), &["nowhere.record: cannot be read"]);
    let real = recorded.run(&["--world", "real", "--as-recorded", &recorded.record]);
    refused(&real, &["the real world keeps its own times"]);
}
