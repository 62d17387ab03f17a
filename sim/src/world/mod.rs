//! The worlds behind a [`Cluster`](crate::Cluster), and what is known about the lives of its nodes.

#[cfg(not(madsim))]
mod events;
mod lives;
#[cfg(not(madsim))]
mod process;
#[cfg(not(madsim))]
pub(crate) mod real;
pub(crate) mod simulated;

pub(crate) use lives::Lives;

use crate::fault::FaultError;
use crate::spec::{HEAD, HEAD_LOG, NodeSpec};
use mobula_env::DiskDamage;

/// Where the machines are. The verbs are called for machines that exist and in states that allow them.
pub(crate) enum World {
    Simulated(simulated::Simulated),
    #[cfg(not(madsim))]
    Real(real::Real),
}

impl World {
    pub(crate) async fn start(&self, spec: &NodeSpec) -> Result<(), FaultError> {
        match self {
            Self::Simulated(simulated) => simulated.start(spec).await,
            #[cfg(not(madsim))]
            Self::Real(real) => return real.start(spec),
        }
        Ok(())
    }

    pub(crate) async fn restart(&self, spec: &NodeSpec) -> Result<(), FaultError> {
        match self {
            Self::Simulated(simulated) => simulated.sim.restart(&spec.name).await,
            #[cfg(not(madsim))]
            Self::Real(real) => return real.restart(spec),
        }
        Ok(())
    }

    pub(crate) async fn restart_head(&self) -> Result<(), FaultError> {
        match self {
            Self::Simulated(simulated) => simulated.sim.restart(HEAD).await,
            #[cfg(not(madsim))]
            Self::Real(real) => return real.restart_head(),
        }
        Ok(())
    }

    pub(crate) async fn wipe_head(&self) -> Result<(), FaultError> {
        match self {
            Self::Simulated(simulated) => {
                simulated.sim.damage_files(HEAD, HEAD_LOG, DiskDamage::Lose).await;
            }
            #[cfg(not(madsim))]
            Self::Real(real) => return real.wipe_head(),
        }
        Ok(())
    }

    /// Where the head listens.
    pub(crate) fn head(&self) -> String {
        match self {
            Self::Simulated(_) => simulated::head(),
            #[cfg(not(madsim))]
            Self::Real(real) => real.head().to_owned(),
        }
    }

    /// How many strangers a machine has refused; none if that cannot be told.
    pub(crate) fn refused(&self, node: &str) -> Option<u64> {
        match self {
            Self::Simulated(simulated) => Some(simulated.sim.refused(node)),
            #[cfg(not(madsim))]
            Self::Real(real) => real.refused(node),
        }
    }

    /// Whether the process of a machine has ended by itself, as far as the operating system says.
    pub(crate) fn has_exited(&self, node: &str) -> bool {
        match self {
            // What ends by itself says so: see `Lives`.
            Self::Simulated(_) => {
                let _ = node;
                false
            }
            #[cfg(not(madsim))]
            Self::Real(real) => real.has_exited(node),
        }
    }

    pub(crate) async fn kill(&self, node: &str) -> Result<(), FaultError> {
        match self {
            Self::Simulated(simulated) => simulated.sim.kill(node).await,
            #[cfg(not(madsim))]
            Self::Real(real) => return real.kill(node),
        }
        Ok(())
    }

    pub(crate) async fn power_off(&self, node: &str) -> Result<(), FaultError> {
        match self {
            Self::Simulated(simulated) => simulated.sim.power_off(node).await,
            #[cfg(not(madsim))]
            Self::Real(real) => return real.stop(node, "power_off"),
        }
        Ok(())
    }

    pub(crate) async fn pause(&self, node: &str) -> Result<(), FaultError> {
        match self {
            Self::Simulated(simulated) => simulated.sim.pause(node).await,
            #[cfg(not(madsim))]
            Self::Real(real) => return real.stop(node, "pause"),
        }
        Ok(())
    }

    pub(crate) async fn resume(&self, node: &str) -> Result<(), FaultError> {
        match self {
            Self::Simulated(simulated) => simulated.sim.resume(node).await,
            #[cfg(not(madsim))]
            Self::Real(real) => return real.resume(node),
        }
        Ok(())
    }
}
