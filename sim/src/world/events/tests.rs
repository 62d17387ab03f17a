#![allow(clippy::disallowed_methods, reason = "the files are not of a simulated world")]

use super::*;

fn parsed(lines: &[&str]) -> Vec<Event> {
    lines.iter().map(|line| Event::parse(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

#[test]
fn processes_are_laid_side_by_side_by_time_and_renumbered() {
    let head = parsed(&["0 1000 head up x", "1 1300 head admit n1.1"]);
    let node = parsed(&["0 1200 A send head 1", "1 1400 A joined n1.1"]);
    let lines = merge(vec![node, head]);
    assert_eq!(lines, ["0 0 head up x", "1 200 A send head 1", "2 300 head admit n1.1", "3 400 A joined n1.1"]);
}

#[test]
fn a_process_keeps_its_own_order_where_its_clock_was_read_out_of_turn() {
    let node = parsed(&["0 50 A send B 1", "1 40 A send B 2", "2 60 A send B 3"]);
    let kinds: Vec<String> = merge(vec![node]).iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["1", "2", "3"]);
}

#[test]
fn a_cut_last_line_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(file(directory.path(), "A"), "0 5 A send B 1\n1 6 A").unwrap();
    std::fs::write(directory.path().join("A.log"), "0 5 A not ours\n").unwrap();
    assert_eq!(merge(read(directory.path()).unwrap()), ["0 0 A send B 1"]);
}

#[test]
fn strangers_are_counted_over_the_lives_of_a_node() {
    let numbers = |numbers: &[u64]| {
        let lines: Vec<String> = numbers.iter().map(|number| format!("0 5 A stranger {number} 127.0.0.1:9")).collect();
        refused(lines.iter().filter_map(|line| Event::parse(line)).chain(parsed(&["9 9 A send B 1"])))
    };
    assert_eq!([numbers(&[]), numbers(&[1, 2, 3]), numbers(&[1, 2, 8, 16])], [0, 3, 16]);
    assert_eq!([numbers(&[1, 1]), numbers(&[1, 2, 1, 2, 1])], [2, 5]);
}
