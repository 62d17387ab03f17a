//! The machines of the head, wired together: without async, clocks or I/O.
//!
//! ```text
//!   Join ------------------> Roster --View--> Actors (View, Dispatch, Registry)
//!   Received --> Link --Deliver--> Roster or Actors --Send--> Link --> Transmit
//! ```
//! What the head does is a function of the [`Turn`]s it took: a turn is the events that were there at one moment, with
//! that moment. So its log need not know what a member, an actor or a group is. It keeps the turns, and a head that was
//! restarted takes them again. Whatever machine is added here is in the log by that alone, if it can be serialised (for
//! snapshots) and, as all machines, iterates in order, draws nothing and reads no clock.

use super::actors::{Actors, Mail};
use crate::wire::JoinAnswer;
use mobula_protocol::job::{self, JobId, JobInfo, Jobs};
use mobula_protocol::link::{self, Ack, Envelope, Link, LinkSettings};
use mobula_protocol::member::roster::{Effect as RosterEffect, Event as RosterEvent};
use mobula_protocol::member::{JoinRequest, Member, MemberSettings, Roster};
use mobula_protocol::sched::SharedPolicy;
use mobula_protocol::{ByteSize, ClusterId, Incarnation, Labels, Machine, Message, Nanos, Resources, Violation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that happened to the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A process asks to become a node.
    Join(JoinRequest),
    /// A node's envelope came in.
    Received(Envelope),
    /// A node answered an envelope of ours.
    Acked {
        /// Which node.
        to: Incarnation,
        /// Which envelope.
        seq: u64,
        /// The answer.
        ack: Ack,
    },
    /// An envelope of ours was not answered.
    Lost {
        /// To which node.
        to: Incarnation,
        /// Which envelope.
        seq: u64,
    },
    /// An envelope of ours is too large for the transport.
    Refused {
        /// To which node.
        to: Incarnation,
        /// Which envelope.
        seq: u64,
    },
    /// The process that took the turns before is gone, and with it the requests it had under way.
    Resumed,
}

/// All that happened at one moment. A turn without events is a deadline that has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The head's time, which goes on where it was when the head is restarted.
    pub at: Nanos,
    /// In this order.
    pub events: Vec<Event>,
}

/// What the head's shell must do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Answer the join with this nonce.
    Answer {
        /// Which.
        nonce: u64,
        /// How.
        result: Box<JoinAnswer>,
    },
    /// Answer the request that carried this envelope.
    Reply {
        /// Who sent it.
        from: Incarnation,
        /// Which it was.
        seq: u64,
        /// How.
        ack: Ack,
    },
    /// Make one request with this envelope, and report what becomes of it.
    Transmit {
        /// Where the node listens; none if it has died since.
        address: Option<String>,
        /// What to send.
        envelope: Arc<Envelope>,
        /// About how many bytes are under way there.
        load: ByteSize,
    },
    /// Only these addresses are those of living nodes.
    Living(BTreeSet<String>),
    /// A line of the event log.
    Log {
        /// Its kind.
        kind: &'static str,
        /// The rest.
        detail: String,
    },
}

/// All machines of a head, through all lives of its process.
#[derive(Serialize, Deserialize)]
pub struct Core {
    cluster: ClusterId,
    /// What the policy by which actors are placed is called: the same turns lead elsewhere under another one.
    policy: String,
    turns: u64,
    now: Nanos,
    roster: Roster,
    actors: Actors,
    jobs: Jobs,
    link: Link,
    /// Envelopes that were given to the shell and of which it has not said what became.
    under_way: BTreeSet<(Incarnation, u64)>,
    /// Whether log lines are wanted.
    #[serde(skip)]
    logging: bool,
    // Empty between two turns.
    #[serde(skip)]
    roster_says: Vec<RosterEffect>,
    #[serde(skip)]
    link_says: Vec<link::Effect>,
}

impl Core {
    /// The head of a cluster that nobody has joined. `seed` breaks ties between equally good places for actors.
    ///
    /// # Panics
    /// If the settings do not [`MemberSettings::validate`].
    pub fn new(cluster: ClusterId, settings: MemberSettings, policy: SharedPolicy, address: String, seed: u64) -> Self {
        let member = Member {
            incarnation: Incarnation::HEAD,
            name: "head".to_owned(),
            rpc: address,
            bulk: String::new(),
            total: Resources::none(),
            labels: Labels::new(),
        };
        let roster = Roster::new(settings, member);
        let mut core = Self {
            cluster,
            policy: policy.to_string(),
            turns: 0,
            now: Nanos::ZERO,
            actors: Actors::new(Nanos::ZERO, roster.welcome_head(), policy, seed),
            roster,
            jobs: Jobs::default(),
            link: Link::new(LinkSettings::default()),
            under_way: BTreeSet::new(),
            logging: false,
            roster_says: Vec::new(),
            link_says: Vec::new(),
        };
        core.link.step(Nanos::ZERO, link::Event::Started(Incarnation::HEAD), &mut core.link_says);
        core
    }

    /// The same with or without log lines among its outputs.
    #[must_use]
    pub fn logging(mut self, logging: bool) -> Self {
        self.logging = logging;
        self
    }

    /// Places actors by this policy, if it is the one it was begun with, whose name is the error otherwise: a snapshot has
    /// no policy in it.
    pub fn decide_by(mut self, policy: &SharedPolicy) -> Result<Self, String> {
        if self.policy != policy.to_string() {
            return Err(self.policy);
        }
        self.actors.decide_by(policy.clone());
        Ok(self)
    }

    /// Whose head it is.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// How many turns it took.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// The time of its last turn.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// How the cluster is watched.
    pub fn settings(&self) -> MemberSettings {
        self.roster.settings()
    }

    /// All jobs it remembers, or the one of this name with its log.
    pub fn jobs(&self, job: Option<String>) -> Vec<JobInfo> {
        match job {
            Some(name) => self.jobs.find(&JobId(name)).into_iter().collect(),
            None => self.jobs.list(),
        }
    }

    /// How many messages its turns led to: the same whenever the same turns are taken.
    pub fn said(&self) -> u64 {
        self.link.counters().sent
    }

    /// When it next wants a turn, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Nanos> {
        [self.roster.next_deadline(), self.link.next_deadline(), self.actors.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A measure of what a check has to look at: entries of the log, peers, actors.
    pub fn size(&self) -> usize {
        2 * self.roster.log().len() + self.actors.living()
    }

    /// Checks the invariants of every machine.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        self.roster.check()?;
        self.link.check()?;
        self.link.check_flushed()?;
        self.jobs.check()?;
        self.actors.check()
    }

    /// Takes a turn and appends what must be done, in order.
    pub fn take(&mut self, turn: Turn, out: &mut Vec<Output>) {
        self.turns += 1;
        self.now = turn.at;
        turn.events.into_iter().for_each(|event| self.happened(event));
        self.ticks();
        loop {
            for effect in std::mem::take(&mut self.roster_says) {
                self.roster_effect(effect, out);
            }
            for effect in std::mem::take(&mut self.link_says) {
                self.link_effect(effect, out);
            }
            // What the machines sent waits in the link until it is flushed, also if nobody has an effect to act on.
            if self.roster_says.is_empty() {
                self.tell_link(link::Event::Flush);
                if self.link_says.is_empty() {
                    return;
                }
            }
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Join(request) => self.tell_roster(RosterEvent::Join(request)),
            Event::Received(envelope) => {
                self.tell_roster(RosterEvent::Heard(envelope.from));
                self.tell_link(link::Event::Received(envelope));
            }
            Event::Acked { to, seq, ack } => {
                self.under_way.remove(&(to, seq));
                self.tell_link(link::Event::Acked { to, seq, ack });
            }
            Event::Lost { to, seq } => {
                self.under_way.remove(&(to, seq));
                self.tell_link(link::Event::Lost { to, seq });
            }
            Event::Refused { to, seq } => {
                self.under_way.remove(&(to, seq));
                self.tell_link(link::Event::Refused { to, seq });
            }
            Event::Resumed => {
                self.tell_roster(RosterEvent::Resumed);
                for (to, seq) in std::mem::take(&mut self.under_way) {
                    self.tell_link(link::Event::Lost { to, seq });
                }
            }
        }
    }

    fn ticks(&mut self) {
        let now = self.now;
        let due = |deadline: Option<Nanos>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.roster.next_deadline()) {
            self.tell_roster(RosterEvent::Tick);
        }
        if due(self.link.next_deadline()) {
            self.tell_link(link::Event::Tick);
        }
        if due(self.actors.next_deadline()) {
            let mut mail = Mail::new();
            self.actors.tick(now, &mut mail);
            self.post(mail);
        }
    }

    fn tell_roster(&mut self, event: RosterEvent) {
        self.roster.step(self.now, event, &mut self.roster_says);
    }

    fn tell_link(&mut self, event: link::Event) {
        self.link.step(self.now, event, &mut self.link_says);
    }

    fn post(&mut self, mail: Mail) {
        for (to, message) in mail {
            self.tell_link(link::Event::Send { to, message });
        }
    }

    fn log(&self, out: &mut Vec<Output>, kind: &'static str, detail: std::fmt::Arguments<'_>) {
        if self.logging {
            out.push(Output::Log { kind, detail: detail.to_string() });
        }
    }

    fn roster_effect(&mut self, effect: RosterEffect, out: &mut Vec<Output>) {
        match effect {
            RosterEffect::Answer { nonce, result } => {
                if let Ok(joined) = &result {
                    self.tell_link(link::Event::PeerKnown(joined.incarnation));
                    self.log(out, "admit", format_args!("{}", joined.incarnation));
                }
                let result = Box::new(result.map(|joined| (self.cluster, *joined)));
                out.push(Output::Answer { nonce, result });
            }
            RosterEffect::Send { to: Incarnation::HEAD, message } => {
                let mut mail = Mail::new();
                self.actors.news(self.now, message, &mut mail);
                self.post(mail);
            }
            RosterEffect::Send { to, message } => self.tell_link(link::Event::Send { to, message }),
            RosterEffect::Declared { incarnation, name, why } => {
                self.log(out, "declare-dead", format_args!("{name} ({incarnation}): {why}"));
                self.under_way.retain(|(to, _)| *to != incarnation);
                self.jobs.step(self.now, job::Event::NodeDied(incarnation), &mut Vec::new());
                self.tell_link(link::Event::PeerDied(incarnation));
                out.push(Output::Living(self.roster.members().map(|member| member.rpc.clone()).collect()));
            }
        }
    }

    fn link_effect(&mut self, effect: link::Effect, out: &mut Vec<Output>) {
        match effect {
            // Actors and checkpoints are limited where they are made, so this is a bug; the event log shows it.
            link::Effect::Undelivered { to, message } => {
                self.log(out, "undelivered", format_args!("a {} for {to} is too large to be sent", message.name()));
            }
            link::Effect::Transmit { envelope, load } => {
                self.log(out, "send", format_args!("{} #{} {}", envelope.to, envelope.seq, envelope.summary()));
                let address = self.roster.member(envelope.to).map(|member| member.rpc.clone());
                self.under_way.insert((envelope.to, envelope.seq));
                out.push(Output::Transmit { address, envelope, load });
            }
            link::Effect::Deliver { from, message } => self.deliver(from, message, out),
            link::Effect::Reply { from, seq, ack } => {
                self.log(out, "recv", format_args!("{from} #{seq} {ack:?}"));
                out.push(Output::Reply { from, seq, ack });
            }
            // Nobody declares the head dead: it is the one who declares.
            link::Effect::Fenced { by } => self.log(out, "stray", format_args!("{by} says that the head is dead")),
        }
    }

    fn job_word(&mut self, from: Incarnation, word: job::Word) {
        let mut said = Vec::new();
        self.jobs.step(self.now, job::Event::Said { from, word }, &mut said);
        for job::Effect::Say { to, word } in said {
            self.tell_link(link::Event::Send { to, message: Message::Job(word) });
        }
    }

    fn deliver(&mut self, from: Incarnation, message: Message, out: &mut Vec<Output>) {
        match message {
            Message::Heartbeat(load) => self.tell_roster(RosterEvent::Heartbeat { from, load }),
            Message::Leave => self.tell_roster(RosterEvent::Leave { from }),
            Message::ResyncView(have) => self.tell_roster(RosterEvent::Resync { from, have }),
            Message::Job(word) => self.job_word(from, word),
            other => {
                let mut mail = Mail::new();
                if let Err(stray) = self.actors.deliver(self.now, from, other, &mut mail) {
                    self.log(out, "stray", format_args!("{} from {from}: not for the head", stray.name()));
                }
                self.post(mail);
            }
        }
    }
}
