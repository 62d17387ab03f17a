//! Dense arrays of numbers that travel out of band.

use super::BUFFER;
use super::scope::{self, Pointer};
use bytes::Bytes;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

mod strided;

pub use strided::{StrideError, Strided};

#[cfg(target_endian = "big")]
compile_error!("buffers are little-endian and are read in place; a big-endian machine would have to swap them");

mod sealed {
    pub trait Sealed {}
}

/// A number type that tensors are made of.
pub trait Element:
    bytemuck::Pod + Send + Sync + Serialize + DeserializeOwned + fmt::Debug + PartialEq + sealed::Sealed
{
    /// Its type string in numpy's array interface: byte order, kind, size in bytes.
    const DTYPE: &'static str;
}

macro_rules! elements {
    ($($t:ty: $dtype:literal),*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: &'static str = $dtype;
        }
    )*};
}
elements!(u8: "|u1", u16: "<u2", u32: "<u4", u64: "<u8");
elements!(i8: "|i1", i16: "<i2", i32: "<i4", i64: "<i8");
elements!(f32: "<f4", f64: "<f8");

/// A dense array in row-major order, read-only and shared: clones are the same memory. Dereferences to its elements.
///
/// Inside `encode` its elements become a buffer of their own, inside `decode` a slice of the input; in any other
/// serde format they are an inline sequence.
#[derive(Clone)]
pub struct Tensor<T> {
    shape: Vec<usize>,
    /// The elements; aligned for `T` unless empty.
    data: Bytes,
    element: PhantomData<T>,
}

/// A shape and a number of elements that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tensor of shape {shape:?} does not have {found} bytes in elements of {element} bytes")]
pub struct ShapeError {
    /// The shape.
    pub shape: Vec<usize>,
    /// Bytes there are.
    pub found: usize,
    /// Size of one element.
    pub element: usize,
}

impl<T: Element> Tensor<T> {
    /// A tensor of `shape` with these elements in row-major order. No copy.
    ///
    /// # Errors
    /// [`ShapeError`] unless there are as many elements as the shape says.
    pub fn new(shape: impl Into<Vec<usize>>, elements: Vec<T>) -> Result<Self, ShapeError> {
        Self::over(shape.into(), Bytes::from_owner(Elements(elements)))
    }

    /// Over bytes that are aligned for `T` or empty.
    fn over(shape: Vec<usize>, data: Bytes) -> Result<Self, ShapeError> {
        let element = size_of::<T>();
        let bytes = shape.iter().try_fold(element, |bytes, side| bytes.checked_mul(*side));
        if bytes == Some(data.len()) {
            Ok(Self { shape, data, element: PhantomData })
        } else {
            Err(ShapeError { shape, found: data.len(), element })
        }
    }

    /// The number of elements along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All elements in row-major order.
    pub fn as_slice(&self) -> &[T] {
        // An empty `Bytes` may point anywhere.
        if self.data.is_empty() { &[] } else { bytemuck::cast_slice(&self.data) }
    }
}

/// A vector that can be seen as bytes.
struct Elements<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Elements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// A copy of `bytes` at an address that suits `T`, if they are not at one already.
fn realigned<T: Element>(bytes: &Bytes) -> Option<Bytes> {
    if bytes.as_ptr().cast::<T>().is_aligned() || bytes.is_empty() {
        return None;
    }
    // The largest elements are of eight bytes.
    let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    Some(Bytes::from_owner(Elements(words)).slice(..bytes.len()))
}

impl<T: Element> Serialize for Tensor<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_struct("Tensor", 3)?;
        map.serialize_field("dtype", T::DTYPE)?;
        map.serialize_field("shape", &self.shape)?;
        match scope::add_buffer(|| self.data.clone().into()) {
            Some(index) => map.serialize_field("data", &Pointer::<BUFFER>(index))?,
            None => map.serialize_field("data", self.as_slice())?,
        }
        map.end()
    }
}

impl<'de, T: Element> Deserialize<'de> for Tensor<T> {
    /// Elements in another order than row-major are copied into it.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let parts = Parts::<T>::deserialize(from)?;
        if parts.strides.is_some() {
            return parts.strided().map(|strided| strided.to_tensor()).map_err(D::Error::custom);
        }
        parts
            .checked()
            .and_then(|parts| Self::over(parts.shape, parts.data.0).map_err(|e| e.to_string()))
            .map_err(D::Error::custom)
    }
}

/// A tensor as serde sees it. Strides and offset, in bytes, are there only if it is not in row-major order.
#[derive(Deserialize)]
#[serde(rename = "Tensor", bound = "T: Element")]
struct Parts<T> {
    dtype: String,
    shape: Vec<usize>,
    #[serde(default)]
    strides: Option<Vec<isize>>,
    #[serde(default)]
    offset: usize,
    data: Data<T>,
}

impl<T: Element> Parts<T> {
    /// The same, if its elements are of type `T`.
    fn checked(self) -> Result<Self, String> {
        if self.dtype == T::DTYPE {
            Ok(self)
        } else {
            Err(format!("a tensor of `{}`, where one of `{}` was wanted", self.dtype, T::DTYPE))
        }
    }

    fn strided(self) -> Result<Strided<T>, String> {
        let Self { shape, strides, offset, data, .. } = self.checked()?;
        match strides {
            Some(strides) => Strided::over(shape, strides, offset, data.0).map_err(|e| e.to_string()),
            None => Tensor::over(shape, data.0).map(Strided::from).map_err(|e| e.to_string()),
        }
    }
}

/// The elements of a tensor, out of band or inline, aligned for `T`.
struct Data<T>(Bytes, PhantomData<T>);

impl<'de, T: Element> Deserialize<'de> for Data<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = if scope::is_decoding() {
            let Pointer(index) = Pointer::<BUFFER>::deserialize(from)?;
            let buffer = scope::buffer(index, realigned::<T>);
            buffer.ok_or_else(|| D::Error::custom(format!("the value has no buffer {index}")))?
        } else {
            Bytes::from_owner(Elements(Vec::<T>::deserialize(from)?))
        };
        Ok(Self(bytes, PhantomData))
    }
}

impl<T: Element> Deref for Tensor<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Element> From<Vec<T>> for Tensor<T> {
    /// One axis.
    fn from(elements: Vec<T>) -> Self {
        let shape = vec![elements.len()];
        Self { shape, data: Bytes::from_owner(Elements(elements)), element: PhantomData }
    }
}

impl<T: Element> FromIterator<T> for Tensor<T> {
    /// One axis.
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Vec::from_iter(elements).into()
    }
}

impl<'a, T: Element> IntoIterator for &'a Tensor<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Element> PartialEq for Tensor<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.as_slice() == other.as_slice()
    }
}

impl<T: Element> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}, {:?})", T::DTYPE, self.shape)
    }
}
