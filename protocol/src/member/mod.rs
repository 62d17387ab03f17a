//! Membership: who is in the cluster, under which epoch, and who is dead.
//!
//! One machine at the head, [`Roster`], decides; it writes every decision into a numbered log. One machine at each
//! node, the head's included, [`View`], reads that log. All other machines ask their view.
//!
//! **States of a life.** Not heard of, alive, dead; forwards only. A process asks to join under a name. The name gets
//! one [`crate::NodeId`] for ever, the life gets the next [`crate::Epoch`] of one counter for the whole cluster. It
//! ends when it says goodbye, or when the head hears nothing from it for [`MemberSettings::health_timeout`]; the head
//! looks once per [`MemberSettings::health_period`], so the verdict falls within one period after the timeout.
//!
//! **The log.** Entry `n` is a [`MemberEvent`]. `Joined` and `Died` entries go to every living node at once; a
//! newcomer gets the living as of one position instead of all entries. Loads are soft state beside the log: they are
//! passed on once per period, and only those that changed. Each piece of news carries its log position even when it
//! has no entries, so any news shows a gap, and [`view::Effect::Resync`] asks for the rest (snapshot plus tail).
//!
//! **Guarantees:**
//! - ids and epochs are never used again, and no life comes back (invariant I38); two living nodes never share a name;
//! - asking to join is idempotent by `(name, nonce)`: however often it arrives, it names one life, and never revives
//!   it;
//! - a view is at any time exactly a prefix of the head's log, whatever is lost, repeated or overtaken (invariant
//!   I43), and a load is only ever shown for the life that reported it;
//! - a node that is heard in time is not declared dead. If the head itself was away (it comes to its tick more than a
//!   period late), it heard nothing for reasons of its own: everybody counts as heard on waking. One silence is
//!   forgiven once, so even a head that is always late declares the silent dead after twice the timeout and its own
//!   delays;
//! - the head costs a few hundred bytes for each life there ever was; a view costs nothing for the dead.
//!
//! **What must not happen:** a verdict from anybody but the head (a broken connection is not a death); an
//! answer to one life reaching another; a node acting on after [`view::Effect::Fenced`] or
//! [`crate::link::Effect::Fenced`].
//!
//! **Different from Ray:** nodes draw random ids for themselves, and GcsNodeManager keeps names and addresses beside
//! them; here an address carries its epoch. The GCS probes its nodes (`gcs_health_check_manager.h`: every 3 s, dead
//! after 5 misses), here nodes report and any sign of life counts ([`roster::Event::Heard`]). Ray's pub/sub has no
//! offsets and loses messages when the publisher restarts (#22340), here the log is numbered. Ray's syncer for loads
//! is a second protocol, here they ride on the same message. A head that is restarted goes on with the log it kept
//! ([`roster::Event::Resumed`]), so a restart is no event in it, and nobody registers again.

mod cluster_view;
mod join;
pub mod roster;
mod types;
pub mod view;

#[cfg(test)]
mod tests;

pub use cluster_view::{ClusterView, NodeView};
pub use join::{JoinError, JoinRequest, Joined, LONGEST_NAME, MemberSettings, PROTOCOL_VERSION, SettingsError};
pub use roster::Roster;
pub use types::{Member, MemberEvent, NodeLoad};
pub use view::View;
