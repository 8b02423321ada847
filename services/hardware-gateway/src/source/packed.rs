//! Compressed CSI of ADR-018 nodes (`0xC5110005`), unpacked in the order of arrival. Pure.
//!
//! A compressed packet is the difference from the frame before, and has no number. So it is believed only after a whole frame,
//! as long as nothing shows a loss: a packet that does not fit, a malformed datagram of the node, datagrams that the kernel
//! dropped, or a pause of more than [`PAUSE`] times the usual spacing. After that the next whole frame is waited for.
//!
//! The firmware of the format's authors sends every frame whole, and some of them compressed besides, as the difference from
//! the one before that it compressed: these say nothing new, and unpacked from the whole frames they would be wrong. So the
//! compressed packets of a node are taken only while they are most of what it sends.

use csi::Frame;
use csi::decode::adr018::{self, Compressed, Decompressor, Packet};
use hashbrown::HashMap;

use super::identity::From;

/// Nodes that are followed; beyond it they are all forgotten and begin anew.
const MAX_NODES: usize = 256;
/// Spacings after which something is missing.
const PAUSE: f64 = 1.8;
/// Packets by which it is decided whether a node sends compressed ones instead of whole ones.
const REMEMBERED: u32 = u16::BITS;

/// What becomes of a compressed packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Unpacked {
    /// The frame. What only a whole frame says (RSSI, noise floor) is absent. Its number follows from that of the whole frame
    /// before, since these nodes count every frame that they measure, however they send it.
    Frame(Frame),
    /// The node sends its frames whole as well.
    Besides,
    /// A whole frame is waited for.
    Waiting,
}

/// The nodes that send compressed packets. Others cost nothing.
#[derive(Debug, Default)]
pub struct Packed {
    nodes: HashMap<(From, u8), Node>,
    /// The datagram that is put together for the decoder.
    scratch: Vec<u8>,
}

#[derive(Debug, Default)]
struct Node {
    decompressor: Decompressor,
    header: Vec<u8>,
    /// A bit for each of the last packets, the newest lowest: 1 where it was compressed.
    kinds: u16,
    packets: u32,
    /// Compressed packets since the last whole frame.
    since_whole: u64,
    newest_us: Option<i64>,
    spacing_us: Option<f64>,
}

impl Packed {
    /// Takes note of a whole frame, as it came.
    pub fn whole(&mut self, from: From, node: u8, datagram: &[u8], time_us: i64) {
        if self.nodes.is_empty() {
            return;
        }
        let Some(node) = self.nodes.get_mut(&(from, node)) else {
            return;
        };
        node.heard(false, time_us);
        if let Some((header, buffer)) = datagram.split_at_checked(adr018::HEADER_BYTES) {
            node.since_whole = 0;
            node.header.clear();
            node.header.extend_from_slice(header);
            node.decompressor.whole(buffer);
        }
    }

    /// Something of the node could not be read.
    pub fn lost(&mut self, from: From, node: u8) {
        if let Some(node) = self.nodes.get_mut(&(from, node)) {
            node.decompressor.lost();
        }
    }

    /// Something was lost, and nobody knows of which node.
    pub fn all_lost(&mut self) {
        for node in self.nodes.values_mut() {
            node.decompressor.lost();
        }
    }

    /// Unpacks a packet of `size` bytes.
    pub fn unpack(
        &mut self,
        from: From,
        node: u8,
        packet: &Compressed,
        size: usize,
        time_us: i64,
    ) -> Unpacked {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&(from, node)) {
            self.nodes.clear();
        }
        let node = self.nodes.entry((from, node)).or_default();
        node.heard(true, time_us);
        node.since_whole += 1;
        let instead = node.packets >= REMEMBERED && 2 * node.kinds.count_ones() > REMEMBERED;
        // The chain is followed all the same.
        let Ok(buffer) = node.decompressor.unpack(packet) else {
            return Unpacked::Waiting;
        };
        if !instead {
            return Unpacked::Besides;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&node.header);
        self.scratch.extend_from_slice(buffer);
        let Ok(Packet::Csi { mut frame, .. }) = adr018::decode(&self.scratch, time_us) else {
            node.decompressor.lost();
            return Unpacked::Waiting;
        };
        frame.sequence += node.since_whole;
        frame.rssi_dbm.clear();
        frame.noise_floor_dbm = None;
        frame.raw_size = u32::try_from(size).unwrap_or(u32::MAX);
        if frame.channel != Some(packet.channel) {
            frame.channel = Some(packet.channel).filter(|channel| *channel > 0);
            frame.frequency_mhz = None;
        }
        Unpacked::Frame(frame)
    }
}

impl Node {
    fn heard(&mut self, compressed: bool, time_us: i64) {
        self.kinds = self.kinds << 1 | u16::from(compressed);
        self.packets = self.packets.saturating_add(1);
        let Some(before) = self.newest_us.replace(time_us) else {
            return;
        };
        #[allow(clippy::cast_precision_loss)]
        let spacing = time_us.saturating_sub(before).max(0) as f64;
        let usual = self.spacing_us.get_or_insert(spacing);
        let longest = PAUSE * *usual;
        if self.packets <= REMEMBERED {
            *usual += (spacing - *usual) / f64::from(self.packets);
        } else {
            // One pause must not make the next one usual.
            *usual += (spacing.min(longest) - *usual) / f64::from(REMEMBERED);
        }
        if spacing > longest {
            self.decompressor.lost();
        }
    }
}

#[cfg(test)]
mod tests;
