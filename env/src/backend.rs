//! The worlds behind [`Env`]: real, and one simulator, chosen by `cfg(madsim)`.
//!
//! `turmoil.rs` and `madsim.rs` offer the same functions under the name `simulator`; everything the simulators have in
//! common (machines, faults, cost queues, the disk in memory) is in `sim`.

use crate::compute::{Costs, Resource};
use crate::env::Env;
use crate::net::{Listener, Stream};
use crate::sim::Gated;
use crate::sim::SimPlace;
use mobula_protocol::{ByteSize, Nanos};
use std::future::Future;
use std::io;

#[cfg(not(madsim))]
pub(crate) mod real;

#[cfg(madsim)]
#[path = "backend/madsim.rs"]
pub(crate) mod simulator;
#[cfg(not(madsim))]
#[path = "backend/turmoil.rs"]
pub(crate) mod simulator;

/// Where a life takes place.
#[derive(Clone)]
pub(crate) enum Place {
    #[cfg(not(madsim))]
    Real(real::RealPlace),
    Simulated(SimPlace),
}

impl Place {
    pub(crate) fn now(&self) -> Nanos {
        match self {
            #[cfg(not(madsim))]
            Self::Real(_) => real::now(),
            Self::Simulated(sim) => sim.now(),
        }
    }

    /// The least a modelled wait takes; what is shorter stays on its queue.
    pub(crate) fn tick(&self) -> Nanos {
        match self {
            #[cfg(not(madsim))]
            Self::Real(_) => Nanos::ZERO,
            Self::Simulated(sim) => sim.tick(),
        }
    }

    /// The unjumped wall clock.
    pub(crate) fn wall(&self) -> Nanos {
        match self {
            #[cfg(not(madsim))]
            Self::Real(_) => real::wall(),
            Self::Simulated(sim) => sim.wall(),
        }
    }

    pub(crate) async fn sleep_until(&self, t: Nanos) {
        match self {
            #[cfg(not(madsim))]
            Self::Real(real) => real.sleep_until(t).await,
            Self::Simulated(sim) => simulator::sleep_until(sim, t).await,
        }
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        match self {
            #[cfg(not(madsim))]
            Self::Real(real) => real.spawn(work),
            Self::Simulated(sim) => simulator::spawn(sim, work),
        }
    }

    pub(crate) async fn listen(&self, env: &Env, port: u16) -> io::Result<Listener> {
        match self {
            #[cfg(not(madsim))]
            Self::Real(real) => real.listen(env, port).await,
            Self::Simulated(_) => simulator::listen(env, port).await,
        }
    }

    /// Bytes that nobody has seen before and nobody can foresee; in simulation only the first of these.
    pub(crate) fn nonce(&self) -> io::Result<[u8; 32]> {
        match self {
            #[cfg(not(madsim))]
            Self::Real(_) => real::nonce(),
            Self::Simulated(sim) => Ok(sim.nonce()),
        }
    }

    /// Without a time limit.
    pub(crate) async fn connect(&self, env: &Env, address: &str) -> io::Result<Stream> {
        match self {
            #[cfg(not(madsim))]
            Self::Real(real) => real.connect(env, address).await,
            Self::Simulated(sim) => {
                sim.reachable(env, address).await?;
                simulator::connect(env, address).await
            }
        }
    }

    /// The cost model, in simulation.
    pub(crate) fn costs(&self) -> Option<Costs> {
        match self {
            #[cfg(not(madsim))]
            Self::Real(_) => None,
            Self::Simulated(sim) => Some(sim.costs()),
        }
    }

    /// Queues `bytes` on a resource and returns when they are through; `None` in the real world.
    pub(crate) fn reserve(&self, what: Resource, bytes: ByteSize) -> Option<Nanos> {
        match self {
            #[cfg(not(madsim))]
            Self::Real(_) => None,
            Self::Simulated(sim) => Some(sim.reserve(what, bytes)),
        }
    }

    /// `work`, held while the node is paused.
    pub(crate) fn gated<F: Future>(&self, work: F) -> Gated<F> {
        match self {
            #[cfg(not(madsim))]
            Self::Real(_) => Gated::open(work),
            Self::Simulated(sim) => sim.gated(work),
        }
    }

    /// Whether nothing from `address` can arrive here: a simulated partition, or a machine without power.
    pub(crate) fn is_silent(&self, address: &str) -> bool {
        match self {
            #[cfg(not(madsim))]
            Self::Real(_) => false,
            Self::Simulated(sim) => sim.is_silent(address),
        }
    }
}
