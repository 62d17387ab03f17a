//! Dense arrays whose elements lie in any regular order.

use super::{Element, Elements, Parts, Tensor};
use crate::codec::BUFFER;
use crate::codec::scope::{self, Pointer};
use bytes::Bytes;
use serde::de::{Deserializer, Error as _};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

/// A read-only window on numbers, as numpy's strided arrays: the element at index `i` is `offset + i . strides` bytes
/// into the buffer. Transposing and slicing move no element; clones are the same memory.
///
/// A window shows at most as many elements as its buffer holds, so that no short input stands for a huge array;
/// numpy's broadcast views, which repeat elements, have to be written out first.
#[derive(Clone)]
pub struct Strided<T> {
    shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
    /// Aligned for `T` unless empty.
    data: Bytes,
    element: PhantomData<T>,
}

/// A shape, strides and a buffer that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tensor of shape {shape:?}, strides {strides:?} and offset {offset} in elements of {element} bytes does not fit \
     a buffer of {found} bytes"
)]
pub struct StrideError {
    /// The number of elements along each axis.
    pub shape: Vec<usize>,
    /// Bytes from an element to the next along each axis.
    pub strides: Vec<isize>,
    /// The byte where the first element is.
    pub offset: usize,
    /// Bytes there are.
    pub found: usize,
    /// Size of one element.
    pub element: usize,
}

/// The strides of row-major order, in bytes.
fn row_major(shape: &[usize], element: usize) -> Vec<isize> {
    let mut strides: Vec<isize> = Vec::with_capacity(shape.len());
    let mut step = element;
    for side in shape.iter().rev() {
        strides.push(step as isize);
        // Of an empty array no stride is ever used.
        step = step.saturating_mul(*side).min(isize::MAX as usize);
    }
    strides.reverse();
    strides
}

/// The bytes that the elements span, `None` unless they lie within `len` bytes, whole and aligned, and fit in as many.
fn span(shape: &[usize], strides: &[isize], offset: usize, len: usize, element: usize) -> Option<Range<usize>> {
    if shape.len() != strides.len() {
        return None;
    }
    if shape.contains(&0) {
        return Some(0..0);
    }
    let elements = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side))?;
    let aligned = strides.iter().all(|stride| stride.unsigned_abs().is_multiple_of(element));
    if !aligned || !offset.is_multiple_of(element) || elements.checked_mul(element)? > len {
        return None;
    }
    let (mut first, mut last) = (i128::try_from(offset).ok()?, i128::try_from(offset).ok()?);
    for (side, stride) in shape.iter().zip(strides) {
        // A side is at most `len`, so the product has fewer than 128 bits.
        let reach = (*side as i128 - 1) * *stride as i128;
        *(if reach < 0 { &mut first } else { &mut last }) += reach;
    }
    let (first, end) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?.checked_add(element)?);
    (end <= len).then_some(first..end)
}

impl<T: Element> Strided<T> {
    /// A window on the elements of `data`; strides and offset in bytes.
    ///
    /// # Errors
    /// [`StrideError`] if an element lies outside of `data` or between its elements, or more are shown than there are.
    pub fn new(
        shape: impl Into<Vec<usize>>,
        strides: impl Into<Vec<isize>>,
        offset: usize,
        data: &Tensor<T>,
    ) -> Result<Self, StrideError> {
        Self::over(shape.into(), strides.into(), offset, data.data.clone())
    }

    /// Over bytes that are aligned for `T` or empty.
    pub(super) fn over(
        shape: Vec<usize>,
        strides: Vec<isize>,
        offset: usize,
        data: Bytes,
    ) -> Result<Self, StrideError> {
        let element = size_of::<T>();
        match span(&shape, &strides, offset, data.len(), element) {
            Some(_) => Ok(Self { shape, strides, offset, data, element: PhantomData }),
            None => Err(StrideError { shape, strides, offset, found: data.len(), element }),
        }
    }

    /// The number of elements along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes from an element to the next along each axis.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// How many elements are shown.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether no element is shown.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The element at `index`; `None` outside of the shape.
    pub fn get(&self, index: &[usize]) -> Option<&T> {
        let inside = index.len() == self.shape.len() && index.iter().zip(&self.shape).all(|(at, side)| at < side);
        inside.then(|| self.at(index))
    }

    /// The element at an index inside the shape.
    fn at(&self, index: &[usize]) -> &T {
        let steps = index.iter().zip(&self.strides).map(|(at, stride)| *at as isize * stride);
        // Within the span, which was checked when the window was made.
        let start = self.offset.wrapping_add_signed(steps.sum());
        bytemuck::from_bytes(&self.data[start..start + size_of::<T>()])
    }

    /// All elements in row-major order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let mut next = (!self.is_empty()).then(|| vec![0; self.shape.len()]);
        std::iter::from_fn(move || {
            let index = next.as_mut()?;
            let element = self.at(index);
            // Counts up, the last axis fastest; all zeros again means that it is over.
            let counted = index.iter_mut().zip(&self.shape).rev().any(|(at, side)| {
                *at = (*at + 1) % side;
                *at != 0
            });
            if !counted {
                next = None;
            }
            Some(element)
        })
    }

    /// The same elements with the axes in reverse order.
    #[must_use]
    pub fn transposed(mut self) -> Self {
        self.shape.reverse();
        self.strides.reverse();
        self
    }

    /// The elements whose index along `axis` is in `range`.
    ///
    /// # Panics
    /// If there is no such axis, or the range is out of order or beyond its end, like slicing.
    #[must_use]
    pub fn sliced(mut self, axis: usize, range: Range<usize>) -> Self {
        let side = self.shape[axis];
        assert!(range.start <= range.end && range.end <= side, "slice {range:?} of an axis of {side} elements");
        self.shape[axis] = range.len();
        if !range.is_empty() && !self.is_empty() {
            self.offset = self.offset.wrapping_add_signed(range.start as isize * self.strides[axis]);
        }
        self
    }

    /// The same as a row-major tensor; copies unless it is one already.
    pub fn to_tensor(&self) -> Tensor<T> {
        let element = size_of::<T>();
        let dense = self.len() * element;
        let data = if dense == 0 {
            Bytes::new()
        } else if self.strides == row_major(&self.shape, element) {
            self.data.slice(self.offset..self.offset + dense)
        } else {
            Bytes::from_owner(Elements(self.iter().copied().collect()))
        };
        Tensor { shape: self.shape.clone(), data, element: PhantomData }
    }

    /// The same over as few bytes as it needs: those it spans, or if it shows less than half of these, a dense copy.
    fn trimmed(&self) -> Self {
        let element = size_of::<T>();
        let span = span(&self.shape, &self.strides, self.offset, self.data.len(), element).unwrap_or(0..0);
        if self.len() * element * 2 < span.len() || self.is_empty() {
            return self.to_tensor().into();
        }
        Self { offset: self.offset - span.start, data: self.data.slice(span), ..self.clone() }
    }
}

impl<T: Element> From<Tensor<T>> for Strided<T> {
    fn from(tensor: Tensor<T>) -> Self {
        let strides = row_major(&tensor.shape, size_of::<T>());
        Self { shape: tensor.shape, strides, offset: 0, data: tensor.data, element: PhantomData }
    }
}

impl<T: Element> Serialize for Strided<T> {
    /// In row-major order the same as a [`Tensor`], else with `strides` and `offset` besides.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let trimmed = self.trimmed();
        if !scope::is_encoding() || trimmed.strides == row_major(&self.shape, size_of::<T>()) {
            return self.to_tensor().serialize(to);
        }
        let mut map = to.serialize_struct("Tensor", 5)?;
        map.serialize_field("dtype", T::DTYPE)?;
        map.serialize_field("shape", &trimmed.shape)?;
        map.serialize_field("strides", &trimmed.strides)?;
        map.serialize_field("offset", &trimmed.offset)?;
        let index = scope::add_buffer(|| trimmed.data.into());
        let index = index.ok_or_else(|| serde::ser::Error::custom("no encoding is running"))?;
        map.serialize_field("data", &Pointer::<BUFFER>(index))?;
        map.end()
    }
}

impl<'de, T: Element> Deserialize<'de> for Strided<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Parts::<T>::deserialize(from)?.strided().map_err(D::Error::custom)
    }
}

/// Equal shapes and equal elements, wherever they lie.
impl<T: Element> PartialEq for Strided<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.iter().eq(other.iter())
    }
}

impl<T: Element> fmt::Debug for Strided<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Strided({}, {:?}, strides {:?})", T::DTYPE, self.shape, self.strides)
    }
}
