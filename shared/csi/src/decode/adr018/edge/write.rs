//! The writer, for tests and for seeds of the fuzzers.

use super::{EdgeReport, Report, Vitals};

impl EdgeReport {
    /// The packet as a node sends it. Of a module's output or a compressed frame at most 65,535 events or bytes are written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let start = |magic: u32, second: u8| {
            let mut packet = magic.to_le_bytes().to_vec();
            packet.extend([self.node, second]);
            packet
        };
        match &self.report {
            Report::Vitals(report) => {
                let mut packet = start(0xC511_0002, report.flags);
                vitals(report, [0; 2], &mut packet);
                packet
            }
            Report::Features(report) => {
                let mut packet = start(0xC511_0003, 0);
                packet.extend(report.sequence.to_le_bytes());
                packet.extend(report.time_us.to_le_bytes());
                packet.extend(report.values.iter().flat_map(|value| value.to_le_bytes()));
                packet
            }
            Report::FusedVitals(report) => {
                let mut packet = start(0xC511_0004, report.vitals.flags);
                let radar = [report.radar, report.fusion_confidence];
                vitals(&report.vitals, radar, &mut packet);
                for value in [report.radar_heart, report.radar_breaths, report.distance_cm] {
                    packet.extend(value.to_le_bytes());
                }
                packet.extend([report.targets, report.radar_confidence, 0, 0]);
                packet
            }
            Report::ModuleOutput(report) => {
                let mut packet = start(0xC511_0004, report.module);
                let count = u16::try_from(report.values.len()).unwrap_or(u16::MAX);
                packet.extend(count.to_le_bytes());
                for (kind, value) in report.values.iter().take(count.into()) {
                    packet.push(*kind);
                    packet.extend(value.to_le_bytes());
                }
                packet
            }
            Report::Compressed(report) => {
                let mut packet = start(0xC511_0005, report.channel);
                let runs = report.runs.get(..32_767).unwrap_or(&report.runs);
                packet.extend(report.original.to_le_bytes());
                let length = u16::try_from(2 * runs.len()).unwrap_or(u16::MAX);
                packet.extend(length.to_le_bytes());
                packet.extend(runs.iter().flatten());
                packet
            }
            Report::FeatureState(report) => {
                let mut packet = start(0xC511_0006, report.mode);
                packet.extend(report.sequence.to_le_bytes());
                packet.extend(report.time_us.to_le_bytes());
                packet.extend(report.values.iter().flat_map(|value| value.to_le_bytes()));
                packet.extend(report.flags.to_le_bytes());
                packet.extend([0; 2]);
                let mut crc = flate2::Crc::new();
                crc.update(&packet);
                packet.extend(crc.sum().to_le_bytes());
                packet
            }
        }
    }
}

/// Bytes 6 to 31.
fn vitals(report: &Vitals, radar: [u8; 2], packet: &mut Vec<u8>) {
    packet.extend(report.breaths_x100.to_le_bytes());
    packet.extend(report.heart_x10000.to_le_bytes());
    packet.extend([report.rssi_dbm.cast_unsigned(), report.persons]);
    packet.extend(radar);
    packet.extend(report.motion.to_le_bytes());
    packet.extend(report.presence.to_le_bytes());
    packet.extend(report.uptime_ms.to_le_bytes());
    packet.extend([0; 4]);
}
