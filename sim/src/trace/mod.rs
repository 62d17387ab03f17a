//! The event log of a run: its lines taken apart, and what they can be turned into.
//!
//! | | for |
//! | --- | --- |
//! | [`Event`] | checkers and exporters |
//! | [`perfetto`] | <https://ui.perfetto.dev>: nodes as processes, workers as threads, messages as arrows |
//! | [`shiviz`] | <https://bestchai.bitbucket.io/shiviz/>: hosts, events and vector clocks |
//! | [`html`] | one page without network: the space-time diagram |
//! | [`support`] | searches: what the results of a run rest on |
//! | [`times`], [`order`] | a run that is played again: how long its messages and executions took, and whether it went the same way |

mod event;
mod html;
mod messages;
mod perfetto;
mod shiviz;
mod support;
mod times;

pub use event::{Event, Names};
pub use html::{Headline, html};
pub use messages::{Arrow, arrows};
pub use perfetto::perfetto;
pub use shiviz::shiviz;
pub use support::support;
pub use times::{BadEvent, Order, order, times};

#[cfg(test)]
mod tests;
