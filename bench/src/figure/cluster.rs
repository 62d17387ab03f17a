//! The simulated cluster that figures are measured on.

use mobula_runtime::{Nanos, WorldKind};
use mobula_sim::{Cluster, ClusterSettings, ClusterSpec, LinkSpec, NodeSpec, RunOptions};

/// Nodes `N0`, `N1`, ... with so many cpus each.
pub fn nodes(count: usize, cpus: u64) -> Vec<NodeSpec> {
    (0..count).map(|n| NodeSpec::new(&format!("N{n}"), cpus)).collect()
}

/// Runs a driver on it, at most ten minutes of its time.
///
/// # Errors
/// What went wrong, in words.
pub fn simulate<T, F>(
    nodes: Vec<NodeSpec>,
    settings: ClusterSettings,
    driver: impl FnOnce(Cluster) -> F + Send + 'static,
) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let options = RunOptions { world: WorldKind::Turmoil, max_time: Nanos::secs(600), ..RunOptions::default() };
    let spec = ClusterSpec { nodes, settings, link: LinkSpec::default() };
    mobula_sim::run(spec, options, driver).outcome.map_err(|why| why.to_string())?
}

/// An error in words.
pub fn words(why: impl std::fmt::Display) -> String {
    why.to_string()
}
