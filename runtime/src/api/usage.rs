//! Whose bytes are in the stores: what owners say of their objects, and the bytes of each job.
//!
//! A store knows objects and their owners. On whose account an object is, and who keeps it from being freed, only its
//! owner knows; so the two accounts are put side by side where somebody asks.

use super::MemoryReport;
use mobula_protocol::owner::Holding;
use mobula_protocol::{ByteSize, Incarnation, ObjectId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The bytes of one job in some stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMemory {
    /// The job's driver; none for objects whose owner did not say.
    pub job: Option<Incarnation>,
    /// In memory: lengths of the objects.
    pub memory: ByteSize,
    /// On disk only.
    pub spilled: ByteSize,
    /// How many copies.
    pub objects: usize,
}

/// What the owners among these nodes say of their objects.
pub fn owned(reports: &[MemoryReport]) -> BTreeMap<ObjectId, &Holding> {
    reports.iter().flat_map(|report| &report.owned).map(|owned| (owned.object, owned)).collect()
}

/// The bytes of each job in the stores of these nodes, in id order. Objects whose owner is not among them, or let go of
/// them a moment ago, are nobody's.
pub fn by_job(reports: &[MemoryReport]) -> Vec<JobMemory> {
    let owned = owned(reports);
    let mut jobs: BTreeMap<Option<Incarnation>, JobMemory> = BTreeMap::new();
    for object in reports.iter().flat_map(|report| &report.objects) {
        let job = owned.get(&object.object).map(|owned| owned.job);
        let none = JobMemory { job, memory: ByteSize::ZERO, spilled: ByteSize::ZERO, objects: 0 };
        let usage = jobs.entry(job).or_insert(none);
        usage.objects += 1;
        match object.state.as_str() {
            "spilled" => usage.spilled += object.size,
            _ => usage.memory += object.size,
        }
    }
    jobs.into_values().collect()
}
