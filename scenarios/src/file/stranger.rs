//! `stranger`: somebody without the cluster's key.

use super::model::{Action, Name};
use super::results;
use super::source::Result;
use super::table::{Item, Table};

/// Somebody on the driver's machine tries something and must be refused.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// What.
    pub attempt: Attempt,
    /// Whether it has a key, of another cluster.
    pub with_key: bool,
}

/// What a stranger tries.
#[derive(Clone, Debug)]
pub enum Attempt {
    /// To become a member.
    Join,
    /// To run a task on this node.
    Submit(Name),
    /// To read this object from this node, which has it.
    Read(Name, Name),
}

impl Stranger {
    /// Who is asked; none for the head.
    pub fn asked(&self) -> Option<&Name> {
        match &self.attempt {
            Attempt::Join => None,
            Attempt::Submit(node) | Attempt::Read(_, node) => Some(node),
        }
    }
}

/// `stranger = "join"`, `stranger = "submit", on = "A"`, `stranger = "read", object = "x", on = "A"`; with `key = "wrong"`
/// unless it has none.
pub(super) fn stranger(table: &mut Table<'_>) -> Result<Action> {
    let word = results::word(table.need::<Item<'_>>("stranger")?, "attempt", &["join", "submit", "read"])?;
    let attempt = match word.as_str() {
        "join" => Attempt::Join,
        "submit" => Attempt::Submit(table.need("on")?),
        _ => Attempt::Read(table.need("object")?, table.need("on")?),
    };
    let with_key = match table.get::<Item<'_>>("key")? {
        Some(item) => results::word(item, "key", &["none", "wrong"])? == "wrong",
        None => false,
    };
    Ok(Action::Stranger(Stranger { attempt, with_key }))
}
