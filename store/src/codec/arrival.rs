//! Checking a value while its bytes arrive.

use super::hash::BufferHash;
use super::layout::Layout;
use super::{CodecError, structure};

/// Checks a value that arrives from front to back: every byte is read once, soon after it came, while it is still in the
/// cache. Finds what [`verify`](super::verify) finds in the whole.
pub struct Verifier {
    total: usize,
    /// The head, once all of it is there.
    layout: Option<Layout>,
    /// The buffer that is being read, what was read of it, and where that ends.
    buffer: usize,
    hash: BufferHash,
    seen: usize,
}

impl Verifier {
    /// For a value of `total` bytes.
    pub fn new(total: usize) -> Self {
        Self { total, layout: None, buffer: 0, hash: BufferHash::new(), seen: 0 }
    }

    /// Reads on. `bytes` is all that has arrived so far, from the first byte: what was read before, and more.
    ///
    /// # Errors
    /// Those of [`verify`](super::verify), as soon as they can be known. After one the verifier is of no more use.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        if self.layout.is_none() {
            match Layout::read_head(bytes, self.total) {
                // The rest of the head is still to come.
                Err(CodecError::Truncated { needed, .. })
                    if bytes.len() < self.total && needed <= self.total as u64 =>
                {
                    return Ok(());
                }
                head => {
                    let layout = head?;
                    structure::scan(&bytes[layout.structure.clone()])?;
                    self.layout = Some(layout);
                }
            }
        }
        let Some(layout) = &self.layout else { return Ok(()) };
        while let Some(slot) = layout.slots.get(self.buffer) {
            let (start, end) = (self.seen.max(slot.range.start), slot.range.end.min(bytes.len()));
            if start < end {
                self.hash.extend(&bytes[start..end]);
                self.seen = end;
            }
            if bytes.len() < slot.range.end {
                return Ok(());
            }
            let computed = std::mem::replace(&mut self.hash, BufferHash::new()).finish();
            if computed != slot.hash {
                return Err(CodecError::DamagedBuffer { index: self.buffer, stored: slot.hash, computed });
            }
            self.buffer += 1;
        }
        Ok(())
    }

    /// Whether everything was read and found right.
    pub fn is_complete(&self) -> bool {
        self.layout.as_ref().is_some_and(|layout| layout.slots.len() == self.buffer)
    }
}

#[cfg(test)]
mod tests;
