//! The layouts of the buffers that ESP32 chips deliver.
//!
//! A buffer holds one or more training fields behind each other, each with one sample per subcarrier, guard band and DC
//! included. Indices are relative to the centre of the channel that the field is sent on: the 20 MHz channel for the legacy
//! field and the 20 MHz HT fields, the 40 MHz channel for the wide ones. Which samples are measurements follows from the
//! standard (IEEE 802.11-2020: 52 subcarriers, at most 26 from the centre, in the legacy field; 56, at most 28, in the 20
//! MHz HT fields; 114, 2 to 58, in the 40 MHz ones), and from the hardware, which may use the first four bytes of a buffer
//! for something else.

mod nexmon;

use std::sync::{Arc, LazyLock};

use crate::Layout;

pub use nexmon::nexmon;

/// The training fields of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fields {
    /// 64: the legacy field.
    Legacy,
    /// 64: the HT field of a 20 MHz packet alone.
    Ht20,
    /// 128: legacy and 20 MHz HT.
    LegacyHt20,
    /// 192: legacy, 20 MHz HT, and the second HT field of a packet with space-time block coding.
    LegacyHt20Stbc,
    /// 192: legacy and 40 MHz HT.
    LegacyHt40,
    /// 306: legacy and two HT fields of 121 of a 40 MHz packet with space-time block coding.
    LegacyHt40Stbc,
}

/// Order of the subcarriers within a 20 MHz field. The 40 MHz fields are always in FFT order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// 0 to 31, then -32 to -1: chips of the first generations, without a secondary channel.
    Fft,
    /// -32 to 31: with a secondary channel; and the C5 and C6.
    Ascending,
}

#[derive(Clone, Copy)]
enum Field {
    Legacy,
    Ht20,
    Ht40,
    Ht40Stbc,
}

impl Fields {
    const ALL: [Self; 6] = [
        Self::Legacy,
        Self::Ht20,
        Self::LegacyHt20,
        Self::LegacyHt20Stbc,
        Self::LegacyHt40,
        Self::LegacyHt40Stbc,
    ];

    fn list(self) -> &'static [Field] {
        match self {
            Self::Legacy => &[Field::Legacy],
            Self::Ht20 => &[Field::Ht20],
            Self::LegacyHt20 => &[Field::Legacy, Field::Ht20],
            Self::LegacyHt20Stbc => &[Field::Legacy, Field::Ht20, Field::Ht20],
            Self::LegacyHt40 => &[Field::Legacy, Field::Ht40],
            Self::LegacyHt40Stbc => &[Field::Legacy, Field::Ht40Stbc, Field::Ht40Stbc],
        }
    }

    /// Names: FFT order, FFT order without the first word, ascending, ascending without the first word.
    fn names(self) -> [&'static str; 4] {
        macro_rules! four {
            ($base:literal) => {
                [
                    $base,
                    concat!($base, "-w"),
                    concat!($base, "-asc"),
                    concat!($base, "-asc-w"),
                ]
            };
        }
        match self {
            Self::Legacy => four!("esp32-lltf64"),
            Self::Ht20 => four!("esp32-ht64"),
            Self::LegacyHt20 => four!("esp32-lltf64-ht64"),
            Self::LegacyHt20Stbc => four!("esp32-lltf64-ht64-stbc64"),
            Self::LegacyHt40 => four!("esp32-lltf64-ht128"),
            Self::LegacyHt40Stbc => four!("esp32-lltf64-ht121-stbc121"),
        }
    }

    /// Width in MHz of the channel that the fields cover together.
    #[must_use]
    pub fn bandwidth_mhz(self) -> u16 {
        match self {
            Self::LegacyHt40 | Self::LegacyHt40Stbc => 40,
            _ => 20,
        }
    }

    /// Whether an HT field is there, which only HT packets have.
    #[must_use]
    pub fn has_ht(self) -> bool {
        !matches!(self, Self::Legacy)
    }
}

impl Field {
    fn push(self, order: Order, out: &mut Vec<(i16, bool)>) {
        let legacy = |k: i16| k != 0 && k.abs() <= 26;
        let ht20 = |k: i16| k != 0 && k.abs() <= 28;
        let ht40 = |k: i16| (2..=58).contains(&k.abs());
        let narrow = |out: &mut Vec<_>, valid: &dyn Fn(i16) -> bool| match order {
            Order::Fft => out.extend((0..32).chain(-32..0).map(|k| (k, valid(k)))),
            Order::Ascending => out.extend((-32..32).map(|k| (k, valid(k)))),
        };
        match self {
            Self::Legacy => narrow(out, &legacy),
            Self::Ht20 => narrow(out, &ht20),
            Self::Ht40 => out.extend((0..64).chain(-64..0).map(|k| (k, ht40(k)))),
            Self::Ht40Stbc => out.extend((0..=60).chain(-60..0).map(|k| (k, ht40(k)))),
        }
    }
}

/// Subcarriers that the first four bytes of a buffer cover.
const FIRST_WORD: usize = 2;

fn build(fields: Fields, order: Order, first_word_invalid: bool) -> Layout {
    let mut all = Vec::new();
    for field in fields.list() {
        field.push(order, &mut all);
    }
    if first_word_invalid {
        for (_, valid) in all.iter_mut().take(FIRST_WORD) {
            *valid = false;
        }
    }
    let name = match (order, first_word_invalid, fields.names()) {
        (Order::Fft, false, [name, ..])
        | (Order::Fft, true, [_, name, ..])
        | (Order::Ascending, false, [_, _, name, _])
        | (Order::Ascending, true, [.., name]) => name,
    };
    Layout {
        name,
        subcarriers: all.iter().map(|(k, _)| *k).collect(),
        valid: all.iter().map(|(_, valid)| *valid).collect(),
    }
}

type Known = (Fields, Order, bool, Arc<Layout>);

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let mut known = Vec::new();
    for fields in Fields::ALL {
        for order in [Order::Fft, Order::Ascending] {
            for first_word_invalid in [false, true] {
                known.push((
                    fields,
                    order,
                    first_word_invalid,
                    Arc::new(build(fields, order, first_word_invalid)),
                ));
            }
        }
    }
    known
});

/// Layout of an ESP32 buffer. The same arguments give the same `Arc`.
///
/// `first_word_invalid`: the first four bytes, which are the first two samples, are no measurement.
#[must_use]
pub fn esp32(fields: Fields, order: Order, first_word_invalid: bool) -> Arc<Layout> {
    let wanted = (fields, order, first_word_invalid);
    let known = KNOWN
        .iter()
        .find(|(fields, order, first_word, _)| (*fields, *order, *first_word) == wanted);
    known.map_or_else(
        || Arc::new(build(fields, order, first_word_invalid)),
        |(.., layout)| Arc::clone(layout),
    )
}

/// The layout of these indices and this mask: a known one with its name, or a new one named `other`.
#[must_use]
pub fn find_or_make(subcarriers: &[i16], valid: &[bool]) -> Arc<Layout> {
    let same = |layout: &Layout| *layout.subcarriers == *subcarriers && *layout.valid == *valid;
    let known = KNOWN.iter().map(|(.., layout)| layout);
    match known.chain(nexmon::all()).find(|layout| same(layout)) {
        Some(layout) => Arc::clone(layout),
        None => Arc::new(Layout {
            name: "other",
            subcarriers: subcarriers.into(),
            valid: valid.into(),
        }),
    }
}

/// Layout of a buffer of which nothing is known but the number of samples: the "index" is the position in the buffer, and
/// every sample but those of a spoiled first word counts as measured. Named `positions`.
///
/// At most 32,768 samples can be named; `None` for more, or for none.
#[must_use]
pub fn positions(samples: usize, first_word_invalid: bool) -> Option<Arc<Layout>> {
    let last = i16::try_from(samples.checked_sub(1)?).ok()?;
    Some(Arc::new(Layout {
        name: if first_word_invalid {
            "positions-w"
        } else {
            "positions"
        },
        subcarriers: (0..=last).collect(),
        valid: (0..samples)
            .map(|position| !first_word_invalid || position >= FIRST_WORD)
            .collect(),
    }))
}

/// Order of a 64-sample buffer as its own zeros tell it, for sources that name neither chip nor secondary channel.
///
/// C5 and C6 chips deliver -32 to 31, the others 0 to 31 and -32 to -1. The former write exact zeros at DC (position 32) and
/// in the guard band (positions 0 to 3 and 61 to 63), where a buffer in FFT order holds subcarriers 1 to 3 and -3 to -1; and
/// they write measurements around position 32, where the other has its guard band. Only a buffer that shows both is taken
/// as ascending: `Some` with the fields that its zeros leave room for. `is_zero(position)` says whether the
/// sample is 0+0i.
pub fn ascending_by_zeros(is_zero: impl Fn(usize) -> bool) -> Option<Fields> {
    let outside = [0, 1, 2, 3, 32, 61, 62, 63];
    let middle = [28, 29, 30, 31, 33, 34, 35, 36];
    if !outside.into_iter().all(&is_zero)
        || middle
            .into_iter()
            .filter(|position| is_zero(*position))
            .count()
            > 4
    {
        return None;
    }
    // -28, -27, 27, 28: only an HT field has them.
    if [4, 5, 59, 60].into_iter().all(&is_zero) {
        Some(Fields::Legacy)
    } else {
        Some(Fields::Ht20)
    }
}
