//! The times that an event log shows, for a simulation that plays the run again, and how far the messages of two runs
//! arrived in the same order.

use super::{Event, Names, arrows};
use crate::spec::HEAD;
use mobula_env::{Execution, Recorded};
use mobula_protocol::Nanos;
use mobula_protocol::link::{Envelope, LinkSettings};
use std::collections::{BTreeMap, BTreeSet};

/// An event that does not say what events of its kind say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {number}: a `{kind}` says {form}, not `{detail}`")]
pub struct BadEvent {
    /// Its index among the events.
    pub at: usize,
    /// Its number.
    pub number: u64,
    /// Its kind.
    pub kind: String,
    /// What such an event says.
    pub form: &'static str,
    /// What this one says.
    pub detail: String,
}

impl BadEvent {
    fn new(at: usize, event: &Event, form: &'static str) -> Self {
        let Event { number, kind, detail, .. } = event.clone();
        Self { at, number, kind, form, detail }
    }
}

/// How far messages arrived in the order of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Pairs of messages from two senders that arrived at one receiver one directly after the other in the record, of
    /// those that arrived in both runs. (Those of one sender the link keeps in order anyway.)
    pub pairs: u64,
    /// How many of these arrived in the same order.
    pub kept: u64,
}

/// What tells a message from all others of a run that the same receiver took: its sender, its name, and how many of that
/// name its sender had sent there before.
type Word = (String, String, usize);

/// An envelope: all its sendings, and its arrival.
struct Letter {
    to: String,
    messages: Vec<Word>,
    /// How long it was under way when it first arrived, from its last sending before.
    delay: Option<Nanos>,
    /// Where in the log the receiver took it.
    taken: Option<usize>,
}

/// How long messages were under way, executions took and nodes needed to come up.
///
/// `ready` is when the driver began, which no event says. An execution lasts from its start, or from the end of the one
/// before it under its lease, to its end.
///
/// # Errors
/// An event that does not say what it should.
pub fn times(events: &[Event], ready: Nanos) -> Result<Recorded, BadEvent> {
    let mut delays: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for Letter { to, messages, delay, .. } in letters(events)? {
        for (from, name, _) in messages {
            delays.entry((from, to.clone(), name)).or_default().push(delay);
        }
    }
    Ok(Recorded { delays, spans: spans(events)?, starts: starts(events, ready), ready })
}

/// How far the messages of `played` arrived in the order of `recorded`.
///
/// # Errors
/// An event that does not say what it should.
pub fn order(recorded: &[Event], played: &[Event]) -> Result<Order, BadEvent> {
    let (recorded, played) = (arrivals(letters(recorded)?), arrivals(letters(played)?));
    let mut order = Order::default();
    for (receiver, before) in recorded {
        let Some(played) = played.get(&receiver) else { continue };
        let places: BTreeMap<&Word, usize> = played.iter().map(|(taken, word)| (word, *taken)).collect();
        let place = |(_, word): &(usize, Word)| Some((word.0.clone(), *places.get(word)?));
        let both: Vec<(String, usize)> = before.iter().filter_map(place).collect();
        for pair in both.windows(2).filter(|pair| pair[0].0 != pair[1].0) {
            order.pairs += 1;
            order.kept += u64::from(pair[0].1 < pair[1].1);
        }
    }
    Ok(order)
}

/// What each receiver took, in order, with its place in the log.
fn arrivals(letters: Vec<Letter>) -> BTreeMap<String, Vec<(usize, Word)>> {
    let mut arrivals: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for Letter { to, messages, taken, .. } in letters {
        if let Some(taken) = taken {
            arrivals.entry(to).or_default().extend(messages.into_iter().map(|word| (taken, word)));
        }
    }
    arrivals.values_mut().for_each(|words| words.sort_by_key(|(taken, _)| *taken));
    arrivals
}

/// The envelopes of a log in the order of their first sending.
fn letters(events: &[Event]) -> Result<Vec<Letter>, BadEvent> {
    let mut names = Names::default();
    events.iter().for_each(|event| names.learn(event));
    let mut post = Post::default();
    for (at, event) in events.iter().enumerate() {
        match event.kind.as_str() {
            "send" => post.send(at, event, &names)?,
            "restart" if event.detail != HEAD => post.forget(&event.detail),
            _ => {}
        }
    }
    for arrow in arrows(events) {
        let Some(letter) = post.of_sending.get(&arrow.sent).and_then(|letter| post.letters.get_mut(*letter)) else {
            continue;
        };
        let received = &events[arrow.received];
        letter.delay.get_or_insert(received.at.saturating_sub(events[arrow.sent].at));
        if received.words().get(2) == Some(&"Taken") {
            letter.taken.get_or_insert(arrow.received);
        }
    }
    Ok(post.letters)
}

/// The envelopes so far.
#[derive(Default)]
struct Post {
    letters: Vec<Letter>,
    /// Which of them an event sends, by its index.
    of_sending: BTreeMap<usize, usize>,
    /// Those that may be sent again, by sender, receiver and number.
    numbered: BTreeMap<(String, String, u64), usize>,
    /// Messages so far, by sender, receiver and name.
    said: BTreeMap<(String, String, String), usize>,
}

impl Post {
    fn send(&mut self, at: usize, event: &Event, names: &Names) -> Result<(), BadEvent> {
        let bad = || BadEvent::new(at, event, "to whom, `#` and a number, and what, as in `n1.1 #7 Free*2+View`");
        let words = event.words();
        let [peer, number, ..] = words[..] else { return Err(bad()) };
        let number: u64 = number.strip_prefix('#').and_then(|number| number.parse().ok()).ok_or_else(bad)?;
        let (from, to) = (event.node.clone(), names.of(peer).to_owned());
        let key = (from.clone(), to.clone(), number);
        let letter = match self.numbered.get(&key) {
            Some(letter) => *letter,
            None => {
                let messages = self.messages(&from, &to, words.get(2).copied().unwrap_or_default()).ok_or_else(bad)?;
                self.letters.push(Letter { to, messages, delay: None, taken: None });
                self.letters.len() - 1
            }
        };
        if number != Envelope::PULSE {
            self.numbered.insert(key, letter);
        }
        self.of_sending.insert(at, letter);
        Ok(())
    }

    /// Those of an envelope's [`Envelope::summary`], counted.
    fn messages(&mut self, from: &str, to: &str, summary: &str) -> Option<Vec<Word>> {
        let mut messages = Vec::new();
        for kind in summary.split('+').filter(|kind| !kind.is_empty()) {
            let (name, times) = kind.split_once('*').unwrap_or((kind, "1"));
            let times: usize = times.parse().ok().filter(|times| *times <= LinkSettings::default().batch)?;
            let said = self.said.entry((from.to_owned(), to.to_owned(), name.to_owned())).or_default();
            messages.extend((*said..*said + times).map(|number| (from.to_owned(), name.to_owned(), number)));
            *said += times;
        }
        Some(messages)
    }

    /// A machine begins a new life, which counts its envelopes, and those sent to it, from the beginning.
    fn forget(&mut self, node: &str) {
        self.numbered.retain(|(from, to, _), _| from != node && to != node);
    }
}

/// How long the lives of each node took from their start until the head admitted them: those that were to be there when
/// the driver began, which a simulation starts all at once, from the beginning of the log.
fn starts(events: &[Event], ready: Nanos) -> BTreeMap<String, Vec<Nanos>> {
    let mut names = Names::default();
    events.iter().for_each(|event| names.learn(event));
    let (mut starts, mut since) = (BTreeMap::<String, Vec<_>>::new(), BTreeMap::new());
    for event in events {
        let word = event.words()[0];
        match (event.node.as_str(), event.kind.as_str()) {
            ("world", "start" | "restart") if event.at > ready => drop(since.insert(word, event.at)),
            (HEAD, "admit") => {
                let node = names.of(word);
                let from = since.get(node).copied().unwrap_or(Nanos::ZERO);
                starts.entry(node.to_owned()).or_default().push(event.at.saturating_sub(from));
            }
            _ => {}
        }
    }
    starts
}

/// How long executions took. Two of one label, number and attempt, of tasks of two owners, cannot be told apart: neither
/// is in it.
fn spans(events: &[Event]) -> Result<BTreeMap<Execution, Nanos>, BadEvent> {
    let (mut spans, mut twice) = (BTreeMap::new(), BTreeSet::new());
    let mut running: BTreeMap<(&str, &str, &str), (Execution, &str, Nanos)> = BTreeMap::new();
    // When the last execution under a lease ended: the next has waited for it.
    let mut free: BTreeMap<(&str, &str), Nanos> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        let (node, words) = (event.node.as_str(), event.words());
        match (event.kind.as_str(), &words[..]) {
            ("start", [label @ .., task, "attempt", attempt, "under", lease]) => {
                let number = task.strip_prefix('t').and_then(|task| task.split_once('@')).map(|(number, _)| number);
                let bad = || BadEvent::new(at, event, "which task, and the number of its attempt");
                let number = number.and_then(|number| number.parse().ok()).ok_or_else(bad)?;
                let key = (label.join(" "), number, attempt.parse().map_err(|_| bad())?);
                running.insert((node, *task, *attempt), (key, *lease, event.at));
            }
            ("finish", [task, "attempt", attempt, ..]) => {
                let Some((key, lease, began)) = running.remove(&(node, *task, *attempt)) else { continue };
                let before = free.insert((node, lease), event.at).unwrap_or(began);
                if spans.insert(key.clone(), event.at.saturating_sub(began.max(before))).is_some() {
                    twice.insert(key);
                }
            }
            _ => {}
        }
    }
    spans.retain(|key, _| !twice.contains(key));
    Ok(spans)
}

#[cfg(test)]
mod tests;
