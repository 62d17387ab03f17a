//! What a table keeps of an object besides its bytes, in a process of its own: its memory grows by that and nothing else.

use crate::clock::Stopwatch;
use crate::machine;
use mobula_protocol::TaskId;
use mobula_runtime::{ByteSize, Incarnation, Nanos, StoreError};
use mobula_store::{ALIGN, Arena, CopyKind, Table};
use serde::{Deserialize, Serialize};

/// The arena plans for objects of 4 KiB on average, so it needs that much address space for each; none of it is touched.
const SPACE: u64 = 4096;

/// What tables took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// Growth of the process from empty tables to full ones, by the number of objects.
    pub bytes_per_object: f64,
    /// Growth of the process by one empty table, whose arena has room for so many objects.
    pub empty_table: f64,
    /// Nanoseconds to create and seal one, on average over all.
    pub nanos_per_object: f64,
}

/// Makes `tables` tables and puts `objects` objects into each, which nobody writes: only what is kept of them is in memory.
///
/// # Errors
/// An arena that this machine does not have, or no word from the system on the memory in use.
pub fn measure(objects: u64, tables: u64) -> Result<Metadata, String> {
    let before = machine::resident()?;
    let capacity = ByteSize(SPACE * (objects + 1));
    let arena = || Arena::heap(capacity).map_err(|why| format!("an arena for {objects} objects: {why}"));
    let mut all = (0..tables).map(|_| arena().map(Table::new)).collect::<Result<Vec<_>, _>>()?;
    let empty = machine::resident()?;
    let watch = Stopwatch::start();
    for table in &mut all {
        fill(table, objects).map_err(|why| why.to_string())?;
    }
    let nanos_per_object = watch.seconds() * 1e9 / (objects * tables) as f64;
    let full = machine::resident()?;
    let growth = |from: u64, to: u64| to.saturating_sub(from) as f64 / tables as f64;
    let bytes_per_object = growth(empty, full) / objects as f64;
    Ok(Metadata { bytes_per_object, empty_table: growth(before, empty), nanos_per_object })
}

fn fill(table: &mut Table, objects: u64) -> Result<(), StoreError> {
    let owner = Incarnation::new(1, 1);
    for seq in 0..objects {
        let object = TaskId { owner, seq }.result(0);
        let created = table.create(Nanos::ZERO, object, ByteSize(ALIGN), CopyKind::Primary)?;
        table.seal(Nanos::ZERO, object, created.region)?;
    }
    Ok(())
}
