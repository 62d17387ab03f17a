//! Memory of this process and of its machine, as Linux tells it. Elsewhere nothing is known.

use mobula_protocol::ByteSize;
use std::path::{Path, PathBuf};

/// What this process alone has in memory (`RssAnon`): neither files nor memory that it shares, such as an object store's.
pub(crate) fn resident() -> Option<ByteSize> {
    field(&read("/proc/self/status")?, "RssAnon")
}

/// The memory of the machine, or less if this process's control group, or one around it, has less.
pub(crate) fn machine() -> Option<ByteSize> {
    let all = field(&read("/proc/meminfo")?, "MemTotal")?;
    let files = limit_files(&read("/proc/self/cgroup").unwrap_or_default());
    // `max` is no number, and no limit.
    let limits = files.iter().filter_map(|file| read(file)?.trim().parse().ok().map(ByteSize));
    Some(limits.fold(all, ByteSize::min))
}

/// Whatever cannot be read is as if it were not there.
fn read(file: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// The number of kibibytes in a line such as `MemTotal:  24685304 kB`.
fn field(text: &str, name: &str) -> Option<ByteSize> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(ByteSize(kib.saturating_mul(1024)))
}

/// The files with the limits of these control groups and of all around them, for both versions (cgroups(7)): a container
/// may see its own group as the root.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            other if other.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let inside = Path::new(group.trim_start_matches('/'));
        files.extend(inside.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
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
}
