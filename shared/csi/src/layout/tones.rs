//! The subcarriers that network cards report: those that carry energy, ascending, DC and guard bands left out.
//!
//! Indices and pilots are those of IEEE 802.11-2020 (legacy 17.3.5, HT 19.3.11, VHT 21.3.10) and IEEE 802.11ax-2021 (27.3.2 and
//! 27.3.12: the tone plans of the RUs that fill a channel).

use std::sync::{Arc, LazyLock};

use crate::{Layout, Ppdu};

/// Subcarriers of a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tones {
    /// 30 of the 56 of an HT packet in 20 MHz: groups of two (802.11n, Ng = 2), as the Intel 5300 reports them.
    Grouped20,
    /// 30 of the 114 of an HT packet in 40 MHz: groups of four (Ng = 4).
    Grouped40,
    /// 52: legacy, 20 MHz.
    Legacy20,
    /// 56: HT and VHT, 20 MHz.
    Ht20,
    /// 114: HT and VHT, 40 MHz.
    Ht40,
    /// 242: VHT, 80 MHz.
    Vht80,
    /// 484: VHT, 160 MHz.
    Vht160,
    /// 242: HE, 20 MHz.
    He20,
    /// 484: HE, 40 MHz.
    He40,
    /// 996: HE and EHT, 80 MHz.
    He80,
    /// 1992: HE and EHT, 160 MHz.
    He160,
    /// 3984: EHT, 320 MHz.
    Eht320,
}

impl Tones {
    const ALL: [Self; 12] = [
        Self::Grouped20,
        Self::Grouped40,
        Self::Legacy20,
        Self::Ht20,
        Self::Ht40,
        Self::Vht80,
        Self::Vht160,
        Self::He20,
        Self::He40,
        Self::He80,
        Self::He160,
        Self::Eht320,
    ];

    /// Names: every sample is a measurement; the pilots are none.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Grouped20 => ["ht20-30", "ht20-30-p"],
            Self::Grouped40 => ["ht40-30", "ht40-30-p"],
            Self::Legacy20 => ["legacy20", "legacy20-p"],
            Self::Ht20 => ["ht20", "ht20-p"],
            Self::Ht40 => ["ht40", "ht40-p"],
            Self::Vht80 => ["vht80", "vht80-p"],
            Self::Vht160 => ["vht160", "vht160-p"],
            Self::He20 => ["he20", "he20-p"],
            Self::He40 => ["he40", "he40-p"],
            Self::He80 => ["he80", "he80-p"],
            Self::He160 => ["he160", "he160-p"],
            Self::Eht320 => ["eht320", "eht320-p"],
        }
    }

    /// Subcarriers right of DC, ascending. Those on the left mirror them, but in [`Tones::Grouped20`].
    fn right(self) -> Vec<i16> {
        match self {
            Self::Grouped20 => (1..=27).step_by(2).chain([28]).collect(),
            Self::Grouped40 => (2..=58).step_by(4).collect(),
            Self::Legacy20 => (1..=26).collect(),
            Self::Ht20 => (1..=28).collect(),
            Self::Ht40 => (2..=58).collect(),
            Self::Vht80 | Self::He20 => (2..=122).collect(),
            Self::Vht160 => (6..=126).chain(130..=250).collect(),
            Self::He40 => (3..=244).collect(),
            Self::He80 => (3..=500).collect(),
            Self::He160 => (12..=509).chain(515..=1012).collect(),
            Self::Eht320 => (12..=509)
                .chain(515..=1012)
                .chain(1036..=1533)
                .chain(1539..=2036)
                .collect(),
        }
    }

    /// Distances of the pilots from DC.
    fn pilots(self) -> Vec<i16> {
        let wide = |centres: &[i16]| {
            let around = |centre: &i16| {
                [-468, -400, -334, -266, -226, -158, -92, -24]
                    .into_iter()
                    .chain([24, 92, 158, 226, 266, 334, 400, 468])
                    .map(move |pilot| centre + pilot)
                    .collect::<Vec<i16>>()
            };
            centres.iter().flat_map(around).collect()
        };
        match self {
            Self::Grouped20 | Self::Legacy20 | Self::Ht20 => vec![7, 21],
            Self::Grouped40 | Self::Ht40 => vec![11, 25, 53],
            Self::Vht80 => vec![11, 39, 75, 103],
            Self::Vht160 => vec![25, 53, 89, 117, 139, 167, 203, 231],
            Self::He20 => vec![22, 48, 90, 116],
            Self::He40 => vec![10, 36, 78, 104, 144, 170, 212, 238],
            Self::He80 => vec![24, 92, 158, 226, 266, 334, 400, 468],
            Self::He160 => wide(&[512]),
            Self::Eht320 => wide(&[512, 1536]),
        }
    }

    /// Number of subcarriers, packet format without those that share its subcarriers, and width in MHz.
    fn kind(self) -> (usize, Ppdu, u16) {
        match self {
            Self::Grouped20 => (30, Ppdu::Ht, 20),
            Self::Grouped40 => (30, Ppdu::Ht, 40),
            Self::Legacy20 => (52, Ppdu::NonHt, 20),
            Self::Ht20 => (56, Ppdu::Ht, 20),
            Self::Ht40 => (114, Ppdu::Ht, 40),
            Self::Vht80 => (242, Ppdu::Vht, 80),
            Self::Vht160 => (484, Ppdu::Vht, 160),
            Self::He20 => (242, Ppdu::He, 20),
            Self::He40 => (484, Ppdu::He, 40),
            Self::He80 => (996, Ppdu::He, 80),
            Self::He160 => (1992, Ppdu::He, 160),
            Self::Eht320 => (3984, Ppdu::Eht, 320),
        }
    }

    /// What `subcarriers` samples of a packet of this format and width lie on, where all subcarriers were reported. The number
    /// decides; format and width where it leaves a choice.
    #[must_use]
    pub fn of(subcarriers: usize, ppdu: Ppdu, bandwidth_mhz: u16) -> Option<Self> {
        let mut of_number = Self::ALL
            .into_iter()
            .filter(|tones| subcarriers != 30 && tones.kind().0 == subcarriers);
        let (first, second) = (of_number.next()?, of_number.next());
        let Some(second) = second else {
            return Some(first);
        };
        let he = matches!(ppdu, Ppdu::He | Ppdu::Eht);
        let fits = |tones: &Self| {
            let (_, format, width) = tones.kind();
            match ppdu {
                Ppdu::Unknown => width == bandwidth_mhz,
                _ => (format == Ppdu::He) == he,
            }
        };
        [first, second].into_iter().find(fits)
    }
}

fn build(tones: Tones, pilots_invalid: bool) -> Layout {
    let right = tones.right();
    let left: Vec<i16> = match tones {
        Tones::Grouped20 => (-28..=-2).step_by(2).chain([-1]).collect(),
        _ => right.iter().rev().map(|index| -index).collect(),
    };
    let subcarriers: Box<[i16]> = left.into_iter().chain(right).collect();
    let pilots = tones.pilots();
    let valid = subcarriers
        .iter()
        .map(|index| !(pilots_invalid && pilots.contains(&index.abs())))
        .collect();
    let [all, without_pilots] = tones.names();
    Layout {
        name: if pilots_invalid { without_pilots } else { all },
        subcarriers,
        valid,
    }
}

pub(super) static KNOWN: LazyLock<Vec<(Tones, bool, Arc<Layout>)>> = LazyLock::new(|| {
    Tones::ALL
        .into_iter()
        .flat_map(|tones| [false, true].map(|pilots| (tones, pilots)))
        .map(|(tones, pilots)| (tones, pilots, Arc::new(build(tones, pilots))))
        .collect()
});

/// Layout of a card's report. The same arguments give the same `Arc`. `pilots_invalid`: the card writes no channel estimate
/// at the pilots.
#[must_use]
pub fn tones(tones: Tones, pilots_invalid: bool) -> Arc<Layout> {
    let wanted = (tones, pilots_invalid);
    let known = KNOWN
        .iter()
        .find(|(tones, pilots, _)| (*tones, *pilots) == wanted);
    known.map_or_else(
        || Arc::new(build(tones, pilots_invalid)),
        |(.., layout)| Arc::clone(layout),
    )
}

#[cfg(test)]
mod tests {
    use super::{Tones, tones};
    use crate::Ppdu;

    #[test]
    fn every_layout_has_its_number_ascends_and_masks_only_what_it_holds() {
        // Pilots by the standard; the grouped reports hit some of them.
        let pilots = [2, 2, 4, 4, 6, 8, 16, 8, 16, 16, 32, 64];
        for (kind, pilots) in Tones::ALL.into_iter().zip(pilots) {
            let (all, masked) = (tones(kind, false), tones(kind, true));
            assert_eq!(all.len(), kind.kind().0, "{kind:?}");
            assert!(all.subcarriers.is_sorted_by(|a, b| a < b), "{kind:?}");
            assert!(all.valid.iter().all(|valid| *valid));
            if !matches!(kind, Tones::Grouped20 | Tones::Grouped40) {
                let invalid = masked.valid.iter().filter(|valid| !**valid).count();
                assert_eq!(invalid, pilots, "{kind:?}");
            }
        }
    }

    #[test]
    fn groups_are_those_of_the_5300() {
        let narrow = [
            -28, -26, -24, -22, -20, -18, -16, -14, -12, -10, -8, -6, -4, -2, -1, 1, 3, 5, 7, 9,
            11, 13, 15, 17, 19, 21, 23, 25, 27, 28,
        ];
        assert_eq!(*tones(Tones::Grouped20, false).subcarriers, narrow);
        let wide = tones(Tones::Grouped40, false);
        assert_eq!(
            (
                wide.subcarriers[0],
                wide.subcarriers[14],
                wide.subcarriers[15]
            ),
            (-58, -2, 2)
        );
    }

    #[test]
    fn format_and_width_decide_where_the_number_does_not() {
        let of = Tones::of;
        assert_eq!(of(56, Ppdu::Unknown, 80), Some(Tones::Ht20));
        assert_eq!(of(242, Ppdu::Vht, 80), Some(Tones::Vht80));
        assert_eq!(of(242, Ppdu::He, 20), Some(Tones::He20));
        assert_eq!(of(484, Ppdu::Eht, 40), Some(Tones::He40));
        assert_eq!(of(484, Ppdu::Unknown, 160), Some(Tones::Vht160));
        assert_eq!(of(1992, Ppdu::He, 160), Some(Tones::He160));
        assert_eq!(of(484, Ppdu::Unknown, 20), None);
        assert_eq!(of(57, Ppdu::Ht, 20), None);
    }
}
