#![doc = include_str!("../README.md")]

pub mod arena;
pub mod codec;
mod error;
pub mod table;

pub use arena::{ALIGN, Arena, Region, View};
pub use error::StoreError;
pub use table::{CopyKind, Created, ObjectInfo, ObjectState, Table, Usage};
