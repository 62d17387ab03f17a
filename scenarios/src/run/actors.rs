//! Executing `actor`, `find_actor`, `call` and `kill_actor`.

use super::driver::{Done, Driver};
use super::report::Failure;
use super::steps::{failed, is_expected, unexpected};
use crate::actors::{Method, Plan};
use crate::condition::Condition;
use crate::file::{ActorStep, CallStep, Expect, FindActor, KillActor, Literal, Name, ObjectName, Place};
use crate::value::Value;
use mobula_runtime::macros::Handle;
use mobula_runtime::{ActorCall, Error, ObjectRef, Retries};

impl Driver {
    pub async fn create(&self, step: &ActorStep) -> Done {
        let mut args = Vec::new();
        for literal in &step.args {
            args.push(self.argument(literal)?);
        }
        let group = match &step.place {
            Place::Group(name, _) => Some(self.group(name, 0)?),
            _ => None,
        };
        let plan = Plan { step: step.clone(), args, group };
        let handle = (step.class.create)(plan, self.context().clone()).await.map_err(|error| failed(&error))?;
        self.state().actors.insert(step.name.text.clone(), handle);
        Ok("created".to_owned())
    }

    pub async fn find(&self, step: &FindActor) -> Done {
        let found = (step.class.find)(step.public_name.clone(), step.timeout, self.context().clone()).await;
        match (found, &step.expect) {
            (Ok(handle), Expect::Ok) => {
                self.state().actors.insert(step.name.text.clone(), handle);
                Ok("found".to_owned())
            }
            (Err(error), Expect::Error(expected)) if is_expected(expected, &error) => Ok(error.kind.name().to_owned()),
            (Ok(_), expect) => Err(unexpected(format!("expected {expect}, found the actor"))),
            (Err(error), _) => Err(failed(&error)),
        }
    }

    /// A value, or a reference that is resolved before the call.
    fn argument(&self, literal: &Literal) -> Result<Result<Value, ObjectRef<Value>>, Failure> {
        match literal {
            Literal::Object(name) if !self.is_actor(name) => self.one(name, 0).map(Err),
            literal => self.value(literal, 0).map(Ok),
        }
    }

    pub fn call_actor(&self, step: &CallStep) -> Done {
        let handle = self.actor(&step.actor)?;
        if let (true, Some(name)) = (self.method(step)?.streams, &step.name) {
            return self.one_stream(&handle, step, name);
        }
        let mut objects = Vec::new();
        for _ in 0..step.repeat {
            objects.push(self.one_call(&handle, step)?.map_err(|error| failed(&error))?);
        }
        if let Some(name) = &step.name {
            self.state().objects.insert(name.text.clone(), objects);
        }
        Ok(if step.repeat == 1 { "called".to_owned() } else { format!("called {} times", step.repeat) })
    }

    fn one_call(&self, handle: &Handle, step: &CallStep) -> Result<Result<ObjectRef<Value>, Error>, Failure> {
        let call = self.described(handle.call::<Value>(self.method(step)?.path), step)?;
        Ok(call.submit(self.context()))
    }

    /// Calls a method that yields.
    fn one_stream(&self, handle: &Handle, step: &CallStep, name: &Name) -> Done {
        let call = self.described(handle.stream::<Value>(self.method(step)?.path), step)?;
        let call = step.backpressure.into_iter().fold(call, ActorCall::backpressure);
        let stream = call.submit(self.context()).map_err(|error| failed(&error))?;
        self.state().streams.insert(name.text.clone(), stream);
        Ok("called".to_owned())
    }

    fn described<R>(&self, mut call: ActorCall<Value, R>, step: &CallStep) -> Result<ActorCall<Value, R>, Failure> {
        if let Some(name) = &step.name {
            call = call.label(&name.text);
        }
        for literal in &step.args {
            call = match self.argument(literal)? {
                Ok(value) => call.arg::<Value>(value),
                Err(reference) => call.arg::<Value>(&reference),
            };
        }
        if let Some(times) = step.max_retries {
            let budget = (times < u32::MAX).then_some(times);
            call = call.retries(Retries { crashes: budget, errors: Some(0), losses: budget, memory: Some(0) });
        }
        Ok(if step.unordered { call.unordered() } else { call })
    }

    fn method(&self, step: &CallStep) -> Result<&'static Method, Failure> {
        let class = self.class_of(&step.actor)?;
        let method = class.method(&step.method.text);
        method.ok_or_else(|| unexpected(format!("{class:?} has no `{}`", step.method.text)))
    }

    pub fn kill_actors(&self, step: &KillActor) -> Done {
        for name in &step.actors {
            let handle = self.actor(name)?;
            let context = self.context();
            let ended = match (step.graceful, step.restart) {
                (true, _) => context.terminate_actor(&handle),
                (false, true) => context.restart_actor(&handle),
                (false, false) => context.kill_actor(&handle),
            };
            ended.map_err(|error| failed(&error))?;
        }
        Ok(format!("{} told to end", step.actors.len()))
    }

    fn class_of(&self, name: &Name) -> Result<&'static crate::actors::Class, Failure> {
        let known = self.scenario.actors();
        known.get(&name.text).copied().ok_or_else(|| unexpected(format!("no actor `{}`", name.text)))
    }

    /// Whether `$name` means an actor.
    pub fn is_actor(&self, name: &ObjectName) -> bool {
        self.state().actors.contains_key(&name.name.text)
    }

    /// The actor of this name.
    pub fn actor(&self, name: &Name) -> Result<Handle, Failure> {
        let found = self.state().actors.get(&name.text).cloned();
        found.ok_or_else(|| unexpected(format!("actor `{}` was not created yet, or was released", name.text)))
    }
}

/// Whether results are 1, 2, 3 and so on, beginning again as often as allowed.
///
/// # Errors
/// The first one that is not, or the number of times.
pub(super) fn counting(results: &[Result<Value, Error>], resets: &Condition) -> Result<(), Failure> {
    let (mut before, mut again) = (0, 0);
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(Value::Int(n)) if *n == before + 1 => {}
            Ok(Value::Int(1)) => again += 1,
            Ok(other) => {
                return Err(unexpected(format!("result {index}: expected {} or 1, found {other}", before + 1)));
            }
            Err(error) => return Err(failed(error)),
        }
        before = match result {
            Ok(Value::Int(n)) => *n,
            _ => before,
        };
    }
    match resets.holds(again) {
        true => Ok(()),
        false => Err(unexpected(format!("expected {resets} new beginnings, found {again}"))),
    }
}
