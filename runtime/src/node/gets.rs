//! Gets of the application.
//!
//! A get of this process's own objects waits at the owner machine until all of them exist. If they are all inline then, as
//! the results of small tasks are, it is answered from there. Only a get that needs bytes from a store, or objects of
//! another owner, becomes a bundle of the pull machine, which admits, fetches and pins.

use super::core::{Core, Wish};
use super::words::Output;
use crate::Error;
use bytes::Bytes;
use mobula_protocol::owner::{self, Token};
use mobula_protocol::pull::{self, BundleId, Priority};
use mobula_protocol::{Located, ObjectId};
use tokio::sync::oneshot;

/// Takes the values of a get, or the first failure.
pub(super) type Reply = oneshot::Sender<Result<Vec<Bytes>, Error>>;

/// A get that waits for own objects to exist.
pub(super) struct Awaiting {
    objects: Vec<ObjectId>,
    /// By position; inline values only.
    values: Vec<Option<Bytes>>,
    /// How many do not exist yet.
    missing: usize,
    /// Whether one of them is in a store.
    stored: bool,
    priority: Priority,
    reply: Reply,
}

impl Core {
    pub(super) fn get(&mut self, bundle: BundleId, objects: Vec<ObjectId>, priority: Priority, reply: Reply) {
        if objects.iter().any(|object| object.owner() != self.me) {
            return self.pull_all(bundle, objects, priority, reply);
        }
        let values = vec![None; objects.len()];
        let awaiting =
            Awaiting { objects: objects.clone(), values, missing: objects.len(), stored: false, priority, reply };
        self.wishes.insert(bundle, Wish::Await(awaiting));
        for (position, object) in (0..).zip(objects) {
            self.tell_owner(owner::Event::Await { object, token: Token { wait: bundle.0, position } });
        }
    }

    /// One of the awaited objects exists now, or failed for good.
    pub(super) fn exists(&mut self, token: Token, located: Located) {
        let bundle = BundleId(token.wait);
        let Some(Wish::Await(awaiting)) = self.wishes.get_mut(&bundle) else { return };
        awaiting.missing -= 1;
        match located {
            Located::Inline(bytes) => awaiting.values[token.position as usize] = Some(bytes),
            Located::Failed(error) => {
                let Some(awaiting) = self.end_await(bundle, &[token.position]) else { return };
                if let Some(object) = awaiting.objects.get(token.position as usize) {
                    self.log("get-failed", format_args!("{object} {:?}", error.kind));
                }
                // The receiver is gone if the get was given up; a `Drop` follows.
                let _ = awaiting.reply.send(Err(error));
                return;
            }
            Located::Pending | Located::Stored { .. } => awaiting.stored = true,
        }
        if awaiting.missing > 0 {
            return;
        }
        let Some(Wish::Await(Awaiting { objects, values, stored, priority, reply, .. })) = self.wishes.remove(&bundle)
        else {
            return;
        };
        if stored {
            self.pull_all(bundle, objects, priority, reply);
        } else {
            let values: Vec<Bytes> = values.into_iter().flatten().collect();
            self.log_got(&objects, &values);
            let _ = reply.send(Ok(values));
        }
    }

    /// The application has its values, or no longer wants them.
    pub(super) fn drop_get(&mut self, bundle: BundleId) {
        match self.wishes.get(&bundle) {
            Some(Wish::Await(_)) => {
                self.end_await(bundle, &[]);
            }
            Some(_) => {
                self.wishes.remove(&bundle);
                self.tell_pull(pull::Event::Drop { bundle });
            }
            None => {}
        }
    }

    /// What the application reads, by content: see invariants I2 and I4.
    pub(super) fn log_got(&mut self, objects: &[ObjectId], values: &[Bytes]) {
        for (object, value) in objects.iter().zip(values).filter(|_| self.logging) {
            let hash = crate::api::value_hash(value);
            self.out.push(Output::Log { kind: "got", detail: format!("{object} {hash:016x}") });
        }
    }

    fn pull_all(&mut self, bundle: BundleId, objects: Vec<ObjectId>, priority: Priority, reply: Reply) {
        self.wishes.insert(bundle, Wish::Get(objects.clone(), reply));
        self.tell_pull(pull::Event::Want { bundle, objects, priority });
    }

    /// Stops waiting; `told` are the positions that the owner will not mention again although they have no value here.
    fn end_await(&mut self, bundle: BundleId, told: &[u32]) -> Option<Awaiting> {
        let Some(Wish::Await(awaiting)) = self.wishes.remove(&bundle) else { return None };
        if awaiting.missing > 0 {
            for (position, object) in (0..).zip(&awaiting.objects) {
                if awaiting.values[position as usize].is_none() && !told.contains(&position) {
                    let token = Token { wait: bundle.0, position };
                    self.tell_owner(owner::Event::Unawait { object: *object, token });
                }
            }
        }
        Some(awaiting)
    }
}
