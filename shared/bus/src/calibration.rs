//! Keys of the bucket `calibrations`, which the gateway writes and others read: a value under `{device}.{kind}.{version}` is a
//! `fresnel.gateway.v1.Calibration` that never changes, one under `{device}.{kind}.use` a [`Pointer`].

use serde::{Deserialize, Serialize};

/// Which version of a device and kind is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The one in use, if any.
    pub in_use: Option<u32>,
    /// The one that was in use before.
    pub before: Option<u32>,
    /// The newest number that was given out.
    pub newest: u32,
}

impl Pointer {
    /// `version` is in use from here on.
    pub fn put_into_use(&mut self, version: u32) {
        if self.in_use != Some(version) {
            self.before = self.in_use;
            self.in_use = Some(version);
        }
    }
}

/// Key of the pointer.
#[must_use]
pub fn pointer_key(device: &str, kind: &str) -> String {
    format!("{device}.{kind}.use")
}

/// Key of a version.
#[must_use]
pub fn version_key(device: &str, kind: &str, version: u32) -> String {
    format!("{device}.{kind}.{version:06}")
}

/// Device, kind and version of a version's key.
#[must_use]
pub fn parse_version_key(key: &str) -> Option<(&str, &str, u32)> {
    let (rest, version) = key.rsplit_once('.')?;
    let (device, kind) = rest.rsplit_once('.')?;
    Some((device, kind, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let key = version_key("esp-1", "empty_room", 12);
        assert_eq!(parse_version_key(&key), Some(("esp-1", "empty_room", 12)));
        assert_eq!(parse_version_key(&pointer_key("esp-1", "empty_room")), None);
    }

    #[test]
    fn the_one_before_is_remembered() {
        let mut pointer = Pointer::default();
        pointer.put_into_use(1);
        pointer.put_into_use(2);
        pointer.put_into_use(2);
        assert_eq!((pointer.in_use, pointer.before), (Some(2), Some(1)));
    }
}
