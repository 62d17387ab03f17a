//! Injecting faults, as steps and when their trigger comes.

use super::driver::{Done, Driver};
use super::node_spec;
use super::report::Failure;
use crate::file::{DiskChange, Fault, Goal, Name, ObjectName, PlannedFault, Trigger};
use mobula_sim::{DiskFaults, FaultError};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

/// A planned fault, waiting for its trigger.
pub(super) struct Armed<'a> {
    driver: &'a Driver,
    fault: &'a PlannedFault,
    /// Its place in the file.
    number: usize,
    fired: AtomicBool,
    over: AtomicBool,
}

impl Armed<'_> {
    /// Waits for the trigger, then does what is planned.
    pub async fn run(&self) -> Result<(), Failure> {
        let file = &self.driver.scenario.file;
        self.driver.triggered(&self.fault.trigger).await.map_err(|why| why.at(file, self.fault.line))?;
        self.fired.store(true, Ordering::Relaxed);
        self.driver.journal.fault_came(self.number, self.driver.now());
        for (line, action) in &self.fault.actions {
            let done = self.driver.inject(action).await.map_err(|why| why.at(file, *line))?;
            let what = format!("{action} {}", self.fault.trigger);
            self.driver.journal.note(self.driver.now(), &what, &done);
        }
        self.over.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether its trigger came and its actions are not all done.
    pub fn is_under_way(&self) -> bool {
        self.fired.load(Ordering::Relaxed) && !self.over.load(Ordering::Relaxed)
    }
}

impl Driver {
    /// The planned faults of the scenario.
    pub fn arm(&self) -> Vec<Armed<'_>> {
        let armed = |(number, fault)| {
            let (fired, over) = (AtomicBool::new(false), AtomicBool::new(false));
            Armed { driver: self, fault, number, fired, over }
        };
        let planned = self.scenario.faults.iter().enumerate().filter(|(_, fault)| fault.trigger != Trigger::Beginning);
        planned.map(armed).collect()
    }

    /// A fault that never happens makes its scenario say nothing. (A plan drawn blindly may have such.)
    pub fn no_fault_left(&self, armed: &[Armed<'_>]) -> Result<(), Failure> {
        if self.drawn {
            return Ok(());
        }
        let over = "the steps were over before";
        if let Some(armed) = armed.iter().find(|armed| !armed.fired.load(Ordering::Relaxed)) {
            let message = format!("{over} the fault came: {}", armed.fault.trigger);
            return Err(Failure::new("fault", message).at(&self.scenario.file, armed.fault.line));
        }
        match self.cluster.unmet_rpc_faults().first() {
            Some(unmet) => {
                let failure = Failure::new("fault", format!("{over} so many calls met the rpc fault {unmet}"));
                let mut planned = self.scenario.faults.iter().flat_map(|fault| &fault.actions);
                let place = planned.find(|(_, fault)| matches!(fault, Fault::Rpc { fault, .. } if fault == unmet));
                Err(place.map_or(failure.clone(), |(line, _)| failure.at(&self.scenario.file, *line)))
            }
            None => Ok(()),
        }
    }

    async fn triggered(&self, trigger: &Trigger) -> Result<(), Failure> {
        match trigger {
            Trigger::At(time) => self.cluster.env().sleep_until(self.began + *time).await,
            Trigger::Moved(bytes) => self.cluster.env().bytes_moved(*bytes).await,
            Trigger::Probe { site, nth } => self.cluster.env().probed(site, *nth).await,
            Trigger::Beginning => {}
            Trigger::Finished { label, goal } => {
                let mut progress = self.context().progress();
                while !self.reached(label, *goal) {
                    progress.changed().await.map_err(|_| gone())?;
                }
            }
            Trigger::Sealed(name) => {
                let mut progress = self.context().progress();
                let name = ObjectName { name: name.clone(), index: None };
                let object = loop {
                    let found = self.state().objects.get(&name.name.text).and_then(|objects| objects.first().cloned());
                    match found {
                        Some(object) => break object,
                        // Every step that makes an object submits or puts, which changes the progress.
                        None => progress.changed().await.map_err(|_| gone())?,
                    }
                };
                let waited = self.context().wait(&[object], 1, None).await;
                waited.map_err(|error| super::steps::failed(&error))?;
            }
        }
        Ok(())
    }

    /// Whether so many tasks of a label are finished.
    fn reached(&self, label: &Name, goal: Goal) -> bool {
        let finished = self.context().counters(&label.text).finished;
        match goal {
            Goal::Count(count) => finished >= count,
            Goal::Percent(share) => {
                let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).get(&label.text).copied();
                let total = announced.or_else(|| self.scenario.submitted().get(&label.text).copied());
                // Not planned yet: nothing is finished either.
                total.is_some_and(|total| finished as f64 * 100.0 >= share * total as f64)
            }
        }
    }

    /// Injects a fault now. One that the world cannot do is skipped, visibly.
    pub async fn inject(&self, fault: &Fault) -> Done {
        match self.try_inject(fault).await {
            Ok(done) => Ok(done.to_owned()),
            Err(FaultError::Unsupported { why, .. }) => Ok(format!("SKIPPED, {why}")),
            Err(why) => Err(Failure::new("fault", why.to_string())),
        }
    }

    async fn try_inject(&self, fault: &Fault) -> Result<&'static str, FaultError> {
        let cluster = &self.cluster;
        match fault {
            Fault::Kill(node) => cluster.kill(&node.text).await.map(|()| "killed"),
            Fault::PowerOff(node) => cluster.power_off(&node.text).await.map(|()| "off"),
            Fault::Pause(node) => cluster.pause(&node.text).await.map(|()| "paused"),
            Fault::Resume(node) => cluster.resume(&node.text).await.map(|()| "resumed"),
            Fault::Restart(node) => {
                cluster.restart(&node.text).await?;
                // Of the head it says that it is up.
                cluster.joined(&[&node.text]).await.map(|()| "joined again")
            }
            Fault::Drain(node) => cluster.drain(&node.text).await.map(|()| "takes no more work"),
            Fault::Partition { a, b, oneway: false } => cluster.partition(&a.text, &b.text).await.map(|()| "cut"),
            Fault::Partition { a, b, oneway: true } => cluster.partition_oneway(&a.text, &b.text).await.map(|()| "cut"),
            Fault::Heal(None) => cluster.heal_all().await.map(|()| "healed"),
            Fault::Heal(Some((a, b))) => cluster.heal(&a.text, &b.text).await.map(|()| "healed"),
            Fault::Hold { a, b } => cluster.hold(&a.text, &b.text).await.map(|()| "held"),
            Fault::ReleaseMessages { a, b } => cluster.release_messages(&a.text, &b.text).await.map(|()| "released"),
            Fault::SlowLink { a, b, latency } => cluster.slow_link(&a.text, &b.text, *latency).await.map(|()| "slowed"),
            Fault::Loss { a, b, probability } => cluster.lose(&a.text, &b.text, *probability).await.map(|()| "lossy"),
            Fault::WipeHead => cluster.wipe_head().await.map(|()| "wiped"),
            Fault::Rpc { fault, .. } => cluster.inject(fault.clone()).await.map(|()| "armed"),
            Fault::ClockJump { node, nanos } => cluster.clock_jump(&node.text, *nanos).await.map(|()| "moved"),
            Fault::AddNode(node) => {
                cluster.add_node(node_spec(&self.scenario, node)).await?;
                cluster.joined(&[&node.name.text]).await.map(|()| "joined")
            }
            Fault::Evict { object, node, force } => {
                let found = self.state().objects.get(&object.text).and_then(|objects| objects.first().cloned());
                let Some(found) = found else { return Ok("there is no such object yet") };
                let evicted = cluster.evict(&node.text, found.id(), *force).await?;
                Ok(if evicted { "evicted" } else { "there was no copy to evict" })
            }
            Fault::ShrinkStore { node, to } => cluster.shrink_store(&node.text, *to).await.map(|()| "shrunk"),
            Fault::Disk(node, DiskChange::Mended) => {
                cluster.disk_faults(&node.text, |disk| *disk = DiskFaults::default()).await.map(|()| "mended")
            }
            Fault::Disk(node, change) => {
                let change = |disk: &mut DiskFaults| match *change {
                    DiskChange::Full => disk.full = true,
                    DiskChange::Errors(rate) => disk.error_rate = rate,
                    DiskChange::Slower(times) => disk.slower = times,
                    DiskChange::Mended => {}
                };
                cluster.disk_faults(&node.text, change).await.map(|()| "done")
            }
            Fault::DamageSpill(node, damage) => {
                let files = cluster.damage_spill(&node.text, *damage).await?;
                Ok(if files > 0 { "done" } else { "there were no spill files" })
            }
        }
    }
}

fn gone() -> Failure {
    Failure::new("fault", "the driver's own node is gone")
}
