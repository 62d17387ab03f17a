//! The event log of a run: its lines taken apart, and what they can be turned into.
//!
//! | | for |
//! | --- | --- |
//! | [`Event`] | checkers and exporters |
//! | [`perfetto`] | <https://ui.perfetto.dev>: nodes as processes, workers as threads, messages as arrows |
//! | [`shiviz`] | <https://bestchai.bitbucket.io/shiviz/>: hosts, events and vector clocks |
//! | [`html`] | one page without network: the space-time diagram |
//! | [`support`] | searches: what the results of a run rest on |

mod event;
mod html;
mod messages;
mod perfetto;
mod shiviz;
mod support;

pub use event::{Event, Names};
pub use html::{Headline, html};
pub use messages::{Arrow, arrows};
pub use perfetto::perfetto;
pub use shiviz::shiviz;
pub use support::support;

#[cfg(test)]
mod tests;
