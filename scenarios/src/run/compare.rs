//! Comparing a CSV file with the one expected: names, order, whole numbers and text exactly, floats to 1e-9 relative.

/// How far floats may be apart, relative to the larger.
const TOLERANCE: f64 = 1e-9;

/// The first difference between two CSV files, in words; none if they are equal.
///
/// # Errors
/// Text that is no CSV.
pub(super) fn difference(found: &[u8], expected: &[u8]) -> Result<Option<String>, csv::Error> {
    let (found, expected) = (records(found)?, records(expected)?);
    let (Some((names, expected)), Some((found_names, found))) = (expected.split_first(), found.split_first()) else {
        return Ok((expected.len() != found.len()).then(|| "one of the files is empty".to_owned()));
    };
    if names != found_names {
        let (expected, found) = (names.join(", "), found_names.join(", "));
        return Ok(Some(format!("expected the columns {expected}, found {found}")));
    }
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        for ((name, found), expected) in names.iter().zip(found).zip(expected) {
            if !equal(found, expected) {
                return Ok(Some(format!("row {}, column `{name}`: expected {expected:?}, found {found:?}", row + 1)));
            }
        }
    }
    Ok((found.len() != expected.len()).then(|| format!("expected {} rows, found {}", expected.len(), found.len())))
}

fn records(bytes: &[u8]) -> Result<Vec<Vec<String>>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    reader.records().map(|record| Ok(record?.iter().map(str::to_owned).collect())).collect()
}

fn equal(found: &str, expected: &str) -> bool {
    if found == expected {
        return true;
    }
    let whole = |text: &str| text.parse::<i128>().is_ok();
    if whole(expected) && whole(found) {
        return false;
    }
    match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(found), Ok(expected)) => (found - expected).abs() <= TOLERANCE * found.abs().max(expected.abs()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    fn between(found: &str, expected: &str) -> Option<String> {
        difference(found.as_bytes(), expected.as_bytes()).expect("both are CSV")
    }

    #[test]
    fn floats_may_differ_in_the_last_digits_and_nothing_else() {
        let table = "name,n,mean\na,3,7.379669249450677\n";
        assert_eq!(between(table, table), None);
        assert_eq!(between("name,n,mean\na,3,7.379669249450678\n", table), None);
        assert_eq!(
            between("name,n,mean\na,4,7.379669249450677\n", table).expect("a difference"),
            "row 1, column `n`: expected \"3\", found \"4\""
        );
        assert_eq!(
            between("name,n,mean\na,3,7.3796693\n", table).expect("a difference"),
            "row 1, column `mean`: expected \"7.379669249450677\", found \"7.3796693\""
        );
        assert_eq!(
            between("name,mean,n\n", table).expect("a difference"),
            "expected the columns name, n, mean, found name, mean, n"
        );
        assert_eq!(between("name,n,mean\n", table).expect("a difference"), "expected 1 rows, found 0");
        assert_eq!(between("", table).expect("a difference"), "one of the files is empty");
    }
}
