//! What goes into processes and what comes out.

use crate::support::{Answer, children, context, descriptors, empty, node, told, until};
use crate::tasks::{keep, make, pid, same, total, total_later, up_to};
use mobula_runtime::{Blob, TaskErrorKind, task};

const LARGE: usize = 4 << 20;

pub fn large() -> Answer {
    let cluster = node(2)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        let put = told(context.put(&Blob::from(vec![2; LARGE])).await)?;
        let made = told(make(LARGE as u64, 3).submit(&context))?;
        let copy = told(same(&put).submit(&context))?;
        let sum = told(total(&[put.clone(), made.clone(), copy.clone()]).submit(&context))?;
        assert_eq!(told(context.get(&sum).await)?, 7 * LARGE as u64);
        assert_eq!(told(context.get(&copy).await)?, told(context.get(&put).await)?);
        let small = told(total_later(Blob::from(vec![1; 100]), 0).submit(&context))?;
        assert_eq!(told(context.get(&small).await)?, 100);
        let many = told(up_to(3).returns(3).submit(&context))?;
        assert_eq!(told(context.get_all(&many).await)?, [0, 1, 2]);
        // Freed while it is read: whoever reads it does so to the end.
        let reads = told(total_later(&put, 300).submit(&context))?;
        std::thread::sleep(std::time::Duration::from_millis(150));
        told(context.free(&put))?;
        assert_eq!(told(context.get(&reads).await)?, 2 * LARGE as u64);
        drop((put, made, copy));
        empty(&context).await
    })
}

pub fn kept() -> Answer {
    let cluster = node(1)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        let put = told(context.put(&Blob::from(vec![2; LARGE])).await)?;
        let keeper = told(context.get(&told(keep(&put).submit(&context))?).await)?;
        let next = told(context.get(&told(pid().submit(&context))?).await)?;
        assert_ne!(keeper, next, "it would hold what it was lent for ever");
        drop(put);
        empty(&context).await
    })
}

#[task(process)]
fn first(list: Vec<u64>) -> u64 {
    list.first().copied().unwrap_or_default()
}

pub fn refused() -> Answer {
    let cluster = node(1)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        let inner = told(context.put(&7_u64).await)?;
        let list = told(context.put(&vec![inner.clone()]).await)?;
        let refused = told(first(&list.cast::<Vec<u64>>()).submit(&context))?;
        let error = context.get(&refused).await.err().ok_or("a reference was read")?;
        assert_eq!(error.kind, TaskErrorKind::WrongType);
        let words = format!("argument 0 contains a reference, {}", inner.id());
        assert!(error.message.contains(&words), "{error}");
        // What is no list at all is the function's own business.
        let wrong = told(first(&inner.cast::<Vec<u64>>()).submit(&context))?;
        let error = context.get(&wrong).await.err().ok_or("a number was read as a list")?;
        assert!(error.kind == TaskErrorKind::WrongType && error.message.contains("argument 0"), "{error}");
        let few = told(up_to(3).returns(2).submit(&context))?;
        assert!(context.get(&few[0]).await.is_err());
        Ok(())
    })
}

pub fn reused() -> Answer {
    let cluster = node(2)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        let mut first = None;
        for _ in 0..50 {
            let pid = told(context.get(&told(pid().submit(&context))?).await)?;
            assert_eq!(*first.get_or_insert(pid), pid);
        }
        let open = descriptors();
        let calls = (0..20).map(|_| total_later(Blob::from(vec![1; 10]), 20).cpus(0.1).submit(&context));
        let calls: Vec<_> = told(calls.collect())?;
        assert_eq!(told(context.get_all(&calls).await)?, [10; 20]);
        // As many as there are cpus.
        until("two are idle", || children().len() == 2)?;
        assert!(descriptors() <= open + 4, "{} descriptors, {open} with one process", descriptors());
        Ok::<(), String>(())
    })?;
    drop(cluster);
    until("nothing is left", || children().is_empty())
}
