//! The datagrams of a capture: which decoder each is for.

use super::csi_of;
use crate::Frame;
use crate::decode::pcap::Captured;
use crate::decode::{self, nexmon};

/// Node, header and frame of one packet; `None` for other traffic.
type Found = Option<(Option<u8>, Option<nexmon::Header>, Frame)>;

/// The frame in a captured packet, told by the first bytes of its datagram. `sequence` is its number in the stream.
pub(super) fn frame(
    captured: &Captured<'_>,
    only_nexmon: bool,
    chip: Option<nexmon::Chip>,
    sequence: u64,
) -> Result<Found, decode::Error> {
    let Some((port, datagram)) = captured.udp else {
        return Ok(None);
    };
    if nexmon::recognised(port, datagram) {
        let (header, frame) = nexmon::decode(datagram, chip, sequence, captured.time_us)?;
        return Ok(Some((None, Some(header), frame)));
    }
    if only_nexmon || !is_adr018(datagram) {
        return Ok(None);
    }
    let found = csi_of(datagram, captured.time_us)?;
    Ok(found.map(|(node, frame)| (node, None, frame)))
}

/// Whether a datagram of other traffic has the family's number in front.
fn is_adr018(datagram: &[u8]) -> bool {
    matches!(datagram, [_, _, 0x11, 0xC5, ..])
}
