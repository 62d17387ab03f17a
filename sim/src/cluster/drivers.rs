//! More drivers than the one that injects the faults.

use super::{Cluster, Machine};
use crate::fault::{FaultError, NodeState};
use crate::world::World;
use mobula_runtime::Context;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

/// What a driver does with its node, which runs no tasks.
pub type Program = Box<dyn FnOnce(Context) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Until its machine takes it. Machines outlive their lives, and what a driver holds holds the cluster.
pub(crate) type Once = Arc<Mutex<Option<Program>>>;

impl Cluster {
    /// Starts a machine that runs a driver: its node joins without cpus, then the program begins. It can be killed as any
    /// other; its next life would join and do nothing. Does not wait.
    ///
    /// # Errors
    /// A name that was given before; unsupported in the real world, where a program is a file.
    pub async fn start_driver(&self, name: &str, program: Program) -> Result<(), FaultError> {
        let spec = self.0.settings.driver_spec(name);
        spec.validate()?;
        #[cfg(not(madsim))]
        if let World::Real(_) = &self.0.world {
            return Err(self.skip(format!("driver {name}"), "a driver of its own would be a program of its own"));
        }
        {
            let mut machines = self.machines();
            if let Some(machine) = machines.get(name) {
                return Err(FaultError::NameTaken { state: self.state(name, machine), name: name.to_owned() });
            }
            machines.insert(name.to_owned(), Machine { spec: Some(spec.clone()), state: NodeState::Running });
        }
        match &self.0.world {
            World::Simulated(simulated) => simulated.start_driver(&spec, Arc::new(Mutex::new(Some(program)))).await,
            #[cfg(not(madsim))]
            World::Real(_) => {}
        }
        Ok(())
    }
}
