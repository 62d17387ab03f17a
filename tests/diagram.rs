//! The space-time diagram in a real browser, at 5 and at 50 nodes: it draws without an error and without a network.
//!
//! Needs Chromium: `MOBULA_BROWSER`, or one of the usual names in the path. Without one the test says so,
//! past the harness that swallows what a passing test prints, and does nothing.

#![allow(clippy::disallowed_methods, reason = "a test starts a browser and writes the page it opens")]

use mobula::sim::trace::{Event, Headline, html};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("MOBULA_BROWSER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let found = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    named.into_iter().chain(found).find(|file| file.is_file())
}

/// Every node tells the next one something, works, and the first is killed; then an invariant breaks.
fn events(nodes: usize) -> Vec<Event> {
    let mut lines = vec!["head admit n1.1".to_owned()];
    lines.extend((0..nodes).map(|node| format!("N{node} joined n{node}.1")));
    for round in 0..nodes * 4 {
        let (from, to) = (round % nodes, (round + 1) % nodes);
        lines.push(format!("N{from} send n{to}.1 #{round} PushTask"));
        lines.push(format!("N{to} recv n{from}.1 #{round} Taken"));
        lines.push(format!("N{to} start work t{round}@n{from}.1 attempt 1 under l{round}@n{from}.1"));
        lines.push(format!("N{to} finish t{round}@n{from}.1 attempt 1 returned 00aa"));
    }
    lines.push("world kill N0".to_owned());
    lines.push("N1 gone o7:0@n1.1".to_owned());
    let numbered = lines.iter().enumerate().map(|(number, line)| format!("{number} {} {line}", number * 250_000));
    Event::parse_all(&numbered.collect::<Vec<_>>())
}

#[test]
fn the_diagram_draws_in_a_browser() {
    let Some(browser) = browser() else {
        let why = "no Chromium in the path; set MOBULA_BROWSER to one to see the diagram drawn";
        writeln!(std::io::stderr(), "SKIPPED the_diagram_draws_in_a_browser: {why}").expect("stderr can be written");
        return;
    };
    for nodes in [5, 50] {
        let events = events(nodes);
        let last = events.last().map(|event| event.number);
        let headline = Headline {
            title: format!("{nodes} nodes"),
            outcome: "failed".to_owned(),
            broken: last,
            chain: vec!["o7:0@n1.1 was given up (I26)".to_owned()],
            ..Headline::default()
        };
        let page = std::env::temp_dir().join(format!("mobula-diagram-{}-{nodes}.html", std::process::id()));
        std::fs::write(&page, html(&events, &headline)).expect("the temporary directory can be written");
        let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"];
        let dom = page.with_extension("dom");
        let out = std::fs::File::create(&dom).expect("the temporary directory can be written");
        let url = format!("file://{}", page.display());
        let mut child = Command::new(&browser).args(flags).arg(url).stdout(out).spawn().expect("the browser starts");
        let ended = (0..300).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            child.try_wait().expect("the browser can be waited for").is_some()
        });
        if !ended {
            child.kill().expect("the browser can be ended");
            child.wait().expect("the browser ends");
            panic!("{nodes} nodes: {} gave no page within 30 s", browser.display());
        }
        let dom = std::fs::read_to_string(dom).expect("the browser's page can be read");
        let ready = format!("data-ready=\"{}\"", events.len());
        let hidden = events.iter().filter(|event| event.detail.contains("Heartbeat")).count();
        assert_eq!(hidden, 0, "everything is shown, so that the number of rows is known");
        assert!(dom.contains(&ready), "{nodes} nodes: no {ready} in\n{dom}");
        assert!(dom.contains("gone o7:0@n1.1"), "the violated invariant's event is selected");
        std::fs::remove_file(page).expect("the page can be removed");
    }
}
