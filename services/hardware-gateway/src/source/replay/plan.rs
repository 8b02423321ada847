//! Which devices a recording is played as.

use std::collections::BTreeSet;

use events::Name;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::recording::Device;

/// A device of a recording, and what it is played as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// As the recording names it.
    pub from: String,
    /// The device that its frames are published as.
    pub device: Name,
    /// The zone.
    pub zone: Name,
    /// Its frames in the recording.
    pub frames: u64,
}

/// What a user says of one device of the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// As the recording names it.
    pub from: String,
    /// Another name.
    pub device: Option<Name>,
    /// Another zone.
    pub zone: Option<Name>,
}

/// What a user asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Name, or where there are several devices what their names begin with.
    pub device: Option<Name>,
    /// Zone of all.
    pub zone: Option<Name>,
    /// Single devices.
    pub mappings: Vec<Mapping>,
}

/// Decides what each device of a recording is played as.
///
/// # Errors
/// Where a name or a zone is missing or is none, two devices get one name, or a mapping names a device that is not there.
pub fn plan(devices: &[Device], wanted: &Wanted) -> Result<Vec<Played>, Error> {
    let invalid = |field: &'static str, problem: String| Error::Invalid { field, problem };
    for mapping in &wanted.mappings {
        if !devices.iter().any(|device| device.device == mapping.from) {
            let there: Vec<_> = devices
                .iter()
                .map(|device| device.device.as_str())
                .collect();
            let problem = format!(
                "the recording has no device {:?}; it has {}",
                mapping.from,
                there.join(", ")
            );
            return Err(invalid("devices", problem));
        }
    }
    let (mut played, mut names) = (Vec::new(), BTreeSet::new());
    for device in devices {
        let mapping = wanted
            .mappings
            .iter()
            .find(|mapping| mapping.from == device.device);
        let mapped = mapping.and_then(|mapping| mapping.device.clone());
        let name = match (mapped, &wanted.device) {
            (Some(name), _) => name,
            (None, Some(name)) if devices.len() == 1 => name.clone(),
            (None, Some(base)) => {
                let part = device
                    .device
                    .strip_prefix("node-")
                    .unwrap_or(&device.device);
                own_name(&format!("{base}-{part}"))?
            }
            (None, None) if device.device.is_empty() => {
                let problem = "the recording does not say which device it is of: name one";
                return Err(invalid("device", problem.into()));
            }
            (None, None) => own_name(&device.device)?,
        };
        let zone = mapping
            .and_then(|mapping| mapping.zone.clone())
            .or_else(|| wanted.zone.clone());
        let zone = match zone {
            Some(zone) => zone,
            None => Name::new(&device.zone).map_err(|_| {
                let problem = "the recording does not say which zone it is of: name one";
                invalid("zone", problem.into())
            })?,
        };
        if !names.insert(name.clone()) {
            return Err(invalid(
                "devices",
                format!("two devices of the recording would be played as {name}"),
            ));
        }
        played.push(Played {
            from: device.device.clone(),
            device: name,
            zone,
            frames: device.frames,
        });
    }
    Ok(played)
}

fn own_name(text: &str) -> Result<Name, Error> {
    Name::new(text).map_err(|source| Error::Name {
        field: "device",
        source,
    })
}

#[cfg(test)]
mod tests {
    use events::DataSource;

    use super::{Mapping, Wanted, plan};
    use crate::recording::Device;

    fn device(device: &str, zone: &str) -> Device {
        Device {
            device: device.to_owned(),
            zone: zone.to_owned(),
            frames: 1,
            source: DataSource::Live,
            lost: 0,
        }
    }

    fn wanted(device: &str, zone: &str) -> Wanted {
        Wanted {
            device: device.parse().ok(),
            zone: zone.parse().ok(),
            mappings: Vec::new(),
        }
    }

    fn check(devices: &[Device], wanted: &Wanted, expected: &[(&str, &str)]) {
        let planned = plan(devices, wanted).unwrap();
        let pairs: Vec<_> = planned
            .iter()
            .map(|played| (played.device.as_str(), played.zone.as_str()))
            .collect();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn devices_get_their_names() {
        let nodes = [device("node-1", ""), device("node-2", "")];
        let own = [device("door", "hall"), device("desk", "office")];
        check(&nodes[..1], &wanted("esp", "lab"), &[("esp", "lab")]);
        check(
            &nodes,
            &wanted("esp", "lab"),
            &[("esp-1", "lab"), ("esp-2", "lab")],
        );
        check(
            &own,
            &wanted("", ""),
            &[("door", "hall"), ("desk", "office")],
        );
        check(
            &own,
            &wanted("old", ""),
            &[("old-door", "hall"), ("old-desk", "office")],
        );
        let mapped = Wanted {
            mappings: vec![Mapping {
                from: "desk".into(),
                device: "table".parse().ok(),
                zone: "lab".parse().ok(),
            }],
            ..wanted("", "")
        };
        check(&own, &mapped, &[("door", "hall"), ("table", "lab")]);
    }

    #[test]
    fn what_cannot_be_planned_is_said() {
        let check = |devices: &[Device], wanted: &Wanted, expected: &str| {
            let error = plan(devices, wanted).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&[device("", "")], &wanted("", "lab"), "which device");
        check(&[device("a", "")], &wanted("a", ""), "which zone");
        check(&[device("Not a name", "z")], &wanted("", ""), "device");
        let mapping = |from: &str, to: &str| Mapping {
            from: from.into(),
            device: to.parse().ok(),
            zone: None,
        };
        let two = [device("a", "z"), device("b", "z")];
        let same = Wanted {
            mappings: vec![mapping("a", "b")],
            ..wanted("", "")
        };
        check(&two, &same, "two devices");
        let absent = Wanted {
            mappings: vec![mapping("c", "d")],
            ..wanted("", "")
        };
        check(&two, &absent, "no device \"c\"; it has a, b");
    }
}
