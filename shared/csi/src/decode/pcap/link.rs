//! From a packet of a link to the UDP datagram in it.

/// Link types whose header is known, as the tcpdump group numbers them.
const NULL: u32 = 0;
const ETHERNET: u32 = 1;
const LOOP: u32 = 108;
const LINUX_SLL: u32 = 113;
const LINUX_SLL2: u32 = 276;
/// Raw IP: 12 and 14 as some systems number it, 101, and with the version fixed 228 and 229.
const RAW: [u32; 5] = [12, 14, 101, 228, 229];

/// Whether the header of a link type is known.
pub(super) fn known(link_type: u32) -> bool {
    matches!(link_type, NULL | ETHERNET | LOOP | LINUX_SLL | LINUX_SLL2) || RAW.contains(&link_type)
}

/// Destination port and payload of the UDP datagram in a packet: IPv4 or IPv6, no fragment. A packet that was captured in
/// part gives the part.
pub(super) fn udp(link_type: u32, packet: &[u8]) -> Option<(u16, &[u8])> {
    let ip = match link_type {
        ETHERNET => tagged(packet, 12)?,
        LINUX_SLL => tagged(packet, 14)?,
        // The type stands in front, the payload behind 20 bytes.
        LINUX_SLL2 => match packet.first_chunk()? {
            [0x08, 0x00] | [0x86, 0xDD] => packet.get(20..)?,
            [0x81, 0x00] | [0x88, 0xA8] => tagged(packet, 22)?,
            _ => return None,
        },
        NULL | LOOP => packet.get(4..)?,
        raw if RAW.contains(&raw) => packet,
        _ => return None,
    };
    match ip.first()? >> 4 {
        4 => ipv4(ip),
        6 => ipv6(ip),
        _ => None,
    }
}

/// The IP packet behind the EtherType at `at` and the VLAN tags in front of it.
fn tagged(packet: &[u8], mut at: usize) -> Option<&[u8]> {
    // Two tags are all that is in use.
    for _ in 0..3 {
        match packet.get(at..at + 2)? {
            [0x08, 0x00] | [0x86, 0xDD] => return packet.get(at + 2..),
            [0x81, 0x00] | [0x88, 0xA8] | [0x91, 0x00] => at += 4,
            _ => return None,
        }
    }
    None
}

const UDP: u8 = 17;

fn ipv4(packet: &[u8]) -> Option<(u16, &[u8])> {
    let [length, _, t0, t1, _, _, f0, f1, _, protocol, ..] = packet else {
        return None;
    };
    let header = usize::from(length & 0x0F) * 4;
    let fragment = u16::from_be_bytes([*f0, *f1]) & 0x3FFF;
    if header < 20 || *protocol != UDP || fragment != 0 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([*t0, *t1]));
    // The total length cuts off the padding of short Ethernet packets; 0 is written where the card fills it in later.
    let end = if total == 0 { packet.len() } else { total };
    datagram(packet.get(header..end.min(packet.len()))?)
}

fn ipv6(packet: &[u8]) -> Option<(u16, &[u8])> {
    let [_, _, _, _, l0, l1, mut next, ..] = *packet else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let end = (40 + length).min(packet.len());
    let mut rest = packet.get(40..end)?;
    // Hop-by-hop, routing and destination options; a fragment is not whole.
    for _ in 0..4 {
        if !matches!(next, 0 | 43 | 60) {
            break;
        }
        let [following, eights, ..] = *rest else {
            return None;
        };
        rest = rest.get(8 * (usize::from(eights) + 1)..)?;
        next = following;
    }
    if next == UDP { datagram(rest) } else { None }
}

fn datagram(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let [_, _, p0, p1, l0, l1, ..] = *datagram else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let end = length.min(datagram.len());
    Some((u16::from_be_bytes([p0, p1]), datagram.get(8..end)?))
}
