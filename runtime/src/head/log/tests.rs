//! What is found again, and what is refused.

mod cluster;

use super::frame::HEADER;
use super::*;
use crate::head::core::{Event, Output};
use cluster::{Cluster, Op};
use mobula_protocol::sched::Spread;
use proptest::prelude::*;

/// A log on paper: its files, and how long each was when it was last synced.
#[derive(Clone, Default)]
pub(super) struct Paper {
    pub files: Files,
    name: String,
}

impl Paper {
    /// As [`Log::begin`].
    pub fn begin(&mut self, core: &Core) {
        self.name = format!("{:020}", core.turns());
        self.files = Files::from([(format!("{}.snapshot", self.name), snapshot(core))]);
    }

    /// As [`Log::append`], with the power cut when so much of the commit is on the disk.
    pub fn append(&mut self, commit: &Commit, written: usize) {
        let file = self.files.entry(format!("{}.log", self.name)).or_default();
        let bytes = commit.to_bytes();
        *file = [file.as_ref(), &bytes[..written.min(bytes.len())]].concat().into();
    }
}

fn read(files: &Files) -> Result<Option<Core>, LogError> {
    recover(files, &SharedPolicy::default())
}

fn recovered(files: &Files) -> Core {
    read(files).unwrap().expect("a log")
}

/// A log with a snapshot and several commits behind it, and the states after each turn and at the last two commits.
fn some_log() -> (Files, Vec<(u64, Bytes)>, [u64; 2]) {
    let mut cluster = Cluster::new();
    let ops = [Op::Join, Op::Create(0), Op::Pass(100), Op::Commit, Op::Join, Op::Watch(0), Op::Commit, Op::Deliver(0)];
    ops.into_iter().chain([Op::Pass(300), Op::Commit]).for_each(|op| cluster.run(op));
    let [.., before, last] = cluster.commits[..] else { panic!("two commits") };
    (cluster.paper.files, cluster.states, [before, last])
}

#[test]
fn an_empty_directory_is_no_log() {
    assert!(read(&Files::new()).unwrap().is_none());
    let draft = Files::from([(format!("{:020}.draft", 0), Bytes::from_static(b"half of a snapsh"))]);
    assert!(read(&draft).unwrap().is_none());
}

#[test]
fn every_cut_of_the_last_commit_leads_to_the_state_before_it() {
    let (files, states, [before, last]) = some_log();
    let (path, whole) = files.iter().find(|(path, _)| path.ends_with(".log")).unwrap();
    assert_eq!(recovered(&files).turns(), last);
    let mut ends = 0;
    for cut in 0..whole.len() {
        let torn = Files::from_iter(files.clone().into_iter().chain([(path.clone(), whole.slice(..cut))]));
        let core = recovered(&torn);
        let (_, state) = states.iter().find(|(turn, _)| *turn == core.turns()).unwrap();
        assert_eq!(snapshot(&core), *state, "cut at {cut}");
        ends += usize::from(core.turns() == before);
    }
    assert!(ends > HEADER, "the last commit was cut at {ends} places");
}

#[test]
fn no_flipped_bit_is_believed() {
    let (files, states, [before, _]) = some_log();
    for (path, whole) in &files {
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1 << (at % 8);
            let flipped = Files::from_iter(files.clone().into_iter().chain([(path.clone(), bytes.into())]));
            match read(&flipped) {
                Err(LogError::Damaged { file, .. }) => assert_eq!(file, *path),
                // The last commit looks like one that was never finished.
                Ok(Some(core)) => {
                    assert_eq!(core.turns(), before, "{path}, byte {at}");
                    assert!(states.contains(&(before, snapshot(&core))), "{path}, byte {at}");
                }
                Ok(None) => panic!("{path}, byte {at}: the log is gone"),
                Err(other) => panic!("{path}, byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn a_log_without_its_snapshot_is_refused() {
    let (mut files, ..) = some_log();
    files.retain(|path, _| path.ends_with(".log"));
    assert!(matches!(read(&files), Err(LogError::Damaged { .. })));
}

#[test]
fn another_policy_is_refused() {
    let (files, ..) = some_log();
    let why = recover(&files, &SharedPolicy::new(Spread)).err().unwrap();
    assert!(matches!(why, LogError::Policy { found, .. } if found == "hybrid"));
}

#[test]
fn another_version_is_named() {
    let (mut files, ..) = some_log();
    let path = files.keys().find(|path| path.ends_with(".snapshot")).unwrap().clone();
    let mut body = Vec::new();
    frame::append(&mut body, &Version { log: LOG_VERSION + 1, ..Version::MINE });
    let number = path.trim_end_matches(".snapshot").parse().unwrap();
    files.insert(path, frame::encode(Kind::Snapshot, number, &body));
    let why = read(&files).err().unwrap().to_string();
    assert!(why.contains(&Version::MINE.to_string()), "{why}");
}

#[test]
fn turns_that_lead_elsewhere_are_refused() {
    let mut cluster = Cluster::new();
    let turn = Turn { at: Nanos::millis(1), events: vec![Event::Resumed] };
    let mut commit = Commit::default();
    commit.push(cluster.core.turns() + 1, &turn);
    cluster.core.take(turn, &mut Vec::new());
    commit.said(cluster.core.said() + 1);
    cluster.paper.append(&commit, usize::MAX);
    assert!(matches!(read(&cluster.paper.files), Err(LogError::Diverged { .. })));
}

#[test]
fn what_is_not_committed_has_not_been_said() {
    let mut cluster = Cluster::new();
    cluster.run(Op::Join);
    assert!(cluster.nodes.is_empty(), "the answer waits for the commit");
    cluster.run(Op::Commit);
    assert_eq!(cluster.nodes.len(), 1);
    assert!(!cluster.held.iter().any(|output| matches!(output, Output::Answer { .. })));
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Join),
        4 => (0..8_usize).prop_map(Op::Create),
        2 => (0..8_usize).prop_map(Op::Watch),
        1 => (0..8_usize).prop_map(Op::Kill),
        6 => (1..600_u64).prop_map(Op::Pass),
        8 => Just(Op::Commit),
        6 => any::<u8>().prop_map(Op::Deliver),
        1 => Just(Op::Snapshot),
        4 => (0..2000_usize).prop_map(Op::Crash),
        1 => (0..8_usize).prop_map(Op::NodeDies),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is cut when: what is found is what was there after some turn, not before the last commit. And nobody but
    /// the head knows: all that was asked for happens in the end, and every node has the whole membership log.
    #[test]
    fn a_head_that_crashes_again_and_again_loses_nothing(ops in proptest::collection::vec(op(), 1..80)) {
        let mut cluster = Cluster::new();
        ops.into_iter().for_each(|op| cluster.run(op));
        cluster.settle();
    }
}
