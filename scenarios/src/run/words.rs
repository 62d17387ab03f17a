//! Steps in words.

use crate::file::*;
use mobula_runtime::Nanos;
use std::fmt::{self, Display, Formatter, Result};

/// Items with commas between them.
fn list<T>(items: &[T], shown: impl Fn(&T) -> String) -> String {
    items.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn names(names: &[Name]) -> String {
    list(names, |name| name.text.clone())
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Put(put) => write!(f, "put {} as {}", put.value, put.name.text),
            Self::Submit(submit) => submit.fmt(f),
            Self::Actor(actor) => {
                let args = list(&actor.args, Literal::to_string);
                write!(f, "actor {}({args}) as {}", actor.class.name, actor.name.text)?;
                if actor.exactly_once { f.write_str(", exactly once") } else { Ok(()) }
            }
            Self::FindActor(find) => write!(f, "find the {} named {}", find.class.name, find.public_name),
            Self::Call(call) => {
                write!(f, "call {}.{}", call.actor.text, call.method.text)?;
                write!(f, "({})", list(&call.args, Literal::to_string))?;
                if call.repeat > 1 { write!(f, " {} times", call.repeat) } else { Ok(()) }
            }
            Self::KillActor(kill) => write!(f, "kill actor {}", names(&kill.actors)),
            Self::Get(get) => {
                write!(f, "get {}", list(&get.objects, ObjectName::to_string))?;
                get.timeout.map_or(Ok(()), |timeout| write!(f, " within {timeout}"))
            }
            Self::Wait(wait) => {
                write!(f, "wait for {} of {}", wait.count, list(&wait.objects, ObjectName::to_string))?;
                wait.timeout.map_or(Ok(()), |timeout| write!(f, " within {timeout}"))
            }
            Self::Why(why) => write!(f, "why {} waits", why.object),
            Self::Stranger(stranger) => stranger.fmt(f),
            Self::Group(group) => {
                let bundles: Vec<String> = group.bundles.iter().map(|bundle| format!("[{bundle}]")).collect();
                write!(f, "group {} of {}, {}", group.name.text, bundles.join(" "), group.strategy.name())?;
                if group.count > 1 { write!(f, ", {} times", group.count) } else { Ok(()) }
            }
            Self::Ready(ready) => write!(f, "ready {}", ready.group.text),
            Self::Next(next) => write!(f, "next {} of {}", next.count, next.stream.text),
            Self::Release(objects) => write!(f, "release {}", names(objects)),
            Self::Free(objects) => write!(f, "free {}", names(objects)),
            Self::Cancel(objects) => write!(f, "cancel {}", names(objects)),
            Self::Dataset(dataset) => write!(f, "dataset {}", dataset.name.text),
            Self::Job(job) => match &job.attach {
                Some(other) => write!(f, "job {}, goes on with {}", job.name.text, other.text),
                None => write!(f, "job {}", job.name.text),
            },
            Self::Parallel(lists) => write!(f, "{} lists of steps in parallel", lists.len()),
            Self::Sleep(time) => write!(f, "sleep {time}"),
            Self::Settle(_) => f.write_str("settle"),
            Self::Fault(fault) => fault.fmt(f),
            Self::Assert(_) => f.write_str("assert"),
        }
    }
}

impl Display for Submit {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let arg = |arg: &Argument| match arg {
            Argument::Number(number) | Argument::Seed(number) => number.to_string(),
            Argument::Value(value) | Argument::Values(value) => value.to_string(),
        };
        write!(f, "submit {}({})", self.function.name, list(&self.args, arg))?;
        if self.count > 1 {
            write!(f, " {} times", self.count)?;
        }
        if !self.names.is_empty() {
            write!(f, " as {}", names(&self.names))?;
        }
        match &self.place {
            Place::Any => Ok(()),
            Place::On(node) => write!(f, " on {}", node.text),
            Place::Prefer(node) => write!(f, " on {} if it lives", node.text),
            Place::Labels(labels) => {
                let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                write!(f, " where {}", labels.join(", "))
            }
            Place::Spread => f.write_str(" spread"),
            Place::Group(group, None) => write!(f, " in {}", group.text),
            Place::Group(group, Some(index)) => write!(f, " in {}[{index}]", group.text),
        }
    }
}

impl Display for Stranger {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(if self.with_key { "a stranger with a wrong key " } else { "a stranger " })?;
        match &self.attempt {
            Attempt::Join => f.write_str("joins"),
            Attempt::Submit(node) => write!(f, "submits to {}", node.text),
            Attempt::Read(object, node) => write!(f, "reads {} from {}", object.text, node.text),
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Bytes(size, _) => write!(f, "{size}"),
            Self::List(items) => write!(f, "[{}]", list(items, Literal::to_string)),
            Self::Object(object) => write!(f, "${object}"),
        }
    }
}

impl Display for ObjectName {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.name.text)?;
        match self.index {
            None => Ok(()),
            Some(Index::Each) => f.write_str("[i]"),
            Some(Index::Number(number)) => write!(f, "[{number}]"),
            Some(Index::Column(width)) => write!(f, "[i::{width}]"),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Kill(node) => write!(f, "kill {}", node.text),
            Self::PowerOff(node) => write!(f, "power off {}", node.text),
            Self::Pause(node) => write!(f, "pause {}", node.text),
            Self::Resume(node) => write!(f, "resume {}", node.text),
            Self::Restart(node) => write!(f, "restart {}", node.text),
            Self::WipeHead => f.write_str("wipe the log of head"),
            Self::Drain(node) => write!(f, "drain {}", node.text),
            Self::Partition { a, b, oneway: false } => write!(f, "partition {} from {}", a.text, b.text),
            Self::Partition { a, b, oneway: true } => write!(f, "partition {} to {}, one way", a.text, b.text),
            Self::Heal(None) => f.write_str("heal all"),
            Self::Heal(Some((a, b))) => write!(f, "heal {} and {}", a.text, b.text),
            Self::Hold { a, b } => write!(f, "hold messages between {} and {}", a.text, b.text),
            Self::ReleaseMessages { a, b } => write!(f, "release messages between {} and {}", a.text, b.text),
            Self::SlowLink { a, b, latency } => write!(f, "slow the link of {} and {} by {latency}", a.text, b.text),
            Self::Loss { a, b, probability } => {
                write!(f, "lose {} % between {} and {}", probability * 100.0, a.text, b.text)
            }
            Self::Rpc { fault, .. } => write!(f, "rpc fault {fault}"),
            Self::ClockJump { node, nanos } => {
                let sign = if *nanos < 0 { "back" } else { "forward" };
                write!(f, "move the clock of {} {sign} by {}", node.text, Nanos(nanos.unsigned_abs()))
            }
            Self::AddNode(node) => write!(f, "add node {} ({})", node.name.text, node.resources),
            Self::ShrinkStore { node, to } => write!(f, "shrink the store of {} to {to}", node.text),
            Self::Disk(node, DiskChange::Full) => write!(f, "fill the disk of {}", node.text),
            Self::Disk(node, DiskChange::Errors(rate)) => write!(f, "let {rate} of all writes fail on {}", node.text),
            Self::Disk(node, DiskChange::Slower(times)) => write!(f, "slow the disk of {} by {times}", node.text),
            Self::Disk(node, DiskChange::Mended) => write!(f, "mend the disk of {}", node.text),
            Self::DamageSpill(node, damage) => write!(f, "{damage} the spill files of {}", node.text),
            Self::Evict { object, node, .. } => write!(f, "evict {} from {}", object.text, node.text),
        }
    }
}

impl Display for Trigger {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::At(time) => write!(f, "at {time}"),
            Self::Finished { label, goal: Goal::Count(count) } => {
                write!(f, "when {count} of {} are finished", label.text)
            }
            Self::Finished { label, goal: Goal::Percent(share) } => {
                write!(f, "when {share} % of {} are finished", label.text)
            }
            Self::Sealed(object) => write!(f, "when {} is sealed", object.text),
            Self::Moved(bytes) => write!(f, "when {bytes} were moved"),
            Self::Probe { site, nth: 1 } => write!(f, "when `{site}` is reached"),
            Self::Probe { site, nth } => write!(f, "when `{site}` is reached {nth} times"),
            Self::Beginning => f.write_str("from the beginning"),
        }
    }
}

impl Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> Result {
        match self {
            Self::Ok => f.write_str("a value"),
            Self::Value(value) => write!(f, "{value}"),
            Self::Hash(hash) => write!(f, "a value with hash {hash:016x}"),
            Self::SameAs(other) => write!(f, "the same as {other}"),
            Self::Counting(resets) => write!(f, "1, 2, 3 and so on, beginning again {resets} times"),
            Self::Error(error) => {
                write!(f, "the error {}", error.kind)?;
                error.reason.as_ref().map_or(Ok(()), |reason| write!(f, "({reason})"))?;
                error.message.as_ref().map_or(Ok(()), |part| write!(f, " that says {part:?}"))?;
                error.cause.as_ref().map_or(Ok(()), |cause| write!(f, " because of {cause}"))
            }
        }
    }
}
