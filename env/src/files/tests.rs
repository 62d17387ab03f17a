use super::*;

#[test]
fn star_stands_for_any_characters() {
    for (glob, name) in [("*", "a"), ("*.csv", "x.csv"), ("part-*", "part-"), ("a*b*c", "aXbYbc"), ("x", "x")] {
        assert!(matches(glob, name), "{glob} {name}");
    }
    for (glob, name) in [("*.csv", "x.csv2"), ("x", "xy"), ("a*b*c", "acb"), ("ab*ba", "aba"), ("b*", "ab")] {
        assert!(!matches(glob, name), "{glob} {name}");
    }
}

#[test]
fn written_files_are_listed_and_read_in_ranges() {
    let dir = std::env::temp_dir().join(format!("mobula-files-{}", std::process::id()));
    let files = Files::new(None);
    let path = |name: &str| dir.join("deep").join(name).to_string_lossy().into_owned();
    for name in ["b.csv", "a.csv", "c.txt"] {
        files.write_atomic(&path(name), b"0123456789").unwrap();
    }
    assert_eq!(files.list(&path("*.csv")).unwrap(), [path("a.csv"), path("b.csv")]);
    assert_eq!(files.list(&dir.join("deep").to_string_lossy()).unwrap().len(), 3);
    assert_eq!(files.list(&path("c.txt")).unwrap(), [path("c.txt")]);
    assert_eq!(&files.read_range(&path("a.csv"), 3, 4).unwrap()[..], b"3456");
    assert_eq!(&files.read_range(&path("a.csv"), 8, 100).unwrap()[..], b"89");
    assert!(files.read_range(&path("a.csv"), 100, 1).unwrap().is_empty());
    assert_eq!(files.len(&path("a.csv")).unwrap(), 10);
    files.remove(&path("a.csv")).unwrap();
    files.remove(&path("a.csv")).unwrap();
    let missing = files.read_range(&path("a.csv"), 0, 1).unwrap_err();
    assert!(missing.to_string().contains("a.csv"), "{missing}");
    std::fs::remove_dir_all(&dir).unwrap();
}
