//! The layouts of Nexmon (Broadcom): the bins of an FFT over the whole channel, 0 to N/2-1, then -N/2 to -1.
//!
//! DC, guards and pilots hold rubbish, sometimes many times larger than the channel, and are marked as no measurement.
//! Where the data subcarriers lie follows IEEE 802.11-2020: table 21-7 for 40, 80 and 160 MHz (58, 122, and 126 from the
//! centre of each half), pilots after 21.3.5.11. At 20 MHz those of a legacy packet count (26 from the centre), which every
//! packet has: a header does not say which kind it was, and public captures hold rubbish at 28.
//!
//! A packet narrower than the channel (a 20 MHz packet received on 80 MHz, which is common) leaves the other bins at noise;
//! the header does not say that either.

use std::sync::{Arc, LazyLock};

use crate::Layout;

/// Names by bandwidth in MHz.
const NAMES: [(u16, &str); 4] = [
    (20, "nexmon-64"),
    (40, "nexmon-128"),
    (80, "nexmon-256"),
    (160, "nexmon-512"),
];

static KNOWN: LazyLock<Vec<Arc<Layout>>> = LazyLock::new(|| {
    let build = |(bandwidth_mhz, name): (u16, &'static str)| {
        let half = bandwidth_mhz.cast_signed() / 5 * 8;
        let subcarriers: Box<[i16]> = (0..half).chain(-half..0).collect();
        let valid = subcarriers.iter().map(|k| carries(bandwidth_mhz, k.abs()));
        Arc::new(Layout {
            name,
            valid: valid.collect(),
            subcarriers,
        })
    };
    NAMES.map(build).into()
});

/// Whether the subcarriers at this distance from the centre carry data.
fn carries(bandwidth_mhz: u16, k: i16) -> bool {
    match bandwidth_mhz {
        20 => (1..=26).contains(&k) && !matches!(k, 7 | 21),
        40 => (2..=58).contains(&k) && !matches!(k, 11 | 25 | 53),
        80 => (2..=122).contains(&k) && !matches!(k, 11 | 39 | 75 | 103),
        _ => {
            ((6..=126).contains(&k) || (130..=250).contains(&k))
                && !matches!(k, 25 | 53 | 89 | 117 | 139 | 167 | 203 | 231)
        }
    }
}

/// The layout of a channel of 20, 40, 80 or 160 MHz: 3.2 bins for each MHz.
#[must_use]
pub fn nexmon(bandwidth_mhz: u16) -> Option<Arc<Layout>> {
    let place = NAMES
        .iter()
        .position(|(bandwidth, _)| *bandwidth == bandwidth_mhz)?;
    KNOWN.get(place).map(Arc::clone)
}

/// Every layout of Nexmon.
pub(super) fn all() -> impl Iterator<Item = &'static Arc<Layout>> {
    KNOWN.iter()
}
