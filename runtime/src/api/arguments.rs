//! The arguments of a call under construction, whatever is called.
//!
//! A reference is passed as it is. A value travels inside the call if it is small; a larger one, or one more than a message
//! should carry, is put into this node's store when the call is submitted, and passed by reference (as Ray's
//! `prepare_args` does above 100 KiB, or 10 MiB in sum). Unlike in Ray the submission does not wait for room in the store:
//! the argument is a promise, for which the call waits as for any other, and with whose error it fails.

use super::call::IntoArg;
use super::context::Context;
use super::keeper::Given;
use super::reference::ObjectRef;
use crate::Error;
use mobula_protocol::{Amount, Arg, INLINE_TOTAL, ObjectId, Resources, TaskErrorKind};
use mobula_store::codec::Encoded;
use std::any::Any;

/// Arguments in order, or the first thing that was wrong in the description, which its submission will return.
pub(super) struct Arguments {
    values: Result<Vec<Argument>, Error>,
}

/// An argument as a call keeps it until it is submitted.
pub struct Argument {
    what: What,
    /// Keeps what it refers to alive.
    held: Option<Box<dyn Any + Send>>,
}

enum What {
    Value(Encoded),
    Reference(ObjectId),
}

/// Keeps what arguments refer to alive until the owner has counted the call as its user.
pub(super) type Held = Vec<Box<dyn Any + Send>>;

impl Argument {
    /// An encoded value. The value itself is kept if there are references inside it.
    pub(super) fn value<T: Send + 'static>(encoded: Encoded, value: T) -> Self {
        let held = (!encoded.refs().is_empty()).then(|| Box::new(value) as Box<dyn Any + Send>);
        Self { what: What::Value(encoded), held }
    }

    /// A reference.
    pub(super) fn reference<T: 'static>(reference: &ObjectRef<T>) -> Self {
        Self { what: What::Reference(reference.id()), held: Some(Box::new(reference.clone())) }
    }
}

impl Arguments {
    pub fn new() -> Self {
        Self { values: Ok(Vec::new()) }
    }

    /// Adds the next one.
    pub fn push<T: 'static>(&mut self, value: impl IntoArg<T>) {
        let Ok(values) = &mut self.values else { return };
        match value.into_arg() {
            Ok(argument) => values.push(argument),
            Err(error) => self.values = Err(error),
        }
    }

    /// `resources` with so much of a named one; an impossible number becomes the description's error.
    pub fn resource(&mut self, resources: &mut Resources, name: &str, amount: f64) {
        match Amount::from_f64(amount) {
            Some(amount) => *resources = std::mem::take(resources).with(name, amount),
            None => {
                let message = format!("{amount} {name} is no amount");
                self.refuse(Error::new(TaskErrorKind::Unschedulable, message));
            }
        }
    }

    /// The description cannot be; the first such error counts.
    pub fn refuse(&mut self, error: Error) {
        if self.values.is_ok() {
            self.values = Err(error);
        }
    }

    /// The arguments for another process, and what must live until it has taken them.
    ///
    /// # Errors
    /// The first thing that was wrong, or a value that is too large to travel in a call.
    pub fn hand_over(self, context: &Context) -> Result<(Vec<Given>, Held), Error> {
        let limit = context.shared().inline.0;
        let (mut given, mut held) = (Vec::new(), Held::new());
        let counted = |object: &ObjectId| {
            context.ref_added(*object);
            ObjectRef::adopt(*object, context.clone())
        };
        for argument in self.values? {
            given.push(match argument.what {
                What::Reference(object) => Given::Reference(counted(&object)),
                What::Value(value) if value.len() as u64 <= limit => {
                    Given::Value(value.to_bytes(), value.refs().iter().map(counted).collect())
                }
                What::Value(value) => {
                    let message = format!(
                        "an argument of {} bytes is above {limit}, and would die with this process",
                        value.len()
                    );
                    return Err(Error::new(TaskErrorKind::StoreFull, message));
                }
            });
            held.extend(argument.held);
        }
        Ok((given, held))
    }

    /// The arguments, and what must live until they are submitted. Large values begin their way into the store.
    ///
    /// # Errors
    /// The first thing that was wrong, or the runtime is shut down.
    pub fn finish(self, context: &Context) -> Result<(Vec<Arg>, Held), Error> {
        let limit = context.shared().inline.0;
        let mut left = INLINE_TOTAL.0;
        let (mut args, mut held) = (Vec::new(), Held::new());
        for argument in self.values? {
            args.push(match argument.what {
                What::Reference(object) => Arg::Ref(object),
                What::Value(value) if value.len() as u64 <= limit.min(left) => {
                    left -= value.len() as u64;
                    Arg::Value(value.to_bytes(), value.refs().to_vec())
                }
                What::Value(value) => {
                    let reference = context.begin_put(value)?;
                    let object = reference.id();
                    held.push(Box::new(reference));
                    Arg::Ref(object)
                }
            });
            held.extend(argument.held);
        }
        Ok((args, held))
    }
}
