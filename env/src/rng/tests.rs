use super::Rng;
use std::collections::BTreeSet;

fn draws(mut rng: Rng, n: usize) -> Vec<u64> {
    (0..n).map(|_| rng.next_u64()).collect()
}

#[test]
fn the_same_name_gives_the_same_draws() {
    assert_eq!(draws(Rng::new(7, "A", "links"), 100), draws(Rng::new(7, "A", "links"), 100));
}

#[test]
fn seed_node_and_stream_each_make_another_stream() {
    let first = |seed, node, stream| Rng::new(seed, node, stream).next_u64();
    let all = BTreeSet::from([
        first(7, "A", "links"),
        first(8, "A", "links"),
        first(7, "B", "links"),
        first(7, "A", "disk"),
        first(7, "Al", "inks"),
    ]);
    assert_eq!(all.len(), 5);
}

#[test]
fn drawing_from_one_stream_leaves_the_others_alone() {
    let alone = draws(Rng::new(7, "A", "links"), 10);
    let mut other = Rng::new(7, "A", "disk");
    let mut links = Rng::new(7, "A", "links");
    let mixed: Vec<u64> = (0..10).map(|_| (other.next_u64(), links.next_u64()).1).collect();
    assert_eq!(mixed, alone);
}

#[test]
fn a_clone_continues_from_the_same_place() {
    let mut rng = Rng::new(1, "A", "x");
    rng.next_u64();
    assert_eq!(draws(rng.clone(), 5), draws(rng, 5));
}

#[test]
fn below_covers_its_range_evenly() {
    let mut rng = Rng::new(3, "A", "dice");
    let mut seen = [0u32; 6];
    for _ in 0..60_000 {
        seen[rng.below(6) as usize] += 1;
    }
    // 10,000 expected, standard deviation 91: six of them.
    assert!(seen.iter().all(|n| n.abs_diff(10_000) < 550), "{seen:?}");
}

#[test]
fn chance_follows_its_probability() {
    let mut rng = Rng::new(3, "A", "coin");
    assert!((0..100).all(|_| !rng.chance(0.0) && rng.chance(1.0)));
    let heads = (0..40_000).filter(|_| rng.chance(0.25)).count();
    assert!(heads.abs_diff(10_000) < 550, "{heads}");
}
