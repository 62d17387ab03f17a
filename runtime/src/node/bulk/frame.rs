//! Requests and frames as bytes; the parent module draws them.

use mobula_protocol::transfer::Ticket;
use mobula_protocol::{Attempt, Incarnation, ObjectId, TaskId};

pub(super) const REQUEST: usize = 72;
pub(super) const FRAME: usize = 28;

/// A receiver asks a source for the rest of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub object: ObjectId,
    /// Which life of the source is meant (decision D3).
    pub to: Incarnation,
    pub by: Incarnation,
    pub blamed: Option<Incarnation>,
    pub ticket: Ticket,
    pub offset: u64,
    pub size: u64,
    pub direct: bool,
}

/// What a source says, before the bytes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    NotHere,
    Chunk { offset: u64, bytes: u64 },
    Waiting,
    Redirect(Incarnation),
}

impl Asked {
    pub fn to_bytes(&self) -> [u8; REQUEST] {
        let mut put = Put { bytes: [0; REQUEST], at: 0 };
        put.incarnation(self.object.task.owner);
        put.u64(self.object.task.seq);
        put.u32(self.object.index);
        put.incarnation(self.to);
        put.incarnation(self.by);
        put.incarnation(self.blamed.unwrap_or(NOBODY));
        put.u32(self.ticket.attempt.0);
        put.u32(self.ticket.stream);
        put.u64(self.offset);
        put.u64(self.size);
        put.u32(u32::from(self.direct));
        put.bytes
    }

    pub fn parse(bytes: &[u8; REQUEST]) -> Self {
        let mut take = Take { bytes, at: 0 };
        Self {
            object: TaskId { owner: take.incarnation(), seq: take.u64() }.result(take.u32()),
            to: take.incarnation(),
            by: take.incarnation(),
            blamed: Some(take.incarnation()).filter(|who| *who != NOBODY),
            ticket: take.ticket(),
            offset: take.u64(),
            size: take.u64(),
            direct: take.u32() != 0,
        }
    }
}

impl Frame {
    pub fn to_bytes(self, ticket: Ticket) -> [u8; FRAME] {
        let (kind, a, b) = match self {
            Self::NotHere => (0, 0, 0),
            Self::Chunk { offset, bytes } => (1, offset, bytes),
            Self::Waiting => (2, 0, 0),
            Self::Redirect(to) => (3, u64::from(to.node.0), u64::from(to.epoch.0)),
        };
        let mut put = Put { bytes: [0; FRAME], at: 0 };
        put.u32(kind);
        put.u32(ticket.attempt.0);
        put.u32(ticket.stream);
        put.u64(a);
        put.u64(b);
        put.bytes
    }

    /// None if it is no frame: then the connection is out of step.
    pub fn parse(bytes: &[u8; FRAME]) -> Option<(Ticket, Self)> {
        let mut take = Take { bytes, at: 0 };
        let (kind, ticket, a, b) = (take.u32(), take.ticket(), take.u64(), take.u64());
        let frame = match kind {
            0 => Self::NotHere,
            1 => Self::Chunk { offset: a, bytes: b },
            2 => Self::Waiting,
            3 => Self::Redirect(Incarnation::new(u32::try_from(a).ok()?, u32::try_from(b).ok()?)),
            _ => return None,
        };
        Some((ticket, frame))
    }
}

/// Epochs begin with 1.
const NOBODY: Incarnation = Incarnation::new(0, 0);

struct Put<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Put<N> {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..][..field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    fn u32(&mut self, n: u32) {
        self.put(&n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.put(&n.to_le_bytes());
    }

    fn incarnation(&mut self, who: Incarnation) {
        self.u32(who.node.0);
        self.u32(who.epoch.0);
    }
}

struct Take<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Take<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let field = std::array::from_fn(|n| self.bytes[self.at + n]);
        self.at += N;
        field
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation::new(self.u32(), self.u32())
    }

    fn ticket(&mut self) -> Ticket {
        Ticket { attempt: Attempt(self.u32()), stream: self.u32() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_request_is_read_as_it_was_written(n: [u32; 9], seq: u64, offset: u64, size: u64, direct: bool) {
            let who = |a: usize| Incarnation::new(n[a], n[a + 1] | 1);
            let asked = Asked {
                object: TaskId { owner: who(0), seq }.result(n[1]),
                to: who(2),
                by: who(3),
                blamed: direct.then(|| who(4)),
                ticket: Ticket { attempt: Attempt(n[6]), stream: n[7] },
                offset,
                size,
                direct,
            };
            prop_assert_eq!(Asked::parse(&asked.to_bytes()), asked);
        }

        #[test]
        fn a_frame_is_read_as_it_was_written_and_anything_else_is_none(kind in 0..6u32, a: u32, b: u32) {
            let ticket = Ticket { attempt: Attempt(a), stream: b };
            let frame = match kind {
                0 => Frame::NotHere,
                1 => Frame::Chunk { offset: u64::from(a) << 20, bytes: u64::from(b) },
                2 => Frame::Waiting,
                _ => Frame::Redirect(Incarnation::new(a, b)),
            };
            let mut bytes = frame.to_bytes(ticket);
            prop_assert_eq!(Frame::parse(&bytes), Some((ticket, frame)));
            bytes[..4].copy_from_slice(&(kind + 4).to_le_bytes());
            prop_assert_eq!(Frame::parse(&bytes), None);
        }
    }
}
