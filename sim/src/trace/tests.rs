use super::*;

fn events(lines: &[&str]) -> Vec<Event> {
    let numbered = lines.iter().enumerate().map(|(number, line)| format!("{number} {} {line}", number * 1_000_000));
    Event::parse_all(&numbered.collect::<Vec<_>>())
}

fn some() -> Vec<Event> {
    events(&[
        "A joined n1.1",
        "B joined n2.2",
        "A send n2.2 #1 PushTask",
        "B recv n1.1 #1 Taken",
        "B start x t7@n1.1 attempt 1 under l1@n1.1",
        "world kill A",
        "B finish t7@n1.1 attempt 1 returned 00aa",
    ])
}

#[test]
fn a_line_is_taken_apart_and_its_subjects_found() {
    let event = Event::parse("12 3000 A start my label t7@n1.1 attempt 2 under l4@n1.1").expect("a line");
    assert_eq!((event.number, event.at.0, &*event.node, &*event.kind), (12, 3000, "A", "start"));
    assert_eq!(event.subjects().collect::<Vec<_>>(), ["7@n1.1", "l4@n1.1"]);
    assert_eq!(Event::parse("7 0 A got o7:0@n1.1 00aa").expect("a line").subjects().next().as_deref(), Some("7@n1.1"));
    assert_eq!(Event::parse("not a line"), None);
}

#[test]
fn messages_have_two_ends() {
    assert_eq!(arrows(&some()), [Arrow { sent: 2, received: 3 }]);
}

#[test]
fn perfetto_gets_slices_flows_and_instants() {
    let text = perfetto(&some());
    let document: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let phases: Vec<&str> =
        document["traceEvents"].as_array().expect("a list").iter().filter_map(|event| event["ph"].as_str()).collect();
    for (phase, times) in [("s", 1), ("f", 1), ("X", 3), ("M", 4)] {
        assert_eq!(phases.iter().filter(|found| **found == phase).count(), times, "{phase} in {phases:?}");
    }
}

#[test]
fn shiviz_clocks_follow_messages() {
    let text = shiviz(&some());
    let line = text.lines().find(|line| line.contains("recv")).expect("the arrival");
    assert!(line.starts_with(r#"B {"A":2,"B":2} "#), "{line}");
}

#[test]
fn the_page_holds_its_data_and_no_link() {
    let headline = Headline { title: "a </script> b".to_owned(), ..Headline::default() };
    let page = html(&some(), &headline);
    assert!(page.contains(r#""messages":[[2,3]]"#) && page.contains(r"a <\/script> b"));
    assert!(!page.contains("http://") && !page.contains("https://"), "the page must not need a network");
}
