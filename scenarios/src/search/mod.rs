//! Searching for failures: plans drawn from a seed, plans changed to reach new situations, and plans made smaller while
//! they fail in the same way.
//!
//! A plan is a scenario file, always: [`swarm`] draws one as text, [`Guided`] keeps the draws that met something new
//! and changes them a little, [`Lineage`] takes away what a success rested on, [`play_twice`] plays one with and without its
//! faults, [`shrink`] takes one apart and puts
//! fewer pieces together again; what they leave can be committed as it is. None knows the grammar beyond where lists and
//! sizes are; whatever makes no sense is refused by the parser that refuses it for people.
//!
//! | | the idea is from |
//! | --- | --- |
//! | swarm testing: each seed draws its own subset of workloads and faults | Groce et al., ISSTA 2012; FoundationDB, TigerBeetle |
//! | keeping plans that reach new situations, and changing them a little | AFL; Mallory, CCS 2023 |
//! | faults that cut every known derivation of a result | Molly: Alvaro et al., SIGMOD 2015 |
//! | shrinking by leaving out ever smaller pieces | Zeller and Hildebrandt, "ddmin", TSE 2002 |
//! | a fault-free run as the oracle for results | invariant I46 |

mod document;
mod guided;
mod lineage;
mod oracle;
mod shrink;
mod strategy;
mod swarm;

pub use document::Document;
pub use guided::Guided;
pub use lineage::Lineage;
pub use oracle::{Oracle, play, play_twice};
pub use shrink::{Shrunk, Signature, shrink};
pub use strategy::{Search, Strategy};
pub use swarm::{Genome, swarm};

#[cfg(test)]
mod tests;
