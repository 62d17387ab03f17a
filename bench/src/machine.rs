//! What the figures were measured on.

use serde::Serialize;
use std::fmt;

/// The machine this program runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Threads that run at the same time.
    cores: usize,
    /// Bytes of memory, if the system says.
    memory: Option<u64>,
    /// Name and release of the system.
    kernel: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = format!("{} {}", std::env::consts::OS, release.trim()).trim_end().to_owned();
        Self { cores: cores(), memory: meminfo("MemTotal"), kernel }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores, ", self.cores)?;
        if let Some(bytes) = self.memory {
            write!(f, "{:.1} GB, ", bytes as f64 / 1e9)?;
        }
        f.write_str(&self.kernel)
    }
}

/// Threads that run at the same time.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes that can be had without swapping, if the system says.
pub fn available() -> Option<u64> {
    meminfo("MemAvailable")
}

/// Bytes of this process that are in memory now, shared ones included.
///
/// # Errors
/// The system does not say.
pub fn resident() -> Result<u64, String> {
    let path = "/proc/self/smaps_rollup";
    let text = std::fs::read_to_string(path).map_err(|why| format!("{path}: {why}"))?;
    kilobytes(&text, "Rss").ok_or_else(|| format!("{path} has no line `Rss`"))
}

fn meminfo(line: &str) -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/meminfo").ok()?, line)
}

/// The bytes in a line such as `Rss:  12 kB`.
fn kilobytes(text: &str, line: &str) -> Option<u64> {
    let rest = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The commit this program was built from, as far as git knows; with `+` if files differ from it.
#[allow(clippy::disallowed_methods, reason = "git is a program")]
pub fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            std::process::Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output();
        let output = output.ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|files| !files.is_empty());
    Some(if changed { commit + "+" } else { commit })
}
