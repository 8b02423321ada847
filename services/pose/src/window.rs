//! One window of one link, as the signal service put it on the data plane.

use events::{DataSource, DeviceId, NameError, ZoneId};
use prost::Message as _;
use proto::csi::v1::DataSource as WireSource;
use proto::signal::v1::{LinkState, SignalWindow};
use uuid::Uuid;

/// What the model is given, and what the tracker needs of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Id of the processed signal.
    pub signal_id: Uuid,
    /// Zone.
    pub zone: ZoneId,
    /// Device: the link.
    pub device: DeviceId,
    /// End, microseconds on the input's axis.
    pub end_us: i64,
    /// Length, microseconds.
    pub length_us: i64,
    /// Quality, 0 to 1.
    pub quality: f32,
    /// Where the data came from.
    pub source: Option<DataSource>,
    /// Replay or simulation run; none when live.
    pub run: Option<Uuid>,
    /// The last window of its run.
    pub last_of_run: bool,
    /// The features, where the window has some that a model can be given; see [`usable`].
    pub features: Option<Vec<f32>>,
}

/// Why bytes are no window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// No protobuf of a window.
    #[error("no SignalWindow")]
    Protobuf(#[from] prost::DecodeError),
    /// Not a DNS label.
    #[error("field {field}")]
    Name {
        /// Field.
        field: &'static str,
        /// What is wrong.
        source: NameError,
    },
    /// Not a UUID.
    #[error("field {field} has {found} bytes, expected the 16 of a UUID")]
    Uuid {
        /// Field.
        field: &'static str,
        /// Bytes found.
        found: usize,
    },
}

impl Window {
    /// Reads a message of `data.signal.{zone}.{device}`.
    ///
    /// # Errors
    /// Where it is no window, or an id or a name in it is none.
    pub fn decode(payload: &[u8]) -> Result<Self, WindowError> {
        let window = SignalWindow::decode(payload)?;
        let source = match window.source() {
            WireSource::Live => Some(DataSource::Live),
            WireSource::Replay => Some(DataSource::Replay),
            WireSource::Simulated => Some(DataSource::Simulated),
            WireSource::Unspecified => None,
        };
        let usable = usable(&window);
        Ok(Self {
            signal_id: uuid("signal_id", &window.signal_id)?,
            run: if window.run_id.is_empty() {
                None
            } else {
                Some(uuid("run_id", &window.run_id)?)
            },
            zone: ZoneId::new(window.zone).map_err(|source| WindowError::Name {
                field: "zone",
                source,
            })?,
            device: DeviceId::new(window.device).map_err(|source| WindowError::Name {
                field: "device",
                source,
            })?,
            end_us: window.window_end_us,
            length_us: window.window_end_us.saturating_sub(window.window_start_us),
            quality: window.quality,
            source,
            last_of_run: window.last_of_run,
            features: usable.then_some(window.features),
        })
    }
}

/// Whether a window has features that say something about people.
///
/// Not where the signal service could not judge the window, except for a frame rate too low for its own statistic: the
/// features need 10 Hz only. Not where it found that the change is no movement (a steady tone, jumps, frames without
/// coherence): the reason beside `still` says so, and the model was trained on none of these.
fn usable(window: &SignalWindow) -> bool {
    let judged = match window.state() {
        LinkState::Still => window.reason.is_empty(),
        LinkState::Motion => true,
        LinkState::Unknown => window.reason == "rate_too_low",
        LinkState::Unspecified => false,
    };
    judged
        && window.feature_schema == dsp::activity::SCHEMA
        && !window.features.is_empty()
        && window.features.iter().all(|value| value.is_finite())
}

fn uuid(field: &'static str, bytes: &[u8]) -> Result<Uuid, WindowError> {
    Uuid::from_slice(bytes).map_err(|_| WindowError::Uuid {
        field,
        found: bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> SignalWindow {
        SignalWindow {
            signal_id: vec![7; 16].into(),
            device: "a".into(),
            zone: "hall".into(),
            window_start_us: 2_000_000,
            window_end_us: 4_000_000,
            state: LinkState::Motion.into(),
            feature_schema: dsp::activity::SCHEMA.into(),
            features: vec![0.5; 13],
            source: WireSource::Replay.into(),
            quality: 0.9,
            ..SignalWindow::default()
        }
    }

    #[test]
    fn a_window_is_read() {
        let read = Window::decode(&window().encode_to_vec()).unwrap();
        assert_eq!(read.signal_id, Uuid::from_bytes([7; 16]));
        assert_eq!((read.zone.as_str(), read.device.as_str()), ("hall", "a"));
        assert_eq!((read.end_us, read.length_us), (4_000_000, 2_000_000));
        assert_eq!((read.source, read.run), (Some(DataSource::Replay), None));
        assert_eq!(read.features, Some(vec![0.5; 13]));
    }

    #[test]
    fn what_cannot_be_used_has_no_features() {
        let mut unknown = window();
        unknown.set_state(LinkState::Unknown);
        let mut other = window();
        other.feature_schema = "activity-features/9".into();
        let mut broken = window();
        broken.features = vec![f32::NAN; 13];
        let mut none = window();
        none.features.clear();
        let mut tone = window();
        tone.set_state(LinkState::Still);
        tone.reason = "steady_tone".into();
        for unusable in [unknown, other, broken, none, tone] {
            assert_eq!(
                Window::decode(&unusable.encode_to_vec()).unwrap().features,
                None
            );
        }
        let mut slow = window();
        slow.set_state(LinkState::Unknown);
        slow.reason = "rate_too_low".into();
        let mut still = window();
        still.set_state(LinkState::Still);
        for usable in [slow, still] {
            assert_eq!(
                Window::decode(&usable.encode_to_vec()).unwrap().features,
                Some(vec![0.5; 13])
            );
        }
    }

    #[test]
    fn damage_is_named() {
        let check = |change: fn(&mut SignalWindow), expected: &str| {
            let mut damaged = window();
            change(&mut damaged);
            let error = Window::decode(&damaged.encode_to_vec())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(|w| w.signal_id = vec![1; 3].into(), "signal_id has 3 bytes");
        check(|w| w.run_id = vec![1; 17].into(), "run_id has 17 bytes");
        check(|w| w.zone = "No Zone".into(), "zone");
        check(|w| w.device = String::new(), "device");
        assert!(Window::decode(&[0xFF; 9]).is_err());
    }
}
