//! Memory of this process and of its machine, as Linux tells it. Elsewhere nothing is known.

use mobula_protocol::ByteSize;
use std::path::{Path, PathBuf};

/// What this process alone has in memory (`RssAnon`): neither files nor memory that it shares, such as an object store's.
pub(crate) fn resident() -> Option<ByteSize> {
    field(&read("/proc/self/status")?, "RssAnon")
}

/// The same of another process; none if it is gone.
pub(crate) fn resident_of(process: u32) -> Option<ByteSize> {
    field(&read(format!("/proc/{process}/status"))?, "RssAnon")
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
mod tests;
