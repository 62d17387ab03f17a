//! The names of all messages, as serde knows them: a list by hand would go stale.

use super::Message;
use crate::actor::Word;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor, value::Error};

/// A source of no data, which remembers what it was asked for.
struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is no data"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("there is no data"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The variants of an enum.
fn variants<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // It fails by construction; what matters is what was asked for.
    let _ = T::deserialize(Asked(&mut names));
    names
}

impl Message {
    /// What [`Message::name`] can be, in the order of the definition: words about actors and jobs go by names of their own.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        let plain = variants::<Message>().iter().copied().filter(|name| !["Actor", "Job"].contains(name));
        plain.chain(Word::NAMES).chain(crate::job::Word::NAMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::ActorId;
    use crate::{Attempt, Incarnation, LeaseId, TaskId};

    #[test]
    fn every_name_is_known_and_is_what_scenario_files_write() {
        let lease = LeaseId { owner: Incarnation::new(1, 1), seq: 1 };
        let task = TaskId { owner: lease.owner, seq: 1 };
        let cancel = Message::CancelTask { task, attempt: Attempt(1), recursive: false };
        let some = [Message::Leave, Message::LeaseGranted(lease), cancel];
        for message in some {
            assert!(Message::names().any(|name| name == message.name()), "{}", message.name());
        }
        assert!(Message::names().any(|name| name == "PushTask"));
    }

    #[test]
    fn words_about_actors_have_names_of_their_own() {
        assert!(!Message::names().any(|name| name == "Actor"), "no message calls itself that");
        let actor = ActorId(TaskId { owner: Incarnation::new(1, 1), seq: 1 });
        for word in [Word::Watch(actor), Word::Unwatch(actor), Word::OutOfScope(actor)] {
            assert!(Word::NAMES.contains(&Message::Actor(word).name()));
        }
        assert_eq!(Word::NAMES.len(), variants::<Word>().len());
        assert_eq!(crate::job::Word::NAMES.len(), variants::<crate::job::Word>().len());
    }
}
