//! Modelled cost: what a computation or a transfer takes in simulation, where the work itself runs in no model time.
//!
//! Work is real, its duration is charged. A resource is a queue in integer nanoseconds: a reservation starts when the
//! resource is free and ends after its service time. Queues remember fractions of a simulator tick, so coarse ticks
//! delay single wake-ups but do not lose throughput: a wait shorter than one tick is not slept, it stays on the queue
//! until the backlog is worth a tick.

use mobula_protocol::{ByteSize, Nanos};
use std::cell::Cell;

/// A resource of a node on which bytes are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The sending side of the network card.
    NicSend,
    /// The receiving side of the network card.
    NicReceive,
    /// The disk, reading; one queue with writing.
    DiskRead,
    /// The disk, writing; one queue with reading.
    DiskWrite,
    /// The memory bus, for copies.
    Memory,
}

/// The cost model of a simulated node. By default a 10 Gbit/s network card, and what a small virtual machine measured:
/// 1.9 GiB/s of disk including fsync, 8 GiB/s of memcpy on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Bytes per second of each direction of the network card.
    pub nic: ByteSize,
    /// Bytes per second of the disk, reading and writing together.
    pub disk: ByteSize,
    /// Added to every disk operation.
    pub disk_latency: Nanos,
    /// Bytes per second of the memory bus.
    pub memory: ByteSize,
    /// Charged for every call of [`Env::compute`](crate::Env::compute), besides what the work charges itself.
    pub task: Nanos,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            nic: ByteSize::mb(1_250),
            disk: ByteSize(1_900 << 20),
            disk_latency: Nanos::micros(100),
            memory: ByteSize(8 << 30),
            task: Nanos::micros(20),
        }
    }
}

impl Costs {
    /// The service time of `bytes` on `resource`.
    pub fn of(&self, resource: Resource, bytes: ByteSize) -> Nanos {
        match resource {
            Resource::NicSend | Resource::NicReceive => service(bytes, self.nic),
            Resource::DiskRead | Resource::DiskWrite => self.disk_latency + service(bytes, self.disk),
            Resource::Memory => service(bytes, self.memory),
        }
    }
}

/// The time `bytes` take at `per_second`, rounded up. A rate of zero means infinitely fast.
fn service(bytes: ByteSize, per_second: ByteSize) -> Nanos {
    if per_second.0 == 0 {
        return Nanos::ZERO;
    }
    let nanos = (u128::from(bytes.0) * 1_000_000_000).div_ceil(u128::from(per_second.0));
    Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The servers of one resource, each with the time at which it is free again: one for a disk, one a core for the cores.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    free_at: Vec<Nanos>,
}

impl Queue {
    /// At least one server, or nothing would ever be served.
    pub(crate) fn new(servers: u32) -> Self {
        Self { free_at: vec![Nanos::ZERO; servers.max(1) as usize] }
    }

    /// Puts `cost` on the server that is free first; returns when it is done. Ties go to the lowest server.
    pub(crate) fn reserve(&mut self, now: Nanos, cost: Nanos) -> Nanos {
        self.occupy(now, cost).until
    }

    /// The same, such that what is not needed can be given back.
    pub(crate) fn occupy(&mut self, now: Nanos, cost: Nanos) -> Occupied {
        let mut first = 0;
        for (server, free) in self.free_at.iter().enumerate() {
            if *free < self.free_at[first] {
                first = server;
            }
        }
        let from = self.free_at[first].max(now);
        self.free_at[first] = from + cost;
        Occupied { server: first, from, until: from + cost }
    }

    /// At `now` it is known that the rest of it is not needed. What was put behind it stays where it is: somebody counts on
    /// that already.
    pub(crate) fn give_back(&mut self, now: Nanos, occupied: &Occupied) {
        let free = &mut self.free_at[occupied.server];
        if *free == occupied.until {
            *free = now.clamp(occupied.from, occupied.until);
        }
    }
}

/// A stretch of a server's time.
#[derive(Debug)]
pub(crate) struct Occupied {
    server: usize,
    from: Nanos,
    pub(crate) until: Nanos,
}

/// The queues of one life of a node, or of a host that several share.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) cores: Queue,
    nic_send: Queue,
    nic_receive: Queue,
    disk: Queue,
    memory: Queue,
}

impl Queues {
    pub(crate) fn new(cores: u32) -> Self {
        let one = Queue::new(1);
        Self {
            cores: Queue::new(cores),
            nic_send: one.clone(),
            nic_receive: one.clone(),
            disk: one.clone(),
            memory: one,
        }
    }

    /// The queue of `resource`.
    pub(crate) fn of(&mut self, resource: Resource) -> &mut Queue {
        match resource {
            Resource::NicSend => &mut self.nic_send,
            Resource::NicReceive => &mut self.nic_receive,
            Resource::DiskRead | Resource::DiskWrite => &mut self.disk,
            Resource::Memory => &mut self.memory,
        }
    }
}

thread_local! {
    static CHARGED: Cell<Nanos> = const { Cell::new(Nanos::ZERO) };
}

/// Adds `cost` to the modelled time of the computation this is called in, an [`Env::compute`](crate::Env::compute).
///
/// Outside one, and in the real world, it has no effect on any clock.
pub fn charge(cost: Nanos) {
    CHARGED.set(CHARGED.get() + cost);
}

/// Runs `work` and returns with its result what it charged. Nested calls each get their own account.
pub(crate) fn metered<T>(work: impl FnOnce() -> T) -> (T, Nanos) {
    let outer = CHARGED.replace(Nanos::ZERO);
    let value = work();
    (value, CHARGED.replace(outer))
}

#[cfg(test)]
mod tests;
