//! The event log of a run: its lines taken apart, and what they can be turned into.
//!
//! | | for |
//! | --- | --- |
//! | [`Event`] | checkers and exporters |
//! | [`perfetto`] | <https://ui.perfetto.dev>: nodes as processes, workers as threads, messages as arrows |
//! | [`shiviz`] | <https://bestchai.bitbucket.io/shiviz/>: hosts, events and vector clocks |
//! | [`html`] | one page without network: the space-time diagram |

mod event;
mod html;
mod messages;
mod perfetto;
mod shiviz;

pub use event::{Event, Names};
pub use html::{Headline, html};
pub use messages::{Arrow, arrows};
pub use perfetto::perfetto;
pub use shiviz::shiviz;

#[cfg(test)]
mod tests;
