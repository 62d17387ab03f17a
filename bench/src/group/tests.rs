//! Names of groups.

use super::find;

#[test]
fn a_typo_is_answered_with_the_nearest_name_and_a_later_group_with_what_there_is() {
    assert_eq!(find("tasks").map(|group| group.name), Ok("tasks"));
    let typo = find("stor").map(|group| group.name).unwrap_err();
    assert_eq!(
        typo,
        "no group is called `stor`, the nearest is `store`; there are tasks, actors, store, codec, transfer, spill, recovery, control, sim, flights"
    );
    let later = find("predict").map(|group| group.name).unwrap_err();
    assert_eq!(
        later,
        "the group `predict` is not written yet; there are tasks, actors, store, codec, transfer, spill, recovery, control, sim, flights"
    );
    let nothing = find("x").map(|group| group.name).unwrap_err();
    assert_eq!(
        nothing,
        "no group is called `x`; there are tasks, actors, store, codec, transfer, spill, recovery, control, sim, flights"
    );
}
