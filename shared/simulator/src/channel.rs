//! The channel between transmitter and one receiver: a sum of paths.

use num_complex::Complex64;

use crate::body::Body;
use crate::geometry::{Image, Point, distance};
use crate::scenario::Scenario;

/// Metres that light travels in a second.
pub const SPEED_OF_LIGHT_M_S: f64 = 299_792_458.0;

/// Hz between two subcarriers of a 20 MHz channel (IEEE 802.11-2020, 17.3.2 and 19.3.6).
pub const HT20_SPACING_HZ: f64 = 312_500.0;

/// Nearer than this the far-field equations do not hold; a path is never taken to be shorter.
const NEAREST_M: f64 = 0.1;

/// Centre frequency of a channel of the 2.4 GHz band, 1..13, in Hz.
#[must_use]
pub fn carrier_hz(channel: u8) -> f64 {
    (2_407.0 + 5.0 * f64::from(channel)) * 1e6
}

/// The channel to one receiver before any radio touches it.
pub struct Link<'a> {
    scenario: &'a Scenario,
    carrier_hz: f64,
    /// Images of the transmitter and of the receiver, for paths by way of a body.
    from: Vec<Image>,
    to: Vec<Image>,
    /// Sum of all paths that never change.
    fixed: Vec<Complex64>,
    response: Vec<Complex64>,
    first: i16,
}

impl<'a> Link<'a> {
    /// The channel from the scenario's transmitter to `receiver_m`, at the subcarriers `first..=-first`, DC included.
    #[must_use]
    pub fn new(scenario: &'a Scenario, receiver_m: [f64; 3], half_width: u8) -> Self {
        let room = &scenario.room;
        let transmitter = scenario.transmitter.position_m;
        let count = 2 * usize::from(half_width) + 1;
        let mut link = Self {
            scenario,
            carrier_hz: carrier_hz(scenario.transmitter.channel),
            from: room.images(transmitter, room.scatter_order),
            to: room.images(receiver_m, room.scatter_order),
            fixed: vec![Complex64::ZERO; count],
            response: vec![Complex64::ZERO; count],
            first: -i16::from(half_width),
        };
        for image in room.images(transmitter, room.order) {
            // Friis: the wave spreads, the walls take their share.
            let metres = distance(image.position, receiver_m).max(NEAREST_M);
            let amplitude =
                image.amplitude * link.wavelength_m() / (4.0 * std::f64::consts::PI * metres);
            link.add_fixed(metres, amplitude);
        }
        for body in &scenario.bodies {
            if let Body::Furniture(furniture) = body {
                for (metres, amplitude) in
                    link.scattered(furniture.position_m, furniture.cross_section_m2)
                {
                    link.add_fixed(metres, amplitude);
                }
            }
        }
        link
    }

    /// Wavelength of the carrier in metres.
    #[must_use]
    pub fn wavelength_m(&self) -> f64 {
        SPEED_OF_LIGHT_M_S / self.carrier_hz
    }

    /// The channel at this second: ratio of received to sent amplitude, one for each subcarrier from the lowest to the highest.
    pub fn response_at(&mut self, time_s: f64) -> &[Complex64] {
        self.response.copy_from_slice(&self.fixed);
        for (position, cross_section) in self.scenario.moving_at(time_s) {
            for pair in 0..self.pairs() {
                if let Some((metres, amplitude)) = self.path(pair, position, cross_section) {
                    add(
                        &mut self.response,
                        self.carrier_hz,
                        self.first,
                        metres,
                        amplitude,
                    );
                }
            }
        }
        &self.response
    }

    fn add_fixed(&mut self, metres: f64, amplitude: f64) {
        add(
            &mut self.fixed,
            self.carrier_hz,
            self.first,
            metres,
            amplitude,
        );
    }

    fn scattered(&self, position: Point, cross_section: f64) -> Vec<(f64, f64)> {
        (0..self.pairs())
            .filter_map(|pair| self.path(pair, position, cross_section))
            .collect()
    }

    fn pairs(&self) -> usize {
        self.from.len() * self.to.len()
    }

    /// Length and amplitude of the path by way of a body, for one pair of images; none where the walls would reflect it more
    /// often than the scenario wants. Bistatic radar equation: `lambda sqrt(sigma) / ((4 pi)^1.5 d1 d2)`.
    fn path(&self, pair: usize, position: Point, cross_section: f64) -> Option<(f64, f64)> {
        let from = self.from.get(pair / self.to.len())?;
        let to = self.to.get(pair % self.to.len())?;
        if from.reflections + to.reflections > self.scenario.room.scatter_order {
            return None;
        }
        let out = distance(from.position, position).max(NEAREST_M);
        let back = distance(position, to.position).max(NEAREST_M);
        let amplitude = from.amplitude * to.amplitude * self.wavelength_m() * cross_section.sqrt()
            / ((4.0 * std::f64::consts::PI).powf(1.5) * out * back);
        Some((out + back, amplitude))
    }
}

/// Adds one path: its delay turns each subcarrier by `-2 pi f tau`. One sine for the lowest, one for the step between two.
fn add(sum: &mut [Complex64], carrier_hz: f64, first: i16, metres: f64, amplitude: f64) {
    let delay_s = metres / SPEED_OF_LIGHT_M_S;
    let lowest_hz = carrier_hz + f64::from(first) * HT20_SPACING_HZ;
    let mut phasor = Complex64::from_polar(amplitude, -std::f64::consts::TAU * lowest_hz * delay_s);
    let step = Complex64::cis(-std::f64::consts::TAU * HT20_SPACING_HZ * delay_s);
    for bin in sum {
        *bin += phasor;
        phasor *= step;
    }
}
