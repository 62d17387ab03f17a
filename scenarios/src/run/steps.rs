//! Executing the driver's verbs.

use super::driver::{Done, Driver};
use super::report::Failure;
use crate::condition::Condition;
use crate::file::{
    Action, Argument, Expect, ExpectedError, Get, Index, Literal, Name, ObjectName, Place, Put, Submit, Wait, Why,
};
use crate::tasks::content;
use crate::value::Value;
use futures_util::future::join_all;
use mobula_runtime::macros::{Many, TaskCall};
use mobula_runtime::{Error, Nanos, ObjectRef, Question, Resources, TaskErrorKind};

/// How often `settle` looks.
const LOOK: Nanos = Nanos::millis(20);

/// An expectation that did not hold.
pub(super) fn unexpected(message: impl Into<String>) -> Failure {
    Failure::new("expect", message)
}

/// An error where there should be none.
pub(super) fn failed(error: &Error) -> Failure {
    let mut failure = unexpected(error.to_string());
    let mut cause = error.cause.as_ref();
    while let Some(error) = cause {
        failure.causal_chain.push(format!("{}: {}", error.kind.name(), error.message));
        cause = error.cause.as_ref();
    }
    failure
}

impl Driver {
    /// Executes one step.
    pub async fn act(&self, action: &Action) -> Done {
        match action {
            Action::Put(put) => self.put(put).await,
            Action::Submit(submit) => match self.drives() {
                Some(job) => self.submit_to(job, submit).await,
                None => self.submit(submit),
            },
            Action::Actor(actor) => self.create(actor).await,
            Action::FindActor(find) => self.find(find).await,
            Action::Job(job) => self.job(job).await,
            Action::Call(call) => self.call_actor(call),
            Action::KillActor(kill) => self.kill_actors(kill),
            Action::Get(get) => self.get(get).await,
            Action::Why(why) => self.why(why).await,
            Action::Stranger(stranger) => self.stranger(stranger).await,
            Action::Group(group) => self.make_group(group),
            Action::Ready(ready) => self.ready(ready).await,
            Action::Next(next) => self.next(next).await,
            Action::Wait(wait) => self.wait(wait).await,
            Action::Release(names) => self.release(names),
            Action::Free(names) => self.each(names, |object| self.context().free(object), "freed"),
            Action::Cancel(names) => self.cancel(names),
            Action::Dataset(dataset) => self.dataset(dataset).await,
            Action::Sleep(time) => {
                self.env().sleep(*time).await;
                Ok("slept".to_owned())
            }
            Action::Settle(bound) => self.settle(*bound).await,
            Action::Fault(fault) => self.inject(fault).await,
            Action::Assert(assert) => self.assert(assert).await,
            Action::Parallel(lists) => Ok(format!("{} lists", lists.len())),
        }
    }

    async fn put(&self, put: &Put) -> Done {
        let value = self.value(&put.value, 0)?;
        let reference = self.context().put(&value).await.map_err(|error| failed(&error))?;
        if let Some(durability) = put.durability {
            self.context().endure(&reference, durability).map_err(|error| failed(&error))?;
        }
        self.state().objects.insert(put.name.text.clone(), vec![reference]);
        Ok("stored".to_owned())
    }

    fn submit(&self, submit: &Submit) -> Done {
        if let (true, [name]) = (submit.function.streams, &submit.names[..]) {
            return self.submit_stream(submit, name);
        }
        let mut objects = Vec::new();
        for number in 0..submit.count {
            let call = TaskCall::<Many<Value>>::new(submit.path()).returns(submit.returns);
            let call = self.call(call, submit, number)?;
            objects.extend(call.submit(self.context()).map_err(|error| failed(&error))?);
        }
        let mut state = self.state();
        match &submit.names[..] {
            [] => {}
            [name] => drop(state.objects.insert(name.text.clone(), objects)),
            names => {
                state.objects.extend(names.iter().zip(objects).map(|(name, object)| (name.text.clone(), vec![object])))
            }
        }
        Ok(if submit.count == 1 { "submitted".to_owned() } else { format!("{} submitted", submit.count) })
    }

    /// The call of the `number`-th of several submissions.
    pub fn call<R>(&self, call: TaskCall<R>, submit: &Submit, number: u64) -> Result<TaskCall<R>, Failure> {
        let mut call = call.label(&submit.label);
        for arg in &submit.args {
            call = match arg {
                Argument::Number(value) => call.arg::<u64>(*value),
                Argument::Seed(seed) => call.arg::<u64>(seed.wrapping_add(number)),
                Argument::Value(Literal::Object(name)) if !self.is_actor(name) => {
                    call.arg::<Value>(&self.one(name, number)?)
                }
                Argument::Values(Literal::Object(name)) => {
                    let objects = self.objects(name, number)?;
                    objects.iter().fold(call, |call, object| call.arg::<Value>(object))
                }
                Argument::Value(value) | Argument::Values(value) => call.arg::<Value>(self.value(value, number)?),
            };
        }
        // A cpu unless the file says otherwise, and it may say none.
        call = call.resource(Resources::CPU, 0.0);
        for (name, amount) in submit.resources.iter() {
            call = call.resource(name, amount.0 as f64 / 10_000.0);
        }
        call = match &submit.place {
            Place::Any => call,
            Place::On(node) => call.on(&node.text),
            Place::Prefer(node) => call.prefer(&node.text),
            Place::Labels(labels) => call.labels(labels.clone()),
            Place::Spread => call.spread(),
            Place::Group(name, index) => {
                let group = self.group(name, number)?;
                match index {
                    None => call.in_group(&group),
                    Some(index) => call.in_bundle(&group, *index),
                }
            }
        };
        if let Some(durability) = submit.durability {
            call = call.durability(durability);
        }
        if let Some(times) = submit.max_retries {
            call = call.max_retries(times);
        }
        if let Some(times) = submit.retry_exceptions {
            call = call.retry_errors(times);
        }
        if let Some(times) = submit.memory_retries {
            call = call.memory_retries(times);
        }
        if let Some((group, weight)) = &submit.share {
            call = call.share(group, *weight);
        }
        if let Some(priority) = submit.priority {
            call = call.priority(priority);
        }
        if submit.accept_replay {
            call = call.accept_replay();
        }
        Ok(call)
    }

    /// A literal as a value.
    pub fn value(&self, literal: &Literal, number: u64) -> Result<Value, Failure> {
        Ok(match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Float(value) => Value::Float(*value),
            Literal::Text(text) => Value::Text(text.clone()),
            Literal::Bytes(size, seed) => Value::Bytes(content(size.0, *seed)),
            Literal::Object(name) if self.is_actor(name) => Value::Actor(self.actor(&name.name)?),
            Literal::Object(name) => Value::Ref(self.one(name, number)?),
            Literal::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    match item {
                        Literal::Object(name) if !self.is_actor(name) => {
                            values.extend(self.objects(name, number)?.into_iter().map(Value::Ref))
                        }
                        item => values.push(self.value(item, number)?),
                    }
                }
                Value::List(values)
            }
        })
    }

    /// The objects a name stands for.
    fn objects(&self, name: &ObjectName, number: u64) -> Result<Vec<ObjectRef<Value>>, Failure> {
        let state = self.state();
        let text = &name.name.text;
        let objects = state.objects.get(text).ok_or_else(|| unexpected(format!("`{text}` was not made yet")))?;
        let index = match name.index {
            None => return Ok(objects.clone()),
            Some(Index::Each) => number,
            Some(Index::Number(index)) => index,
            Some(Index::Column(width)) => {
                let column = objects.iter().skip(usize::try_from(number).unwrap_or(usize::MAX));
                return Ok(column.step_by(usize::try_from(width).unwrap_or(usize::MAX)).cloned().collect());
            }
        };
        let found = usize::try_from(index).ok().and_then(|index| objects.get(index));
        let found =
            found.ok_or_else(|| unexpected(format!("`{text}` is {} objects, none has number {index}", objects.len())));
        found.map(|object| vec![object.clone()])
    }

    /// The one object a name stands for.
    pub fn one(&self, name: &ObjectName, number: u64) -> Result<ObjectRef<Value>, Failure> {
        let mut objects = self.objects(name, number)?;
        match (objects.pop(), objects.len()) {
            (Some(object), 0) => Ok(object),
            (_, others) => {
                let text = &name.name.text;
                Err(unexpected(format!("`{text}` is {} objects; write `${text}[0]` or `${text}[i]`", others + 1)))
            }
        }
    }

    async fn get(&self, get: &Get) -> Done {
        let mut wanted = Vec::new();
        for name in &get.objects {
            let objects = self.objects(name, 0)?;
            let several = objects.len() > 1;
            for (index, object) in objects.into_iter().enumerate() {
                let key = if several { format!("{}[{index}]", name.name.text) } else { name.to_string() };
                wanted.push((key, object));
            }
        }
        let results = join_all(wanted.iter().map(|(_, object)| self.fetch(object, get.timeout))).await;
        if let Expect::Counting(resets) = &get.expect {
            super::actors::counting(&results, resets)?;
        }
        let mut seen = Vec::new();
        for ((key, _), result) in wanted.iter().zip(&results) {
            match &get.expect {
                // When it began again is not for the program to say.
                Expect::Counting(resets) if result.is_ok() && *resets != Condition::exactly(0) => {
                    self.journal.result(key.clone(), "counted".to_owned());
                }
                _ => self.record(key, result),
            }
            self.judge(key, result, &get.expect).await?;
            seen.push(words(result));
        }
        Ok(match &seen[..] {
            [one] => one.clone(),
            [first, .., last] => format!("{} results, from {first} to {last}", seen.len()),
            [] => "no results".to_owned(),
        })
    }

    async fn fetch(&self, object: &ObjectRef<Value>, timeout: Option<Nanos>) -> Result<Value, Error> {
        match timeout {
            Some(limit) => self.context().get_within(object, limit).await,
            None => self.context().get(object).await,
        }
    }

    /// Remembers a result for the digest. A timeout is no result.
    fn record(&self, key: &str, result: &Result<Value, Error>) {
        let text = match result {
            Ok(value) => format!("{:016x}", value.hash()),
            Err(error) if error.kind == TaskErrorKind::GetTimeout => return,
            Err(error) => kind_and_reason(error),
        };
        self.journal.result(key.to_owned(), text);
    }

    async fn judge(&self, key: &str, result: &Result<Value, Error>, expect: &Expect) -> Result<(), Failure> {
        let holds = match (expect, result) {
            // Judged together with the others.
            (Expect::Counting(_), _) => true,
            (Expect::Ok, result) => result.is_ok(),
            (Expect::Value(literal), Ok(value)) => self.value(literal, 0)? == *value,
            (Expect::Hash(hash), Ok(value)) => value.hash() == *hash,
            (Expect::Error(expected), Err(error)) => is_expected(expected, error),
            (Expect::SameAs(other), result) => {
                let object = self.one(other, 0)?;
                same(result, &self.fetch(&object, None).await)
            }
            (Expect::Value(_) | Expect::Hash(_), Err(_)) | (Expect::Error(_), Ok(_)) => false,
        };
        if holds {
            return Ok(());
        }
        let message = format!("{key}: expected {expect}, found {}", words(result));
        let causes = result.as_ref().err().map_or_else(Vec::new, |error| failed(error).causal_chain);
        Err(Failure { causal_chain: causes, ..unexpected(message) })
    }

    async fn wait(&self, wait: &Wait) -> Done {
        let mut objects = Vec::new();
        for name in &wait.objects {
            objects.extend(self.objects(name, 0)?);
        }
        let count = usize::try_from(wait.count).unwrap_or(usize::MAX);
        let waited = self.context().wait(&objects, count, wait.timeout).await.map_err(|error| failed(&error))?;
        let ready = waited.ready.len() as u64;
        if ready != wait.ready {
            return Err(unexpected(format!("expected {} ready, found {ready} of {}", wait.ready, objects.len())));
        }
        Ok(format!("{ready} of {} ready", objects.len()))
    }

    /// What the task that makes an object waits for, in words.
    async fn why(&self, step: &Why) -> Done {
        let waits = self.context().why(&self.one(&step.object, 0)?).await.map_err(|error| failed(&error))?;
        let found = waits.unwrap_or_else(|| "nothing".to_owned());
        match found.contains(&step.says) {
            true => Ok(found),
            false => Err(unexpected(format!("expected that it waits for {:?}, found {found}", step.says))),
        }
    }

    fn release(&self, names: &[Name]) -> Done {
        // Taken out of the lock before they are dropped.
        let groups: Vec<_> = names.iter().filter_map(|name| self.state().groups.remove(&name.text)).collect();
        let streams: Vec<_> = names.iter().filter_map(|name| self.state().streams.remove(&name.text)).collect();
        let actors: Vec<_> = names.iter().filter_map(|name| self.state().actors.remove(&name.text)).collect();
        let dropped: Vec<_> = names.iter().filter_map(|name| self.state().objects.remove(&name.text)).collect();
        let groups = groups.iter().map(Vec::len).sum::<usize>();
        let count: usize = groups + streams.len() + actors.len() + dropped.iter().map(Vec::len).sum::<usize>();
        Ok(format!("{count} dropped"))
    }

    pub fn each(&self, names: &[Name], act: impl Fn(&ObjectRef<Value>) -> Result<(), Error>, done: &str) -> Done {
        let mut count = 0;
        for name in names {
            for object in self.objects(&ObjectName { name: name.clone(), index: None }, 0)? {
                act(&object).map_err(|error| failed(&error))?;
                count += 1;
            }
        }
        Ok(format!("{count} {done}"))
    }

    /// Waits until no task of the driver is pending and no message of it is under way.
    async fn settle(&self, bound: Nanos) -> Done {
        let from = self.now();
        loop {
            let ledger = self.context().ask(Question::Ledger).await.map_err(|error| failed(&error))?;
            if ledger.pending == 0 && ledger.bundles == 0 && ledger.backlog == 0 {
                return Ok("nothing is in flight".to_owned());
            }
            if self.now().saturating_sub(from) >= bound {
                let mut failure =
                    unexpected(format!("expected nothing in flight, found {} pending tasks", ledger.pending));
                failure.causal_chain = self.context().ask(Question::Waits).await.map_err(|error| failed(&error))?;
                return Err(failure);
            }
            self.env().sleep(LOOK).await;
        }
    }
}

/// A result in words.
pub(super) fn words(result: &Result<Value, Error>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    }
}

/// The part of an error that is the same in all worlds.
pub(super) fn kind_and_reason(error: &Error) -> String {
    match reason(error) {
        Some(reason) => format!("{}({reason})", error.kind.name()),
        None => error.kind.name().to_owned(),
    }
}

/// The reason code of an error, whatever kind of reason it is.
fn reason(error: &Error) -> Option<String> {
    if let TaskErrorKind::ActorDied(death) = error.kind {
        return Some(death.code().to_owned());
    }
    let rebuilt = error.reason().map(|reason| reason.to_string());
    rebuilt.or_else(|| mobula_runtime::death_of(error).map(|death| death.code().to_owned()))
}

fn same(left: &Result<Value, Error>, right: &Result<Value, Error>) -> bool {
    match (left, right) {
        (Ok(left), Ok(right)) => left.hash() == right.hash(),
        (Err(left), Err(right)) => kind_and_reason(left) == kind_and_reason(right),
        _ => false,
    }
}

pub(super) fn is_expected(expected: &ExpectedError, error: &Error) -> bool {
    let reason = reason(error);
    let mut causes = std::iter::successors(error.cause.as_deref(), |error| error.cause.as_deref());
    error.kind.name() == expected.kind
        && expected.reason.as_ref().is_none_or(|wanted| reason.as_ref() == Some(wanted))
        && expected.message.as_ref().is_none_or(|part| error.to_string().contains(part))
        && expected.cause.as_ref().is_none_or(|kind| causes.any(|cause| cause.kind.name() == kind))
}
