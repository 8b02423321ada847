//! The CSI of software radios: subcarrier indices, and a matrix of complex numbers in a form of its own.

use num_complex::Complex32;

use super::segment::Fields;

/// What a buffer holds.
pub(super) struct Matrix {
    pub(super) subcarriers: Vec<i16>,
    /// Sizes: subcarriers, streams, receive chains, measurements; as far as they are given.
    pub(super) sizes: Vec<u64>,
    pub(super) samples: Vec<Complex32>,
}

/// Most dimensions that a matrix is read with.
const MOST_DIMENSIONS: u8 = 8;

impl Matrix {
    /// Reads `subcarriers` indices and the matrix behind them. `Err` says what is wrong.
    pub(super) fn read(buffer: &[u8], subcarriers: usize) -> Result<Self, &'static str> {
        let mut fields = Fields(buffer);
        let indices = fields
            .take(2 * subcarriers)
            .ok_or("fewer bytes than subcarrier indices")?;
        let (indices, _) = indices.as_chunks::<2>();
        let version = fields.take(4).ok_or("no matrix")?;
        let wide = match version {
            b"BBv1" => false,
            b"BBv2" => true,
            _ => return Err("no matrix of version 1 or 2"),
        };
        let dimensions = fields
            .u8()
            .filter(|dimensions| *dimensions <= MOST_DIMENSIONS);
        let dimensions = dimensions.ok_or("more dimensions than 8")?;
        let size = |_| {
            if wide {
                fields.u64()
            } else {
                fields.u32().map(u64::from)
            }
        };
        let sizes: Option<Vec<u64>> = (0..dimensions).map(size).collect();
        let sizes = sizes.ok_or("cut off in its sizes")?;
        let kind = fields.take(4).ok_or("cut off in its type")?;
        let value = match kind {
            [b'C', b'D' | b'F', 64, _] => wide_value,
            [b'C', b'F', 32, _] => narrow_value,
            _ => return Err("no complex numbers of 32 or 64 bits"),
        };
        let bytes = if matches!(kind, [_, _, 64, _]) { 16 } else { 8 };
        let number = sizes
            .iter()
            .try_fold(1_u64, |all, size| all.checked_mul(*size));
        let expected = number.and_then(|number| number.checked_mul(bytes));
        if expected != Some(fields.0.len() as u64) {
            return Err("another length than its sizes make");
        }
        let samples: Vec<Complex32> = match bytes {
            16 => fields
                .0
                .as_chunks::<16>()
                .0
                .iter()
                .map(|bytes| value(bytes))
                .collect(),
            _ => fields
                .0
                .as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| value(bytes))
                .collect(),
        };
        if !samples.iter().all(|sample| sample.is_finite()) {
            return Err("NaN or infinity");
        }
        Ok(Self {
            subcarriers: indices
                .iter()
                .map(|bytes| i16::from_le_bytes(*bytes))
                .collect(),
            sizes,
            samples,
        })
    }
}

/// Two doubles. The wire carries 32-bit floats; a channel does not need more.
#[allow(clippy::cast_possible_truncation)]
fn wide_value(bytes: &[u8]) -> Complex32 {
    let (values, _) = bytes.as_chunks::<8>();
    match values {
        [re, im] => Complex32::new(
            f64::from_le_bytes(*re) as f32,
            f64::from_le_bytes(*im) as f32,
        ),
        _ => Complex32::default(),
    }
}

fn narrow_value(bytes: &[u8]) -> Complex32 {
    let (values, _) = bytes.as_chunks::<4>();
    match values {
        [re, im] => Complex32::new(f32::from_le_bytes(*re), f32::from_le_bytes(*im)),
        _ => Complex32::default(),
    }
}
