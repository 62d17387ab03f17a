//! What a machine can do, measured once: the constants of the cost model for runs that are to predict it.

use mobula_env::Costs;
use mobula_protocol::{ByteSize, Nanos};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A machine, as `mobula calibrate` measures it. Text form: a line `key = value` each, in whole bytes a second and
/// nanoseconds, `#` before comments.
///
/// All nodes of a run are processes of this one machine and share it: cores, loopback, disk and memory bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Cores.
    pub cores: u32,
    /// Bytes per second between two processes, over loopback, in both directions together.
    pub loopback: ByteSize,
    /// One way of a small message over loopback.
    pub latency: Nanos,
    /// Bytes per second of the disk, written with fsync.
    pub disk: ByteSize,
    /// A small write with fsync.
    pub disk_latency: Nanos,
    /// Bytes per second of a copy in memory.
    pub memory: ByteSize,
    /// Time of a core for each task besides its work: submitting, leasing, starting, reporting.
    pub task: Nanos,
}

/// A text that is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A line that is none of the known ones.
    #[error("line {line}: `{text}` is no `key = whole number` of a profile; the keys are {}", KEYS.join(", "))]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// A key that is not there, or is zero.
    #[error("a profile needs `{0}`, above zero; `mobula calibrate` writes it")]
    Missing(&'static str),
}

const KEYS: [&str; 7] = [
    "cores",
    "loopback_bytes_per_s",
    "latency_ns",
    "disk_bytes_per_s",
    "disk_latency_ns",
    "memory_bytes_per_s",
    "task_ns",
];

impl Profile {
    /// The costs of each node.
    pub fn costs(&self) -> Costs {
        Costs {
            nic: self.loopback,
            disk: self.disk,
            disk_latency: self.disk_latency,
            memory: self.memory,
            task: self.task,
        }
    }

    fn values(&self) -> [u64; 7] {
        [
            u64::from(self.cores),
            self.loopback.0,
            self.latency.0,
            self.disk.0,
            self.disk_latency.0,
            self.memory.0,
            self.task.0,
        ]
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KEYS.iter().zip(self.values()).try_for_each(|(key, value)| writeln!(f, "{key} = {value}"))
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let mut values: BTreeMap<&str, u64> = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let said = text.split('#').next().unwrap_or_default().trim();
            if said.is_empty() {
                continue;
            }
            let wrong = || ProfileError::Line { line, text: said.to_owned() };
            let (key, value) = said.split_once('=').ok_or_else(wrong)?;
            let key = KEYS.into_iter().find(|known| *known == key.trim()).ok_or_else(wrong)?;
            values.insert(key, value.trim().parse().map_err(|_| wrong())?);
        }
        let value =
            |key: &'static str| values.get(key).copied().filter(|value| *value > 0).ok_or(ProfileError::Missing(key));
        Ok(Self {
            cores: u32::try_from(value(KEYS[0])?).unwrap_or(u32::MAX),
            loopback: ByteSize(value(KEYS[1])?),
            latency: Nanos(value(KEYS[2])?),
            disk: ByteSize(value(KEYS[3])?),
            disk_latency: Nanos(value(KEYS[4])?),
            memory: ByteSize(value(KEYS[5])?),
            task: Nanos(value(KEYS[6])?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            cores: 2,
            loopback: ByteSize::mb(1_500),
            latency: Nanos::micros(20),
            disk: ByteSize::mb(900),
            disk_latency: Nanos::micros(300),
            memory: ByteSize::mb(8_000),
            task: Nanos::micros(25),
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = format!("# a machine\n\n{}", profile());
        assert_eq!(text.parse(), Ok(profile()));
        assert_eq!(profile().costs().nic, ByteSize::mb(1_500));
    }

    #[test]
    fn what_is_no_profile_says_where() {
        let wrong = "cores = 2\nkernels = 1".parse::<Profile>().unwrap_err();
        assert_eq!(wrong, ProfileError::Line { line: 2, text: "kernels = 1".to_owned() });
        assert_eq!("cores = 2".parse::<Profile>(), Err(ProfileError::Missing("loopback_bytes_per_s")));
        assert_eq!("cores = 0".parse::<Profile>(), Err(ProfileError::Missing("cores")));
    }
}
