//! What goes wrong in a plan: bounded to what a correct system survives. One node at a time is in trouble, and it comes
//! back; of three or more, one may be lost for ever. So does the head, with its log.

use super::Draw;
use std::fmt::Write;

/// The kinds of messages whose calls may meet faults.
const CALLS: [&str; 21] = [
    "Exchange",
    "LeaseRequest",
    "LeaseGranted",
    "LeaseReturn",
    "PushTask",
    "TaskStarted",
    "TaskDone",
    "TaskItem",
    "Locate",
    "Located",
    "CopyAdded",
    "CopyRemoved",
    "CopyEvicted",
    "Free",
    "BorrowAdd",
    "BorrowRemove",
    "View",
    "CallActor",
    "SaveActor",
    "StartActor",
    "ActorStatus",
];

/// What happens to nodes and links.
#[derive(Default)]
pub(super) struct Troubles {
    /// Steps beside the work, one after the other.
    pub steps: Vec<String>,
    /// What waits for a place in the work.
    pub planned: String,
}

impl Troubles {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.planned.is_empty()
    }
}

/// Draws what happens to nodes and links.
pub(super) fn of_nodes(draw: &mut Draw, nodes: &[String]) -> Troubles {
    let mut troubles = Troubles::default();
    let Troubles { steps, planned } = &mut troubles;
    for _ in 0..draw.number(0, 3) {
        let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let (victim, peers) = (draw.of(&names), ["driver", "head", names[0], names[1]]);
        let others: Vec<&str> = peers.into_iter().filter(|peer| *peer != victim).collect();
        let peer = draw.of(&others);
        // Most work is short.
        let longest = [10, 60, 300, 900][draw.number(0, 3) as usize];
        let (before, during) = (draw.number(1, longest), draw.number(1, 1_500));
        let (first, last) = match draw.number(0, 8) {
            0 | 1 => (format!("{{ kill = \"{victim}\" }}"), format!("{{ restart = \"{victim}\" }}")),
            2 => (format!("{{ power_off = \"{victim}\" }}"), format!("{{ restart = \"{victim}\" }}")),
            3 => (format!("{{ pause = \"{victim}\" }}"), format!("{{ restart = \"{victim}\" }}")),
            4 => (format!("{{ partition = [\"{victim}\", \"{peer}\"] }}"), "{ heal = \"all\" }".to_owned()),
            5 => (
                format!("{{ partition = [\"{peer}\", \"{victim}\"], oneway = true }}"),
                "{ heal = \"all\" }".to_owned(),
            ),
            6 => (
                format!("{{ hold = [\"{victim}\", \"{peer}\"] }}"),
                format!("{{ release_messages = [\"{victim}\", \"{peer}\"] }}"),
            ),
            7 => (
                format!("{{ slow_link = [\"{victim}\", \"{peer}\"], latency = \"{}ms\" }}", draw.number(1, 100)),
                "{ heal = \"all\" }".to_owned(),
            ),
            _ => {
                (format!("{{ loss = [\"{victim}\", \"{peer}\"], probability = 0.3 }}"), "{ heal = \"all\" }".to_owned())
            }
        };
        steps.extend([format!("{{ sleep = \"{before}ms\" }}"), first, format!("{{ sleep = \"{during}ms\" }}"), last]);
        // A node cut off for too long was declared dead, and only its next life counts.
        steps.push(format!("{{ restart = \"{victim}\" }}"));
    }
    if steps.is_empty() && draw.chance(0.6) {
        let site = draw.of(&["start", "finish", "grant", "fetch", "submit", "send"]);
        let victim = &nodes[draw.number(0, nodes.len() as u64 - 1) as usize];
        let end = draw.of(&["kill", "power_off"]);
        let back = match nodes.len() > 2 && draw.chance(0.5) {
            true => String::new(),
            false => format!(", {{ restart = \"{victim}\" }}"),
        };
        let nth = draw.number(1, 15);
        let _ =
            write!(planned, "\n[[fault]]\nprobe = \"{site}\"\nnth = {nth}\ndo = [{{ {end} = \"{victim}\" }}{back}]\n");
    }
    troubles
}

/// Draws what happens to the head, which goes on with its log well before the nodes stop waiting for it.
pub(super) fn of_head(draw: &mut Draw) -> Vec<String> {
    if !draw.chance(0.2) {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for _ in 0..draw.number(1, 2) {
        let longest = [10, 60, 300, 900][draw.number(0, 3) as usize];
        let (before, during) = (draw.number(1, longest), draw.number(1, 1_500));
        let (first, last) = match draw.chance(0.7) {
            true => ("{ head_kill = true }", "{ head_restart = true }"),
            false => ("{ head_pause = true }", "{ resume = \"head\" }"),
        };
        let wait = |time: u64| format!("{{ sleep = \"{time}ms\" }}");
        steps.extend([wait(before), first.to_owned(), wait(during), last.to_owned()]);
    }
    steps
}

/// Draws what happens to calls: to a few in a row, or now and then to many. Many in a row would only be waited for: the
/// retries of one envelope come a second apart in the end.
pub(super) fn of_calls(draw: &mut Draw) -> String {
    let mut out = String::new();
    for _ in 0..draw.number(0, 4) {
        let kind =
            draw.of(&["request_lost", "reply_lost", "in_flight", "duplicate", "delay", "reorder", "stale_epoch"]);
        let (method, nth) = (draw.of(&CALLS), draw.number(1, 6));
        let count = match draw.chance(0.7) {
            true => draw.number(1, 4).to_string(),
            false => format!("{}, probability = 0.5", draw.number(5, 40)),
        };
        let _ = write!(
            out,
            "\n[[fault]]\ndo = {{ rpc = {{ kind = \"{kind}\", method = \"{method}\", nth = {nth}, count = {count} }} }}\n"
        );
    }
    out
}
