//! Kinds of work with actors. One that lives to the end of its plan holds no cpu: of a cluster that lost nodes it could
//! hold the last one.

use super::{Draw, Plan};

/// References that an actor keeps after everybody else has dropped them.
pub(super) fn held(draw: &mut Draw, plan: &mut Plan, k: u64) {
    if !plan.quiet {
        return;
    }
    plan.work.push(format!("{{ actor = \"holder\", as = \"h{k}\", cpus = 0, prefer = \"{}\" }}", draw.of(&["A", "B"])));
    let bytes = draw.of(&["100B", "200KB"]);
    plan.work.push(match draw.chance(0.5) {
        true => format!("{{ put = \"h{k}x\", bytes = \"{bytes}\", seed = {k} }}"),
        false => format!("{{ submit = \"produce\", as = \"h{k}x\", bytes = \"{bytes}\", max_retries = 20 }}"),
    });
    plan.work.push(format!("{{ call = \"h{k}.hold\", args = [[\"$h{k}x\"]], as = \"h{k}n\" }}"));
    plan.work.push(format!("{{ get = \"h{k}n\", expect = \"ok\" }}, {{ release = [\"h{k}x\", \"h{k}n\"] }}"));
    plan.work.push(format!("{{ sleep = \"{}ms\" }}", draw.number(1, 900)));
    plan.work.push(format!("{{ call = \"h{k}.read\", as = \"h{k}r\" }}"));
    plan.gets.push(format!("h{k}r"));
}

/// An actor whose calls have their effect exactly once, whatever happens. It lives to the end, so it holds no cpu: of a
/// cluster that lost nodes it could hold the last one.
pub(super) fn exactly(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (repeat, crashes) = (draw.number(2, 12), draw.of(&["0", "3", "5"]));
    let place = draw.of(&["", ", prefer = \"A\"", ", prefer = \"B\""]);
    plan.work.push(format!(
        "{{ actor = \"checkpointed_counter\", as = \"a{k}\", cpus = 0, args = [0, {crashes}], exactly_once = true, \
         max_restarts = \"unlimited\"{place} }}"
    ));
    plan.work.push(format!("{{ call = \"a{k}.add\", args = [1], as = \"a{k}r\", repeat = {repeat} }}"));
    if draw.chance(0.5) {
        plan.work.push(format!("{{ get = \"a{k}r\", expect = {{ counting = 0 }} }}"));
    }
    plan.gets.push(format!("a{k}r"));
}

/// A method that streams, its items taken one after the other. Where the actor begins again, its method goes on where
/// the consumer is.
pub(super) fn streamed(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (items, bytes, time) = (draw.number(1, 6), draw.of(&["100", "200000"]), draw.number(0, 100));
    let (place, pressure) = (draw.of(&["", ", prefer = \"A\"", ", prefer = \"B\""]), draw.number(1, 3));
    plan.work.push(format!(
        "{{ actor = \"counter\", as = \"s{k}\", cpus = 0, args = [0], max_restarts = \"unlimited\"{place} }}"
    ));
    plan.work.push(format!(
        "{{ call = \"s{k}.items\", args = [{items}, {bytes}, {time}], as = \"s{k}g\", backpressure = {pressure}, \
         max_retries = 20 }}"
    ));
    plan.work
        .push(format!("{{ next = \"s{k}g\", as = \"s{k}x\", count = {items}, then = \"end\", timeout = \"30s\" }}"));
    plan.gets.push(format!("s{k}x"));
}

/// An actor in a placement group, which takes its state along when its bundle has to move. The group is given back with
/// the actor in it.
pub(super) fn housed(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let (bundles, repeat, strategy) = (draw.number(1, 2), draw.number(1, 8), draw.of(&["pack", "spread"]));
    let bundle = ["{ cpus = 0.5 }"].repeat(bundles as usize).join(", ");
    plan.work.push(format!("{{ group = \"u{k}\", bundles = [{bundle}], strategy = \"{strategy}\" }}"));
    plan.work.push(format!(
        "{{ actor = \"checkpointed_counter\", as = \"u{k}a\", args = [0, 0], exactly_once = true, cpus = 0.5, \
         max_restarts = \"unlimited\", group = \"u{k}\", bundle = {} }}",
        bundles - 1
    ));
    plan.work.push(format!("{{ call = \"u{k}a.add\", args = [1], as = \"u{k}r\", repeat = {repeat} }}"));
    plan.work.push(format!("{{ get = \"u{k}r\", expect = {{ counting = 0 }} }}, {{ release = \"u{k}\" }}"));
}

/// An actor that is ended and started again between its calls and under them, each with its effect exactly once. What
/// the calls add is a value of a task.
pub(super) fn interrupted(draw: &mut Draw, plan: &mut Plan, k: u64) {
    let place = draw.of(&["", ", prefer = \"A\"", ", prefer = \"B\""]);
    plan.work.push(format!(
        "{{ actor = \"checkpointed_counter\", as = \"m{k}\", cpus = 0, args = [0, 0], exactly_once = true, \
         max_restarts = \"unlimited\"{place} }}"
    ));
    plan.work.push(format!("{{ submit = \"echo\", args = [1], as = \"m{k}n\", max_retries = 20 }}"));
    let rounds = draw.number(1, 4);
    for round in 0..rounds {
        let (repeat, time) = (draw.number(1, 8), draw.number(0, 60));
        plan.work
            .push(format!("{{ call = \"m{k}.add\", args = [\"$m{k}n\"], as = \"m{k}r{round}\", repeat = {repeat} }}"));
        plan.work.push(format!("{{ sleep = \"{time}ms\" }}, {{ kill_actor = \"m{k}\", restart = true }}"));
    }
    let all: Vec<String> = (0..rounds).map(|round| format!("\"m{k}r{round}\"")).collect();
    plan.work.push(format!("{{ get = [{}], expect = {{ counting = 0 }} }}", all.join(", ")));
}
