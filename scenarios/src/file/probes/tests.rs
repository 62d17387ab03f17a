//! The list against the sources that say these names.
#![allow(clippy::disallowed_methods, reason = "this test reads the sources of the repository")]

use super::probes;
use std::path::Path;

/// What is called with the name of a place or of a kind of line.
const CALLS: [&str; 5] = [".probe(", ".buggify(", ".emit(", ".log(", "self.note("];

/// The Rust sources below a folder, without tests, as one text.
fn text_of(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "tests" {
            text.push_str(&text_of(&path));
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source can be read"));
        }
    }
    text
}

#[test]
fn every_probe_and_every_kind_of_line_is_in_the_list_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let text: String = ["env/src", "runtime/src", "sim/src/world"].map(|room| text_of(&root.join(room))).concat();
    for call in CALLS {
        for rest in text.split(call).skip(1) {
            // Names that are variables stand as text where they are chosen.
            let Some(rest) = rest.trim_start().strip_prefix('"') else { continue };
            let name = rest.split('"').next().unwrap_or_default();
            assert!(probes().any(|known| known == name), "`{name}` of `{call}` is not in the list");
        }
    }
    for name in probes() {
        assert!(text.contains(&format!("\"{name}\"")), "no source says `{name}`");
    }
}
