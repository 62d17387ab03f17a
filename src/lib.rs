//! Mobula: a distributed runtime that is trusted because every failure has been rehearsed.
//!
//! Tasks, actors, objects with owners and lineage, a scheduler and lazy streaming Arrow Datasets. The same runtime code
//! runs in one process, on a cluster, and inside two deterministic simulators; `mobula run FILE` plays a scenario in any
//! of them.
//!
//! ```no_run
//! use mobula::prelude::*;
//!
//! #[mobula::task]
//! fn total(xs: Tensor<f64>) -> f64 {
//!     xs.iter().sum() // a view of shared memory, not a copy
//! }
//!
//! #[mobula::main] // this binary is driver, node and worker
//! async fn main(ctx: Context) -> Result<()> {
//!     let data = ctx.put(&Tensor::from(vec![1.0; 1_000_000])).await?;
//!     let a = total(&data).submit(&ctx)?; // a promise; never blocks
//!     let b = total(&data).max_retries(5).submit(&ctx)?;
//!     println!("{} {}", ctx.get(&a).await?, ctx.get(&b).await?);
//!     Ok(())
//! }
//! ```
//!
//! An actor is an object with state in the cluster. Its calls run in order; a handle is a value like any other.
//!
//! ```no_run
//! use mobula::prelude::*;
//!
//! struct Counter(u64);
//!
//! #[mobula::actor]
//! impl Counter {
//!     pub fn new(start: u64) -> Self {
//!         Self(start)
//!     }
//!
//!     pub fn add(&mut self, n: u64) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//!
//!     #[save] // with these two its state survives its node
//!     fn save(&self) -> u64 {
//!         self.0
//!     }
//!
//!     #[restore]
//!     fn restore(sum: u64) -> Self {
//!         Self(sum)
//!     }
//! }
//!
//! async fn count(ctx: Context) -> Result<u64> {
//!     let counter = Counter::actor(0).max_restarts(3).exactly_once().create(&ctx)?;
//!     counter.add(1).submit(&ctx)?;
//!     ctx.get(&counter.add(1).submit(&ctx)?).await
//! }
//! ```
//!
//! The rooms of the house, and what must not happen in each: `ARCHITECTURE.md`.

#[cfg(not(madsim))]
mod program;

pub use mobula_data as data;
pub use mobula_macros::{main, mobula_actor as actor, mobula_task as task};
pub use mobula_runtime as runtime;
pub use mobula_scenarios as scenarios;
pub use mobula_sim as sim;
#[cfg(not(madsim))]
pub use program::{ADDRESS, program};

/// What most programs use.
pub mod prelude {
    pub use mobula_data::{Block, Dataset, Expr, ReadDatasets, asc, col, desc, lit};
    pub use mobula_runtime::{
        Actor, ActorInit, Blob, ByteSize, Context, Error, Nanos, ObjectRef, Rest, Result, Strided, Tensor,
    };
}
