//! Verbs that break stores and disks.

use super::Cluster;
use crate::fault::FaultError;
use crate::world::World;
use mobula_env::{DiskDamage, DiskFaults, SHARED};
use mobula_protocol::{ByteSize, ObjectId};
use mobula_runtime::{Context, Error, Question, Usage};

#[cfg(not(madsim))]
const NO_MESSAGE: &str = "the node is another process, and no message asks it for that";
#[cfg(not(madsim))]
const NO_FAULTY_DISK: &str = "it would need a faulty file system";

/// What the names of all spill files contain, and no other.
const SPILL_FILES: &str = ".spill";

impl Cluster {
    /// Drops a node's copy of an object in memory, as a full store would; with `force` also one that is nowhere else.
    /// Says whether there was one.
    ///
    /// # Errors
    /// No such node; unsupported for other processes.
    pub async fn evict(&self, node: &str, object: ObjectId, force: bool) -> Result<bool, FaultError> {
        let Some(context) = self.context_of(node, || format!("evict {object} from {node}"))? else { return Ok(false) };
        // A node that is gone has no copy any more.
        Ok(context.ask(|reply| Question::Evict(object, force, reply)).await.unwrap_or(false))
    }

    /// Changes the budget of a node's store, up to what it was started with. What is above it goes as it can.
    ///
    /// # Errors
    /// As [`Cluster::evict`].
    pub async fn shrink_store(&self, node: &str, budget: ByteSize) -> Result<(), FaultError> {
        let Some(context) = self.context_of(node, || format!("shrink the store of {node}"))? else { return Ok(()) };
        // A node that is gone has no store.
        let _ = context.ask(|reply| Question::Shrink(budget, reply)).await;
        Ok(())
    }

    /// What is in a node's store; `None` if the node is gone. In the real world it is asked by a message, as people ask it.
    ///
    /// # Errors
    /// No such node, or it does not answer.
    pub async fn usage(&self, node: &str) -> Result<Option<Usage>, FaultError> {
        self.known(&[node])?;
        if let Some((_, context)) = self.contexts().into_iter().find(|(name, _)| name == node) {
            return Ok(context.ask(Question::Ledger).await.ok().map(|ledger| ledger.usage));
        }
        let Ok(life) = self.0.lives.joined_as(node) else { return Ok(None) };
        let asked = async {
            let view = self.context().ask(Question::Cluster).await?;
            let found = view.nodes.iter().find(|entry| entry.member.incarnation.to_string() == life);
            match found {
                Some(entry) => self.context().memory_of(entry.member.incarnation).await,
                None => Ok(None),
            }
        };
        let failed = |why: Error| FaultError::Os { verb: "look into", name: node.to_owned(), why: why.to_string() };
        asked.await.map(|report| report.map(|report| report.usage)).map_err(failed)
    }

    /// Changes how the disk of a machine, or the [`SHARED`] one, behaves from now on.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn disk_faults(&self, node: &str, change: impl FnOnce(&mut DiskFaults)) -> Result<(), FaultError> {
        self.has_disk(node)?;
        match &self.0.world {
            World::Simulated(simulated) => {
                let mut faults = simulated.sim.disk_faults_of(node);
                change(&mut faults);
                simulated.sim.disk_faults(node, faults).await;
                Ok(())
            }
            #[cfg(not(madsim))]
            World::Real(_) => Err(self.skip(format!("break the disk of {node}"), NO_FAULTY_DISK)),
        }
    }

    /// Damages or removes all spill files of a machine, or those in [`SHARED`] storage. Says how many there were.
    ///
    /// # Errors
    /// No such node; unsupported in the real world.
    pub async fn damage_spill(&self, node: &str, damage: DiskDamage) -> Result<usize, FaultError> {
        self.has_disk(node)?;
        match &self.0.world {
            World::Simulated(simulated) => Ok(simulated.sim.damage_files(node, SPILL_FILES, damage).await),
            #[cfg(not(madsim))]
            World::Real(_) => Err(self.skip(format!("{damage} the spill files of {node}"), NO_FAULTY_DISK)),
        }
    }

    fn has_disk(&self, node: &str) -> Result<(), FaultError> {
        if node == SHARED { Ok(()) } else { self.known(&[node]) }
    }

    /// The spill files on a machine's disk, or in [`SHARED`] storage, whoever left them there; `None` in the real world.
    pub fn spill_files(&self, node: &str) -> Option<usize> {
        match &self.0.world {
            World::Simulated(simulated) => Some(simulated.sim.files(node, SPILL_FILES).len()),
            #[cfg(not(madsim))]
            World::Real(_) => None,
        }
    }

    /// The context of a node in this process; `None` if it is dead.
    fn context_of(&self, node: &str, what: impl FnOnce() -> String) -> Result<Option<Context>, FaultError> {
        self.known(&[node])?;
        let found = self.contexts().into_iter().find(|(name, _)| name == node).map(|(_, context)| context);
        match (found, &self.0.world) {
            (Some(context), _) => Ok(Some(context)),
            #[cfg(not(madsim))]
            (None, World::Real(_)) => Err(self.skip(what(), NO_MESSAGE)),
            #[cfg_attr(madsim, allow(unreachable_patterns, reason = "there is no other world"))]
            (None, World::Simulated(_)) => {
                drop(what);
                Ok(None)
            }
        }
    }
}
