//! How processes end, and what that means for their tasks.

use crate::support::{Answer, children, context, node, told, until};
use crate::tasks::{end, endless, on_a_thread, parent, pid, total_later};
use mobula_runtime::{Blob, Context, Embedded, EmbeddedNode, HeadSettings, Nanos, ObjectRef, TaskErrorKind};

/// The kind of a failed task's error, and its words.
async fn error_of<T: serde::de::DeserializeOwned>(
    context: &Context,
    reference: &ObjectRef<T>,
) -> Result<(TaskErrorKind, String), String> {
    match context.get(reference).await {
        Ok(_) => Err("it returned".to_owned()),
        Err(error) => Ok((error.kind, error.message)),
    }
}

pub fn told_in_words() -> Answer {
    let cluster = node(2)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        let blob = told(context.put(&Blob::from(vec![1; 1 << 20])).await)?;
        let beside = told(total_later(&blob, 1500).submit(&context))?;
        let ends = [
            ("abort", "signal 6 (SIGABRT)"),
            ("crash", "signal 6 (SIGABRT)"),
            ("segv", "signal 11 (SIGSEGV)"),
            ("exit", "exited with code 3"),
        ];
        for (how, words) in ends {
            let ended = told(end(how.to_owned(), 1).max_retries(0).submit(&context))?;
            let (kind, message) = error_of(&context, &ended).await?;
            assert_eq!(kind, TaskErrorKind::WorkerCrashed, "{how}: {message}");
            assert!(message.contains(words), "{how}: {message}");
        }
        let ended = told(end("panic".to_owned(), 1).submit(&context))?;
        let (kind, message) = error_of(&context, &ended).await?;
        assert_eq!(kind, TaskErrorKind::TaskFailed, "{message}");
        assert!(message.contains("panicked: on purpose"), "{message}");
        assert_eq!(told(context.get(&beside).await)?, 1 << 20);
        assert_eq!(told(context.get(&told(on_a_thread().submit(&context))?).await)?, std::process::id());
        Ok(())
    })
}

pub fn budgets() -> Answer {
    let cluster = node(1)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        let twice = told(end("abort".to_owned(), 2).max_retries(2).submit(&context))?;
        assert_eq!(told(context.get(&twice).await)?, 3);
        let panics = told(end("panic".to_owned(), 1).max_retries(5).submit(&context))?;
        assert_eq!(error_of(&context, &panics).await?.0, TaskErrorKind::TaskFailed);
        let again = told(end("panic".to_owned(), 1).retry_errors(1).submit(&context))?;
        assert_eq!(told(context.get(&again).await)?, 2);
        Ok(())
    })
}

pub fn cancelled() -> Answer {
    let cluster = node(1)?;
    let context = context(&cluster)?;
    cluster.block_on(async {
        for _ in 0..5 {
            let runs = told(endless().max_retries(5).submit(&context))?;
            let queued = told(endless().submit(&context))?;
            until("it runs", || children().len() == 1)?;
            // By a time limit of whoever waits, and by hand.
            let waited = context.get_within(&runs, Nanos::millis(20)).await;
            assert_eq!(waited.map_err(|error| error.kind), Err(TaskErrorKind::GetTimeout));
            told(context.cancel(&runs).and_then(|()| context.cancel(&queued)))?;
            assert_eq!(error_of(&context, &runs).await?.0, TaskErrorKind::Cancelled);
            assert_eq!(error_of(&context, &queued).await?.0, TaskErrorKind::Cancelled);
            // There is one cpu.
            let next = told(pid().submit(&context))?;
            let next = told(context.get_within(&next, Nanos::secs(10)).await)?;
            until("only the idle one is left", || children() == [next])?;
        }
        Ok(())
    })
}

pub fn with_its_node() -> Answer {
    let mut cluster = node(2)?;
    let context = context(&cluster)?;
    let running = cluster.block_on(async { told(endless().submit(&context)) })?;
    cluster.block_on(async { told(context.get(&told(pid().submit(&context))?).await) })?;
    until("one is idle and one runs", || children().len() == 2)?;
    assert!(cluster.kill("A"));
    // Although somebody still has its context.
    until("nothing is left", || children().is_empty())?;
    drop((running, context));
    Ok(())
}

pub fn with_its_owner() -> Answer {
    let nodes = ["A", "B", "C"].map(|name| EmbeddedNode::new(name, 1));
    let mut cluster = told(Embedded::with(&nodes, HeadSettings::default(), 1))?;
    let context = cluster.context_of("C").cloned().ok_or("there is no C")?;
    // What was submitted on A belongs to A, wherever it runs.
    let waits = cluster.block_on(async { told(parent().on("A").max_retries(0).submit(&context)) })?;
    until("the child runs", || children().len() == 1)?;
    assert!(cluster.kill("A"));
    until("B has ended what A wanted", || children().is_empty())?;
    let (kind, message) = cluster.block_on(error_of(&context, &waits))?;
    assert_eq!(kind, TaskErrorKind::NodeDied, "{message}");
    Ok(())
}
