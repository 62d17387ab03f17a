//! Values that are kept outside the cluster.

use super::*;

fn outside() -> Durability {
    Durability { persisted: true, ..Durability::default() }
}

#[test]
fn what_was_written_is_read_back_when_every_copy_is_lost() {
    let mut w = World { durability: outside(), ..World::new() };
    let x = w.task("x", &[]);
    w.run();
    w.save();
    w.kill(A);
    assert!(w.loading.is_empty(), "nobody wants it");
    w.step(Event::Subscribe { object: x, by: B });
    w.step(Event::Subscribe { object: x, by: C });
    assert_eq!((w.loading.len(), w.queued.len()), (1, 0));
    w.load();
    assert_eq!(w.told[&(B, x)], Located::Stored { size: BIG, copies: vec![ME] });
    assert_eq!(w.ran(x), 1);
    w.evict(x, ME);
    assert_eq!(w.loading, [(ME, x)], "again");
    w.load();
    w.drop(x);
    w.assert_empty();
}

#[test]
fn a_put_is_written_and_read_back() {
    let mut w = World::new();
    let x = w.put_big(&[]);
    w.step(Event::Endure { object: x, durability: outside() });
    w.save();
    w.evict(x, ME);
    w.step(Event::Subscribe { object: x, by: B });
    w.load();
    assert!(is_stored(&w.owner.locate(x)));
}

#[test]
fn a_writer_that_dies_is_replaced_and_what_is_damaged_is_rebuilt() {
    let mut w = World { durability: outside(), ..World::new() };
    let x = w.task("x", &[]);
    w.run();
    w.copy(x, B);
    assert_eq!(w.saving, [(A, x)]);
    w.kill(A);
    assert_eq!(w.saving, [(B, x)]);
    w.save();
    w.outside.clear();
    (w.home, w.durability) = (C, outside());
    w.kill(B);
    w.step(Event::Subscribe { object: x, by: C });
    w.load();
    assert_eq!(w.queued, [x.task], "it cannot be read: lineage");
    w.run();
    assert_eq!(w.saving, [(C, x)], "and it is written again");
}

#[test]
fn a_reader_that_dies_is_replaced() {
    let mut w = World { durability: outside(), ..World::new() };
    w.step(Event::Nodes([B, C].into()));
    let x = w.task("x", &[]);
    w.run();
    w.save();
    w.kill(A);
    w.await_value(x);
    let [(first, _)] = w.loading[..] else { panic!("{:?}", w.loading) };
    w.kill(first);
    let [(second, _)] = w.loading[..] else { panic!("{:?}", w.loading) };
    assert_ne!(first, second);
    w.load();
    assert!(w.awaited.is_empty() && w.ran(x) == 1);
}

#[test]
fn what_is_gone_before_it_is_written_is_removed_when_it_is() {
    let mut w = World { durability: outside(), ..World::new() };
    let x = w.task("x", &[]);
    w.run();
    w.drop(x);
    w.outside.insert(x);
    w.step(Event::Saved { object: x, by: A, size: BIG });
    w.saving.clear();
    w.assert_empty();
}
