//! The parent's half: the flags of a child, written as a command line.

use super::{HeadArgs, NodeArgs};
use crate::spec::{ClusterSettings, NodeSpec};
use mobula_protocol::{Nanos, Resources};

impl HeadArgs {
    /// Those of a child with these settings.
    pub(crate) fn of(settings: &ClusterSettings) -> Self {
        Self {
            port: 0,
            health_period: Some(settings.health_period),
            health_timeout: Some(settings.health_timeout),
            policy: Some(settings.policy.clone()),
            log: None,
            event_log: None,
            rpc_fault: Vec::new(),
            exit_with_stdin: true,
        }
    }

    /// As they are written on a command line, `head` first.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let mut line = Line::new("head");
        line.flag("port", self.port);
        line.option("health-period", self.health_period.map(nanos));
        line.option("health-timeout", self.health_timeout.map(nanos));
        line.option("policy", self.policy.as_ref());
        line.option("log", self.log.as_ref());
        line.option("event-log", self.event_log.as_ref().map(|file| file.display()));
        self.rpc_fault.iter().for_each(|fault| line.flag("rpc-fault", fault));
        line.switch("exit-with-stdin", self.exit_with_stdin);
        line.0
    }
}

impl NodeArgs {
    /// Those of a child.
    pub(crate) fn of(spec: &NodeSpec, settings: &ClusterSettings, head: &str) -> Self {
        let others = spec.resources.iter().filter(|(name, _)| *name != Resources::CPU);
        Self {
            join: head.to_owned(),
            name: spec.name.clone(),
            cpus: spec.resources.get(Resources::CPU),
            resource: others.map(|(name, amount)| (name.to_owned(), amount)).collect(),
            label: spec.labels.clone().into_iter().collect(),
            store: Some(spec.store),
            memory_limit: spec.memory,
            memory_policy: Some(settings.memory_policy),
            spill: settings.spill.clone(),
            no_spill: settings.spill.is_empty(),
            inline: Some(settings.inline),
            store_grace: Some(settings.store_grace),
            lineage: Some(settings.lineage),
            persist: settings.persist.clone(),
            policy: Some(settings.policy.clone()),
            relay_from: Some(settings.relay_from),
            head_grace: Some(settings.head_grace),
            port: 0,
            event_log: None,
            rpc_fault: Vec::new(),
            exit_with_stdin: true,
        }
    }

    /// As they are written on a command line, `node` first.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let mut line = Line::new("node");
        line.flag("join", &self.join);
        line.flag("name", &self.name);
        line.flag("cpus", self.cpus);
        self.resource.iter().for_each(|(name, amount)| line.flag("resource", format!("{name}={amount}")));
        self.label.iter().for_each(|(key, value)| line.flag("label", format!("{key}={value}")));
        line.option("store", self.store.map(|bytes| bytes.0));
        line.option("memory-limit", self.memory_limit.map(|bytes| bytes.0));
        line.option("memory-policy", self.memory_policy);
        self.spill.iter().for_each(|directory| line.flag("spill", directory));
        line.switch("no-spill", self.no_spill);
        line.option("inline", self.inline.map(|bytes| bytes.0));
        line.option("store-grace", self.store_grace.map(nanos));
        line.option("lineage", self.lineage.map(|bytes| bytes.0));
        line.option("persist", self.persist.as_ref());
        line.option("policy", self.policy.as_ref());
        line.option("relay-from", self.relay_from.map(|bytes| bytes.0));
        line.option("head-grace", self.head_grace.map(nanos));
        line.flag("port", self.port);
        line.option("event-log", self.event_log.as_ref().map(|file| file.display()));
        self.rpc_fault.iter().for_each(|fault| line.flag("rpc-fault", fault));
        line.switch("exit-with-stdin", self.exit_with_stdin);
        line.0
    }
}

/// A command line under construction. `--flag=value` in one word, so that no value is taken for a flag.
struct Line(Vec<String>);

impl Line {
    fn new(command: &str) -> Self {
        Self(vec![command.to_owned()])
    }

    fn flag(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push(format!("--{name}={value}"));
    }

    fn option(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.flag(name, value);
        }
    }

    fn switch(&mut self, name: &str, on: bool) {
        if on {
            self.0.push(format!("--{name}"));
        }
    }
}

/// Exact, where the display form is rounded.
fn nanos(time: Nanos) -> String {
    format!("{}ns", time.0)
}

#[cfg(test)]
mod tests;
