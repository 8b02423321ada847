//! How well a device is heard, and what a person can do about it. Pure: time comes from the frames and from the caller.
//!
//! Each cause (a low rate, loss, a weak signal, ..) has a threshold to be raised and another, safer one to be cleared, and
//! must stay beyond it for a while: a value that rests on a threshold changes nothing.

pub mod advice;
pub mod gate;
pub mod meter;

use crate::health::gate::{Edge, Gate, Holds, Limit};
use crate::health::meter::Measured;

/// How well a device is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nothing is wrong that is measured.
    Healthy,
    /// Of use, and not as it should be.
    Degraded,
    /// Of little use.
    Unhealthy,
    /// Not heard.
    Offline,
}

impl Status {
    /// The word in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Offline => "offline",
        }
    }

    /// The status of that word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [
            Self::Healthy,
            Self::Degraded,
            Self::Unhealthy,
            Self::Offline,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
    }

    fn of_level(level: u8) -> Self {
        match level {
            0 => Self::Healthy,
            1 => Self::Degraded,
            _ => Self::Unhealthy,
        }
    }
}

/// What may be wrong; the order is that in which a person should look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No frame arrives.
    NoFrames,
    /// What arrives cannot be decoded.
    Malformed,
    /// Fewer frames than expected.
    Rate,
    /// Sequence numbers are missing.
    Loss,
    /// The signal is weak.
    Rssi,
    /// The signal is hardly above the noise.
    Snr,
    /// The spacing is uneven.
    Jitter,
    /// Another bandwidth than expected.
    Bandwidth,
    /// Another channel than expected.
    Channel,
    /// What it sends is of no link that a calibration in use knows.
    CalibrationMisfit,
    /// The room is never as quiet as it was when it was calibrated empty.
    CalibrationDrift,
    /// A calibration in use is too old.
    CalibrationExpired,
}

impl Cause {
    /// The word in events and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoFrames => "no_frames",
            Self::Malformed => "malformed",
            Self::Rate => "rate",
            Self::Loss => "loss",
            Self::Rssi => "rssi",
            Self::Snr => "snr",
            Self::Jitter => "jitter",
            Self::Bandwidth => "bandwidth",
            Self::Channel => "channel",
            Self::CalibrationMisfit => "calibration_misfit",
            Self::CalibrationDrift => "calibration_drift",
            Self::CalibrationExpired => "calibration_expired",
        }
    }
}

/// The rate that a device should have, Hz, and how we know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ExpectedRate {
    /// A person said so.
    Configured(f64),
    /// The median of the first seconds that were heard.
    Learned(f64),
}

impl ExpectedRate {
    /// Hz.
    #[must_use]
    pub fn hz(self) -> f64 {
        match self {
            Self::Configured(hz) | Self::Learned(hz) => hz,
        }
    }
}

/// What a device is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// Frames per second.
    pub rate: Option<ExpectedRate>,
    /// MHz.
    pub bandwidth_mhz: Option<u32>,
    /// Number.
    pub channel: Option<u32>,
    /// What its calibrations in use say.
    pub calibrated: Calibrated,
}

/// How the calibrations in use of a device stand to what it sends, as last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calibrated {
    /// The kind of one that is too old.
    pub expired: Option<&'static str>,
    /// Of the one that fits least: its kind, and the share of the frames that are of a link that it knows.
    pub fit: Option<(&'static str, f64)>,
    /// Motion statistic of the quietest of the last windows, and the most that the empty room is to have.
    pub quietest: Option<(f64, f64)>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What.
    pub cause: Cause,
    /// How bad.
    pub status: Status,
}

/// The judgement on a device changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// How it is now.
    pub status: Status,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

const fn above(raise: f64, clear: f64) -> Option<Edge> {
    Some(Edge::Above { raise, clear })
}

const fn below(raise: f64, clear: f64) -> Option<Edge> {
    Some(Edge::Below { raise, clear })
}

/// Thresholds. The rate is in parts of the expected one, jitter in parts of the expected spacing; RSSI in dBm and SNR in dB:
/// 802.11n receivers need about 10 dB for their slowest rates, and ESP32 gives no CSI below about -90 dBm.
const LIMITS: [(Cause, Limit); 11] = [
    (
        Cause::Malformed,
        Limit {
            degraded: above(0.02, 0.01),
            unhealthy: above(0.5, 0.4),
        },
    ),
    (
        Cause::Rate,
        Limit {
            degraded: below(0.8, 0.9),
            unhealthy: below(0.3, 0.4),
        },
    ),
    (
        Cause::Loss,
        Limit {
            degraded: above(0.05, 0.03),
            unhealthy: above(0.3, 0.2),
        },
    ),
    (
        Cause::Rssi,
        Limit {
            degraded: below(-80.0, -77.0),
            unhealthy: below(-88.0, -85.0),
        },
    ),
    (
        Cause::Snr,
        Limit {
            degraded: below(10.0, 13.0),
            unhealthy: below(5.0, 8.0),
        },
    ),
    (
        Cause::Jitter,
        Limit {
            degraded: above(1.0, 0.7),
            unhealthy: None,
        },
    ),
    (
        Cause::Bandwidth,
        Limit {
            degraded: above(0.5, 0.5),
            unhealthy: None,
        },
    ),
    (
        Cause::Channel,
        Limit {
            degraded: above(0.5, 0.5),
            unhealthy: None,
        },
    ),
    (
        Cause::CalibrationMisfit,
        Limit {
            degraded: below(0.1, 0.5),
            unhealthy: None,
        },
    ),
    (
        Cause::CalibrationDrift,
        Limit {
            degraded: above(1.0, 0.8),
            unhealthy: None,
        },
    ),
    (
        Cause::CalibrationExpired,
        Limit {
            degraded: above(0.5, 0.5),
            unhealthy: None,
        },
    ),
];

/// The judgement on one device.
#[derive(Clone, Debug, Default)]
pub struct Health {
    gates: [Gate; LIMITS.len()],
    findings: Vec<Finding>,
    began_us: Option<i64>,
    judged: bool,
}

impl Health {
    /// Judges what was measured at `now_us`; `Some` where the status or what is wrong changed.
    pub fn judge(
        &mut self,
        measured: &Measured,
        expected: &Expected,
        holds: Holds,
        now_us: i64,
    ) -> Option<Change> {
        for ((cause, limit), gate) in LIMITS.iter().zip(&mut self.gates) {
            gate.push(limit, value(*cause, measured, expected), holds, now_us);
        }
        let mut findings: Vec<Finding> = LIMITS
            .iter()
            .zip(&self.gates)
            .filter(|(_, gate)| gate.level() > 0)
            .map(|((cause, _), gate)| Finding {
                cause: *cause,
                status: Status::of_level(gate.level()),
            })
            .collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.status), finding.cause));
        // What was wrong before the gateway's own start must get the time to show itself.
        let began = *self.began_us.get_or_insert(now_us);
        if now_us.saturating_sub(began) < holds.raise_us {
            return None;
        }
        let first = !std::mem::replace(&mut self.judged, true);
        if findings == self.findings && !first {
            return None;
        }
        self.findings.clone_from(&findings);
        Some(Change {
            status: self.status(),
            findings,
        })
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.findings
            .first()
            .map_or(Status::Healthy, |finding| finding.status)
    }

    /// What is wrong, the worst first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether there was anything to judge yet.
    #[must_use]
    pub fn judged(&self) -> bool {
        self.judged
    }
}

/// The value that a cause looks at; absent where it was not measured or nothing is expected.
fn value(cause: Cause, measured: &Measured, expected: &Expected) -> Option<f64> {
    let differs = |expected: Option<u32>, measured: Option<u32>| {
        let (expected, measured) = expected.zip(measured)?;
        Some(f64::from(u8::from(expected != measured)))
    };
    let rate = expected.rate.map(ExpectedRate::hz).filter(|hz| *hz > 0.0);
    match cause {
        Cause::NoFrames => None,
        Cause::Malformed => measured.error_rate,
        Cause::Rate => Some(measured.rate_hz? / rate?),
        Cause::Loss => measured.loss,
        Cause::Rssi => measured.rssi_dbm,
        Cause::Snr => measured.snr_db,
        Cause::Jitter => Some(measured.jitter_ms? / 1e3 * rate?),
        Cause::Bandwidth => differs(expected.bandwidth_mhz, measured.bandwidth_mhz),
        Cause::Channel => differs(expected.channel, measured.channel),
        Cause::CalibrationMisfit => expected.calibrated.fit.map(|(_, share)| share),
        Cause::CalibrationDrift => expected.calibrated.quietest.map(|(now, most)| now / most),
        Cause::CalibrationExpired => expected.calibrated.expired.map(|_| 1.0),
    }
}

#[cfg(test)]
mod tests;
