//! Makes the pages of a store ready in the background, so that no put waits for the system.

use mobula_env::{Env, WorldKind};
use mobula_store::Arena;
use std::sync::Arc;
use tokio::sync::Notify;

/// Rung after an object was created.
#[derive(Clone)]
pub(crate) struct Warming {
    bell: Arc<Notify>,
}

impl Warming {
    /// Warms `arena` whenever it is cold ahead, until the node dies; in the real world only, where pages cost time.
    pub fn start(env: &Env, arena: &Arena) -> Self {
        let bell = Arc::new(Notify::new());
        if env.world() == WorldKind::Real {
            env.spawn("warm the store", warm(env.clone(), arena.clone(), bell.clone()));
        }
        Self { bell }
    }

    /// Says that the arena may be cold ahead of what is used now.
    pub fn look(&self, arena: &Arena) {
        if arena.is_cold_ahead() {
            self.bell.notify_one();
        }
    }
}

async fn warm(env: Env, arena: Arena, bell: Arc<Notify>) {
    loop {
        bell.notified().await;
        loop {
            let arena = arena.clone();
            match env.compute(move || arena.warm_step()).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => {
                    // Nothing is wrong but slower: pages come when they are first written.
                    env.emit("store.cold", format_args!("{why}"));
                    return;
                }
            }
        }
    }
}
