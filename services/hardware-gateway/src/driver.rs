//! What each family of devices can be told. Pure.
//!
//! None of the families has a command channel that is documented for CSI firmware and could be tried here. So no driver claims
//! to apply anything: a setting is an expectation that the measured frames are held against.

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The device is not told; deviation is reported.
    ExpectationOnly,
    /// It makes no sense for the family.
    Refused,
}

/// How a family takes settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The family, as in `Device.device_type`; empty for any other.
    pub family: &'static str,
    /// What becomes of settings.
    pub reach: Reach,
    /// Why, and where the setting is made instead.
    pub note: &'static str,
}

const DRIVERS: &[Driver] = &[
    Driver {
        family: "esp32-adr018",
        reach: Reach::ExpectationOnly,
        note: "the firmware takes no commands: rate, bandwidth and channel follow from its build and from its access point",
    },
    Driver {
        family: "esp32-csv",
        reach: Reach::ExpectationOnly,
        note: "the firmware takes no commands: set them in its sdkconfig and at its access point",
    },
    Driver {
        family: "nexmon",
        reach: Reach::ExpectationOnly,
        note: "channel and bandwidth are set on the device (makecsiparams, nexutil), the rate by the traffic that it hears",
    },
    Driver {
        family: "intel5300",
        reach: Reach::ExpectationOnly,
        note: "channel and bandwidth are set on its host (iw), the rate by the transmitter's traffic",
    },
    Driver {
        family: "recording",
        reach: Reach::Refused,
        note: "a recording is what it is: configure the device that made it",
    },
];

const OTHER: Driver = Driver {
    family: "",
    reach: Reach::ExpectationOnly,
    note: "no command channel of this family is known: set it on the device",
};

/// The driver of a family.
#[must_use]
pub fn of(device_type: &str) -> &'static Driver {
    DRIVERS
        .iter()
        .find(|driver| driver.family == device_type)
        .unwrap_or(&OTHER)
}
