//! What is not to be looked at: links, some of their subcarriers, some times of the day. In the sections `[[signal.masks]]`.

use serde::{Deserialize, Serialize};

/// One mask. What is absent holds for all; a zone, device or transmitter must be named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mask {
    /// Name of the zone.
    pub zone: Option<String>,
    /// Name of the device.
    pub device: Option<String>,
    /// MAC address of the transmitter, `aa:bb:cc:dd:ee:ff`.
    pub transmitter: Option<String>,
    /// Subcarrier indices that are left out, always. Without them the whole link is masked.
    pub subcarriers: Vec<i16>,
    /// Time of day in UTC, `HH:MM`, from which the link is masked; before `to` of the next day where that is earlier.
    pub from: Option<String>,
    /// Time of day before which it is.
    pub to: Option<String>,
}

/// A mask of one device, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    transmitter: Option<[u8; 6]>,
    subcarriers: Vec<i16>,
    /// Minutes of the day.
    between: Option<(i64, i64)>,
}

/// The masks of all devices, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Masks {
    all: Vec<(Option<String>, Option<String>, Part)>,
}

impl Masks {
    /// Reads what was configured.
    ///
    /// # Errors
    /// A sentence that names the mask, the key, its value and what would be right.
    pub fn read(masks: &[Mask]) -> Result<Self, String> {
        let read = |(index, mask): (usize, &Mask)| {
            let part = part(mask).map_err(|fault| format!("masks[{index}]{fault}"))?;
            Ok((mask.zone.clone(), mask.device.clone(), part))
        };
        let all: Result<_, String> = masks.iter().enumerate().map(read).collect();
        Ok(Self { all: all? })
    }

    /// Those that hold for a device of a zone.
    #[must_use]
    pub fn of(&self, zone: &str, device: &str) -> Vec<Part> {
        let holds = |(of_zone, of_device, _): &&(Option<String>, Option<String>, Part)| {
            of_zone.as_deref().is_none_or(|of| of == zone)
                && of_device.as_deref().is_none_or(|of| of == device)
        };
        let parts = self.all.iter().filter(holds);
        parts.map(|(_, _, part)| part.clone()).collect()
    }
}

impl Part {
    fn is_of(&self, transmitter: Option<[u8; 6]>) -> bool {
        self.transmitter.is_none() || self.transmitter == transmitter
    }

    /// Whether the link of this transmitter is masked at this time (microseconds since 1970 in UTC).
    #[must_use]
    pub fn covers(&self, transmitter: Option<[u8; 6]>, time_us: i64) -> bool {
        let minute = time_us.div_euclid(60_000_000).rem_euclid(1440);
        let within = match self.between {
            None => true,
            Some((from, to)) if from <= to => (from..to).contains(&minute),
            Some((from, to)) => minute >= from || minute < to,
        };
        self.subcarriers.is_empty() && within && self.is_of(transmitter)
    }

    /// Whether this subcarrier of the link of this transmitter is left out.
    #[must_use]
    pub fn leaves_out(&self, transmitter: Option<[u8; 6]>, subcarrier: i16) -> bool {
        self.subcarriers.contains(&subcarrier) && self.is_of(transmitter)
    }
}

fn part(mask: &Mask) -> Result<Part, String> {
    if mask.zone.is_none() && mask.device.is_none() && mask.transmitter.is_none() {
        return Err(": names no zone, device or transmitter".to_owned());
    }
    let between = match (&mask.from, &mask.to) {
        (None, None) => None,
        (Some(from), Some(to)) => {
            let (begin, end) = (minute("from", from)?, minute("to", to)?);
            if begin == end {
                return Err(format!(
                    ".to = {to:?}: the same as from; leave both out to mask the whole day"
                ));
            }
            Some((begin, end))
        }
        (Some(_), None) => return Err(".to is missing: from needs one".to_owned()),
        (None, Some(_)) => return Err(".from is missing: to needs one".to_owned()),
    };
    if between.is_some() && !mask.subcarriers.is_empty() {
        return Err(
            ": subcarriers are left out always; from and to do not go with them".to_owned(),
        );
    }
    let transmitter = match &mask.transmitter {
        None => None,
        Some(text) => Some(address(text).ok_or_else(|| {
            format!(".transmitter = {text:?}: must be a MAC address, as aa:bb:cc:dd:ee:ff")
        })?),
    };
    Ok(Part {
        transmitter,
        subcarriers: mask.subcarriers.clone(),
        between,
    })
}

fn minute(key: &str, text: &str) -> Result<i64, String> {
    let read = || {
        let (hours, minutes) = text.split_once(':')?;
        let two = |part: &str| (part.len() == 2).then(|| part.parse::<u8>().ok())?;
        let (hours, minutes) = (two(hours)?, two(minutes)?);
        (hours < 24 && minutes < 60).then(|| i64::from(hours) * 60 + i64::from(minutes))
    };
    read().ok_or_else(|| format!(".{key} = {text:?}: must be a time of day in UTC, as 22:30"))
}

fn address(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(change: impl FnOnce(&mut Mask)) -> Mask {
        let mut mask = Mask {
            device: Some("node-1".to_owned()),
            ..Mask::default()
        };
        change(&mut mask);
        mask
    }

    #[test]
    fn a_fault_is_named() {
        let fault = |mask: Mask| {
            Masks::read(&[
                Mask {
                    zone: Some("hall".into()),
                    ..Mask::default()
                },
                mask,
            ])
            .unwrap_err()
        };
        assert_eq!(
            fault(Mask::default()),
            "masks[1]: names no zone, device or transmitter"
        );
        assert!(fault(mask(|m| m.from = Some("22:00".into()))).contains("masks[1].to is missing"));
        for wrong in ["24:00", "7:00", "07:60", "seven", "07:00:00"] {
            let wrong = mask(|m| (m.from, m.to) = (Some("07:00".into()), Some(wrong.into())));
            assert!(fault(wrong).contains("masks[1].to = "));
        }
        assert!(fault(mask(|m| m.transmitter = Some("aa:bb:cc".into()))).contains("MAC address"));
        let both = mask(|m| {
            (m.from, m.to) = (Some("07:00".into()), Some("08:00".into()));
            m.subcarriers = vec![3];
        });
        assert!(fault(both).contains("subcarriers"));
    }

    #[test]
    fn times_go_over_midnight() {
        let night = mask(|m| (m.from, m.to) = (Some("22:30".into()), Some("06:00".into())));
        let part = &Masks::read(&[night]).unwrap().of("hall", "node-1")[0];
        let at =
            |hours: i64, minutes: i64| part.covers(None, ((hours * 60) + minutes) * 60_000_000);
        assert!(at(22, 30) && at(23, 59) && at(0, 0) && at(5, 59) && at(48 + 23, 0));
        assert!(!at(6, 0) && !at(22, 29));
    }

    #[test]
    fn it_holds_for_what_it_names_only() {
        let masks =
            Masks::read(&[mask(|m| m.transmitter = Some("02:00:00:00:00:0A".into()))]).unwrap();
        let part = &masks.of("hall", "node-1")[0];
        assert!(part.covers(Some([2, 0, 0, 0, 0, 10]), 0));
        assert!(!part.covers(Some([2, 0, 0, 0, 0, 11]), 0) && !part.covers(None, 0));
        assert!(masks.of("hall", "node-2").is_empty());
    }
}
