//! Every request may come again (decision D4): whatever a node was told, in whatever order, telling it once more changes
//! the state of none of its machines and makes it say nothing but the same acknowledgement.

use super::*;
use mobula_protocol::actor::{ActorId, ActorOptions, ActorSpec, Place, Word};
use mobula_protocol::link::{Ack, Envelope};
use mobula_protocol::member::NodeLoad;
use mobula_protocol::{Credit, SchedulingClass};
use proptest::prelude::*;

/// A lease of ours, which the peer may grant, and one of its own.
const OURS: LeaseId = LeaseId { owner: ME, seq: 1 };
const THEIRS: LeaseId = LeaseId { owner: PEER, seq: 1 };
const OF_AN_ACTOR: LeaseId = LeaseId { owner: PEER, seq: 2 };

/// The object that a task of ours makes.
fn ours() -> ObjectId {
    TaskId { owner: ME, seq: 1 }.result(0)
}

fn returned() -> TaskOutcome {
    let place = ResultPlace::Inline(bytes::Bytes::from_static(b"value"));
    TaskOutcome::Returned(vec![TaskResult { place, refs: vec![object(7)], hash: 1 }])
}

/// What a peer can say to a node, most of it about tasks and objects that exist, in an order that makes sense.
fn vocabulary() -> Vec<Message> {
    let (task1, attempt) = (ours().task, Attempt(1));
    let class = task(0, &[]).class.clone();
    let actor = ActorId(TaskId { owner: PEER, seq: 5 });
    let spec = Arc::new(ActorSpec { task: task(5, &[]), options: ActorOptions::default() });
    let located = |located| Message::Located { object: object(1), located };
    let died = mobula_protocol::member::MemberEvent::Died { incarnation: FAR, why: "killed".to_owned() };
    let mut call = TaskSpec::clone(&task(6, &[]));
    call.class = Arc::new(SchedulingClass { placement: Placement::Actor(actor), ..SchedulingClass::clone(&class) });
    vec![
        Message::LeaseRequest { lease: THEIRS, class: class.clone(), hops: 0 },
        Message::PushTask { lease: THEIRS, attempt, spec: task(9, &[object(1)]), inline: Vec::new() },
        Message::StreamCredit { task: object(9).task, attempt, credit: Credit { upto: 4, stop: false } },
        located(Located::Pending),
        located(Located::Inline(bytes::Bytes::from_static(b"small"))),
        Message::LeaseGranted(OURS),
        Message::LeaseSpillback { lease: OURS, to: FAR },
        Message::TaskStarted { task: task1, attempt },
        Message::BorrowAdd { object: ours(), by: FAR },
        Message::Locate(ours()),
        Message::TaskDone { lease: OURS, task: task1, attempt, outcome: returned(), spent: Nanos(5) },
        Message::BorrowAdd { object: ours(), by: PEER },
        Message::CopyAdded { object: ours(), size: LARGE },
        Message::CopyEvicted(ours()),
        Message::CopyRemoved(ours()),
        Message::Unlocate(ours()),
        Message::BorrowRemove(ours()),
        Message::View { first: 5, entries: vec![died], loads: vec![(PEER.node, NodeLoad::default())] },
        Message::CancelTask { task: object(9).task, attempt, recursive: true },
        Message::LeaseReturn(THEIRS),
        Message::Promote { object: object(1), rebuildable: true },
        Message::Free(vec![object(1)]),
        Message::Actor(Word::Start { lease: OF_AN_ACTOR, spec, incarnation: 1, checkpoint: None }),
        Message::Actor(Word::Call {
            lease: OF_AN_ACTOR,
            attempt,
            spec: Arc::new(call),
            inline: Vec::new(),
            handle: 1,
            settled: 0,
        }),
        Message::Actor(Word::Status { actor, place: Place::Pending }),
        Message::Actor(Word::Stop { lease: OF_AN_ACTOR, force: true, last: true }),
        Message::CancelObject { object: ours(), recursive: false },
        Message::FreeObject(ours()),
        Message::Drain,
    ]
}

/// All that the machines of a node know, the counters of the link apart: those count what comes twice.
fn state(core: &Core) -> String {
    let machines = (&core.view, &core.owner, &core.pull, &core.executor, &core.actors.host, &core.actors.callers);
    let told = core.describe().into_iter().filter(|line| !line.starts_with("link:")).collect::<Vec<_>>();
    format!("{machines:?} {} {told:#?}", core.link.backlog())
}

/// Says these, one envelope each, and each time once more what was said `back` envelopes ago.
fn twice(said: Vec<(Message, usize)>) {
    let mut bench = Bench::new();
    let submitted = TaskSpec { id: ours().task, ..TaskSpec::clone(&task(1, &[])) };
    bench.input(Input::RefAdded(ours(), None));
    bench.input(Input::Submit { spec: Arc::new(submitted), parent: None });
    bench.turn();
    let mut envelopes = Vec::new();
    for (message, back) in said {
        let from = if matches!(message, Message::View { .. }) { Incarnation::HEAD } else { PEER };
        let seq = 1 + envelopes.iter().filter(|known: &&Envelope| known.from == from).count() as u64;
        envelopes.push(Envelope { from, to: ME, seq, messages: vec![message] });
        bench.request(envelopes.last().unwrap());
        bench.turn();
        let (before, again) = (state(&bench.core), &envelopes[envelopes.len() - 1 - back % envelopes.len()]);
        assert_eq!(bench.request(again), Ack::Taken, "{again:?}");
        let (outputs, answers) = bench.turn();
        assert_eq!(before, state(&bench.core), "what changed when {again:?} came again");
        let done = outputs.iter().filter(|output| !matches!(output, Output::Covered(_))).count();
        assert!(answers.is_empty() && done == 0, "{again:?} came again: {done} outputs, and it says {answers:?}");
    }
}

impl Bench {
    /// A request of a peer, and its answer.
    fn request(&mut self, envelope: &Envelope) -> Ack {
        let (reply, mut answer) = oneshot::channel();
        self.input(Input::Received { envelope: envelope.clone(), reply });
        answer.try_recv().expect("a request is answered in the turn it comes in")
    }
}

#[test]
fn a_request_that_comes_again_at_once_changes_nothing() {
    twice(vocabulary().into_iter().map(|message| (message, 0)).collect());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_that_come_again_in_any_order_change_nothing(
        mut order in Just((0..vocabulary().len()).collect::<Vec<_>>()).prop_shuffle(),
        back in prop::collection::vec(0..8_usize, 40),
        sensible in 0..30_usize,
    ) {
        // Some runs begin as runs do.
        order.sort_by_key(|at| if *at < sensible { *at } else { usize::MAX });
        let all = vocabulary();
        twice(order.into_iter().map(|at| all[at].clone()).zip(back).collect());
    }
}
