//! The minutes in hand of each zone, in a bucket of their own: written every few seconds by the worker of the zone, read by it
//! after a crash and by any instance that is asked about the past.

use bus::{Bus, Kv};
use bytes::Bytes;
use prost::Message as _;
use proto::signal::v1::{HistoryInHand, WindowHistory};

/// Bytes of a zone's minutes at most: what a message may have, with room to spare. Links beyond it are kept when their minute is
/// full.
const MOST_BYTES: usize = 768 << 10;

/// Where the minutes in hand are kept.
#[derive(Clone)]
pub(crate) struct InHand {
    kv: Kv,
}

impl InHand {
    pub async fn open(bus: &Bus) -> Result<Self, bus::Error> {
        Ok(Self {
            kv: bus.kv(bus::table::HISTORY_IN_HAND).await?,
        })
    }

    /// Those of a zone. What is not readable is as if it were not there.
    pub async fn read(&self, zone: &str) -> Result<Vec<WindowHistory>, bus::Error> {
        let Some((value, _)) = self.kv.get(zone).await? else {
            return Ok(Vec::new());
        };
        let kept = HistoryInHand::decode(value).inspect_err(
            |error| tracing::warn!(zone, %error, "the minutes in hand are not readable"),
        );
        Ok(kept.unwrap_or_default().stretches)
    }

    /// From now on these are in hand.
    pub async fn write(&self, zone: &str, stretches: Vec<WindowHistory>) -> Result<(), bus::Error> {
        if stretches.is_empty() {
            return self.kv.delete(zone).await;
        }
        let mut bytes = 0;
        let within = stretches.into_iter().take_while(|stretch| {
            bytes += stretch.encoded_len() + 8;
            bytes <= MOST_BYTES
        });
        let kept = HistoryInHand {
            stretches: within.collect(),
        };
        let value = Bytes::from(kept.encode_to_vec());
        self.kv.put(zone, value).await.map(|_| ())
    }
}
