//! What a value outlives: its task's next run (lineage, the default), other nodes, or all of them.

use super::call::TaskCall;
use super::context::Context;
use super::reference::ObjectRef;
use crate::Error;
use crate::node::Input;
use mobula_protocol::{Durability, TaskErrorKind};

impl Context {
    /// Keeps the value of a reference, whoever owns it, on so many nodes from now on, each of which may spill it and
    /// does not drop it; copies that are lost with their node are made again from the others. 0 and 1 are what every
    /// value has: then a lost one is made again by its task, or not at all if it was put.
    ///
    /// Returns at once. There are fewer copies while they are being made, and while fewer nodes offer resources and do
    /// not drain. A value so small that it lives with its owner has no copies. Ends with the last reference, and with
    /// the owner: copies do not outlive the process that owns the object.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn replicate<T>(&self, reference: &ObjectRef<T>, copies: u32) -> Result<(), Error> {
        self.endure(reference, Durability { replicas: copies, persisted: false })
    }

    /// Writes the value of a reference, whoever owns it, to the folder that all nodes share
    /// ([`NodeSettings::persist`](crate::NodeSettings::persist)), from where it is read back when no node has a copy
    /// any more: then its task does not run again, and what was put is not lost.
    ///
    /// Returns at once; until the value is written, it is lost as any other ([`Context::cluster_waits`] says what is
    /// not written yet). The file goes with the last reference. One is left behind if the object's owner dies.
    ///
    /// # Errors
    /// `Unschedulable` if this node has no such folder, and when the runtime is shut down. If the node that has the
    /// value has none, `cluster_waits` says so.
    pub fn persist<T>(&self, reference: &ObjectRef<T>) -> Result<(), Error> {
        self.endure(reference, Durability { persisted: true, ..Durability::default() })
    }

    /// [`Context::replicate`] and [`Context::persist`] together.
    ///
    /// # Errors
    /// As these.
    pub fn endure<T>(&self, reference: &ObjectRef<T>, durability: Durability) -> Result<(), Error> {
        self.persistable(durability)?;
        self.send(Input::Endure { object: reference.id(), durability })
    }

    /// Whether values can be so durable here.
    pub(super) fn persistable(&self, durability: Durability) -> Result<(), Error> {
        if durability.persisted && !self.shared().objects.persist.is_set() {
            let message = "this node has no folder for persisted values; its settings name one as `persist`";
            return Err(Error::new(TaskErrorKind::Unschedulable, message));
        }
        Ok(())
    }
}

impl<R> TaskCall<R> {
    /// What its results outlive: [`TaskCall::replicas`] and [`TaskCall::persisted`] together.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// On how many nodes each of its results is kept; items of generators too. See [`Context::replicate`].
    pub fn replicas(mut self, copies: u32) -> Self {
        self.durability.replicas = copies;
        self
    }

    /// Each of its results is written outside the cluster; items of generators too. See [`Context::persist`], whose
    /// error becomes one of the submission.
    pub fn persisted(mut self) -> Self {
        self.durability.persisted = true;
        self
    }
}
