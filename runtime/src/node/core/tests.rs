//! A node's machines and its store by hand, without a shell: what happens in which order is the test's to say.

use super::*;
use crate::node::Input;
use crate::node::words::Output;
use crate::settings::NodeSettings;
use mobula_env::{Env, RealConfig, RealNode};
use mobula_protocol::member::MemberSettings;
use mobula_protocol::pull::Priority;
use mobula_protocol::{Arg, Epoch, LeaseId, Located, Placement, ResultPlace, Retries, SchedulingClass, TaskErrorKind};
use mobula_protocol::{TaskError, TaskOutcome, TaskResult, TaskSpec};
use mobula_store::CopyKind;
use tokio::sync::{mpsc, oneshot};

mod monitor;
mod redelivery;

const ME: Incarnation = Incarnation { node: NodeId(1), epoch: Epoch(2) };
const PEER: Incarnation = Incarnation { node: NodeId(2), epoch: Epoch(3) };
/// Where other copies are.
const FAR: Incarnation = Incarnation { node: NodeId(3), epoch: Epoch(4) };
const STORE: ByteSize = ByteSize(1 << 20);
/// Two of these do not fit.
const LARGE: ByteSize = ByteSize(600 << 10);

/// One node of a cluster of three. Its inbox is read when the test says so.
struct Bench {
    core: Core,
    objects: Objects,
    sender: mpsc::UnboundedSender<Input>,
    inbox: mpsc::UnboundedReceiver<Input>,
    now: Nanos,
    _world: RealNode,
}

/// An object of the peer.
fn object(seq: u64) -> ObjectId {
    TaskId { owner: PEER, seq }.result(0)
}

fn member(incarnation: Incarnation) -> Member {
    let name = incarnation.to_string();
    let total = Resources::cpus(1);
    Member { incarnation, name, rpc: String::new(), bulk: String::new(), total, labels: Labels::new() }
}

/// A task of the peer with these arguments.
fn task(seq: u64, args: &[ObjectId]) -> Arc<TaskSpec> {
    let class =
        SchedulingClass { function: "f".into(), resources: Resources::cpus(1), placement: Placement::Any, share: None };
    Arc::new(TaskSpec {
        id: TaskId { owner: PEER, seq },
        label: "f".into(),
        class: Arc::new(class),
        args: args.iter().copied().map(Arg::Ref).collect(),
        returns: 1,
        retries: Retries::default(),
        replay: mobula_protocol::Replay::Strict,
        durability: mobula_protocol::Durability::default(),
        stream: None,
        job: PEER,
    })
}

impl Bench {
    fn new() -> Self {
        let world = Env::real(RealConfig { threads: 1, ..RealConfig::default() }).unwrap();
        let settings = NodeSettings { store: STORE, spill: Vec::new(), ..NodeSettings::default() };
        let (sender, inbox) = mpsc::unbounded_channel();
        let objects = Objects::new(&world.env, &settings, sender.clone()).unwrap();
        let joined = Joined {
            incarnation: ME,
            head: Incarnation::HEAD,
            members: vec![member(Incarnation::HEAD), member(ME), member(PEER), member(FAR)],
            loads: Vec::new(),
            seq: 4,
            settings: MemberSettings::default(),
        };
        let birth = Birth {
            joined,
            name: "me".to_owned(),
            total: Resources::cpus(1),
            labels: Labels::new(),
            lineage: settings.lineage,
            policy: settings.policy.clone(),
            head_grace: settings.head_grace,
            memory_limit: None,
            logging: false,
            cancels: Arc::default(),
            credits: Arc::default(),
            seed: 0,
        };
        let core = Core::new(Nanos::ZERO, birth, objects.clone());
        Self { core, objects, sender, inbox, now: Nanos::ZERO, _world: world }
    }

    fn input(&mut self, input: Input) {
        self.core.step(self.now, input);
        self.core.check().unwrap();
    }

    /// The peer says this.
    fn hear(&mut self, message: Message) {
        self.core.deliver(PEER, message);
        self.core.route();
        self.core.check().unwrap();
    }

    /// The node reads its inbox to the end and says what it wants done, and what it tells the peer.
    fn turn(&mut self) -> (Vec<Output>, Vec<Message>) {
        while let Ok(input) = self.inbox.try_recv() {
            self.input(input);
        }
        let (mut outputs, mut said) = (Vec::new(), Vec::new());
        for output in self.core.flush(self.now) {
            match output {
                Output::Transmit { envelope, .. } if envelope.to == PEER => said.extend(envelope.messages.clone()),
                other => outputs.push(other),
            }
        }
        self.core.check_turn().unwrap();
        (outputs, said)
    }

    /// What a worker of this node, or another thread, stores.
    fn store(&self, object: ObjectId, size: ByteSize, copy: CopyKind) {
        let region = self.objects.create(self.now, object, size, copy).unwrap();
        self.objects.table().seal(self.now, object, region).unwrap();
        self.sender.send(Input::Sealed { object, size }).unwrap();
    }

    /// The peer has a lease here.
    fn lease(&mut self) -> LeaseId {
        let lease = LeaseId { owner: PEER, seq: 1 };
        self.hear(Message::LeaseRequest { lease, class: task(0, &[]).class.clone(), hops: 0 });
        assert!(self.turn().1.contains(&Message::LeaseGranted(lease)));
        lease
    }

    fn get(&mut self, objects: &[ObjectId]) -> oneshot::Receiver<Result<Vec<bytes::Bytes>, TaskError>> {
        let (reply, answer) = oneshot::channel();
        let priority = Priority::Get;
        self.input(Input::Get { bundle: BundleId(1), objects: objects.to_vec(), priority, reply });
        answer
    }

    /// Answers the question of where an object is with a copy far away, and lets it arrive.
    fn fetch(&mut self, object: ObjectId, said: &[Message]) -> Vec<Output> {
        assert!(said.contains(&Message::Locate(object)), "nobody asked where {object} is: {said:?}");
        self.hear(Message::Located { object, located: Located::Stored { size: LARGE, copies: vec![FAR] } });
        let outputs = self.turn().0;
        let fetch = outputs.into_iter().find_map(|output| match output {
            Output::Fetch { object: fetched, attempt, region, .. } if fetched == object => Some((attempt, region)),
            _ => None,
        });
        let (attempt, region) = fetch.expect("it is fetched again");
        self.input(Input::Fetched { object, attempt, result: Ok(region) });
        self.turn().0
    }
}

fn starts(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Start { .. }))
}

#[test]
fn a_task_whose_argument_is_evicted_before_its_pin_starts_once_it_is_fetched_again() {
    let mut bench = Bench::new();
    let lease = bench.lease();
    bench.store(object(1), LARGE, CopyKind::Cached);
    bench.turn();
    // A worker needs the room. The news of it is behind the task in the inbox.
    let room = bench.objects.create(bench.now, object(2), LARGE, CopyKind::Primary).unwrap();
    bench.hear(Message::PushTask { lease, attempt: Attempt(1), spec: task(9, &[object(1)]), inline: Vec::new() });
    let (outputs, said) = bench.turn();
    assert!(!starts(&outputs));
    drop(room);
    assert!(starts(&bench.fetch(object(1), &said)));
}

#[test]
fn a_task_whose_argument_was_evicted_before_its_pin_and_does_not_exist_any_more_is_handed_back() {
    let mut bench = Bench::new();
    let lease = bench.lease();
    bench.store(object(1), LARGE, CopyKind::Cached);
    bench.turn();
    let _room = bench.objects.create(bench.now, object(2), LARGE, CopyKind::Primary).unwrap();
    let task = task(9, &[object(1)]);
    bench.hear(Message::PushTask { lease, attempt: Attempt(1), spec: task.clone(), inline: Vec::new() });
    bench.turn();
    bench.hear(Message::Located { object: object(1), located: Located::Pending });
    let back = |message: &Message| matches!(message, Message::TaskDone { outcome: TaskOutcome::HandedBack(Some(lost)), .. } if *lost == object(1));
    assert!(bench.turn().1.iter().any(back));
}

#[test]
fn a_get_of_a_value_that_is_evicted_before_its_pin_waits_until_it_is_fetched_again() {
    let mut bench = Bench::new();
    bench.store(object(1), LARGE, CopyKind::Cached);
    bench.turn();
    let mut answer = bench.get(&[object(1), object(3)]);
    bench.turn();
    let room = bench.objects.create(bench.now, object(2), LARGE, CopyKind::Primary).unwrap();
    // Of all that waits in the inbox, this is heard first.
    let located = Located::Inline(bytes::Bytes::from_static(b"small"));
    bench.hear(Message::Located { object: object(3), located });
    let (_, said) = bench.turn();
    assert!(answer.try_recv().is_err(), "it is neither here nor freed");
    drop(room);
    bench.fetch(object(1), &said);
    let values = answer.try_recv().unwrap().unwrap();
    assert_eq!((values[0].len() as u64, &values[1][..]), (LARGE.0, &b"small"[..]));
}

#[test]
fn a_get_of_a_value_that_is_freed_before_its_pin_says_so() {
    let mut bench = Bench::new();
    bench.store(object(1), LARGE, CopyKind::Cached);
    bench.turn();
    assert!(bench.objects.table().delete(object(1)));
    let mut answer = bench.get(&[object(1)]);
    assert!(bench.turn().1.contains(&Message::Locate(object(1))));
    let error = TaskError::new(TaskErrorKind::Freed, "freed by hand");
    bench.hear(Message::Located { object: object(1), located: Located::Failed(error.clone()) });
    bench.turn();
    assert_eq!(answer.try_recv().unwrap(), Err(error));
}

#[test]
fn a_copy_that_is_evicted_while_pinned_leaves_no_pin_behind() {
    let mut bench = Bench::new();
    bench.store(object(1), LARGE, CopyKind::Cached);
    bench.turn();
    let answer = bench.get(&[object(1)]);
    bench.turn();
    let pins = |bench: &Bench| bench.objects.table().usage().pins;
    assert_eq!(pins(&bench), 1);
    let (reply, _evicted) = oneshot::channel();
    bench.input(Input::Ask(crate::node::Question::Evict(object(1), true, reply)));
    drop(answer);
    bench.store(object(1), ByteSize(1 << 10), CopyKind::Cached);
    bench.turn();
    assert_eq!(pins(&bench), 1, "the next copy is pinned for the same get");
    bench.input(Input::Drop(BundleId(1)));
    assert_eq!(pins(&bench), 0);
}

#[test]
fn a_fetch_that_failed_does_not_end_what_a_worker_makes_under_the_same_name() {
    for wanted in [true, false] {
        let mut bench = Bench::new();
        let _answer = bench.get(&[object(1)]);
        bench.turn();
        bench.hear(Message::Located { object: object(1), located: Located::Stored { size: LARGE, copies: vec![FAR] } });
        let fetch = bench.turn().0.into_iter().find_map(|output| match output {
            Output::Fetch { attempt, region, .. } => Some((attempt, region)),
            _ => None,
        });
        let (attempt, region) = fetch.unwrap();
        // Its bytes are wrong. Before the node reads so, the task that rebuilds the object runs here.
        drop(region);
        let made = bench.objects.create(bench.now, object(1), LARGE, CopyKind::Primary).unwrap();
        if wanted {
            let result = Err(mobula_protocol::pull::FetchFailure::Corrupt(None));
            bench.input(Input::Fetched { object: object(1), attempt, result });
        } else {
            bench.input(Input::Drop(BundleId(1)));
        }
        bench.objects.table().seal(bench.now, object(1), made).unwrap();
    }
}

#[test]
fn results_whose_owner_died_while_they_were_made_are_deleted() {
    let mut bench = Bench::new();
    let dead = mobula_protocol::member::MemberEvent::Died { incarnation: PEER, why: "killed".to_owned() };
    bench.core.deliver(Incarnation::HEAD, Message::View { first: 5, entries: vec![dead], loads: Vec::new() });
    bench.core.route();
    let place = ResultPlace::Stored(LARGE);
    let returned = |place| TaskOutcome::Returned(vec![TaskResult { place, refs: Vec::new(), hash: 1 }]);
    for call in [false, true] {
        bench.store(object(1), LARGE, CopyKind::Primary);
        let (task, attempt, outcome, spent) = (object(1).task, Attempt(1), returned(place.clone()), Nanos::ZERO);
        bench.input(match call {
            false => Input::Finished { task, attempt, outcome, spent },
            true => Input::Actor(crate::node::ActorInput::Finished(task, attempt, outcome, spent)),
        });
        bench.turn();
        assert_eq!(bench.objects.table().usage().objects, 0, "a result of a call: {call}");
    }
}

#[test]
fn a_result_that_was_discarded_is_looked_for_elsewhere() {
    let mut bench = Bench::new();
    bench.store(object(1), LARGE, CopyKind::Primary);
    bench.turn();
    bench.objects.discard(vec![object(1)]);
    bench.turn();
    let _answer = bench.get(&[object(1)]);
    assert!(bench.turn().1.contains(&Message::Locate(object(1))));
}
