//! What transfers take in simulation, against a fluid model: rates that are max-min fair (Bertsekas and Gallager, "Data
//! Networks", 6.5.2), each link shared by the flows through it as if they were liquid. Ours are chunks in FIFO queues of
//! network cards; on small cases both must say the same.

mod common;

use common::{answer, content, told};
use mobula_protocol::{ByteSize, Nanos};
use mobula_runtime::{Blob, ObjectRef, task};
use mobula_sim::{Cluster, ClusterSpec, LinkSpec, NodeSpec, RunOptions, run};

const NODES: usize = 5;
/// Slow links: what else a transfer takes is little beside them.
const BANDWIDTH: ByteSize = ByteSize::mb(20);
/// How much longer or shorter than the fluid ours may take: of the time, and beside it what asking for the bytes takes.
const TOLERANCE: f64 = 0.12;
const OVERHEAD: f64 = 0.020;

/// So many bytes from a node to another.
#[derive(Clone, Copy, Debug)]
struct Flow {
    from: usize,
    to: usize,
    bytes: u64,
}

/// When each flow is through, in seconds, if all begin at once.
fn fluid(flows: &[Flow], bandwidth: f64) -> Vec<f64> {
    let mut left: Vec<f64> = flows.iter().map(|flow| flow.bytes as f64).collect();
    let mut ends = vec![0.0; flows.len()];
    let mut now = 0.0;
    while left.iter().any(|bytes| *bytes > 0.0) {
        let open: Vec<usize> = (0..flows.len()).filter(|at| left[*at] > 0.0).collect();
        let rates = fair(&open.iter().map(|at| flows[*at]).collect::<Vec<_>>(), bandwidth);
        let step = open.iter().zip(&rates).map(|(at, rate)| left[*at] / rate).fold(f64::INFINITY, f64::min);
        now += step;
        for (at, rate) in open.into_iter().zip(rates) {
            left[at] -= rate * step;
            if left[at] < 1.0 {
                (left[at], ends[at]) = (0.0, now);
            }
        }
    }
    ends
}

/// Progressive filling: all rates grow alike; the flows of a link that is full have what they get.
fn fair(flows: &[Flow], bandwidth: f64) -> Vec<f64> {
    let mut rates = vec![0.0; flows.len()];
    let mut fixed = vec![false; flows.len()];
    let links = |flow: &Flow| [flow.from, NODES + flow.to];
    let through = |link: usize| (0..flows.len()).filter(move |at| links(&flows[*at]).contains(&link));
    while fixed.contains(&false) {
        let share = |link: usize| {
            let open = through(link).filter(|at| !fixed[*at]).count();
            let room = bandwidth - through(link).map(|at| rates[at]).sum::<f64>();
            (open > 0).then(|| (room / open as f64, link))
        };
        // All open flows have the same rate; the link with the least room for each more is full first.
        let tightest = (0..2 * NODES).filter_map(share).min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((more, link)) = tightest else { return rates };
        let growing: Vec<usize> = (0..flows.len()).filter(|at| !fixed[*at]).collect();
        growing.iter().for_each(|at| rates[*at] += more);
        through(link).filter(|at| growing.contains(at)).collect::<Vec<_>>().into_iter().for_each(|at| fixed[at] = true);
    }
    rates
}

#[test]
fn the_fluid_itself_is_fair() {
    let flow = |from, to| Flow { from, to, bytes: 30 };
    assert_eq!(fair(&[flow(0, 1)], 10.0), [10.0]);
    assert_eq!(fair(&[flow(0, 1), flow(0, 2)], 10.0), [5.0, 5.0]);
    // The second link of the first flow is wide open to the third: what the first leaves there is the third's.
    assert_eq!(fair(&[flow(0, 1), flow(0, 2), flow(3, 2)], 10.0), [5.0, 5.0, 5.0]);
    assert_eq!(fair(&[flow(0, 3), flow(1, 3), flow(2, 3), flow(2, 4)], 9.0), [3.0, 3.0, 3.0, 6.0]);
    assert_eq!(fluid(&[flow(0, 1), Flow { from: 0, to: 2, bytes: 60 }], 10.0), [6.0, 9.0]);
}

/// Makes bytes; in no modelled time.
#[task]
fn make(bytes: u64, seed: u64) -> Blob {
    content(bytes, seed).into()
}

/// Takes its argument.
#[task]
fn take(blob: Blob) -> u64 {
    blob.len() as u64
}

/// When the last byte of each flow was there, in simulation: each is an object of its own.
fn simulated(flows: &[Flow]) -> Vec<f64> {
    let name = |node: usize| format!("N{node}");
    let nodes = (0..NODES).map(|node| NodeSpec::new(&name(node), 8).store(ByteSize::mb(200))).collect();
    let link = LinkSpec { bandwidth: BANDWIDTH, ..LinkSpec::default() };
    let flows = flows.to_vec();
    let options = RunOptions { seed: 1, max_time: Nanos::secs(300), ..RunOptions::default() };
    let report = run(ClusterSpec { nodes, link, ..ClusterSpec::nodes(1) }, options, async move |cluster: Cluster| {
        let context = cluster.context();
        let made =
            flows.iter().zip(0..).map(|(flow, seed)| make(flow.bytes, seed).on(&name(flow.from)).submit(context));
        let made: Vec<ObjectRef<Blob>> = told(made.collect::<Result<_, _>>())?;
        answer(context.wait(&made, made.len(), None).await)?;
        let began = cluster.env().now();
        let taken = flows.iter().zip(&made).map(|(flow, blob)| take(blob).on(&name(flow.to)).submit(context));
        let taken: Vec<ObjectRef<u64>> = told(taken.collect::<Result<_, _>>())?;
        let mut ends = vec![0.0; taken.len()];
        let mut open: Vec<usize> = (0..taken.len()).collect();
        while !open.is_empty() {
            cluster.env().sleep(Nanos::millis(2)).await;
            let mut still = Vec::new();
            for at in open {
                let ready = told(context.wait(&taken[at..=at], 1, Some(Nanos::ZERO)).await)?;
                match ready.ready.is_empty() {
                    true => still.push(at),
                    false => ends[at] = cluster.env().now().saturating_sub(began).as_secs_f64(),
                }
            }
            open = still;
        }
        Ok::<_, String>(ends)
    });
    match report.outcome {
        Ok(Ok(ends)) => ends,
        other => panic!("{other:?}"),
    }
}

fn agree(what: &str, flows: &[Flow]) {
    let (expected, found) = (fluid(flows, BANDWIDTH.0 as f64), simulated(flows));
    for ((flow, expected), found) in flows.iter().zip(&expected).zip(&found) {
        let error = (found - expected).abs();
        println!("{what}: {flow:?} fluid {expected:.3} s, simulated {found:.3} s");
        assert!(error <= expected * TOLERANCE + OVERHEAD, "{what}: {flow:?} takes {found:.3} s, fluid {expected:.3} s");
    }
}

const fn flow(from: usize, to: usize) -> Flow {
    Flow { from, to, bytes: 10_000_000 }
}

#[test]
fn one_transfer_has_the_link_for_itself() {
    agree("one", &[flow(0, 1)]);
}

#[test]
fn receivers_of_one_sender_share_its_card() {
    agree("fan out", &[flow(0, 1), flow(0, 2), flow(0, 3)]);
}

#[test]
fn senders_to_one_receiver_share_its_card() {
    agree("fan in", &[flow(0, 3), flow(1, 3), flow(2, 3)]);
}

#[test]
fn a_shuffle_fills_every_card() {
    let all = (0..4).flat_map(|from| (0..4).filter(move |to| *to != from).map(move |to| flow(from, to)));
    agree("shuffle", &all.collect::<Vec<_>>());
}

#[test]
fn a_short_transfer_leaves_the_rest_to_a_long_one() {
    agree("two lengths", &[flow(0, 1), Flow { from: 0, to: 2, bytes: 30_000_000 }]);
}
