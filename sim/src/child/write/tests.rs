use super::*;
use clap::Parser;
use mobula_protocol::{Amount, ByteSize};
use mobula_runtime::NodeSettings;

#[derive(Debug, PartialEq, Parser)]
enum Program {
    Head(HeadArgs),
    Node(Box<NodeArgs>),
}

fn parse(args: &[String]) -> Result<Program, String> {
    let program = ["program".to_owned()];
    Program::try_parse_from(program.iter().chain(args)).map_err(|why| why.to_string())
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_child_reads_what_the_parent_writes() {
    let settings = ClusterSettings {
        health_period: Nanos(123_456_789),
        inline: ByteSize(77),
        store_grace: Nanos(1_500_000_001),
        lineage: ByteSize(99),
        memory_policy: mobula_runtime::MemoryPolicy::Evict,
        spill: vec!["/mnt/a".to_owned(), "b".to_owned()],
        relay_from: ByteSize(1 << 60),
        persist: Some("/mnt/p q".to_owned()),
        policy: "packed".parse().expect("a policy"),
        ..ClusterSettings::default()
    };
    let event_log = Some("/tmp/a b.events".into());
    let head = HeadArgs { event_log: event_log.clone(), ..HeadArgs::of(&settings) };
    assert_eq!(parse(&head.to_args()), Ok(Program::Head(head.clone())));
    assert_eq!(head.settings().members.health_period, settings.health_period);

    let mut spec = NodeSpec::new("A", 2).store(ByteSize(123_456_789)).memory(ByteSize(987_654_321));
    spec.resources = spec.resources.with("ssd", Amount(12_345));
    spec.labels = [("zone".to_owned(), "--a = b".to_owned())].into();
    let node = NodeArgs { event_log, ..NodeArgs::of(&spec, &settings, "127.0.0.1:4711") };
    assert_eq!(parse(&node.to_args()), Ok(Program::Node(Box::new(node.clone()))));
    let read = node.settings();
    assert_eq!((read.resources, read.labels, read.store), (spec.resources.clone(), spec.labels.clone(), spec.store));
    assert_eq!(read.memory_limit, spec.memory);
    assert_eq!(
        (read.inline, read.store_grace, read.lineage),
        (settings.inline, settings.store_grace, settings.lineage)
    );
    assert_eq!((read.relay_from, read.policy), (settings.relay_from, settings.policy.clone()));
    assert_eq!((head.settings().policy, read.persist), (settings.policy.clone(), settings.persist.clone()));
    assert_eq!((read.memory_policy, read.spill), (settings.memory_policy, settings.spill.clone()));
    let none = NodeArgs::of(&spec, &ClusterSettings { spill: Vec::new(), ..settings }, "127.0.0.1:4711");
    assert_eq!(parse(&none.to_args()), Ok(Program::Node(Box::new(none.clone()))));
    assert!(none.settings().spill.is_empty());
}

#[test]
fn what_is_not_given_is_as_the_runtime_has_it() {
    let Ok(Program::Node(node)) = parse(&words("node --join h:1 --name A")) else { panic!("it parses") };
    let (read, default) = (node.settings(), NodeSettings::default());
    assert_eq!((read.store, read.inline, read.resources), (default.store, default.inline, Resources::cpus(1)));
    assert!(!node.exit_with_stdin);
}

#[test]
fn bad_values_are_named_with_a_good_one() {
    for (line, told) in [
        ("node --join h:1 --name A --cpus=-1", "`-1` is no amount"),
        ("node --join h:1 --name A --resource ssd", "as in `ssd=1`"),
        ("node --join h:1 --name A --resource cpu=2", "`--cpus`"),
        ("node --join h:1 --name A --label =b", "as in `zone=z1`"),
        ("node --join h:1 --name A --store lots", "as in `100MB`"),
        ("head --health-period soon", "as in `250ms`"),
        ("node --join h:1 --name A --policy best", "there are hybrid, spread, packed, random"),
        ("node --name A", "--join"),
    ] {
        let why = parse(&words(line)).unwrap_err();
        assert!(why.contains(told), "{line}: {why}");
    }
}
