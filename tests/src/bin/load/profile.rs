//! What is offered.

use anyhow::bail;
use serde::Serialize;

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// Devices.
    pub devices: u8,
    /// Frames per second of each.
    pub rate_hz: f64,
    /// Length of the measured part.
    pub seconds: f64,
    /// Devices in one zone.
    pub devices_per_zone: u8,
}

/// Sets of runs.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Profile {
    /// A home: 4 devices x 100 Hz.
    Home,
    /// What the system has to bear: 50 devices x 100 Hz, 30 s.
    Target,
    /// Many slow devices: 200 x 20 Hz.
    Many,
    /// 50 devices at 50, 100, 200 and 400 Hz: where it ends.
    Sweep,
    /// What the gateway has to take without loss: 100 devices x 100 Hz, 60 s. `--set nats.storage_scale=2` keeps all of it.
    Gateway,
    /// More than the machine can take: 100 devices x 500 Hz, 10 s, and then four times what it took of that. What matters is
    /// who loses, the memory, and the recovery. `--rate` makes it one run.
    Overload,
    /// A day of the devices' time in 12 minutes, with a nats-server that is killed, a peer that goes, and a full disk; fails
    /// where a promise is broken. Needs root or user namespaces, for a small tmpfs.
    Soak,
}

impl Profile {
    pub fn loads(self) -> Vec<Load> {
        let load = |devices, rate_hz, seconds| Load {
            devices,
            rate_hz,
            seconds,
            devices_per_zone: 5,
        };
        match self {
            Self::Home => vec![load(4, 100.0, 20.0)],
            Self::Target => vec![load(50, 100.0, 30.0)],
            Self::Many => vec![load(200, 20.0, 30.0)],
            Self::Gateway => vec![load(100, 100.0, 60.0)],
            Self::Overload => vec![load(100, 500.0, 10.0)],
            // It offers its own: see `soak`.
            Self::Soak => Vec::new(),
            Self::Sweep => [50.0, 100.0, 200.0, 400.0]
                .map(|rate| load(50, rate, 15.0))
                .into(),
        }
    }
}

impl Load {
    /// Before the measured part.
    pub const WARM_UP_S: f64 = 3.0;

    /// Most frames per second of one device.
    const MAX_RATE_HZ: f64 = 2_000.0;

    /// `times` what was taken of this load.
    pub fn beyond(self, taken_hz: f64, times: f64) -> Self {
        let rate_hz = (taken_hz * times / f64::from(self.devices)).ceil();
        Self {
            rate_hz: rate_hz.clamp(1.0, Self::MAX_RATE_HZ),
            ..self
        }
    }

    pub fn checked(self) -> anyhow::Result<Self> {
        if !(1.0..=Self::MAX_RATE_HZ).contains(&self.rate_hz) {
            let (rate, most) = (self.rate_hz, Self::MAX_RATE_HZ);
            bail!("--rate is {rate}, and must be 1 to {most} Hz");
        }
        if !(1.0..=600.0).contains(&self.seconds) {
            bail!("--seconds is {}, and must be 1 to 600", self.seconds);
        }
        Ok(self)
    }

    /// Frames per second of all devices.
    pub fn total_hz(&self) -> f64 {
        f64::from(self.devices) * self.rate_hz
    }

    /// Frames that each device sends, warm-up included.
    pub fn frames_each(&self) -> u32 {
        ((Self::WARM_UP_S + self.seconds) * self.rate_hz) as u32
    }

    /// Name of a device by its node id.
    pub fn device(node: u8) -> String {
        format!("load-{node:03}")
    }

    /// Zone of the device with this index.
    pub fn zone(&self, index: u8) -> String {
        format!("zone-{:02}", index / self.devices_per_zone.max(1))
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} devices x {} Hz = {} frames/s, {} s after {} s of warm-up",
            self.devices,
            self.rate_hz,
            self.total_hz(),
            self.seconds,
            Self::WARM_UP_S
        )
    }
}
