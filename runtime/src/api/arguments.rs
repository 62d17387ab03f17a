//! The arguments of a call under construction, whatever is called.

use super::call::IntoArg;
use crate::Error;
use mobula_protocol::{Amount, Arg, Resources, TaskErrorKind};
use std::any::Any;

/// Arguments in order, or the first thing that was wrong in the description, which its submission will return.
pub(super) struct Arguments {
    values: Result<Vec<Arg>, Error>,
    held: Held,
}

/// Keeps reference arguments alive until the owner has counted the call as their user.
pub(super) type Held = Vec<Box<dyn Any + Send>>;

impl Arguments {
    pub fn new() -> Self {
        Self { values: Ok(Vec::new()), held: Vec::new() }
    }

    /// Adds the next one.
    pub fn push<T: 'static>(&mut self, value: impl IntoArg<T>) {
        let Ok(values) = &mut self.values else { return };
        match value.into_arg() {
            Ok((arg, held)) => {
                values.push(arg);
                self.held.extend(held.map(|held| Box::new(held) as Box<dyn Any + Send>));
            }
            Err(error) => self.values = Err(error),
        }
    }

    /// `resources` with so much of a named one; an impossible number becomes the description's error.
    pub fn resource(&mut self, resources: &mut Resources, name: &str, amount: f64) {
        match Amount::from_f64(amount) {
            Some(amount) => *resources = std::mem::take(resources).with(name, amount),
            None if self.values.is_ok() => {
                let message = format!("{amount} {name} is no amount");
                self.values = Err(Error::new(TaskErrorKind::Unschedulable, message));
            }
            None => {}
        }
    }

    /// The arguments, and what must live until they are submitted.
    ///
    /// # Errors
    /// The first thing that was wrong.
    pub fn finish(self) -> Result<(Vec<Arg>, Held), Error> {
        self.values.map(|values| (values, self.held))
    }
}
