//! What a person can do about what is wrong with a device: what was measured, then the next step.

use crate::health::meter::Measured;
use crate::health::{Cause, Expected, ExpectedRate};

/// The sentence for a cause.
#[must_use]
pub fn advice(cause: Cause, measured: &Measured, expected: &Expected) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |v| format!("{v:.0}"));
    match cause {
        Cause::NoFrames => no_frames().to_owned(),
        Cause::Malformed if measured.frames == 0 => format!(
            "every datagram is malformed ({} in {} s): it is no format that the gateway knows, or cut short; see its \
             hardware.device_error for the first bad byte, and flash a firmware that sends a supported format",
            measured.malformed, measured.seconds
        ),
        Cause::Malformed => format!(
            "{} of {} datagrams are malformed: look at its hardware.device_error; another program may send to the same port",
            measured.malformed,
            measured.malformed.saturating_add(measured.frames)
        ),
        Cause::Rate => {
            let (hz, how) = match expected.rate {
                Some(ExpectedRate::Configured(hz)) => (hz, "configured"),
                Some(ExpectedRate::Learned(hz)) => (hz, "learned from its first seconds"),
                None => (0.0, "not known"),
            };
            format!(
                "rate {} Hz of {hz:.0} expected ({how}): give the station steady traffic (ping it at {hz:.0} Hz) and a less \
                 busy channel; if this rate is meant, `fresnel devices configure NAME --rate {}`",
                number(measured.rate_hz),
                number(measured.rate_hz)
            )
        }
        Cause::Loss => format!(
            "losing {:.0} %: the way from the device to the gateway drops datagrams; bring it nearer to its access point, \
             use 5 GHz or a cable behind it, or lower its rate",
            100.0 * measured.loss.unwrap_or_default()
        ),
        Cause::Rssi => format!(
            "RSSI {} dBm: move it nearer to the transmitter, turn its antenna, or take what shields it away",
            number(measured.rssi_dbm)
        ),
        Cause::Snr => format!(
            "SNR {} dB: move it nearer to the transmitter, or away from what disturbs it (microwave ovens, USB 3, other \
             networks on its channel)",
            number(measured.snr_db)
        ),
        Cause::Jitter => format!(
            "frames are spaced unevenly, {:.1} ms off on average: switch power saving off on the station (modem sleep on \
             ESP32) and use a less busy channel",
            measured.jitter_ms.unwrap_or_default()
        ),
        Cause::Bandwidth => format!(
            "it sends {} MHz, and {} MHz is configured: set its access point's bandwidth, or configure what it is",
            text(measured.bandwidth_mhz),
            text(expected.bandwidth_mhz)
        ),
        Cause::Channel => format!(
            "it is on channel {}, and {} is configured: fix the access point's channel, or configure what it is",
            text(measured.channel),
            text(expected.channel)
        ),
        Cause::CalibrationMisfit => {
            let (kind, share) = expected.calibrated.fit.unwrap_or_default();
            format!(
                "{:.0} % of its frames are of a link that its {kind} calibration knows: transmitter, layout or antennas have \
                 changed since, and it does not count for the others; set the device back, or {}",
                100.0 * share,
                again(kind)
            )
        }
        Cause::CalibrationDrift => {
            let (now, most) = expected.calibrated.quietest.unwrap_or_default();
            format!(
                "even the quietest of the last windows had a motion statistic of {now:.2}, and the empty room should have at \
                 most {most:.2}: somebody moved all that time, or the link has changed since it was calibrated; {}",
                again("empty_room")
            )
        }
        Cause::CalibrationExpired => {
            let kind = expected.calibrated.expired.unwrap_or_default();
            format!(
                "its {kind} calibration has expired: its time is over and it is still in use, or an older version made it and it counts no \
                 more; {}",
                again(kind)
            )
        }
    }
}

/// How a calibration is made anew.
fn again(kind: &str) -> String {
    let empty = match kind {
        "empty_room" => " with nobody in the room",
        _ => "",
    };
    let kind = kind.replace('_', "-");
    format!("calibrate again{empty} (`fresnel calibrate {kind} --device NAME`)")
}

/// The first thing that users meet.
#[must_use]
pub fn no_frames() -> &'static str {
    "no frames: the station has no traffic; ping it at 100 Hz or connect it to an access point that does. If it has, check \
     its power, and the address and port that it sends to (`fresnel doctor`)"
}

fn text(value: Option<u32>) -> String {
    value.map_or_else(|| "an unknown".to_owned(), |value| value.to_string())
}
