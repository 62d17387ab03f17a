#![doc = include_str!("../README.md")]

pub mod arena;
pub mod client;
pub mod codec;
mod error;
pub mod spill;
mod sync;
pub mod table;

pub use arena::{ALIGN, Arena, Region, View};
pub use client::{Client, ClientError, Loan, Session};
pub use error::StoreError;
pub use spill::{MemoryPolicy, SpillSettings};
pub use table::{
    CopyKind, Created, Departed, DepartedCounts, Departure, ObjectInfo, ObjectState, OwnerUsage, Table, Usage,
};
