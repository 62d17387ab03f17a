//! `next`, and what `submit` and `cancel` do with generators.

use super::driver::{Done, Driver};
use super::steps::{failed, is_expected, unexpected};
use crate::file::{Name, Next, Submit, Then};
use crate::value::Value;
use mobula_runtime::macros::{Streamed, TaskCall};
use mobula_runtime::{Error, Nanos, ObjectRef, ObjectStream};

impl Driver {
    /// Submits a generator.
    pub fn submit_stream(&self, submit: &Submit, name: &Name) -> Done {
        let call = self.call(TaskCall::<Streamed<Value>>::new(submit.path()), submit, 0)?;
        let call = submit.backpressure.into_iter().fold(call, TaskCall::backpressure);
        let stream = call.submit(self.context()).map_err(|error| failed(&error))?;
        self.state().streams.insert(name.text.clone(), stream);
        Ok("submitted".to_owned())
    }

    /// Takes items, and looks at what comes after them.
    pub async fn next(&self, next: &Next) -> Done {
        let name = &next.stream.text;
        let stream = self.state().streams.remove(name);
        let mut stream = stream.ok_or_else(|| unexpected(format!("another step reads `{name}` at the moment")))?;
        let taken = self.take(&mut stream, next).await;
        self.state().streams.insert(name.clone(), stream);
        taken
    }

    async fn take(&self, stream: &mut ObjectStream<Value>, next: &Next) -> Done {
        let mut items = Vec::new();
        for number in 0..next.count {
            match take_one(stream, next.timeout).await {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Err(unexpected(format!("expected {} items, found {number}", next.count))),
                Err(error) => return Err(failed(&error)),
            }
        }
        if let Some(name) = &next.name {
            self.state().objects.insert(name.text.clone(), items);
        }
        let end = match next.then {
            Then::Anything => return Ok(format!("{} items", next.count)),
            Then::End | Then::Error(_) => take_one(stream, next.timeout).await,
        };
        match (&next.then, end) {
            (Then::End, Ok(None)) => Ok(format!("{} items, and the end", next.count)),
            (Then::Error(expected), Err(error)) if is_expected(expected, &error) => Ok(error.to_string()),
            (_, Ok(Some(_))) => Err(unexpected("expected no more items, found one")),
            (_, Ok(None)) => Err(unexpected("expected an error, found the end")),
            (_, Err(error)) => Err(failed(&error)),
        }
    }

    /// Cancels generators, and the tasks that make objects.
    pub fn cancel(&self, names: &[Name]) -> Done {
        for name in names {
            let cancelled = self.state().streams.get(&name.text).map(ObjectStream::cancel);
            match cancelled {
                Some(cancelled) => cancelled.map_err(|error| failed(&error))?,
                None => {
                    self.each(std::slice::from_ref(name), |object| self.context().cancel(object), "cancelled")?;
                }
            }
        }
        Ok(format!("{} cancelled", names.len()))
    }
}

async fn take_one(stream: &mut ObjectStream<Value>, timeout: Option<Nanos>) -> Result<Option<ObjectRef<Value>>, Error> {
    match timeout {
        Some(limit) => stream.next_within(limit).await,
        None => stream.next().await,
    }
}
