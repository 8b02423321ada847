//! The layouts of the buffers that ESP32 chips deliver, and those of Nexmon.
//!
//! A buffer holds one or more training fields behind each other, each with one sample per subcarrier, guard band and DC
//! included. Indices are relative to the centre of the channel that the field is sent on: the 20 MHz channel for the legacy
//! field and the 20 MHz HT fields (Espressif's tables count from the middle of the 40 MHz channel where there is a secondary
//! one: 0 to 63 with it below, -64 to -1 with it above, here -32 to 31), the 40 MHz channel for the wide ones. Which samples are measurements follows from the
//! standard (IEEE 802.11-2020: 52 subcarriers, at most 26 from the centre, in the legacy field; 56, at most 28, in the 20
//! MHz HT fields; 114, 2 to 58, in the 40 MHz ones), and from the hardware, which may use the first four bytes of a buffer
//! for something else.

mod nexmon;
mod tones;

use std::sync::{Arc, LazyLock};

use crate::Layout;

pub use nexmon::nexmon;

pub use tones::{Tones, tones};

/// The training fields of a buffer, with the number of samples. After the tables of Espressif's programming guide ("Wi-Fi
/// Channel State Information" of the ESP32 family and of the ESP32-C5) where nothing else is said.
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
    /// 190: the same with the secondary channel below, of which the HT fields end one subcarrier early.
    LegacyHt20StbcBelow,
    /// 188: the same with the secondary channel above, of which the HT fields begin two subcarriers late.
    LegacyHt20StbcAbove,
    /// 128: the HT field of a 40 MHz packet alone. The C6 writes it in ascending order (github.com/espressif/esp-csi, 240).
    Ht40,
    /// 192: legacy and 40 MHz HT.
    LegacyHt40,
    /// 306: legacy and two HT fields of 121 of a 40 MHz packet with space-time block coding.
    LegacyHt40Stbc,
    /// 53, C5: the legacy field without guards.
    Legacy53,
    /// 26, C5 and C61: every second subcarrier of the legacy field, with 12 bits for each part (github.com/espressif/esp-idf,
    /// 18982).
    Legacy26,
    /// 57, C5: the HT (or VHT) field of a 20 MHz packet without guards.
    Ht57,
    /// 114, C5: two of them.
    Ht57Stbc,
    /// 117, C5: the HT field of a 40 MHz packet without guards.
    Ht117,
    /// 234, C5: two of them.
    Ht117Stbc,
    /// 245, C5: the HE field of a 20 MHz packet without guards.
    He245,
    /// 256, C6: the HE field of a 20 MHz packet. In no table of Espressif's: 242 subcarriers as the standard has them, seen by
    /// several users; the order is what the zeros of a buffer show.
    He256,
}

/// Order of the subcarriers within a field. HT fields of 40 MHz behind a legacy field are always in FFT order.
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
    /// Without the last subcarrier, without the first two.
    Ht20Below,
    Ht20Above,
    Ht40,
    /// In FFT order whatever the order of the others.
    Ht40Fft,
    Ht40Stbc,
    /// From -26, -28, -58 and -122.
    Bare26,
    Bare28,
    Bare58,
    Bare122,
    EverySecond,
    He,
}

impl Fields {
    const ALL: [Self; 17] = [
        Self::Legacy,
        Self::Ht20,
        Self::LegacyHt20,
        Self::LegacyHt20Stbc,
        Self::LegacyHt20StbcBelow,
        Self::LegacyHt20StbcAbove,
        Self::Ht40,
        Self::LegacyHt40,
        Self::LegacyHt40Stbc,
        Self::Legacy53,
        Self::Legacy26,
        Self::Ht57,
        Self::Ht57Stbc,
        Self::Ht117,
        Self::Ht117Stbc,
        Self::He245,
        Self::He256,
    ];

    fn list(self) -> &'static [Field] {
        match self {
            Self::Legacy => &[Field::Legacy],
            Self::Ht20 => &[Field::Ht20],
            Self::LegacyHt20 => &[Field::Legacy, Field::Ht20],
            Self::LegacyHt20Stbc => &[Field::Legacy, Field::Ht20, Field::Ht20],
            Self::LegacyHt20StbcBelow => &[Field::Legacy, Field::Ht20Below, Field::Ht20Below],
            Self::LegacyHt20StbcAbove => &[Field::Legacy, Field::Ht20Above, Field::Ht20Above],
            Self::Ht40 => &[Field::Ht40],
            Self::LegacyHt40 => &[Field::Legacy, Field::Ht40Fft],
            Self::LegacyHt40Stbc => &[Field::Legacy, Field::Ht40Stbc, Field::Ht40Stbc],
            Self::Legacy53 => &[Field::Bare26],
            Self::Legacy26 => &[Field::EverySecond],
            Self::Ht57 => &[Field::Bare28],
            Self::Ht57Stbc => &[Field::Bare28, Field::Bare28],
            Self::Ht117 => &[Field::Bare58],
            Self::Ht117Stbc => &[Field::Bare58, Field::Bare58],
            Self::He245 => &[Field::Bare122],
            Self::He256 => &[Field::He],
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
            Self::LegacyHt20StbcBelow => four!("esp32-lltf64-ht63-stbc63"),
            Self::LegacyHt20StbcAbove => four!("esp32-lltf64-ht62-stbc62"),
            Self::Ht40 => four!("esp32-ht128"),
            Self::LegacyHt40 => four!("esp32-lltf64-ht128"),
            Self::LegacyHt40Stbc => four!("esp32-lltf64-ht121-stbc121"),
            Self::Legacy53 => four!("esp32-lltf53"),
            Self::Legacy26 => four!("esp32-lltf26-12bit"),
            Self::Ht57 => four!("esp32-ht57"),
            Self::Ht57Stbc => four!("esp32-ht57-stbc57"),
            Self::Ht117 => four!("esp32-ht117"),
            Self::Ht117Stbc => four!("esp32-ht117-stbc117"),
            Self::He245 => four!("esp32-he245"),
            Self::He256 => four!("esp32-he256"),
        }
    }

    /// Width in MHz of the channel that the fields cover together.
    #[must_use]
    pub fn bandwidth_mhz(self) -> u16 {
        match self {
            Self::Ht40
            | Self::LegacyHt40
            | Self::LegacyHt40Stbc
            | Self::Ht117
            | Self::Ht117Stbc => 40,
            _ => 20,
        }
    }

    /// Whether an HT field is there, which only HT packets have. (A VHT packet's field on a C5 looks the same.)
    #[must_use]
    pub fn has_ht(self) -> bool {
        !matches!(self, Self::Legacy | Self::Legacy53 | Self::Legacy26) && !self.has_he()
    }

    /// Whether an HE field is there, which only HE packets have.
    #[must_use]
    pub fn has_he(self) -> bool {
        matches!(self, Self::He245 | Self::He256)
    }
}

impl Field {
    fn push(self, order: Order, out: &mut Vec<(i16, bool)>) {
        /// Subcarriers -`low` to `high`, of which those from `first` to `last` on either side carry the channel.
        fn field(
            order: Order,
            (low, high): (i16, i16),
            (first, last): (i16, i16),
            out: &mut Vec<(i16, bool)>,
        ) {
            let sample = |k: i16| (k, (first..=last).contains(&k.abs()));
            match order {
                Order::Fft => out.extend((0..=high).chain(-low..0).map(sample)),
                Order::Ascending => out.extend((-low..=high).map(sample)),
            }
        }
        match self {
            Self::Legacy => field(order, (32, 31), (1, 26), out),
            Self::Ht20 => field(order, (32, 31), (1, 28), out),
            Self::Ht20Below => field(Order::Ascending, (32, 30), (1, 28), out),
            Self::Ht20Above => field(Order::Ascending, (30, 31), (1, 28), out),
            Self::Ht40 => field(order, (64, 63), (2, 58), out),
            Self::Ht40Fft => field(Order::Fft, (64, 63), (2, 58), out),
            Self::Ht40Stbc => field(Order::Fft, (60, 60), (2, 58), out),
            Self::Bare26 => field(order, (26, 26), (1, 26), out),
            Self::Bare28 => field(order, (28, 28), (1, 28), out),
            Self::Bare58 => field(order, (58, 58), (2, 58), out),
            Self::Bare122 => field(order, (122, 122), (2, 122), out),
            Self::He => field(order, (128, 127), (2, 122), out),
            Self::EverySecond => {
                let even = (-26..=26).step_by(2).filter(|k| *k != 0);
                out.extend(even.map(|k| (k, true)));
            }
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
    let esp32 = KNOWN.iter().map(|(.., layout)| layout);
    let cards = tones::KNOWN.iter().map(|(.., layout)| layout);
    let mut known = esp32.chain(cards).chain(nexmon::all());
    match known.find(|layout| same(layout)) {
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

/// Fields and order of a buffer of a C5 or C6 as its own zeros tell them, where neither the source nor Espressif's documents do
/// (the table of the C5 has FFT order, its plotting program and what users measure on C5 and C6 have ascending order).
///
/// A candidate fits where everything that it takes for DC or a guard band is exactly 0+0i, and at most an eighth of what it
/// takes for measurements is. `None` where not exactly one fits: the buffer may then be told by its number of samples alone.
pub fn by_zeros(samples: usize, is_zero: impl Fn(usize) -> bool) -> Option<(Fields, Order)> {
    let fields = match samples {
        53 => Fields::Legacy53,
        57 => Fields::Ht57,
        114 => Fields::Ht57Stbc,
        117 => Fields::Ht117,
        128 => Fields::Ht40,
        234 => Fields::Ht117Stbc,
        245 => Fields::He245,
        256 => Fields::He256,
        _ => return None,
    };
    let fits = |order| {
        let layout = esp32(fields, order, false);
        let places = || layout.valid.iter().enumerate();
        let empty = |wanted: bool| places().filter(move |(_, valid)| **valid == wanted);
        empty(false).all(|(place, _)| is_zero(place))
            && 8 * empty(true).filter(|(place, _)| is_zero(*place)).count() <= samples
    };
    match [Order::Fft, Order::Ascending].map(fits) {
        [true, false] => Some((fields, Order::Fft)),
        [false, true] => Some((fields, Order::Ascending)),
        _ => None,
    }
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
