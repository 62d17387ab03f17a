//! What the owner says of its objects.

use super::*;

#[test]
fn an_object_is_on_the_account_of_the_driver_that_its_task_works_for() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let small = w.task("small", &[]);
    let (mine, theirs) = (w.put_big(&[]), w.put_big(&[x]));
    w.step(Event::PutFor { object: theirs, job: JOB });
    w.run();
    w.copy(x, B);
    w.step(Event::Borrowed { object: x, by: C });
    let holdings = w.owner.holdings();
    let jobs: Vec<_> = holdings.iter().map(|held| (held.object, held.job)).collect();
    assert_eq!(jobs, [(x, JOB), (mine, ME), (theirs, JOB)], "what is inline is in no store");
    assert_eq!(
        holdings[0],
        Holding {
            object: x,
            job: JOB,
            maker: "x".into(),
            copies: vec![A, B],
            local: 1,
            arguments: 0,
            inside: 1,
            lineage: 0,
            borrowers: vec![C],
        }
    );
    assert_eq!((&*holdings[1].maker, &holdings[1].copies), ("put", &vec![ME]));
    for object in [x, small, mine, theirs] {
        w.drop(object);
    }
    w.step(Event::Returned { object: x, by: C });
    w.assert_empty();
}
