//! The packets of a pcap file, as it grows.

use csi::decode::pcap::{Error, Pcap};

use crate::source::feed::{Feed, Origin};

const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// A pcap file of which the end is not there yet.
#[derive(Debug, Default)]
pub struct Packets {
    /// The file's header, and what follows the last whole packet.
    bytes: Vec<u8>,
}

impl Packets {
    /// Takes further bytes; the packets that they end go to `feed`, unless `skip`.
    ///
    /// # Errors
    /// Where the file is no pcap file, or damaged: nothing can be read after that.
    pub fn push(
        &mut self,
        bytes: &[u8],
        origin: Origin,
        skip: bool,
        feed: &mut Feed,
    ) -> Result<(), Error> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() < FILE_HEADER {
            return Ok(());
        }
        let mut pcap = Pcap::open(&self.bytes)?;
        let rest = loop {
            match pcap.next(&self.bytes) {
                None => break self.bytes.len(),
                Some(Ok(captured)) => {
                    if let (Some((port, datagram)), false) = (captured.udp, skip) {
                        let origin = Origin {
                            time_us: captured.time_us,
                            ..origin
                        };
                        feed.captured(port, datagram, origin);
                    }
                }
                // Not all of it is there yet.
                Some(Err(Error::Truncated {
                    what: "packet header",
                    offset,
                    ..
                })) => break offset,
                Some(Err(Error::Truncated { offset, .. })) => {
                    break offset.saturating_sub(PACKET_HEADER);
                }
                Some(Err(error)) => return Err(error),
            }
        };
        self.bytes.drain(FILE_HEADER..rest.max(FILE_HEADER));
        Ok(())
    }

    /// Another file begins.
    pub fn reset(&mut self) {
        self.bytes = Vec::new();
    }
}
