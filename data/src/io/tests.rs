//! Files that are as they should be, and files that are not.

use crate::testing::{csv, dataset, now, session};
use crate::{CsvOptions, DataError, DataType, col, count, sum};
use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use parquet::file::metadata::{ColumnChunkMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter};
use std::sync::Arc;

fn read(text: &str, options: CsvOptions) -> Result<String, DataError> {
    let (session, _) = session(&[("d/t.csv", text.as_bytes())]);
    csv(&session.read_csv("d/t.csv", options)?)
}

#[test]
fn csv_types_and_nulls() {
    let text = "i,f,s,empty\n1,1.5,x,\nNA,NA,NA,\n3,2,\"a,\"\"b\",\n";
    assert_eq!(
        read(text, CsvOptions::default().null("NA")).unwrap(),
        "i,f,s,empty\n1,1.5,x,\n,,,\n3,2.0,\"a,\"\"b\",\n"
    );
    let (session, _) = session(&[("t.csv", text.as_bytes())]);
    let schema = session.read_csv("t.csv", CsvOptions::default().null("NA")).unwrap().schema().unwrap();
    let types: Vec<&DataType> = schema.fields().iter().map(|f| f.data_type()).collect();
    assert_eq!(types, [&DataType::Int64, &DataType::Float64, &DataType::Utf8, &DataType::Utf8]);
}

#[test]
fn csv_layouts() {
    let options = CsvOptions::default().header(false).delimiter(b';');
    assert_eq!(read("1;a\n2;b", options).unwrap(), "column_1,column_2\n1,a\n2,b\n");
    assert_eq!(read("a,b\n", CsvOptions::default()).unwrap(), "a,b\n");
    assert_eq!(read("\u{feff}a\r\n1\r\n\r\n2\r\n", CsvOptions::default()).unwrap(), "a\n1\n2\n");
    let typed = CsvOptions::default().column_type("zip", DataType::Utf8);
    assert_eq!(read("zip\n01\n", typed).unwrap(), "zip\n01\n");
}

#[test]
fn csv_mistakes_are_located() {
    let late = |bad: &str| format!("a,b\n{}{bad}\n", "1,2\n".repeat(20_000));
    for (text, message) in [
        ("a,b\n1,2\n1,2,3\n".into(), "d/t.csv:3: 3 fields where 2 were expected"),
        ("a,b\n1,2\n\"x\ny\",1\n5\n".into(), "d/t.csv:5: 1 fields where 2 were expected"),
        (late("7"), "d/t.csv:20002: 1 fields where 2 were expected"),
        (late("7,oops"), "d/t.csv:20002: column `b`: `oops` is not of type Int64"),
        (late("1.5,2"), "d/t.csv:20002: column `a`: `1.5` is not of type Int64"),
        (String::new(), "d/t.csv: corrupt CSV file: it is empty"),
        ("a,a\n1,2\n".into(), "two columns would be named `a`; rename one of them first"),
    ] {
        assert_eq!(read(&text, CsvOptions::default()).unwrap_err().to_string(), message);
    }
    let typed = CsvOptions::default().column_type("c", DataType::Utf8);
    let error = read("a,b\n1,2\n", typed).unwrap_err();
    assert_eq!(error.to_string(), "no column `c`; the columns are a, b");
}

#[test]
fn csv_files_must_agree() {
    let (session, _) = session(&[("d/1.csv", b"a,b\n1,2\n"), ("d/2.csv", b"a,c\n1,2\n")]);
    let error = session.read_csv("d", CsvOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("d/2.csv: schema differs from d/1.csv: "), "{error}");
}

#[test]
fn missing_files_are_named() {
    let (session, _) = session(&[("d/1.csv", b"a\n1\n")]);
    for path in ["nowhere.csv", "nowhere/*.csv", "d/*.parquet"] {
        let error = session.read_csv(path, CsvOptions::default()).unwrap_err();
        assert_eq!(error, DataError::NotFound { pattern: path.into() });
    }
}

/// A Parquet file of 1,000 rows.
fn parquet() -> Vec<u8> {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..1000).map(|i| (i % 3 > 0).then_some(i * i))));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|i| format!("row {i}"))));
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values((0..1000).map(f64::from)));
    let block = now(dataset(vec![("n", numbers), ("t", texts), ("f", floats)], &[300]).collect()).unwrap();
    super::parquet::encode(&block).unwrap().to_vec()
}

#[test]
fn parquet_round_trip_and_pruning() {
    let (session, _) = session(&[("d/a.parquet", &parquet()), ("d/b.parquet", &parquet())]);
    let all = session.read_parquet("d").unwrap();
    assert_eq!(now(all.count()).unwrap(), 2000);
    let summed = all.clone().aggregate([sum("n").alias("n"), count().alias("c")]);
    let expected: i64 = (0..1000).filter(|i| i % 3 > 0).map(|i| i * i).sum();
    assert_eq!(csv(&summed).unwrap(), format!("n,c\n{},2000\n", 2 * expected));
    assert_eq!(csv(&all.clone().limit(2).select(["t"])).unwrap(), "t\nrow 0\nrow 1\n");
    assert_eq!(csv(&all.filter(col("f").gt(998.5)).select(["t"])).unwrap(), "t\nrow 999\nrow 999\n");
}

#[test]
fn corrupt_parquet_is_named_wherever_it_is_corrupt() {
    let good = parquet();
    let mut cases = vec![good[..6].to_vec(), good[..good.len() / 2].to_vec(), b"PAR1 no footer".to_vec(), Vec::new()];
    // Destroy pages, and the footer, in many places.
    for at in (4..good.len()).step_by(97) {
        let mut bad = good.clone();
        bad[at..(at + 8).min(good.len())].fill(0xff);
        cases.push(bad);
    }
    let mut failures = 0;
    for bad in cases {
        let (session, _) = session(&[("d/bad.parquet", &bad)]);
        let answer = session.read_parquet("d/bad.parquet").and_then(|d| now(d.collect()));
        if let Err(e) = answer {
            failures += 1;
            assert!(matches!(&e, DataError::Corrupt { path, .. } if path == "d/bad.parquet"), "{e}");
        }
    }
    assert!(failures > 10, "{failures}");
}

/// The file with a footer in which `change` was made to the first column of its first row group.
fn patched(good: &[u8], change: impl FnOnce(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder) -> Vec<u8> {
    let (body, tail) = good.split_at(good.len() - 8);
    let length = u32::from_le_bytes(tail[..4].try_into().unwrap()) as usize;
    let (pages, footer) = body.split_at(body.len() - length);
    let metadata = ParquetMetaDataReader::decode_metadata(footer).unwrap();
    let mut groups = metadata.row_groups().to_vec();
    let mut columns = groups[0].columns().to_vec();
    columns[0] = change(columns[0].clone().into_builder()).build().unwrap();
    groups[0] = groups[0].clone().into_builder().set_column_metadata(columns).build().unwrap();
    let metadata = metadata.into_builder().set_row_groups(groups).build();
    let mut file = pages.to_vec();
    ParquetMetaDataWriter::new(&mut file, &metadata).finish().unwrap();
    file
}

#[test]
fn a_column_that_is_nowhere_in_the_file_is_refused_before_it_is_read() {
    let (good, answer) = (parquet(), 1000);
    let count = |file: &[u8]| {
        let (session, _) = session(&[("d/a.parquet", file)]);
        session.read_parquet("d/a.parquet").and_then(|d| now(d.collect())).map(|block| block.rows())
    };
    assert_eq!(count(&patched(&good, |column| column)).unwrap(), answer, "the patch itself breaks nothing");
    for bad in [
        patched(&good, |column| column.set_total_compressed_size(-1)),
        patched(&good, |column| column.set_total_compressed_size(1 << 60)),
        patched(&good, |column| column.set_dictionary_page_offset(Some(-1))),
        patched(&good, |column| column.set_dictionary_page_offset(None).set_data_page_offset(i64::MIN)),
        patched(&good, |column| column.set_dictionary_page_offset(None).set_data_page_offset(1 << 40)),
    ] {
        let error = count(&bad).unwrap_err();
        assert_eq!(error.to_string(), "d/a.parquet: corrupt Parquet file: a column lies outside the file");
    }
}

#[test]
fn parquet_files_must_agree() {
    let other = {
        let block = now(dataset(vec![("z", Arc::new(Int64Array::from(vec![1])))], &[]).collect()).unwrap();
        super::parquet::encode(&block).unwrap()
    };
    let (session, _) = session(&[("d/a.parquet", &parquet()), ("d/b.parquet", &other)]);
    let error = session.read_parquet("d/*.parquet").unwrap_err().to_string();
    assert!(error.starts_with("d/b.parquet: schema differs from d/a.parquet: (z: Int64) where (n: Int64"), "{error}");
}

#[test]
fn csv_output_is_shortest_and_exact() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.1), Some(1.0 / 3.0), None, Some(1e300)]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a,b"), Some("q\"q"), None, Some("plain")]));
    let text = csv(&dataset(vec![("f", floats), ("t", texts)], &[1])).unwrap();
    assert_eq!(text, "f,t\n0.1,\"a,b\"\n0.3333333333333333,\"q\"\"q\"\n,\n1e300,plain\n");
}
