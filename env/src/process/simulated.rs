//! The equivalent of a worker process in a simulated world, where all nodes share one.

use super::{ABORT, Died, Hear, ProcessEnd, Setup, StandIn};
use crate::Env;
use crate::compute::metered;
use mobula_protocol::Nanos;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// From the start of a process to its first request, modelled: what executing this program took on a small virtual
/// machine.
const START: Nanos = Nanos::millis(5);

pub(super) struct Process {
    env: Env,
    stand_in: StandIn,
    _hear: Hear,
    started: bool,
    end: Option<ProcessEnd>,
}

impl Process {
    pub fn new(env: Env, setup: Setup) -> Self {
        let Setup { hear, stand_in, .. } = setup;
        Self { env, stand_in, _hear: hear, started: false, end: None }
    }

    pub async fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, Died> {
        if let Some(end) = &self.end {
            return Err(Died { begun: false, end: end.clone() });
        }
        if !std::mem::replace(&mut self.started, true) {
            self.env.sleep(START).await;
        }
        let stand_in = &mut self.stand_in;
        let (answer, charged) = metered(|| catch_unwind(AssertUnwindSafe(|| stand_in(request))));
        // Given back when this future is dropped.
        self.env.occupy_core(charged).await;
        answer.map_err(|_| {
            let end = ProcessEnd::Signal(ABORT);
            self.end = Some(end.clone());
            Died { begun: true, end }
        })
    }
}
