//! Repeated measurements of one figure.

/// The values of all repetitions, in the figure's unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
}

impl Sample {
    /// Of these repetitions, in any order.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { sorted: values }
    }

    /// Of these repetitions without the first, which found code, memory and processes cold.
    pub fn warm(values: Vec<f64>) -> Self {
        Self::of(values.into_iter().skip(1).collect())
    }

    /// Measures `repetitions` times.
    ///
    /// # Errors
    /// The first that fails.
    pub fn repeat<E>(repetitions: usize, mut measure: impl FnMut() -> Result<f64, E>) -> Result<Self, E> {
        (0..repetitions).map(|_| measure()).collect::<Result<_, E>>().map(Self::of)
    }

    /// The same in another unit. `convert` may turn the order round, as from seconds to a rate.
    pub fn map(&self, convert: impl Fn(f64) -> f64) -> Self {
        Self::of(self.sorted.iter().copied().map(convert).collect())
    }

    /// The value in the middle, the upper one of two; none without repetitions.
    pub fn median(&self) -> Option<f64> {
        self.sorted.get(self.sorted.len() / 2).copied()
    }

    /// The least, the largest and the number of values, if they differ by more than a tenth of the median.
    pub fn spread(&self) -> Option<(f64, f64, usize)> {
        let (least, most, median) = (*self.sorted.first()?, *self.sorted.last()?, self.median()?);
        (most - least > 0.1 * median).then_some((least, most, self.sorted.len()))
    }
}

#[cfg(test)]
mod tests;
