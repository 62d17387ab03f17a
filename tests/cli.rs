//! The program as a person starts it: the main job in the worlds of this build, and what wrong input is answered with.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "this test starts the program and writes the files it is given")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const FLIGHTS: &str = "scenarios/flights.toml";

fn mobula(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobula"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    // Not that of whoever runs the tests.
    command.env("MOBULA_KEY", "the key of these tests");
    command.output().expect("the program starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A folder of this test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mobula-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a temporary file can be written");
        path.to_string_lossy().into_owned()
    }

    /// A scenario of one node and one step.
    fn scenario(&self, step: &str) -> String {
        let scenario =
            format!("name = \"x\"\nsteps = [{{ {step} }}]\n[cluster]\nnodes = [{{ name = \"A\", cpus = 1 }}]\n");
        self.write("scenario.toml", scenario.as_bytes())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program must end with `code` and say every one of `words`, and must not panic.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = mobula(arguments);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?} said: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say `{word}`: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn the_main_job_is_right_on_turmoil_and_on_processes() {
    let folder = Folder::new("job");
    for world in ["turmoil", "real"] {
        let out = folder.0.join(world);
        let output = mobula(&["run", FLIGHTS, "--world", world, "--out", &out.to_string_lossy()]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("kill B") && said.contains("as expected"), "{said}");
        for answer in ["carriers", "worst_routes", "months", "manufacturers"] {
            let name = format!("{answer}.csv");
            let expected =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/data/nycflights13/expected").join(&name);
            equal(&out.join(&name), &expected);
        }
    }
}

/// Cell by cell: text and whole numbers to the letter, fractions to 1e-9 of their size.
fn equal(found: &Path, expected: &Path) {
    let [found_text, expected_text] = [found, expected]
        .map(|path| std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display())));
    assert_eq!(found_text.lines().count(), expected_text.lines().count(), "{}", found.display());
    for (row, (a, b)) in found_text.lines().zip(expected_text.lines()).enumerate() {
        for (a, b) in a.split(',').zip(b.split(',')) {
            let near = match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * b.abs(),
                _ => false,
            };
            assert!(a == b || (near && a.contains('.')), "{}:{}: `{a}` is not `{b}`", found.display(), row + 1);
        }
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let folder = Folder::new("seed");
    let output = mobula(&["check", FLIGHTS, "--seed", "7", "--out", &folder.0.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("all equal in both processes"));
}

#[test]
fn wrong_scenarios_are_answered_with_the_line_and_the_nearest_word() {
    let folder = Folder::new("scenario");
    refused(&["run", "nothing.toml"], 2, &["nothing.toml"]);
    let path = folder.scenario("sumbit = \"echo\", as = \"y\"");
    refused(&["run", &path], 2, &["scenario.toml:2", "unknown verb `sumbit`", "did you mean `submit`"]);
    let path = folder.scenario("submit = \"echo\", as = \"y\", args = [1], on = \"Z\"");
    refused(&["run", &path], 2, &["scenario.toml:2", "no node `Z`"]);
    refused(&["run", FLIGHTS, "--world", "mars"], 2, &["`mars`", "turmoil"]);
    refused(&["run", FLIGHTS, "--world", "madsim"], 2, &["cargo madsim-run"]);
}

#[test]
fn a_flag_that_would_be_ignored_is_refused() {
    refused(&["sweep", FLIGHTS, "--seeds", "0..1", "--seed", "1"], 2, &["--seed"]);
    refused(&["check", FLIGHTS, "--json"], 2, &["--json"]);
    refused(&["shrink", FLIGHTS, "--trace", "run.html"], 2, &["--trace"]);
    refused(&["check", FLIGHTS, "--world", "real"], 2, &["nothing happens twice in the real world"]);
    refused(&["run", "scenarios", "--trace", "run.html"], 2, &["is a directory", "--trace takes a file"]);
}

#[test]
fn a_sweep_prints_documents() {
    let folder = Folder::new("sweep");
    let path = folder.scenario("submit = \"echo\", as = \"y\", args = [1]");
    let out = folder.0.join("out");
    let output = mobula(&["sweep", &path, "--seeds", "0..3", "--json", "--out", &out.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let lines = String::from_utf8_lossy(&output.stdout);
    let documents: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("every line is a document")).collect();
    assert_eq!(documents.len(), 4, "{lines}");
    for (seed, document) in documents[..3].iter().enumerate() {
        assert_eq!((document["seed"].as_u64(), document["outcome"].as_str()), (Some(seed as u64), Some("passed")));
    }
    assert_eq!((documents[3]["runs"].as_u64(), documents[3]["failed"].as_u64()), (Some(3), Some(0)));
}

#[test]
fn wrong_data_is_answered_with_the_file_and_the_place() {
    let folder = Folder::new("data");
    let dataset =
        |file: &str, more: &str| folder.scenario(&format!("dataset = \"d\", from = \"{file}\", {more} show = 5"));
    let missing = folder.0.join("missing.csv").to_string_lossy().into_owned();
    refused(&["run", &dataset(&missing, "")], 1, &["no file matches", "missing.csv"]);
    let corrupt = folder.write("corrupt.parquet", b"PAR1 but not for long");
    refused(&["run", &dataset(&corrupt, "")], 1, &["corrupt.parquet", "corrupt Parquet file"]);
    let ragged = folder.write("ragged.csv", b"a,b\n1,2\n3,4,5\n");
    refused(&["run", &dataset(&ragged, "")], 1, &["ragged.csv:3", "3 fields where 2"]);
    let fine = folder.write("fine.csv", b"carrier,n\nUA,1\n");
    refused(&["run", &dataset(&fine, "ops = [{ filter = \"carrrier = 'UA'\" }],")], 1, &["`carrrier`", "`carrier`"]);
}

#[test]
fn wrong_addresses_ports_and_sizes_are_named() {
    let node = ["node", "--name", "A", "--join", "127.0.0.1:1", "--head-grace", "300ms"];
    refused(&node, 1, &["no head at 127.0.0.1:1"]);
    refused(&[&node[..], &["--store", "100TB"]].concat(), 1, &["a store of"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it has an address").port().to_string();
    refused(&["head", "--port", &port], 1, &[&format!("port {port} is in use")]);
}

/// Runs `mobula` with this home directory and no key in its environment.
fn at_home(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobula"));
    command.env("HOME", home).env_remove("MOBULA_KEY").args(arguments);
    command
}

#[test]
fn a_head_makes_its_users_key_and_answers_nobody_else() {
    let (mine, other) = (Folder::new("mine"), Folder::new("other"));
    let mut head = at_home(&mine.0, &["head", "--exit-with-stdin"]);
    let mut head = head.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(head.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says where it listens");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    let file = std::fs::metadata(mine.0.join(".mobula/key")).expect("the head has made it");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let ask = |home: &Path| at_home(home, &["jobs", "--address", &address]).output().expect("it starts");
    let answered = ask(&mine.0);
    assert!(answered.status.success() && text(&answered).contains("no job"), "{}", text(&answered));
    let refused = ask(&other.0);
    assert_eq!(refused.status.code(), Some(1));
    for part in [address.as_str(), "same cluster key", "MOBULA_KEY"] {
        assert!(text(&refused).contains(part), "no `{part}` in: {}", text(&refused));
    }
    let short = at_home(&mine.0, &["jobs", "--address", &address]).env("MOBULA_KEY", "short").output();
    let short = text(&short.expect("it starts"));
    assert!(short.contains("at least 16 bytes"), "{short}");
    drop(head.stdin.take());
    let logged = text(&head.wait_with_output().expect("it ends with its input"));
    assert!(logged.contains("refused 127.0.0.1:") && !logged.contains("refusal 2"), "{logged}");
}
