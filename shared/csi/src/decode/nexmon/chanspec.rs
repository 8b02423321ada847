//! Broadcom's word for a channel.

use crate::frame::frequency_of;

/// A channel: bits 0 to 7 the number of its centre, 8 to 10 which 20 MHz part of it is primary, 11 to 13 the bandwidth (2 to 5:
/// 20, 40, 80, 160 MHz), 14 and 15 the band (0: 2.4 GHz, 3: 5 GHz). As in `brcmu_d11.h` of the Linux kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chanspec {
    /// Number of the centre of the whole channel, as written.
    pub centre: u8,
    /// Number of the primary 20 MHz channel; absent where the band is unknown or has no such channel.
    pub channel: Option<u8>,
    /// Its centre in MHz.
    pub frequency_mhz: Option<u32>,
    /// Bandwidth of the whole channel in MHz.
    pub bandwidth_mhz: u16,
}

impl Chanspec {
    /// Reads the word; `None` for a bandwidth that CSI is not taken of.
    #[must_use]
    pub fn read(word: u16) -> Option<Self> {
        let [centre, high] = word.to_le_bytes();
        let bandwidth_mhz = match high >> 3 & 7 {
            2 => 20,
            3 => 40,
            4 => 80,
            5 => 160,
            _ => return None,
        };
        // Channel numbers are 5 MHz apart: the lowest part of 20 MHz lies 0, 2, 6 or 14 below the centre, parts lie 4 apart.
        let part = 4 * u16::from(high & 7);
        let primary = (u16::from(centre) + part).checked_sub(bandwidth_mhz / 10 - 2);
        let primary = primary.filter(|_| part < bandwidth_mhz / 5);
        let channel = primary.and_then(|channel| u8::try_from(channel).ok());
        let in_band = |channel: &u8| match high >> 6 {
            0 => (1..=14).contains(channel),
            3 => *channel >= 32 && frequency_of(*channel).is_some(),
            _ => false,
        };
        let channel = channel.filter(in_band);
        Some(Self {
            centre,
            channel,
            frequency_mhz: channel.and_then(frequency_of),
            bandwidth_mhz,
        })
    }

    /// Bins of the FFT over the whole channel.
    #[must_use]
    pub fn bins(&self) -> usize {
        usize::from(self.bandwidth_mhz) * 16 / 5
    }
}

#[cfg(test)]
mod tests {
    use super::Chanspec;

    #[test]
    fn words_of_public_captures() {
        let read = |word| {
            let found = Chanspec::read(word).unwrap();
            let Chanspec {
                centre,
                channel,
                frequency_mhz,
                bandwidth_mhz,
            } = found;
            (centre, channel, frequency_mhz, bandwidth_mhz, found.bins())
        };
        assert_eq!(read(0xE02A), (42, Some(36), Some(5180), 80, 256));
        assert_eq!(read(0xE29B), (155, Some(157), Some(5785), 80, 256));
        assert_eq!(read(0xE06A), (106, Some(100), Some(5500), 80, 256));
        assert_eq!(read(0xD024), (36, Some(36), Some(5180), 20, 64));
        assert_eq!(read(0x100D), (13, Some(13), Some(2472), 20, 64));
    }

    #[test]
    fn other_words() {
        let read = |word| Chanspec::read(word).map(|found| (found.channel, found.bandwidth_mhz));
        // 40 MHz around channel 38 and 3, the upper and the lower half primary.
        assert_eq!(read(0xD926), Some((Some(40), 40)));
        assert_eq!(read(0x1803), Some((Some(1), 40)));
        // 160 MHz around 50, the last part primary.
        assert_eq!(read(0xEF32), Some((Some(64), 160)));
        // A part that the bandwidth does not have; a band that is not known; a channel that the band does not have.
        assert_eq!(read(0xE42A), Some((None, 80)));
        assert_eq!(read(0x5024), Some((None, 20)));
        assert_eq!(read(0x1024), Some((None, 20)));
        assert_eq!([read(0x0024), read(0x3024), read(0xF824)], [None; 3]);
    }
}
