//! About how many bytes messages take on the wire: what links count by, so that none is too large to arrive in time.
//!
//! Bytes, texts and lists are counted; everything else is a constant.

use super::{Located, Message, ResultPlace, TaskOutcome, TaskResult};
use crate::actor::{ActorSpec, End, Place, Word};
use crate::job::{JobInfo, JobStatus, Word as JobWord};
use crate::{Arg, Resources, SchedulingClass, TaskError, TaskSpec};
use bytes::Bytes;

/// A message of constant size, and the constant part of any other.
const BASE: usize = 64;
/// An object's name, or any other of a few numbers.
const NAME: usize = 24;
/// A member of the cluster with its addresses and properties, or its load.
const MEMBER: usize = 256;

impl Message {
    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        let grows = match self {
            Self::View { entries, loads, .. } => (entries.len() + loads.len()) * MEMBER,
            Self::LeaseRequest { class, .. } => class.weight(),
            Self::BundleReserve { resources, .. } => amounts(resources),
            Self::GroupPlaced { bundles, .. } => {
                bundles.iter().flatten().map(|(_, _, resources)| NAME + amounts(resources)).sum()
            }
            Self::PushTask { spec, inline, .. } => spec.weight() + values(inline),
            Self::TaskItem { result, .. } => result.weight(),
            Self::TaskDone { outcome, .. } => outcome.weight(),
            Self::Located { located, .. } => match located {
                Located::Inline(bytes) => bytes.len(),
                Located::Stored { copies, .. } => copies.len() * NAME,
                Located::Failed(error) => error.weight(),
                Located::Pending => 0,
            },
            Self::CopySpilled { place, .. } => place.root.len() + place.life.len() + NAME,
            Self::Free(objects) => objects.len() * NAME,
            Self::Actor(word) => word.weight(),
            Self::Job(word) => word.weight(),
            Self::Heartbeat(_)
            | Self::Drain
            | Self::Leave
            | Self::ResyncView(_)
            | Self::LeaseGranted(_)
            | Self::LeaseSpillback { .. }
            | Self::LeaseRefused { .. }
            | Self::LeaseReturn(_)
            | Self::BundleReserved(_)
            | Self::BundleRefused(_)
            | Self::BundleReturn(_)
            | Self::TaskStarted { .. }
            | Self::StreamCredit { .. }
            | Self::CancelTask { .. }
            | Self::CancelObject { .. }
            | Self::FreeObject(_)
            | Self::Locate(_)
            | Self::Unlocate(_)
            | Self::CopyAdded { .. }
            | Self::CopyRemoved(_)
            | Self::CopyEvicted(_)
            | Self::CopyDamaged { .. }
            | Self::Promote { .. }
            | Self::Endure { .. }
            | Self::Save(_)
            | Self::Saved { .. }
            | Self::NotSaved(_)
            | Self::Load { .. }
            | Self::NotLoaded(_)
            | Self::Replicate(_)
            | Self::ReplicaRefused(_)
            | Self::BorrowAdd { .. }
            | Self::BorrowAdded(_)
            | Self::BorrowRemove(_) => 0,
        };
        BASE + grows
    }
}

impl Word {
    fn weight(&self) -> usize {
        match self {
            Self::Create(spec) => spec.weight(),
            Self::Created { result, .. } | Self::Found { result, .. } => match result {
                Ok((_, options)) => MEMBER + options.name.as_ref().map_or(0, |n| n.namespace.len() + n.name.len()),
                Err(error) => error.weight(),
            },
            Self::Status { place: Place::Dead(error), .. } => error.weight(),
            Self::Find { name, .. } => name.namespace.len() + name.name.len(),
            Self::Start { spec, checkpoint, .. } => {
                spec.weight() + checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.weight())
            }
            Self::Ended { end: End::Failed(error), .. } => error.weight(),
            Self::Ended { end: End::Crashed(why), .. } => why.len(),
            Self::Save { checkpoint, .. } => checkpoint.weight(),
            Self::Call { spec, inline, .. } => spec.weight() + values(inline),
            Self::Watch(_)
            | Self::Unwatch(_)
            | Self::Status { .. }
            | Self::Kill { .. }
            | Self::OutOfScope(_)
            | Self::Started(_)
            | Self::Stop { .. }
            | Self::Ended { .. }
            | Self::Saved { .. } => 0,
        }
    }
}

impl JobWord {
    fn weight(&self) -> usize {
        match self {
            Self::Begin { job, .. } | Self::Attach { job, .. } => job.0.len(),
            Self::End { job, status, .. } => job.0.len() + status.weight(),
            Self::Line { job, line } => job.0.len() + line.len(),
            Self::Answer { result: Ok(info), .. } => info.weight(),
            Self::Answer { result: Err(_), .. } => MEMBER,
            Self::Listed { jobs, .. } => jobs.iter().map(JobInfo::weight).sum(),
            Self::List { .. } => 0,
        }
    }
}

impl JobStatus {
    fn weight(&self) -> usize {
        match self {
            Self::Failed(why) => why.len(),
            Self::Running | Self::Succeeded => 0,
        }
    }
}

impl JobInfo {
    fn weight(&self) -> usize {
        let lines = self.lines.iter().map(|line| line.len() + NAME).sum::<usize>();
        MEMBER + self.job.0.len() + self.status.weight() + self.drivers.len() * NAME + lines
    }
}

impl ActorSpec {
    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        let name = self.options.name.as_ref().map_or(0, |name| name.namespace.len() + name.name.len());
        self.task.weight() + name
    }
}

impl TaskSpec {
    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        let arg = |arg: &Arg| match arg {
            Arg::Value(bytes, refs) => bytes.len() + refs.len() * NAME,
            Arg::Ref(_) => NAME,
        };
        self.label.len() + self.class.weight() + self.args.iter().map(arg).sum::<usize>()
    }
}

impl SchedulingClass {
    fn weight(&self) -> usize {
        let labels =
            |labels: &crate::Labels| labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let place = match &self.placement {
            crate::Placement::Node { name, .. } => name.len(),
            crate::Placement::Labels(wanted) => labels(wanted),
            crate::Placement::Any
            | crate::Placement::Spread
            | crate::Placement::Actor(_)
            | crate::Placement::Group { .. } => 0,
        };
        let resources = amounts(&self.resources);
        let group = self.share.as_ref().map_or(0, |share| share.group.len());
        self.function.0.len() + place + resources + group
    }
}

impl TaskResult {
    fn weight(&self) -> usize {
        let inline = match &self.place {
            ResultPlace::Inline(bytes) => bytes.len(),
            ResultPlace::Stored(_) => 0,
        };
        inline + NAME + self.refs.len() * NAME
    }
}

impl TaskOutcome {
    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        match self {
            Self::Returned(results) => results.iter().map(TaskResult::weight).sum(),
            Self::Raised(error) => error.weight(),
            Self::Crashed(why) | Self::OutOfMemory(why) => why.len(),
            Self::HandedBack(_) => 0,
        }
    }
}

impl TaskError {
    fn weight(&self) -> usize {
        std::iter::successors(Some(self), |error| error.cause.as_deref()).map(|error| error.message.len() + NAME).sum()
    }
}

fn amounts(resources: &Resources) -> usize {
    resources.iter().map(|(name, _)| name.len() + NAME).sum()
}

fn values(inline: &[(u32, Bytes)]) -> usize {
    inline.iter().map(|(_, bytes)| bytes.len() + NAME).sum()
}
