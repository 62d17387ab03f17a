//! Actors at the head: the registry, a dispatcher for its leases, and the view both place by.

use mobula_protocol::actor::{Registry, RegistryEffect, RegistryEvent};
use mobula_protocol::member::view::{Effect as ViewEffect, Event as ViewEvent};
use mobula_protocol::member::{Joined, View};
use mobula_protocol::sched::{Dispatch, DispatchSettings, SharedPolicy, dispatch};
use mobula_protocol::{Incarnation, Machine, Message, Nanos, NodeId, Violation};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Messages for nodes.
pub(super) type Mail = Vec<(Incarnation, Message)>;

/// The machines, wired.
#[derive(Serialize, Deserialize)]
pub(super) struct Actors {
    view: View,
    dispatch: Dispatch,
    registry: Registry,
    // Empty between two turns.
    #[serde(skip)]
    placing: Vec<dispatch::Effect>,
    #[serde(skip)]
    said: Vec<RegistryEffect>,
}

impl Actors {
    /// No actors, in a cluster of the head alone.
    pub fn new(now: Nanos, welcome: Joined, SharedPolicy(policy): SharedPolicy, seed: u64) -> Self {
        let mut view = View::new();
        view.step(now, ViewEvent::Joined(Box::new(welcome)), &mut Vec::new());
        let settings = DispatchSettings { lasting: true, ..DispatchSettings::default() };
        Self {
            view,
            dispatch: Dispatch::new(Incarnation::HEAD, policy, settings, seed),
            registry: Registry::default(),
            placing: Vec::new(),
            said: Vec::new(),
        }
    }

    /// See [`Dispatch::decide_by`].
    pub fn decide_by(&mut self, SharedPolicy(policy): SharedPolicy) {
        self.dispatch.decide_by(policy);
    }

    /// Acts on a message from a node.
    ///
    /// # Errors
    /// One that is not about actors, given back.
    pub fn deliver(&mut self, now: Nanos, from: Incarnation, message: Message, out: &mut Mail) -> Result<(), Message> {
        match message {
            Message::Actor(word) => self.tell_registry(now, RegistryEvent::Said { from, word }),
            Message::Located { object, located } => self.tell_registry(now, RegistryEvent::Located { object, located }),
            Message::LeaseGranted(lease) => self.tell_dispatch(now, dispatch::Event::Granted { lease, by: from }),
            Message::LeaseSpillback { lease, to } => self.tell_dispatch(now, dispatch::Event::Spillback { lease, to }),
            Message::LeaseRefused { lease, why } => {
                self.tell_dispatch(now, dispatch::Event::Refused { lease, why, by: from });
            }
            Message::GroupPlaced { group, bundles } => {
                if bundles.is_none() {
                    // Actors first: none of them is to be placed any more when their leases go.
                    self.tell_registry(now, RegistryEvent::GroupRemoved(group));
                    self.route(now, out);
                }
                self.tell_dispatch(now, dispatch::Event::Group { group, bundles });
            }
            other => return Err(other),
        }
        self.route(now, out);
        Ok(())
    }

    /// News of membership, as every node gets them.
    pub fn news(&mut self, now: Nanos, message: Message, out: &mut Mail) {
        let Ok(event) = ViewEvent::from_message(message) else { return };
        let (mut effects, before) = (Vec::new(), self.view.version());
        self.view.step(now, event, &mut effects);
        let died = effects.into_iter().filter_map(|effect| match effect {
            ViewEffect::NodeDied { incarnation, .. } => Some(incarnation),
            ViewEffect::NodeJoined(_) | ViewEffect::Resync(_) | ViewEffect::Fenced { .. } => None,
        });
        let died: Vec<Incarnation> = died.collect();
        // The dispatcher forgets the dead before the registry asks it for new places.
        for dead in &died {
            self.tell_dispatch(now, dispatch::Event::NodeDied(*dead));
        }
        if self.view.version() != before {
            let mut view = self.view.snapshot();
            view.nodes.retain(|node| node.member.incarnation.node != NodeId::HEAD);
            for node in view.nodes.iter().filter(|node| node.load.draining) {
                self.tell_registry(now, RegistryEvent::Draining(node.member.incarnation));
            }
            self.tell_dispatch(now, dispatch::Event::View(Arc::new(view)));
        }
        for dead in died {
            self.tell_registry(now, RegistryEvent::NodeDied(dead));
        }
        self.route(now, out);
    }

    pub fn tick(&mut self, now: Nanos, out: &mut Mail) {
        if self.dispatch.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.tell_dispatch(now, dispatch::Event::Tick);
        }
        if self.registry.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.tell_registry(now, RegistryEvent::Tick);
        }
        self.route(now, out);
    }

    pub fn next_deadline(&self) -> Option<Nanos> {
        [self.dispatch.next_deadline(), self.registry.next_deadline()].into_iter().flatten().min()
    }

    pub fn living(&self) -> usize {
        self.registry.living()
    }

    pub fn check(&self) -> Result<(), Violation> {
        self.dispatch.check()?;
        self.registry.check()
    }

    fn tell_dispatch(&mut self, now: Nanos, event: dispatch::Event) {
        self.dispatch.step(now, event, &mut self.placing);
    }

    fn tell_registry(&mut self, now: Nanos, event: RegistryEvent) {
        self.registry.step(now, event, &mut self.said);
    }

    fn route(&mut self, now: Nanos, out: &mut Mail) {
        while !(self.placing.is_empty() && self.said.is_empty()) {
            for effect in std::mem::take(&mut self.placing) {
                self.place(now, effect, out);
            }
            for effect in std::mem::take(&mut self.said) {
                self.say(now, effect, out);
            }
        }
    }

    fn place(&mut self, now: Nanos, effect: dispatch::Effect, out: &mut Mail) {
        use dispatch::Effect;
        match effect {
            Effect::Request { to, lease, class, hops } => out.push((to, Message::LeaseRequest { lease, class, hops })),
            Effect::Return { to, lease } => out.push((to, Message::LeaseReturn(lease))),
            Effect::Assign { task, lease, to } => self.tell_registry(now, RegistryEvent::Assigned { task, lease, to }),
            Effect::Unschedulable { task, error } => {
                self.tell_registry(now, RegistryEvent::Unschedulable { task, error });
            }
        }
    }

    fn say(&mut self, now: Nanos, effect: RegistryEffect, out: &mut Mail) {
        use RegistryEffect as Effect;
        match effect {
            Effect::Say { to, word } => out.push((to, Message::Actor(word))),
            Effect::Locate(object) => out.push((object.owner(), Message::Locate(object))),
            Effect::Unlocate(object) => out.push((object.owner(), Message::Unlocate(object))),
            Effect::Lend { object, to } => out.push((object.owner(), Message::BorrowAdd { object, by: to })),
            Effect::GiveBack(object) => out.push((object.owner(), Message::BorrowRemove(object))),
            Effect::Enqueue { task, class, near } => {
                self.tell_dispatch(now, dispatch::Event::Enqueue { task, class, near, again: false });
            }
            Effect::Dequeue(task) => self.tell_dispatch(now, dispatch::Event::Dequeue { task }),
            // Handed back, so that the lease is returned at once and no two incarnations share one.
            Effect::Release { task, lease } => {
                let event = dispatch::Event::Finished { lease, task, spent: Nanos::ZERO, started: false };
                self.tell_dispatch(now, event);
            }
        }
    }
}
