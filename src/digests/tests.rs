use super::*;

fn table(rows: &[(&str, [&str; 3])]) -> Table {
    Table(rows.iter().map(|(name, cells)| ((*name).to_owned(), cells.map(str::to_owned))).collect())
}

#[test]
fn a_table_is_read_as_it_was_written() {
    let written = table(&[("A01", ["00ff", "00ff", "-"]), ("a | b", ["failed", "-", "-"])]);
    let read = Table::parse(&written.markdown());
    assert_eq!(read.0.get("A01"), written.0.get("A01"));
    assert_eq!(read.0.len(), 1, "a name with the sign between cells is no row, and is played again");
}

#[test]
fn answers_differ_where_two_worlds_say_different_things() {
    let table = table(&[
        ("same", ["1", "1", "1"]),
        ("once", ["-", "2", "-"]),
        ("other", ["1", "-", "2"]),
        ("failed", ["1", "failed", "1"]),
    ]);
    assert_eq!(table.differing(), ["failed", "other"]);
    assert!(table.markdown().contains("| same | `1` | `1` | `1` | yes |"));
    assert!(table.markdown().contains("| other | `1` | `-` | `2` | no |"));
}
