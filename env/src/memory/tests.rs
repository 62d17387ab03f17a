//! What is read from Linux.

use super::*;

#[test]
fn lines_of_proc_are_read() {
    let text = "MemTotal:       24685304 kB\nMemFree: 1 kB\nRssAnon:\t    2048 kB\n";
    assert_eq!(field(text, "MemTotal"), Some(ByteSize(24_685_304 << 10)));
    assert_eq!(field(text, "RssAnon"), Some(ByteSize(2 << 20)));
    assert_eq!((field(text, "Mem"), field("RssAnon: none", "RssAnon")), (None, None));
}

#[test]
fn groups_are_looked_up_with_all_around_them() {
    let told = |text: &str| -> Vec<String> {
        limit_files(text).iter().map(|file| file.to_string_lossy().into_owned()).collect()
    };
    let root = "/sys/fs/cgroup";
    let two = ["/a.slice/b/memory.max", "/a.slice/memory.max", "/memory.max"].map(|file| format!("{root}{file}"));
    assert_eq!(told("0::/a.slice/b\n"), two);
    let one = ["/memory/x/memory.limit_in_bytes", "/memory/memory.limit_in_bytes"];
    assert_eq!(told("5:cpu:/x\n4:hugetlb,memory:/x\nnonsense"), one.map(|file| format!("{root}{file}")));
}

#[test]
fn what_this_process_takes_is_seen() {
    let (before, machine) = (resident().expect("Linux"), machine().expect("Linux"));
    let taken = vec![1_u8; 64 << 20];
    let after = resident().expect("Linux");
    assert!(after >= before + ByteSize(32 << 20) && after < machine, "{before} {after} {machine}");
    drop(taken);
}
