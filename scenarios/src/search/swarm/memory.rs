//! Kinds of work whose values leave memory, or a node, while somebody counts on them.

use super::work::produced;
use super::{Draw, Plan};

/// A value whose copies leave memory under those who count on them.
pub(super) fn evicted(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let bytes = draw.of(&["200KB", "2MB"]);
    plan.work.push(format!(
        "{{ submit = \"produce\", as = \"v{k}x\", bytes = \"{bytes}\", seed = {k}, prefer = \"A\", max_retries = 20 }}"
    ));
    if draw.chance(0.7) {
        plan.work.push(format!("{{ wait = \"v{k}x\" }}"));
    }
    for name in ["y", "z"] {
        let (count, place) = (draw.number(1, 4), draw.of(&["", ", prefer = \"A\"", ", prefer = \"B\""]));
        plan.work.push(format!(
            "{{ submit = \"consume\", args = [\"$v{k}x\"], as = \"v{k}{name}\", count = {count}, max_retries = 20{place} }}"
        ));
        for _ in 0..draw.number(1, 3) {
            let (time, node, force) = (draw.number(0, 100), draw.of(&["A", "B", "driver"]), draw.chance(0.5));
            plan.work.push(format!("{{ sleep = \"{time}ms\" }}"));
            plan.work.push(format!("{{ evict = \"v{k}x\", node = \"{node}\", force = {force} }}"));
        }
        plan.gets.push(format!("v{k}{name}"));
    }
}

/// More than the stores hold: what is made on one node and read on another, each value twice.
pub(super) fn crowded(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, bytes) = (draw.number(4, 12), draw.of(&["1MB", "2MB", "3MB"]));
    let (made, time) = produced(draw);
    plan.work.push(format!(
        "{{ submit = \"{made}\", as = \"o{k}x\", bytes = \"{bytes}\", seed = {k}, count = {count}, prefer = \"A\", max_retries = 20{time} }}"
    ));
    for name in ["y", "z"] {
        let place = draw.of(&["", ", prefer = \"B\"", ", strategy = \"spread\""]);
        plan.work.push(format!(
            "{{ submit = \"consume\", args = [\"$o{k}x[i]\"], as = \"o{k}{name}\", count = {count}, max_retries = 20{place} }}"
        ));
        plan.gets.push(format!("o{k}{name}"));
    }
    if draw.chance(0.4) {
        plan.work.push(format!("{{ release = \"o{k}x\" }}"));
    }
}

/// Values that outlive the loss of a node without being made again, and some also all nodes.
pub(super) fn kept(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (bytes, persisted) = (draw.of(&["1KB", "300KB", "1MB"]), draw.chance(0.5));
    let durable = if persisted { "persisted = true" } else { "replicas = 2" };
    plan.work.push(format!(
        "{{ submit = \"produce\", as = \"r{k}x\", bytes = \"{bytes}\", seed = {k}, prefer = \"A\", {durable}, max_retries = 20 }}"
    ));
    plan.work.push(format!("{{ sleep = \"{}ms\" }}", draw.number(1, 900)));
    plan.work.push(format!(
        "{{ submit = \"consume\", args = [\"$r{k}x\"], as = \"r{k}y\", prefer = \"B\", max_retries = 20 }}"
    ));
    plan.gets.extend([format!("r{k}x"), format!("r{k}y")]);
}

/// Tasks with several results, of which one is lost and made again while the others are still there.
pub(super) fn siblings(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (parts, bytes) = (draw.number(2, 4), draw.of(&["200KB", "1MB"]));
    let quoted = |prefix: &str| {
        let names: Vec<String> = (0..parts).map(|part| format!("\"{prefix}l{k}p{part}\"")).collect();
        names.join(", ")
    };
    plan.work.push(format!(
        "{{ submit = \"produce_many\", as = [{}], bytes = \"{bytes}\", seed = {k}, prefer = \"A\", max_retries = 20 }}",
        quoted("")
    ));
    plan.work.push(format!("{{ wait = \"l{k}p0\" }}"));
    for name in ["y", "z"] {
        let (lost, place) = (draw.number(0, parts - 1), draw.of(&["", ", prefer = \"A\"", ", prefer = \"B\""]));
        plan.work.push(format!("{{ evict = \"l{k}p{lost}\", node = \"A\", force = true }}"));
        plan.work.push(format!(
            "{{ submit = \"consume\", args = [{}], as = \"l{k}{name}\", max_retries = 20{place} }}",
            quoted("$")
        ));
        if draw.chance(0.5) {
            plan.work.push(format!("{{ get = \"l{k}{name}\", expect = \"ok\" }}"));
        }
        plan.gets.push(format!("l{k}{name}"));
    }
}

/// Every part of what some tasks make goes to another one: a shuffle.
pub(super) fn shuffled(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (maps, parts, bytes) = (draw.number(2, 5), draw.number(2, 4), draw.of(&["2KB", "200KB", "1MB"]));
    let place = draw.of(&["", ", strategy = \"spread\""]);
    plan.work.push(format!(
        "{{ submit = \"scatter\", as = \"y{k}x\", bytes = \"{bytes}\", seed = {k}, returns = {parts}, count = {maps}, \
         max_retries = 20{place} }}"
    ));
    plan.work.push(format!(
        "{{ submit = \"merge\", args = [\"$y{k}x[i::{parts}]\"], as = \"y{k}m\", count = {parts}, max_retries = 20{place} }}"
    ));
    if draw.chance(0.5) {
        plan.work.push(format!("{{ release = \"y{k}x\" }}"));
    }
    plan.work.push(format!("{{ submit = \"in_order\", args = [\"$y{k}m\"], as = \"y{k}r\", max_retries = 20 }}"));
    plan.gets.push(format!("y{k}r"));
}

/// Values that the driver itself reads, one after the other, while nodes and copies come and go.
pub(super) fn fetched(draw: &mut Draw, plan: &mut Plan, k: u64) {
    for round in 0..draw.number(2, 5) {
        let (bytes, node) = (draw.of(&["200KB", "1MB", "4MB"]), draw.of(&["A", "B"]));
        plan.work.push(format!(
            "{{ submit = \"produce\", as = \"t{k}x{round}\", bytes = \"{bytes}\", seed = {round}, prefer = \"{node}\", \
             max_retries = 20 }}"
        ));
        plan.work.push(format!("{{ wait = \"t{k}x{round}\" }}, {{ sleep = \"{}ms\" }}", draw.number(0, 300)));
        if draw.chance(0.3) {
            plan.work.push(format!("{{ evict = \"t{k}x{round}\", node = \"{node}\", force = true }}"));
        }
        plan.work.push(format!("{{ get = \"t{k}x{round}\", expect = \"ok\" }}"));
    }
}

/// More than a store holds, on the disk of its node and read there, while that disk fails, is slow or loses what it has.
/// What a worker's node alone owns may be among it, so that happens only where such a node may die as well. Without a
/// disk, nodes far from each other may drop so many values faster than they are read: that is `crowded`, with fewer.
pub(super) fn spilled(draw: &mut Draw, plan: &mut Plan, k: u64) {
    if !plan.spills {
        return;
    }
    let count = draw.number(8, 14);
    plan.work.push(format!(
        "{{ submit = \"produce\", as = \"d{k}x\", bytes = \"2MB\", seed = {k}, count = {count}, prefer = \"A\", \
         max_retries = 20 }}"
    ));
    plan.work.push(format!("{{ wait = \"d{k}x\", count = {count} }}"));
    for name in ["y", "z"] {
        let what = match (plan.quiet, draw.number(0, 3)) {
            (true, _) | (_, 0) => format!("{{ slow_disk = \"A\", times = {} }}", draw.number(2, 50)),
            (_, 1) => "{ disk_errors = \"A\", rate = 0.3 }".to_owned(),
            (_, 2) => "{ lose_spill = \"A\" }".to_owned(),
            _ => format!("{{ corrupt_spill = \"A\", how = \"{}\" }}", draw.of(&["flip_bit", "truncate"])),
        };
        let place = draw.of(&[", prefer = \"A\"", ", prefer = \"B\""]);
        plan.work.push(format!(
            "{what}, {{ submit = \"consume\", args = [\"$d{k}x[i]\"], as = \"d{k}{name}\", count = {count}, \
             max_retries = 20{place} }}"
        ));
        plan.work.push(format!("{{ sleep = \"{}ms\" }}, {{ mend_disk = \"A\" }}", draw.number(1, 900)));
        plan.gets.push(format!("d{k}{name}"));
    }
}
