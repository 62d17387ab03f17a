#![doc = include_str!("../README.md")]

pub mod arena;
pub mod client;
pub mod codec;
mod error;
mod sync;
pub mod table;

pub use arena::{ALIGN, Arena, Region, View};
pub use client::{Client, ClientError, Session};
pub use error::StoreError;
pub use table::{CopyKind, Created, ObjectInfo, ObjectState, Table, Usage};
