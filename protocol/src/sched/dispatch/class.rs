//! What an owner knows about each scheduling class it has used.

use super::queue::Queue;
use super::{MAX_DEPTH, Nanos, NodeId, SchedulingClass};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// One class.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Class {
    pub(super) spec: Arc<SchedulingClass>,
    pub(super) queue: Queue,
    /// Held leases that take more tasks, by tasks in flight.
    pub(super) open: BTreeSet<(usize, u64)>,
    /// Leases asked for.
    pub(super) asked: BTreeSet<u64>,
    /// Leases held that are not closing.
    pub(super) held: usize,
    /// Moving average of execution times.
    spent: Option<Nanos>,
    /// The cluster's slots by the current view; worked out when needed.
    pub(super) slots: Option<usize>,
    /// Why no node can be asked. Cleared when the view changes.
    pub(super) stuck: Option<String>,
    /// Whether the last node asked was full.
    pub(super) crowded: bool,
    /// Nodes that refused since the view changed, and what the last one said.
    pub(super) avoid: BTreeSet<NodeId>,
    pub(super) refusal: Option<String>,
    /// Since when the node it is bound to is unknown.
    pub(super) missing_since: Option<Nanos>,
    /// Since when there are more requests than tasks.
    pub(super) surplus_since: Option<Nanos>,
    /// When the next extra request of a class without resources may go out.
    pub(super) extra_at: Nanos,
    /// Whether it is in the owner's set of hungry classes.
    pub(super) hungry: bool,
}

impl Class {
    fn new(spec: Arc<SchedulingClass>) -> Self {
        Self {
            spec,
            queue: Queue::default(),
            open: BTreeSet::new(),
            asked: BTreeSet::new(),
            held: 0,
            spent: None,
            slots: None,
            stuck: None,
            crowded: false,
            avoid: BTreeSet::new(),
            refusal: None,
            missing_since: None,
            surplus_since: None,
            extra_at: Nanos::ZERO,
            hungry: false,
        }
    }

    /// Tasks to keep in flight under one lease so that `pipeline` worth of work is there.
    pub(super) fn depth(&self, pipeline: Nanos) -> usize {
        let fitting = |spent: Nanos| pipeline.0 / spent.0.max(1);
        self.spent.map_or(1, |spent| usize::try_from(fitting(spent)).unwrap_or(MAX_DEPTH).clamp(1, MAX_DEPTH))
    }

    /// A task ran for `spent`. The average moves by an eighth, but at once to a time longer than the pipeline: nothing
    /// may wait behind such a task.
    pub(super) fn learn(&mut self, spent: Nanos, pipeline: Nanos) {
        self.spent = Some(match self.spent {
            Some(average) if spent <= pipeline => Nanos((average.0 / 8).saturating_mul(7).saturating_add(spent.0 / 8)),
            Some(average) => average.max(spent),
            None => spent,
        });
    }

    /// Forgets refusals: the cluster may be another now.
    pub(super) fn forgive(&mut self) {
        self.stuck = None;
        self.avoid.clear();
        self.refusal = None;
    }
}

/// Recently used classes found by address, without comparing strings.
const RECENT: usize = 8;

/// All classes of an owner, each under a small number.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Classes {
    all: Vec<Class>,
    by_spec: BTreeMap<Arc<SchedulingClass>, usize>,
    /// Holds the pointers, so that an address cannot come to mean another class. A cache: no snapshot has it.
    #[serde(skip)]
    recent: Vec<(Arc<SchedulingClass>, usize)>,
    #[serde(skip)]
    oldest: usize,
}

impl Classes {
    /// The number of `spec`.
    pub(super) fn intern(&mut self, spec: Arc<SchedulingClass>) -> usize {
        if let Some((_, ix)) = self.recent.iter().find(|(known, _)| Arc::ptr_eq(known, &spec)) {
            return *ix;
        }
        let ix = *self.by_spec.entry(spec.clone()).or_insert_with(|| {
            self.all.push(Class::new(spec.clone()));
            self.all.len() - 1
        });
        if self.recent.len() < RECENT {
            self.recent.push((spec, ix));
        } else {
            self.recent[self.oldest] = (spec, ix);
            self.oldest = (self.oldest + 1) % RECENT;
        }
        ix
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Class> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Class> {
        self.all.iter_mut()
    }
}

impl Index<usize> for Classes {
    type Output = Class;
    fn index(&self, ix: usize) -> &Class {
        &self.all[ix]
    }
}

impl IndexMut<usize> for Classes {
    fn index_mut(&mut self, ix: usize) -> &mut Class {
        &mut self.all[ix]
    }
}
