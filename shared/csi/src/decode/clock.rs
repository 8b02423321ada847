//! The 32-bit microsecond clock of a device, unwrapped.

/// Unwraps a 32-bit microsecond clock, which starts again at 0 every 71 min 35 s, and survives restarts of the device.
///
/// - A step back of up to one second is a frame that was delivered late; its time stays behind the others.
/// - A step back that leads to within [`DeviceClock::WRAP_GAP_US`] after the wrap is a wrap.
/// - Every other step back is a restart: the clock counts from 0 again. At least the new value has passed since the last
///   frame, so the unwrapped time goes on from there. It is then a lower bound, and [`DeviceClock::restarts`] says so.
#[derive(Clone, Debug, Default)]
pub struct DeviceClock {
    /// Newest reading, and what is to be added to it.
    last: Option<(u32, u64)>,
    restarts: u32,
}

impl DeviceClock {
    /// Longest gap between two frames, in microseconds, over which a wrap is still taken for a wrap: one minute.
    pub const WRAP_GAP_US: u32 = 60_000_000;
    const LATE_US: u32 = 1_000_000;

    /// Unwraps the next reading: microseconds since the first start that was seen.
    pub fn unwrap(&mut self, reading: u32) -> u64 {
        let Some((newest, base)) = self.last else {
            self.last = Some((reading, 0));
            return u64::from(reading);
        };
        if reading >= newest {
            // Forward; unless it is a late frame from before a wrap that was just seen.
            let late_by = newest.wrapping_sub(reading);
            if base >= 1 << 32 && late_by <= Self::LATE_US && late_by > 0 {
                return base - (1 << 32) + u64::from(reading);
            }
            self.last = Some((reading, base));
            return base + u64::from(reading);
        }
        if newest - reading <= Self::LATE_US {
            return base + u64::from(reading);
        }
        let base = if reading.wrapping_sub(newest) <= Self::WRAP_GAP_US {
            base + (1 << 32)
        } else {
            self.restarts = self.restarts.saturating_add(1);
            base + u64::from(newest)
        };
        self.last = Some((reading, base));
        base + u64::from(reading)
    }

    /// How often the device was seen to start again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceClock;

    fn unwrapped(readings: &[u32]) -> (Vec<u64>, u32) {
        let mut clock = DeviceClock::default();
        (
            readings
                .iter()
                .map(|reading| clock.unwrap(*reading))
                .collect(),
            clock.restarts(),
        )
    }

    #[test]
    fn a_wrap_goes_on_and_is_no_restart() {
        let (times, restarts) = unwrapped(&[4_294_900_000, 4_294_967_295, 32_704, 132_704]);
        assert_eq!(
            times,
            [4_294_900_000, 4_294_967_295, 4_295_000_000, 4_295_100_000]
        );
        assert_eq!(restarts, 0);
    }

    #[test]
    fn two_wraps_add_up() {
        let step = 50_000_000_u64;
        let readings: Vec<u32> = (0..300).map(|i| (i * step % (1 << 32)) as u32).collect();
        let (times, restarts) = unwrapped(&readings);
        assert_eq!(times, (0..300).map(|i| i * step).collect::<Vec<_>>());
        assert_eq!(restarts, 0);
    }

    #[test]
    fn a_late_frame_stays_behind() {
        let (times, restarts) = unwrapped(&[5_000_000, 4_999_900, 5_010_000]);
        assert_eq!(times, [5_000_000, 4_999_900, 5_010_000]);
        assert_eq!(restarts, 0);
        let (times, _) = unwrapped(&[4_294_967_290, 4, 4_294_967_295, 14]);
        assert_eq!(
            times,
            [4_294_967_290, 4_294_967_300, 4_294_967_295, 4_294_967_310]
        );
    }

    #[test]
    fn a_restart_is_counted_and_time_goes_on() {
        let (times, restarts) = unwrapped(&[100_000_000, 100_100_000, 700_000, 800_000]);
        assert_eq!(times, [100_000_000, 100_100_000, 100_800_000, 100_900_000]);
        assert_eq!(restarts, 1);
    }
}
