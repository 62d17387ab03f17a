//! The flags of `head` and `node`.

use mobula_env::RpcFault;
use mobula_protocol::{Amount, ByteSize, Labels, Nanos, Resources};
use mobula_runtime::{HeadSettings, MemoryPolicy, NodeSettings, SharedPolicy};
use std::path::PathBuf;

/// Flags of `PROGRAM head`.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct HeadArgs {
    /// Port to listen on; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// How often nodes say that they live, as in 250ms.
    #[arg(long, value_name = "TIME")]
    pub health_period: Option<Nanos>,
    /// How long a silence is death, as in 2s.
    #[arg(long, value_name = "TIME")]
    pub health_timeout: Option<Nanos>,
    /// Where actors go: `hybrid`, `spread`, `packed` or `random`.
    #[arg(long)]
    pub policy: Option<SharedPolicy>,
    /// Directory of its log. With it the head can be restarted, at the same port, and its cluster does not notice.
    #[arg(long, value_name = "DIR")]
    pub log: Option<String>,
    /// Append what happens here to this file, an event a line; costs a write each.
    #[arg(long, value_name = "FILE")]
    pub event_log: Option<PathBuf>,
    /// A fault of this process's calls, as in kind=in_flight,method=View,nth=2,count=1; may be repeated.
    #[arg(long, value_name = "FAULT")]
    pub rpc_fault: Vec<RpcFault>,
    /// End when standard input ends, so as not to outlive whoever started this.
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// Flags of `PROGRAM node`.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct NodeArgs {
    /// Address of the head, as it printed it.
    #[arg(long, value_name = "ADDR")]
    pub join: String,
    /// Name of the node, unique in the cluster.
    #[arg(long)]
    pub name: String,
    /// Cpus that tasks may use here; fractions are exact to a ten-thousandth.
    #[arg(long, default_value = "1", value_parser = amount)]
    pub cpus: Amount,
    /// Another resource that tasks may use here; may be repeated.
    #[arg(long, value_name = "NAME=AMOUNT", value_parser = resource)]
    pub resource: Vec<(String, Amount)>,
    /// A property of the node; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// Capacity of the object store, as in 100MB.
    #[arg(long, value_name = "BYTES")]
    pub store: Option<ByteSize>,
    /// What tasks may use of memory besides the store, as in 8GB: above 95 % of it one of them ends. Default: the memory of
    /// the machine, or of the control group, less the store.
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<ByteSize>,
    /// Results up to this many bytes travel in messages.
    #[arg(long, value_name = "BYTES")]
    pub inline: Option<ByteSize>,
    /// What happens to referenced values when the store is full: `spill` writes them to disk, `evict` drops those that
    /// their task can make again.
    #[arg(long, value_name = "POLICY")]
    pub memory_policy: Option<MemoryPolicy>,
    /// A directory for spilled objects, one that all machines mount as in shared:/mnt/pool, or a folder of an object store
    /// as in s3://bucket/folder; may be repeated.
    /// Default: one among the machine's temporary files.
    #[arg(long, value_name = "DIR|URL", conflicts_with = "no_spill")]
    pub spill: Vec<String>,
    /// Spill nothing.
    #[arg(long)]
    pub no_spill: bool,
    /// How long a new object waits in a full store in which nothing is being spilled.
    #[arg(long, value_name = "TIME")]
    pub store_grace: Option<Nanos>,
    /// Bytes of finished tasks' specifications that are kept to rebuild lost values.
    #[arg(long, value_name = "BYTES")]
    pub lineage: Option<ByteSize>,
    /// Objects of this size and larger are passed on while they still arrive.
    #[arg(long, value_name = "BYTES")]
    pub relay_from: Option<ByteSize>,
    /// The folder for values that are to outlive all nodes; every node must know it by the same path.
    #[arg(long, value_name = "DIR")]
    pub persist: Option<String>,
    /// Where tasks of this node go, and requests it has no room for: `hybrid`, `spread`, `packed` or `random`.
    #[arg(long)]
    pub policy: Option<SharedPolicy>,
    /// How long to try to join, and to go on without the head.
    #[arg(long, value_name = "TIME")]
    pub head_grace: Option<Nanos>,
    /// Port to listen on; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Append what happens here to this file, an event a line; costs a write each.
    #[arg(long, value_name = "FILE")]
    pub event_log: Option<PathBuf>,
    /// A fault of this process's calls, as in kind=in_flight,method=PushTask,nth=2,count=1; may be repeated.
    #[arg(long, value_name = "FAULT")]
    pub rpc_fault: Vec<RpcFault>,
    /// End when standard input ends, so as not to outlive whoever started this.
    #[arg(long)]
    pub exit_with_stdin: bool,
}

impl HeadArgs {
    /// As settings, with the runtime's defaults for what was not given.
    pub fn settings(&self) -> HeadSettings {
        let mut settings = HeadSettings { port: self.port, log: self.log.clone(), ..HeadSettings::default() };
        let members = &mut settings.members;
        members.health_period = self.health_period.unwrap_or(members.health_period);
        members.health_timeout = self.health_timeout.unwrap_or(members.health_timeout);
        settings.policy = self.policy.clone().unwrap_or_default();
        settings
    }
}

impl NodeArgs {
    /// As settings, with the runtime's defaults for what was not given.
    pub fn settings(&self) -> NodeSettings {
        let default = NodeSettings::default();
        let cpus = Resources::none().with(Resources::CPU, self.cpus);
        NodeSettings {
            name: self.name.clone(),
            resources: self.resource.iter().fold(cpus, |all, (name, amount)| all.with(name, *amount)),
            labels: self.label.iter().cloned().collect::<Labels>(),
            store: self.store.unwrap_or(default.store),
            memory_limit: self.memory_limit,
            memory_policy: self.memory_policy.unwrap_or(default.memory_policy),
            spill: if self.spill.is_empty() && !self.no_spill { default.spill } else { self.spill.clone() },
            inline: self.inline.unwrap_or(default.inline),
            store_grace: self.store_grace.unwrap_or(default.store_grace),
            lineage: self.lineage.unwrap_or(default.lineage),
            persist: self.persist.clone(),
            policy: self.policy.clone().unwrap_or_default(),
            relay_from: self.relay_from.unwrap_or(default.relay_from),
            head_grace: self.head_grace.unwrap_or(default.head_grace),
            port: self.port,
        }
    }
}

fn amount(text: &str) -> Result<Amount, String> {
    let amount = text.trim().parse().ok().and_then(Amount::from_f64);
    amount.ok_or_else(|| format!("`{text}` is no amount; write a number that is not negative, as in `1` or `0.5`"))
}

fn resource(text: &str) -> Result<(String, Amount), String> {
    let (name, value) = pair(text, "ssd=1")?;
    if name == Resources::CPU {
        return Err(format!("`{text}`: cpus have a flag of their own, `--cpus`"));
    }
    Ok((name, amount(&value)?))
}

fn label(text: &str) -> Result<(String, String), String> {
    pair(text, "zone=z1")
}

fn pair(text: &str, example: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` has no name and value; write them as in `{example}`")),
    }
}
