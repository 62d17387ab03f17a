//! Bugs found against plans played, for the three searches, over the planted bugs: read from the table that
//! `mobula mutants --table sim/MUTANTS.md` writes, so that figure and table never disagree.

use super::chart::{Chart, Line};
use std::path::Path;

/// Reads the table and counts.
#[allow(clippy::disallowed_methods, reason = "a figure is drawn from a file of the project")]
pub fn chart() -> Result<Chart, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("sim").join("MUTANTS.md");
    let table = std::fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    let lines = lines(&table)?;
    Ok(Chart {
        title: "Planted bugs found, against plans played".to_owned(),
        x: "plans played for each bug".to_owned(),
        y: "bugs found".to_owned(),
        lines,
    })
}

/// One line for each column between the bug's name and its invariant.
fn lines(table: &str) -> Result<Vec<Line>, String> {
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut rows = table.lines().filter(|line| line.starts_with('|')).map(cells);
    let head = rows.next().ok_or("there is no table in it")?;
    let until = head.iter().position(|name| name == "invariant").ok_or("the table has no column `invariant`")?;
    let rows: Vec<Vec<String>> = rows.skip(1).filter(|row| row.len() == head.len()).collect();
    let line = |(column, name): (usize, &String)| {
        let mut found: Vec<u32> = rows.iter().filter_map(|row| row[column].parse().ok()).collect();
        found.sort_unstable();
        let steps = (1_u32..).zip(&found).flat_map(|(bugs, plans)| {
            let (plans, bugs) = (f64::from(*plans), f64::from(bugs));
            [(plans, bugs - 1.0), (plans, bugs)]
        });
        Line { name: name.clone(), points: std::iter::once((0.0, 0.0)).chain(steps).collect() }
    };
    Ok(head.iter().enumerate().take(until).skip(1).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_becomes_a_staircase() {
        let table = "words\n\n| planted bug | random | invariant |\n| --- | ---: | --- |\n\
                     | `a` | 3 | I1 |\n| `b` | - | |\n| `c` | 1 | I2 |\n";
        let lines = lines(table).expect("a table");
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].name, "random");
        assert_eq!(lines[0].points, [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (3.0, 1.0), (3.0, 2.0)]);
        assert!(super::lines("no table").is_err());
    }
}
