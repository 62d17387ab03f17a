//! `actor`, `find_actor`, `call` and `kill_actor`.

use super::OneOrMany;
use super::model::{ActorStep, CallStep, Expect, KillActor, Literal, Name};
use super::resources;
use super::source::{Result, hint};
use super::submit::place;
use super::table::{Item, Table};
use crate::actors::{CLASSES, Class, class};
use mobula_runtime::Nanos;

/// Find an actor by the name that the cluster knows it by.
#[derive(Clone, Debug)]
pub struct FindActor {
    /// That name.
    pub public_name: String,
    /// What it must be.
    pub class: &'static Class,
    /// What the file calls the handle.
    pub name: Name,
    /// How long to ask.
    pub timeout: Option<Nanos>,
    /// A handle, or an error.
    pub expect: Expect,
}

/// Reads an `actor`.
pub(super) fn actor(table: &mut Table<'_>) -> Result<ActorStep> {
    let class = known_class(table.need("actor")?)?;
    let name = class.name;
    let args: Vec<Literal> = table.or("args", Vec::new())?;
    if args.len() != class.params {
        let message = format!("`{name}` takes {} arguments, not {}", class.params, args.len());
        return Err(table.error(message));
    }
    let step = ActorStep {
        class,
        name: table.need("as")?,
        args,
        place: place(table)?,
        resources: resources(table, 1.0)?,
        max_restarts: times(table, "max_restarts")?,
        max_task_retries: times(table, "max_task_retries")?,
        max_pending_calls: table.get("max_pending_calls")?,
        checkpoint_every: table.get("checkpoint_every")?,
        concurrency: table.get("concurrency")?,
        public_name: table.get("name")?,
        exactly_once: table.or("exactly_once", false)?,
        unordered: table.or("unordered", false)?,
        detached: table.or("detached", false)?,
        get_if_exists: table.or("get_if_exists", false)?,
    };
    if step.get_if_exists && step.public_name.is_none() {
        return Err(table.error("`get_if_exists` needs a `name`"));
    }
    Ok(step)
}

fn known_class(item: Item<'_>) -> Result<&'static Class> {
    let name: String = item.read()?;
    let hint = || hint(&name, CLASSES.iter().map(|class| class.name));
    class(&name).ok_or_else(|| item.error(format!("unknown actor `{name}`{}", hint())))
}

/// Reads a `find_actor`.
pub(super) fn find(table: &mut Table<'_>) -> Result<FindActor> {
    let find = FindActor {
        public_name: table.need("find_actor")?,
        class: known_class(table.need("class")?)?,
        name: table.need("as")?,
        timeout: table.get("timeout")?,
        expect: table.or("expect", Expect::Ok)?,
    };
    match find.expect {
        Expect::Ok | Expect::Error(_) => Ok(find),
        _ => Err(table.error("`find_actor` finds one, or ends with an error")),
    }
}

/// A number, or `"unlimited"`.
fn times(table: &mut Table<'_>, key: &'static str) -> Result<Option<u32>> {
    let Some(item) = table.get::<Item<'_>>(key)? else { return Ok(None) };
    match item.value.as_str() {
        Some("unlimited") => Ok(Some(u32::MAX)),
        Some(_) => item.is_no("a number or \"unlimited\""),
        None => item.read().map(Some),
    }
}

/// Reads a `call`: `actor.method`.
pub(super) fn call(table: &mut Table<'_>) -> Result<CallStep> {
    let item: Item<'_> = table.need("call")?;
    let text: String = item.read()?;
    let Some((actor, method)) = text.split_once('.') else { return item.is_no("an actor and a method: \"c.add\"") };
    Ok(CallStep {
        actor: Name { text: actor.to_owned(), line: item.line },
        method: Name { text: method.to_owned(), line: item.line },
        args: table.or("args", Vec::new())?,
        name: table.get("as")?,
        repeat: table.or("repeat", 1)?,
        unordered: table.or("unordered", false)?,
        max_retries: times(table, "max_retries")?,
        backpressure: table.get("backpressure")?,
    })
}

/// Reads a `kill_actor`.
pub(super) fn kill_actor(table: &mut Table<'_>) -> Result<KillActor> {
    let actors = table.need::<OneOrMany<Name>>("kill_actor")?.0;
    let graceful = table.or("graceful", false)?;
    let restart = table.or("restart", false)?;
    if graceful && restart {
        return Err(table.error("only one of `graceful` and `restart`"));
    }
    Ok(KillActor { actors, graceful, restart })
}
