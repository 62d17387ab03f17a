//! Exact sums of floats: the result does not depend on the order or the grouping of the additions.
//!
//! A superaccumulator holds the sum as a wide fixed-point number and rounds once at the end (R. M. Neal, "Fast exact
//! summation using small and large superaccumulators", 2015, the small one). Partial sums of different blocks merge
//! exactly, so a float sum is the same for any cut of the rows into blocks and any order of merging.

/// Bits a digit carries. Digits are i64, so that 2^30 additions fit between two carries.
const DIGIT: u32 = 32;
/// Weight of digit 0 is 2^-1074, the least positive double.
const LEAST: i32 = -1074;
/// Additions after which carries are resolved.
const CARRY_AFTER: u32 = 1 << 30;

/// The exact sum of the floats added so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExactSum {
    /// Index of `digits[0]`.
    low: usize,
    /// Signed digits; the sum is `digits[i] * 2^(32 * (low + i) - 1074)`.
    digits: Vec<i64>,
    /// Additions since carries were last resolved.
    pending: u32,
    /// Sum of the infinities and NaNs met; zero if none.
    special: f64,
}

impl ExactSum {
    /// Adds `x`.
    pub(crate) fn add(&mut self, x: f64) {
        if !x.is_finite() {
            self.special += x;
            return;
        }
        let bits = x.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as u32, bits & ((1 << 52) - 1));
        let (mantissa, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        if mantissa == 0 {
            return;
        }
        // At most 53 + 31 bits: three digits.
        let wide = u128::from(mantissa) << (shift % DIGIT);
        let sign = if x < 0.0 { -1 } else { 1 };
        let first = (shift / DIGIT) as usize;
        self.reach(first, first + 3);
        for (i, digit) in self.digits[first - self.low..][..3].iter_mut().enumerate() {
            *digit += sign * ((wide >> (DIGIT * i as u32)) as u32 as i64);
        }
        self.pending += 1;
        if self.pending >= CARRY_AFTER {
            self.carry();
        }
    }

    /// Adds the square of `x`, exactly unless it overflows or is subnormal.
    pub(crate) fn add_square(&mut self, x: f64) {
        let high = x * x;
        self.add(high);
        if high.is_finite() {
            self.add(x.mul_add(x, -high));
        }
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &ExactSum) {
        self.special += other.special;
        self.carry();
        let mut other = other.clone();
        other.carry();
        self.reach(other.low, other.low + other.digits.len());
        for (i, digit) in other.digits.iter().enumerate() {
            self.digits[other.low + i - self.low] += digit;
        }
        self.carry();
    }

    /// The sum, rounded once to the nearest double (ties to even).
    pub(crate) fn round(&self) -> f64 {
        if self.special != 0.0 {
            return self.special;
        }
        let mut sum = self.clone();
        sum.carry();
        let negative = sum.digits.last().is_some_and(|d| *d < 0);
        if negative {
            sum.digits.iter_mut().for_each(|d| *d = -*d);
            sum.carry();
        }
        let Some(top) = sum.digits.iter().rposition(|d| *d != 0) else { return 0.0 };
        // The three highest digits hold at least 65 significant bits; whatever lies below only breaks ties.
        let base = top.saturating_sub(2);
        let mut high = sum.digits[base..=top].iter().rev().fold(0u128, |n, d| n << DIGIT | *d as u128);
        if sum.digits[..base].iter().any(|d| *d != 0) {
            high |= 1;
        }
        let magnitude = scale(high as f64, (sum.low + base) as i32 * DIGIT as i32 + LEAST);
        if negative { -magnitude } else { magnitude }
    }

    /// The sum as an unevaluated pair: the nearest double and the nearest double to what remains.
    pub(crate) fn pair(&self) -> (f64, f64) {
        let high = self.round();
        if !high.is_finite() {
            return (high, 0.0);
        }
        let mut rest = self.clone();
        rest.add(-high);
        (high, rest.round())
    }

    /// The same bytes for the same value: low digit index, special value and digits, little endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut sum = self.clone();
        sum.carry();
        let mut bytes = vec![sum.low as u8];
        let special = if sum.special.is_nan() { f64::NAN } else { sum.special };
        bytes.extend(special.to_le_bytes());
        sum.digits.iter().for_each(|d| bytes.extend(d.to_le_bytes()));
        bytes
    }

    /// Reads what [`ExactSum::to_bytes`] wrote; `None` if it is something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (low, rest) = bytes.split_first()?;
        let (special, digits) = rest.split_first_chunk::<8>()?;
        let (digits, odd) = digits.as_chunks::<8>();
        let digits = digits.iter().map(|d| i64::from_le_bytes(*d)).collect();
        odd.is_empty().then(|| Self { low: *low as usize, digits, pending: 0, special: f64::from_le_bytes(*special) })
    }

    /// Makes room for digits `from..to`.
    fn reach(&mut self, from: usize, to: usize) {
        if self.digits.is_empty() {
            self.low = from;
        }
        if from < self.low {
            let missing = self.low - from;
            self.digits.splice(0..0, std::iter::repeat_n(0, missing));
            self.low = from;
        }
        if to > self.low + self.digits.len() {
            self.digits.resize(to - self.low, 0);
        }
    }

    /// Brings every digit but the last into `0..2^32`, and drops zeros at both ends. The last digit carries the sign.
    fn carry(&mut self) {
        self.pending = 0;
        let mut carry = 0i64;
        for digit in &mut self.digits {
            let sum = *digit + carry;
            *digit = sum & 0xffff_ffff;
            carry = sum >> DIGIT;
        }
        match carry {
            0 => {}
            // A carry of -1 into an empty place is the sign: 2^32 less in the last digit.
            -1 if !self.digits.is_empty() => {
                if let Some(last) = self.digits.last_mut() {
                    *last -= 1 << DIGIT;
                }
            }
            more => self.digits.push(more),
        }
        // One form per value: no zeros on top, and no -1 that merely is the sign of the digit below.
        while let [.., below, top @ (0 | -1)] = self.digits.as_mut_slice() {
            *below += *top << DIGIT;
            self.digits.pop();
        }
        if self.digits == [0] {
            self.digits.clear();
        }
        let zeros = self.digits.iter().take_while(|d| **d == 0).count();
        self.digits.drain(..zeros);
        self.low = if self.digits.is_empty() { 0 } else { self.low + zeros };
    }
}

/// `x * 2^power` for `x` of at most 96 bits; exact, or infinite.
fn scale(x: f64, power: i32) -> f64 {
    if power < -1022 {
        // The factor itself is subnormal, and still a power of two.
        x * f64::from_bits(1 << (power - LEAST))
    } else {
        x * f64::from_bits(((power + 1023) as u64) << 52)
    }
}
