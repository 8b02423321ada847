//! The empty-room calibration in use of a device: what of it the decision on motion takes.

use proto::gateway::v1::{Calibration, link_calibration};
use uuid::Uuid;

use crate::config::Settings;
use crate::link::LinkKey;

/// Threshold below which no calibration leads: less is within what rounding and interference do.
pub const LOWEST: f64 = 0.1;

/// The calibration in use of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// Its id.
    pub id: Uuid,
    links: Vec<(LinkKey, f64, f64)>,
}

impl Calibrated {
    /// Of what the gateway keeps; absent where it is no empty-room calibration.
    #[must_use]
    pub fn of(kept: &Calibration) -> Option<Self> {
        let links = kept.links.iter().filter_map(|link| {
            let Some(link_calibration::Result::EmptyRoom(room)) = &link.result else {
                return None;
            };
            let key = LinkKey {
                transmitter: <[u8; 6]>::try_from(&*link.transmitter).ok(),
                layout: link.layout.clone(),
                subcarriers: usize::try_from(link.subcarriers).ok()?,
                antennas: u8::try_from(link.antennas).ok()?,
                ppdu: link.ppdu.clone(),
                chain: match (link.receive_chain, link.spatial_stream) {
                    (Some(core), Some(stream)) => {
                        Some((u8::try_from(core).ok()?, u8::try_from(stream).ok()?))
                    }
                    _ => None,
                },
            };
            let usable = room.motion_threshold.is_finite() && room.window_seconds.is_finite();
            usable.then_some((key, room.motion_threshold, room.window_seconds))
        });
        let links: Vec<_> = links.collect();
        let id = Uuid::parse_str(&kept.calibration_id).ok()?;
        (!links.is_empty()).then_some(Self { id, links })
    }

    /// The settings for a link: with its threshold, and the level of release in the same ratio to it. Absent for a link in
    /// another layout, and for windows of another length than those that were learnt from.
    #[must_use]
    pub fn settings(&self, link: &LinkKey, settings: &Settings) -> Option<Settings> {
        let fits = |(key, _, window): &&(LinkKey, f64, f64)| {
            key == link && (window - settings.window_s).abs() < 1e-6
        };
        let (_, threshold, _) = self.links.iter().find(fits)?;
        let threshold = threshold.clamp(LOWEST, 1.0);
        Some(Settings {
            release: settings.release / settings.threshold * threshold,
            threshold,
            ..settings.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::gateway::v1::{EmptyRoom, LinkCalibration};

    fn kept(threshold: f64, window_seconds: f64) -> Calibration {
        Calibration {
            calibration_id: Uuid::nil().to_string(),
            links: vec![LinkCalibration {
                layout: "esp32-lltf64".into(),
                subcarriers: 64,
                antennas: 1,
                result: Some(link_calibration::Result::EmptyRoom(EmptyRoom {
                    motion_threshold: threshold,
                    window_seconds,
                    ..EmptyRoom::default()
                })),
                ..LinkCalibration::default()
            }],
            ..Calibration::default()
        }
    }

    fn link(layout: &str) -> LinkKey {
        LinkKey {
            transmitter: None,
            layout: layout.into(),
            subcarriers: 64,
            antennas: 1,
            ppdu: String::new(),
            chain: None,
        }
    }

    #[test]
    fn it_holds_for_its_own_layout_and_window_only() {
        let settings = Settings::default();
        let calibrated = Calibrated::of(&kept(0.3, 2.0)).unwrap();
        let with = calibrated
            .settings(&link("esp32-lltf64"), &settings)
            .unwrap();
        assert_eq!(with.threshold, 0.3);
        assert!((with.release - 0.225).abs() < 1e-12);
        assert_eq!(calibrated.settings(&link("esp32-ht64"), &settings), None);
        let other = Calibrated::of(&kept(0.3, 4.0)).unwrap();
        assert_eq!(other.settings(&link("esp32-lltf64"), &settings), None);
    }

    #[test]
    fn the_threshold_keeps_a_floor() {
        let calibrated = Calibrated::of(&kept(0.001, 2.0)).unwrap();
        let with = calibrated
            .settings(&link("esp32-lltf64"), &Settings::default())
            .unwrap();
        assert_eq!(with.threshold, LOWEST);
        assert_eq!(Calibrated::of(&kept(f64::NAN, 2.0)), None);
    }
}
