//! Clusters to measure on.

use mobula_runtime::{ByteSize, Context, Embedded, EmbeddedNode, HeadSettings, Question, Result, StartError};

/// An embedded cluster, or why there is none; then every figure that needed it says so.
pub struct Lab {
    cluster: Result<Embedded, String>,
}

impl Lab {
    /// What a program gets that asks for nothing: one node with a cpu per core of this machine, in this process.
    pub fn embedded() -> Self {
        Self::of(Embedded::start())
    }

    /// The same with a store of `store` bytes.
    pub fn with_store(store: ByteSize) -> Self {
        let node = EmbeddedNode { store, ..EmbeddedNode::new("local", crate::machine::cores() as u64) };
        Self::of(Embedded::with(&[node], HeadSettings::default(), 0))
    }

    /// The same with a store of `store` bytes that spills to this directory and nowhere else.
    pub fn spilling(store: ByteSize, directory: &str) -> Self {
        let spill = vec![directory.to_owned()];
        let node = EmbeddedNode { store, spill, ..EmbeddedNode::new("local", crate::machine::cores() as u64) };
        Self::of(Embedded::with(&[node], HeadSettings::default(), 0))
    }

    fn of(cluster: Result<Embedded, StartError>) -> Self {
        Self { cluster: cluster.map_err(|why| format!("the cluster does not start: {why}")) }
    }

    /// Runs a driver to its end.
    ///
    /// # Errors
    /// The driver's, or why there is no cluster.
    pub fn drive<T>(&self, driver: impl AsyncFnOnce(&Context) -> Result<T>) -> Result<T, String> {
        let cluster = self.cluster.as_ref().map_err(Clone::clone)?;
        let context = cluster.context().ok_or("the cluster has no node")?;
        cluster.block_on(driver(context)).map_err(|why| why.to_string())
    }
}

/// Waits until the runtime has seen all that this process said so far, and the store has no bytes of dropped objects.
pub async fn settle(context: &Context) -> Result<()> {
    while context.ask(Question::Ledger).await?.usage.total() > ByteSize::ZERO {
        context.env().sleep(mobula_runtime::Nanos::millis(1)).await;
    }
    Ok(())
}
