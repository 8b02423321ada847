//! The empty-room calibration in use of a device: what of it the decisions take.

use std::sync::Arc;

use dsp::motion::METHOD;
use proto::gateway::v1::{Calibration, link_calibration};
use uuid::Uuid;

use crate::config::Settings;
use crate::false_alarms::{HIGHEST, Limit, Origin, Tail};
use crate::link::LinkKey;

/// Threshold below which no calibration leads: less is within what rounding and interference do.
pub const LOWEST: f64 = 0.1;

/// What was learnt of one link with nobody there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmptyLink {
    /// Median and spread of gain-normalised amplitude of each valid sample, as rows have them.
    pub amplitude: Vec<f32>,
    /// See `amplitude`.
    pub spread: Vec<f32>,
    /// The channel that it was learnt on, where known.
    pub channel: Option<u32>,
    /// The bandwidth, MHz, where known.
    pub bandwidth_mhz: Option<u32>,
    /// Quantiles 0.5, 0.9, 0.99 and 1 of the motion statistic.
    pub quantiles: Vec<f64>,
    /// Windows that those rest on.
    pub windows: u32,
    /// Threshold that was learnt.
    pub threshold: f64,
    /// Length of the windows that were learnt from, seconds.
    pub window_s: f64,
}

impl EmptyLink {
    /// The same for these samples alone, in blocks that end at `ends` of them: as rows are normalised that hold no others.
    #[must_use]
    pub fn at(&self, places: &[usize], ends: &[usize]) -> Self {
        let pick = |of: &[f32]| places.iter().filter_map(|k| of.get(*k)).copied().collect();
        let (mut amplitude, mut spread): (Vec<f32>, Vec<f32>) =
            (pick(&self.amplitude), pick(&self.spread));
        let mut begin = 0;
        for end in ends {
            let block = begin..*end;
            begin = *end;
            let (Some(a), Some(s)) = (amplitude.get_mut(block.clone()), spread.get_mut(block))
            else {
                break;
            };
            let powers = a
                .iter()
                .zip(s.iter())
                .map(|(a, s)| f64::from(a * a + s * s));
            let (sum, count) = powers.fold((0.0, 0.0), |(sum, count), p| (sum + p, count + 1.0));
            if sum > 0.0 {
                #[allow(clippy::cast_possible_truncation)]
                let scale = f64::sqrt(count / sum) as f32;
                a.iter_mut().chain(s).for_each(|value| *value *= scale);
            }
        }
        Self {
            amplitude,
            spread,
            ..self.clone()
        }
    }
}

/// The calibration in use of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// Its id.
    pub id: Uuid,
    links: Vec<(LinkKey, Arc<EmptyLink>)>,
}

impl Calibrated {
    /// Of what the gateway keeps; absent where it is no empty-room calibration, or one of another motion statistic.
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
            // Of another motion statistic it has expired, as its device's health says.
            let usable = room.motion_method == METHOD
                && room.motion_threshold.is_finite()
                && room.window_seconds.is_finite();
            let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
            let shaped = room.amplitude.len() == room.amplitude_spread.len()
                && finite(&room.amplitude)
                && finite(&room.amplitude_spread);
            let learnt = |values: &[f32]| if shaped { values.to_vec() } else { Vec::new() };
            let of = EmptyLink {
                amplitude: learnt(&room.amplitude),
                spread: learnt(&room.amplitude_spread),
                channel: link.channel,
                bandwidth_mhz: link.bandwidth_mhz,
                quantiles: room.motion_quantiles.clone(),
                windows: room.windows,
                threshold: room.motion_threshold,
                window_s: room.window_seconds,
            };
            usable.then(|| (key, Arc::new(of)))
        });
        let links: Vec<_> = links.collect();
        let id = Uuid::parse_str(&kept.calibration_id).ok()?;
        (!links.is_empty()).then_some(Self { id, links })
    }

    /// What was learnt of a link; absent for a link in another layout.
    #[must_use]
    pub fn link(&self, link: &LinkKey) -> Option<&Arc<EmptyLink>> {
        let found = self.links.iter().find(|(key, _)| key == link);
        found.map(|(_, learnt)| learnt)
    }

    /// The settings for a link: with its threshold, and the level of release in the same ratio to it. The threshold is what was
    /// learnt, or what a rate of false alarms asks for; one that was set for the zone stays. Absent for a link in another layout, and for windows of another length
    /// than those that were learnt from.
    #[must_use]
    pub fn settings(&self, link: &LinkKey, settings: &Settings) -> Option<(Settings, Limit)> {
        let learnt = self.link(link)?;
        if (learnt.window_s - settings.window_s).abs() >= 1e-6 {
            return None;
        }
        let tail = Tail::of(&learnt.quantiles);
        let asked = settings.false_alarms_per_week.zip(tail);
        let (from_room, of_room) = match asked {
            Some((per_week, tail)) => (
                tail.threshold(per_week, settings.hop_s)
                    .clamp(LOWEST, HIGHEST),
                Origin::FalseAlarms,
            ),
            None => (learnt.threshold.clamp(LOWEST, 1.0), Origin::Calibration),
        };
        let (threshold, origin) = if settings.threshold_is_chosen {
            (settings.threshold, Origin::Zone)
        } else {
            (from_room, of_room)
        };
        let with = Settings {
            release: settings.release / settings.threshold * threshold,
            threshold,
            ..settings.clone()
        };
        let limit = Limit {
            threshold,
            origin,
            per_week: tail.map(|tail| tail.per_week(threshold, settings.hop_s)),
            windows: learnt.windows,
            noise: learnt.quantiles.get(2).copied(),
            learnt: Some(from_room),
        };
        Some((with, limit))
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
                    motion_method: METHOD.into(),
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
        let (with, limit) = calibrated
            .settings(&link("esp32-lltf64"), &settings)
            .unwrap();
        assert_eq!((with.threshold, limit.threshold), (0.3, 0.3));
        assert_eq!((limit.origin, limit.per_week), (Origin::Calibration, None));
        assert!((with.release - 0.225).abs() < 1e-12);
        assert_eq!(calibrated.settings(&link("esp32-ht64"), &settings), None);
        let other = Calibrated::of(&kept(0.3, 4.0)).unwrap();
        assert_eq!(other.settings(&link("esp32-lltf64"), &settings), None);
    }

    #[test]
    fn one_of_another_statistic_is_none() {
        let mut before = kept(0.3, 2.0);
        let Some(link_calibration::Result::EmptyRoom(room)) = &mut before.links[0].result else {
            panic!("an empty room")
        };
        room.motion_method = "power-autocorrelation/1".into();
        assert_eq!(Calibrated::of(&before), None);
    }

    #[test]
    fn the_threshold_keeps_a_floor() {
        let calibrated = Calibrated::of(&kept(0.001, 2.0)).unwrap();
        let (with, _) = calibrated
            .settings(&link("esp32-lltf64"), &Settings::default())
            .unwrap();
        assert_eq!(with.threshold, LOWEST);
        assert_eq!(Calibrated::of(&kept(f64::NAN, 2.0)), None);
    }

    #[test]
    fn a_rate_of_false_alarms_leads_where_the_empty_room_is_known() {
        let mut room = kept(0.3, 2.0);
        let Some(link_calibration::Result::EmptyRoom(empty)) = &mut room.links[0].result else {
            panic!("an empty room")
        };
        empty.motion_quantiles = vec![0.01, 0.04, 0.08, 0.1];
        empty.windows = 115;
        let of = |per_week: Option<f64>| {
            let settings = Settings {
                false_alarms_per_week: per_week,
                ..Settings::default()
            };
            let calibrated = Calibrated::of(&room).unwrap();
            calibrated
                .settings(&link("esp32-lltf64"), &settings)
                .unwrap()
                .1
        };
        let (often, seldom) = (of(Some(10.0)), of(Some(0.1)));
        assert!(often.threshold < seldom.threshold && seldom.threshold < 0.5);
        assert_eq!((often.origin, often.windows), (Origin::FalseAlarms, 115));
        assert!((often.per_week.unwrap() - 10.0).abs() < 1e-6);
        // Asked for none, it still says what the learnt threshold would cost.
        let learnt = of(None);
        assert_eq!(
            (learnt.threshold, learnt.origin),
            (0.3, Origin::Calibration)
        );
        assert!(learnt.per_week.unwrap() < 1.0);
    }
}
