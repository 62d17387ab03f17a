//! A register that one actor holds and many processes use is one register: also while its node dies.

mod common;

use common::{answer, told};
use mobula_protocol::Nanos;
use mobula_runtime::{Actor, Context, Error, ObjectRef, actor, task};
use mobula_sim::check::linear::{Operation, Sequential, is_linearizable};
use mobula_sim::check::quiesce;
use mobula_sim::{Cluster, ClusterSpec, RpcFault, RpcFaultKind, RunOptions, run};

/// A cell with one number.
#[derive(Default)]
pub struct Register {
    value: u64,
}

#[actor]
impl Register {
    /// It begins as 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the value and returns the one before.
    pub fn write(&mut self, value: u64) -> u64 {
        std::mem::replace(&mut self.value, value)
    }

    /// The value.
    pub fn read(&self) -> u64 {
        self.value
    }

    /// Replaces the value if it is `old`; says 1 if it was.
    pub fn swap(&mut self, old: u64, new: u64) -> u64 {
        let same = self.value == old;
        if same {
            self.value = new;
        }
        u64::from(same)
    }

    #[save]
    fn save(&self) -> u64 {
        self.value
    }

    #[restore]
    fn restore(value: u64) -> Self {
        Self { value }
    }
}

/// The register as it should be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cell(u64);

#[derive(Clone, Copy, Debug)]
enum Ask {
    Read,
    Write(u64),
    Swap(u64, u64),
}

impl Sequential for Cell {
    type Ask = Ask;
    type Answer = u64;

    fn apply(&mut self, ask: &Ask) -> u64 {
        match *ask {
            Ask::Read => self.0,
            Ask::Write(value) => std::mem::replace(&mut self.0, value),
            Ask::Swap(old, new) if self.0 == old => {
                self.0 = new;
                1
            }
            Ask::Swap(..) => 0,
        }
    }
}

/// The operation that these numbers choose: few values, so that a wrong order is seen.
fn ask(dice: u64) -> Ask {
    match dice % 3 {
        0 => Ask::Read,
        1 => Ask::Write(1 + dice / 3 % 4),
        _ => Ask::Swap(dice / 3 % 5, 1 + dice / 15 % 4),
    }
}

/// Does so many operations one after the other: of each its dice, its beginning, its end and its answer.
#[task]
async fn client(
    context: Context,
    register: Actor<Register>,
    seed: u64,
    operations: u64,
) -> Result<Vec<[u64; 4]>, Error> {
    let mut seen = Vec::new();
    let mut dice = context.env().rng(&format!("client {seed}"));
    for _ in 0..operations {
        context.env().sleep(Nanos::micros(dice.below(3_000))).await;
        let (drawn, begun) = (dice.below(60), context.env().now());
        let call = match ask(drawn) {
            Ask::Read => register.read().submit(&context)?,
            Ask::Write(value) => register.write(value).submit(&context)?,
            Ask::Swap(old, new) => register.swap(old, new).submit(&context)?,
        };
        let answer = context.get(&call).await?;
        seen.push([drawn, begun.0, context.env().now().0, answer]);
    }
    Ok(seen)
}

/// Three clients, each on a node that lives, and a register whose node is killed in the middle, if it is to be.
async fn history(cluster: &Cluster, kill: bool) -> Result<Vec<Operation<Ask, u64>>, String> {
    let context = cluster.context();
    let register = Register::actor().exactly_once().max_restarts(3).cpus(0.0).prefer("A");
    let register = told(register.create(context))?;
    let clients =
        ["B", "C", "D"].iter().zip(0..).map(|(node, seed)| client(register.clone(), seed, 30).on(node).submit(context));
    let clients: Vec<ObjectRef<Vec<[u64; 4]>>> = told(clients.collect::<Result<_, _>>())?;
    if kill {
        cluster.env().sleep(Nanos::millis(40)).await;
        answer(cluster.kill("A").await)?;
    }
    let seen = told(context.get_all(&clients).await)?;
    let operation = |[drawn, begun, end, answer]: &[u64; 4]| Operation {
        ask: ask(*drawn),
        begun: Nanos(*begun),
        ended: Some((Nanos(*end), *answer)),
    };
    Ok(seen.iter().flatten().map(operation).collect())
}

fn all_seeds(seeds: std::ops::Range<u64>, kill: bool, faults: &[RpcFault]) {
    for seed in seeds {
        let options =
            RunOptions { seed, rpc_faults: faults.to_vec(), max_time: Nanos::secs(120), ..RunOptions::default() };
        let report = run(ClusterSpec::nodes(4), options, async move |cluster: Cluster| {
            let history = history(&cluster, kill).await?;
            answer(quiesce(&cluster, Nanos::secs(20)).await)?;
            Ok::<_, String>(history)
        });
        let mut history = match report.outcome {
            Ok(Ok(history)) => history,
            other => panic!("seed {seed}: {other:?}"),
        };
        assert_eq!(history.len(), 90);
        assert!(is_linearizable(&Cell(0), &history), "seed {seed}: no order explains {history:#?}");
        // The check can fail: what nobody has written is not read.
        if let Some((_, answer)) = &mut history[45].ended {
            *answer = 99;
        }
        assert!(!is_linearizable(&Cell(0), &history), "seed {seed}");
    }
}

#[test]
fn a_register_is_linearizable() {
    all_seeds(0..6, false, &[]);
}

#[test]
fn a_register_whose_node_dies_is_linearizable() {
    all_seeds(0..6, true, &[]);
}

#[test]
fn a_register_whose_calls_are_lost_and_repeated_is_linearizable() {
    let kinds = [RpcFaultKind::ReplyLost, RpcFaultKind::InFlight, RpcFaultKind::Duplicate];
    let fault = |kind| RpcFault { method: Some("Exchange".to_owned()), probability: 0.05, ..RpcFault::new(kind) };
    all_seeds(0..6, true, &kinds.map(fault));
}
