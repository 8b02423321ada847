//! Frames of WiFi cards in computers: Nexmon's datagrams, and records of the Intel 5300 from a relay.

use std::sync::Arc;

use csi::decode::{intel5300, nexmon};

use super::feed::{Feed, Origin, right, shown};
use super::intake::Heard;
use super::signed;

/// Family name of Nexmon receivers.
pub const NEXMON: &str = "nexmon";
/// Family name of Intel 5300 receivers.
pub const INTEL5300: &str = "intel5300";

/// What a feed knows of cards.
#[derive(Debug, Default)]
pub struct Cards {
    /// Address and id of the newest sender.
    newest: Option<(Arc<str>, Arc<str>)>,
    /// Nexmon datagrams so far: they carry no count of their own.
    datagrams: u64,
    records: intel5300::Decoder,
}

impl Cards {
    /// `FAMILY:ADDRESS`.
    fn id(&mut self, family: &str, address: &Arc<str>) -> Arc<str> {
        match &self.newest {
            Some((known, id)) if known == address => Arc::clone(id),
            _ => {
                let id: Arc<str> = Arc::from(format!("{family}:{address}"));
                self.newest = Some((Arc::clone(address), Arc::clone(&id)));
                id
            }
        }
    }
}

impl Feed {
    /// A datagram of Nexmon.
    pub fn nexmon(&mut self, bytes: &[u8], origin: Origin) {
        let (payload, trailer) = signed::split(bytes);
        self.tally.datagrams += 1;
        let number = self.cards.datagrams;
        let decoded = nexmon::decode(payload, None, number, origin.time_us);
        self.cards.datagrams += 1;
        let address = self.address(origin.from);
        let id = self.card_id(NEXMON, &address);
        match decoded {
            Ok((_, frame)) => {
                let mut right = right(origin, payload, trailer);
                self.card(frame, NEXMON, &id, &address, origin, &mut right);
            }
            Err(error) => self.bad_card(&id, &address, error.code(), origin, &error),
        }
    }

    /// A record of the Intel 5300's log, its length included.
    pub fn intel5300(&mut self, record: &[u8], origin: Origin) {
        self.read(record.len(), origin);
        self.tally.datagrams += 1;
        let address = self.address(origin.from);
        let id = self.card_id(INTEL5300, &address);
        match self.cards.records.record(record) {
            Ok(Some((_, mut frame))) => {
                if !origin.recorded {
                    frame.receive_time_us = origin.time_us;
                }
                let mut right = right(origin, &[], None);
                self.card(frame, INTEL5300, &id, &address, origin, &mut right);
            }
            // A payload, or what else the driver logs.
            Ok(None) => {}
            Err(error) => self.bad_card(&id, &address, error.code(), origin, &error),
        }
    }

    fn card_id(&mut self, family: &str, address: &Arc<str>) -> Arc<str> {
        let given = self.hardware_id();
        given.unwrap_or_else(|| self.cards.id(family, address))
    }

    fn card(
        &mut self,
        frame: csi::Frame,
        device_type: &'static str,
        id: &Arc<str>,
        address: &Arc<str>,
        origin: Origin,
        right: &mut super::intake::Right<'_>,
    ) {
        let heard = Heard {
            frame,
            id,
            place: None,
            device_type,
            from: origin.from,
            address,
            recorded: origin.recorded,
        };
        self.take(heard, right, origin.time_us);
    }

    fn bad_card(
        &mut self,
        id: &str,
        address: &Arc<str>,
        code: &'static str,
        origin: Origin,
        error: &dyn std::error::Error,
    ) {
        self.tally.malformed += 1;
        let intake = Arc::clone(self.intake());
        intake.malformed(Some(id), address, code, origin.time_us, || {
            format!("from {}: {error}", shown(origin, address))
        });
    }
}
