//! What a plan does: each kind of work draws a few steps, and what is asked for at the end.
//!
//! Each step is one that a correct system gets done whatever the troubles of the plan: retries are plenty. Work that an
//! owner's death ends with an error, as it should, is drawn only where no node is in trouble. Here are tasks; values that
//! leave memory are in `memory.rs`, actors in `actors.rs`.

use super::actors::{exactly, held, housed, interrupted, streamed};
use super::memory::{crowded, evicted, fetched, kept, shuffled, siblings, spilled};
use super::{Draw, Plan};

/// The kinds of work. New ones come last: a seed's draws go by number.
pub(super) const WORK: [fn(&mut Draw, &mut Plan, u64); 30] = [
    map,
    chain,
    borrowed,
    lent,
    tree,
    nested,
    crashes,
    flaky,
    dropped,
    fan,
    expected,
    inside,
    held,
    exactly,
    sleepers,
    items,
    evicted,
    crowded,
    cancelled,
    grouped,
    kept,
    late,
    siblings,
    shuffled,
    fetched,
    streamed,
    housed,
    interrupted,
    processes,
    spilled,
];

/// How the argument of one of `count` submissions names its own object.
fn each(count: u64) -> &'static str {
    if count > 1 { "[i]" } else { "" }
}

/// Makes a value at once, or takes its time: faults then meet work under way.
pub(super) fn produced(draw: &mut Draw) -> (&'static str, String) {
    match draw.chance(0.5) {
        true => ("produce_slowly", format!(", time = \"{}ms\"", draw.number(5, 500))),
        false => ("produce", String::new()),
    }
}

/// Values made here and used there.
fn map(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, bytes, seed) = (draw.number(1, 6), draw.of(&["100B", "2KB", "200KB", "2MB"]), draw.number(1, 99));
    let (made, time) = produced(draw);
    let place = draw.of(&["", ", strategy = \"spread\"", ", prefer = \"A\"", ", prefer = \"B\""]);
    plan.work.push(format!(
        "{{ submit = \"{made}\", as = \"x{k}\", bytes = \"{bytes}\", seed = {seed}, count = {count}, max_retries = 20{place}{time} }}"
    ));
    let (place, each) =
        (draw.of(&["", ", strategy = \"spread\"", ", prefer = \"A\"", ", prefer = \"B\""]), each(count));
    plan.work.push(format!(
        "{{ submit = \"consume\", args = [\"$x{k}{each}\"], as = \"y{k}\", count = {count}, max_retries = 20{place} }}"
    ));
    if draw.chance(0.5) {
        plan.work.push(format!("{{ get = \"y{k}\", expect = \"ok\" }}"));
    }
    if draw.chance(0.3) {
        plan.gets.push(format!("x{k}"));
    }
    plan.gets.push(format!("y{k}"));
}

/// A value that depends on a value that depends on a value.
fn chain(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let bytes = draw.of(&["2KB", "200KB", "1MB"]);
    let (made, time) = produced(draw);
    plan.work.push(format!("{{ submit = \"{made}\", as = \"c{k}x0\", bytes = \"{bytes}\", max_retries = 20{time} }}"));
    let depth = draw.number(1, 5);
    for step in 1..=depth {
        let place = draw.of(&["", ", prefer = \"A\"", ", prefer = \"B\""]);
        let before = step - 1;
        plan.work.push(format!(
            "{{ submit = \"chain\", args = [\"$c{k}x{before}\"], as = \"c{k}x{step}\", max_retries = 20{place} }}"
        ));
        if draw.chance(0.5) {
            plan.work.push(format!("{{ release = \"c{k}x{before}\" }}"));
        }
    }
    if draw.chance(0.5) {
        plan.work.push(format!("{{ sleep = \"{}ms\" }}", draw.number(50, 2_000)));
    }
    plan.gets.push(format!("c{k}x{depth}"));
}

/// The driver's objects, read through references inside an argument.
fn borrowed(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (bytes, count) = (draw.of(&["1KB", "300KB", "1MB"]), draw.number(1, 4));
    plan.work.push(format!("{{ put = \"b{k}p\", bytes = \"{bytes}\", seed = {k} }}"));
    plan.work.push(format!(
        "{{ submit = \"read_inside\", args = [[\"$b{k}p\"]], as = \"b{k}r\", count = {count}, max_retries = 20 }}"
    ));
    if draw.chance(0.6) {
        plan.work.push(format!("{{ release = \"b{k}p\" }}"));
    }
    plan.gets.push(format!("b{k}r"));
}

/// A task's own object, lent to another task. Its owner is a worker's node, so this asks for quiet nodes: the plan says
/// `prefer`, and an owner's death is an error nobody retries. Only used while the producer is asked again on failure.
fn lent(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let count = draw.number(1, 3);
    let each = each(count);
    plan.work.push(format!("{{ put = \"l{k}p\", bytes = \"{}\", seed = {k} }}", draw.of(&["1KB", "500KB"])));
    plan.work.push(format!(
        "{{ submit = \"echo\", args = [[\"$l{k}p\"]], as = \"l{k}e\", count = {count}, max_retries = 20 }}"
    ));
    plan.work.push(format!("{{ release = \"l{k}p\" }}"));
    plan.work.push(format!(
        "{{ submit = \"read_inside\", args = [\"$l{k}e{each}\"], as = \"l{k}r\", count = {count}, max_retries = 20 }}"
    ));
    if draw.chance(0.5) {
        plan.work.push(format!("{{ release = \"l{k}e\" }}"));
    }
    plan.gets.push(format!("l{k}r"));
}

/// Tasks that submit tasks.
fn tree(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (depth, fanout) = (draw.number(1, 3), draw.number(1, 3));
    plan.work.push(format!(
        "{{ submit = \"tree\", as = \"t{k}\", depth = {depth}, fanout = {fanout}, max_retries = 20, retry_exceptions = 20 }}"
    ));
    plan.gets.push(format!("t{k}"));
}

/// Tasks that wait for tasks.
fn nested(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let depth = draw.number(1, 12);
    plan.work.push(format!(
        "{{ submit = \"nest\", args = [42], as = \"n{k}\", depth = {depth}, max_retries = 20, retry_exceptions = 20 }}"
    ));
    plan.gets.push(format!("n{k}"));
}

/// Workers that die.
fn crashes(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (times, count) = (draw.number(1, 3), draw.number(1, 3));
    plan.work
        .push(format!("{{ submit = \"crash\", as = \"k{k}\", times = {times}, count = {count}, max_retries = 20 }}"));
    plan.gets.push(format!("k{k}"));
}

/// Tasks that fail at first.
fn flaky(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let times = draw.number(1, 3);
    plan.work.push(format!(
        "{{ submit = \"fail\", as = \"f{k}\", times = {times}, max_retries = 20, retry_exceptions = {times} }}"
    ));
    plan.gets.push(format!("f{k}"));
}

/// Work whose results nobody wants any more.
fn dropped(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, bytes) = (draw.number(1, 8), draw.of(&["1KB", "1MB"]));
    plan.work.push(format!(
        "{{ submit = \"produce_slowly\", as = \"d{k}\", bytes = \"{bytes}\", time = \"{}ms\", count = {count}, max_retries = 20 }}",
        draw.number(10, 800)
    ));
    plan.work.push(format!("{{ submit = \"consume\", args = [\"$d{k}\"], as = \"d{k}c\", max_retries = 20 }}"));
    plan.work.push(format!("{{ sleep = \"{}ms\" }}", draw.number(1, 600)));
    plan.work.push(format!("{{ release = [\"d{k}\", \"d{k}c\"] }}"));
}

/// One value that many wait for.
fn fan(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, bytes, time) = (draw.number(2, 8), draw.of(&["100B", "200KB", "1MB"]), draw.number(5, 400));
    plan.work.push(format!(
        "{{ submit = \"produce_slowly\", as = \"w{k}x\", bytes = \"{bytes}\", time = \"{time}ms\", max_retries = 20 }}"
    ));
    let place = draw.of(&["", ", strategy = \"spread\""]);
    plan.work.push(format!(
        "{{ submit = \"consume\", args = [\"$w{k}x\"], as = \"w{k}y\", count = {count}, max_retries = 20{place} }}"
    ));
    if draw.chance(0.5) {
        plan.work.push(format!("{{ release = \"w{k}x\" }}"));
    }
    plan.gets.push(format!("w{k}y"));
}

/// A value that is still being made, read through references inside arguments, some of them later.
fn expected(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, bytes, time) = (draw.number(1, 4), draw.of(&["100B", "300KB"]), draw.number(5, 400));
    plan.work.push(format!(
        "{{ submit = \"produce_slowly\", as = \"e{k}x\", bytes = \"{bytes}\", time = \"{time}ms\", max_retries = 20 }}"
    ));
    let (read, time) = match draw.chance(0.5) {
        true => ("read_later", format!(", time = \"{}ms\"", draw.number(5, 900))),
        false => ("read_inside", String::new()),
    };
    plan.work.push(format!(
        "{{ submit = \"{read}\", args = [[\"$e{k}x\"]], as = \"e{k}r\", count = {count}, max_retries = 20{time} }}"
    ));
    if draw.chance(0.6) {
        plan.work.push(format!("{{ release = \"e{k}x\" }}"));
    }
    plan.gets.push(format!("e{k}r"));
}

/// An object that a worker's node owns, read elsewhere after the task that made it is over. Where that node may die with
/// it, nobody asks how the reading ended.
fn inside(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (refs, bytes) = (draw.number(1, 3), draw.of(&["100B", "200KB", "1MB"]));
    plan.work.push(format!(
        "{{ submit = \"put_inside\", as = \"i{k}x\", bytes = \"{bytes}\", refs = {refs}, prefer = \"A\", max_retries = 20 }}"
    ));
    if plan.quiet && draw.chance(0.5) {
        plan.work.push(format!("{{ wait = \"i{k}x\" }}, {{ sleep = \"{}ms\" }}", draw.number(1, 900)));
    }
    plan.work.push(format!(
        "{{ submit = \"read_inside\", args = [\"$i{k}x\"], as = \"i{k}r\", prefer = \"B\", max_retries = 20 }}"
    ));
    if !plan.quiet {
        plan.work.push(format!("{{ sleep = \"{}ms\" }}, {{ release = [\"i{k}x\", \"i{k}r\"] }}", draw.number(1, 900)));
        return;
    }
    if draw.chance(0.5) {
        plan.work.push(format!("{{ release = \"i{k}x\" }}"));
    }
    plan.gets.push(format!("i{k}r"));
}

/// Tasks that submit tasks which take their time.
fn sleepers(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (depth, fanout, time) = (draw.number(1, 2), draw.number(2, 3), draw.number(20, 600));
    plan.work.push(format!(
        "{{ submit = \"sleep_tree\", as = \"s{k}\", depth = {depth}, fanout = {fanout}, time = \"{time}ms\", \
         max_retries = 20, retry_exceptions = 20 }}"
    ));
    plan.gets.push(format!("s{k}"));
}

/// A generator, its items taken one after the other.
fn items(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (items, bytes, time) = (draw.number(1, 6), draw.of(&["100B", "200KB"]), draw.number(1, 100));
    let pressure = draw.of(&["", ", backpressure = 1", ", backpressure = 2"]);
    plan.work.push(format!(
        "{{ submit = \"generator\", as = \"g{k}\", items = {items}, bytes = \"{bytes}\", time = \"{time}ms\", \
         max_retries = 20{pressure} }}"
    ));
    plan.work.push(format!("{{ next = \"g{k}\", as = \"g{k}x\", count = {items}, timeout = \"30s\" }}"));
    plan.gets.push(format!("g{k}x"));
}

/// Work that is called off, queued or running, with whatever it submitted.
fn cancelled(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, time) = (draw.number(1, 6), draw.number(10, 900));
    plan.work.push(match draw.chance(0.5) {
        true => format!(
            "{{ submit = \"produce_slowly\", as = \"q{k}x\", bytes = \"1KB\", time = \"{time}ms\", count = {count}, max_retries = 20 }}"
        ),
        false => format!(
            "{{ submit = \"sleep_tree\", as = \"q{k}x\", depth = 1, fanout = {count}, time = \"{time}ms\", max_retries = 20, \
             retry_exceptions = 20 }}"
        ),
    });
    plan.work.push(format!("{{ sleep = \"{}ms\" }}", draw.number(0, 500)));
    plan.work.push(format!("{{ cancel = \"q{k}x\" }}"));
    // What runs already comes to its end, and reports to somebody who still refers to it, or does not.
    if draw.chance(0.5) {
        plan.work.push(format!("{{ sleep = \"{}ms\" }}", draw.number(1, 900)));
    }
    plan.work.push(format!("{{ release = \"q{k}x\" }}"));
}

/// Tasks in places that were set aside together. They are given back at once: others may be bound to those nodes.
fn grouped(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (bundles, count) = (draw.number(1, 2), draw.number(1, 4));
    let strategy = draw.of(&["pack", "spread"]);
    let bundle = ["{ cpus = 0.5 }"].repeat(bundles as usize).join(", ");
    plan.work.push(format!("{{ group = \"p{k}\", bundles = [{bundle}], strategy = \"{strategy}\" }}"));
    plan.work.push(format!(
        "{{ submit = \"sleep\", as = \"p{k}x\", time = \"{}ms\", group = \"p{k}\", cpus = 0.5, count = {count}, max_retries = 20 }}",
        draw.number(1, 400)
    ));
    plan.work.push(format!("{{ get = \"p{k}x\", expect = \"ok\" }}, {{ release = \"p{k}\" }}"));
}

/// Readers that begin before what they read can be made, and by the same workers: its turn comes behind theirs.
fn late(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, gate, wait) = (draw.number(1, 6), draw.number(5, 300), draw.number(5, 600));
    plan.work.push(format!(
        "{{ submit = \"produce_slowly\", as = \"j{k}g\", bytes = \"100B\", time = \"{gate}ms\", max_retries = 20 }}"
    ));
    plan.work.push(format!("{{ submit = \"chain\", args = [\"$j{k}g\"], as = \"j{k}x\", max_retries = 20 }}"));
    plan.work.push(format!(
        "{{ submit = \"read_later\", args = [[\"$j{k}x\"]], as = \"j{k}r\", time = \"{wait}ms\", count = {count}, \
         max_retries = 20 }}"
    ));
    plan.gets.push(format!("j{k}r"));
}

/// Tasks in processes of their own, which end with them or abort, beside others in the node.
fn processes(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (count, bytes) = (draw.number(1, 4), draw.of(&["100B", "200KB", "1MB"]));
    let (place, apart) = (draw.of(&["", ", prefer = \"A\""]), draw.of(&["", ", process = true"]));
    plan.work.push(format!(
        "{{ submit = \"produce\", as = \"z{k}x\", bytes = \"{bytes}\", seed = {k}, count = {count}, process = true, \
         max_retries = 20{place} }}"
    ));
    if draw.chance(0.6) {
        let times = draw.number(1, 2);
        plan.work.push(format!(
            "{{ submit = \"crash\", as = \"z{k}c\", times = {times}, process = true, max_retries = 20{place} }}"
        ));
        plan.gets.push(format!("z{k}c"));
    }
    plan.work.push(format!(
        "{{ submit = \"consume\", args = [\"$z{k}x{}\"], as = \"z{k}y\", count = {count}, max_retries = 20{apart} }}",
        each(count)
    ));
    plan.gets.push(format!("z{k}y"));
}
