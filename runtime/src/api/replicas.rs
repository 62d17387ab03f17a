//! Values that are kept on several nodes.

use super::call::TaskCall;
use super::context::Context;
use super::reference::ObjectRef;
use crate::Error;
use crate::node::Input;

impl Context {
    /// Keeps the value of a reference, whoever owns it, on so many nodes from now on, each of which may spill it and does
    /// not drop it; copies that are lost with their node are made again from the others. 0 and 1 are what every value
    /// has: then a lost one is made again by its task, or not at all if it was put.
    ///
    /// Returns at once. There are fewer copies while they are being made, and while fewer nodes offer resources and do not
    /// drain. A value so small that it lives with its owner has no copies. Ends with the last reference, and with the
    /// owner: copies do not outlive the process that owns the object.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn replicate<T>(&self, reference: &ObjectRef<T>, copies: u32) -> Result<(), Error> {
        self.send(Input::Replicate { object: reference.id(), copies })
    }
}

impl<R> TaskCall<R> {
    /// On how many nodes each of its results is kept; items of generators too. See [`Context::replicate`].
    pub fn replicas(mut self, copies: u32) -> Self {
        self.replicas = copies;
        self
    }
}
