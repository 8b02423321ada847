//! The one way of a frame to the bus, whether it came from a socket or from a recording: the data plane first, then its
//! announcement.

use std::sync::Arc;

use bus::{DataSubject, Message, Pipeline};
use csi::Frame;
use csi::wire::{Encoder, Published};
use events::signal::CsiFrameReceived;
use events::{
    DataSource, DeviceId, DomainEvent, FrameId, Metadata, Name, OutgoingEvent, SessionId, Timestamp,
};
use hashbrown::HashMap;
use uuid::Uuid;

use crate::error::Error;
use crate::track::Announcer;

/// Devices of which the subject is remembered; beyond it they are all made anew.
const MAX_SUBJECTS: usize = 8192;

/// Where a frame goes and what is known of its way.
#[derive(Clone, Debug)]
pub struct Destination<'a> {
    /// Id of the frame.
    pub frame_id: Uuid,
    /// Device, the last token of the subject.
    pub device: &'a Name,
    /// Zone, the token before it.
    pub zone: &'a Arc<str>,
    /// Where the data come from.
    pub source: DataSource,
    /// The replay that it belongs to.
    pub run: Option<Uuid>,
    /// Wall clock at reading, microseconds.
    pub ingest_time_us: i64,
    /// The last frame of its replay.
    pub last_of_run: bool,
}

/// Puts frames on the bus.
pub struct FramePublisher {
    pipeline: Pipeline,
    encoder: Encoder,
    /// Of the announcements; what differs from one to the next is written over.
    metadata: Metadata,
    announcer: Announcer,
    /// Subject of each device, and the zone that it is of.
    subjects: HashMap<Name, (Arc<str>, DataSubject)>,
    /// Prepared, and not yet queued.
    ready: Vec<Message>,
}

impl FramePublisher {
    /// `source` goes into `metadata.source`; at most about `budget` frames per second of input time are announced.
    #[must_use]
    pub fn new(pipeline: Pipeline, source: String, budget: u32) -> Self {
        Self {
            pipeline,
            encoder: Encoder::default(),
            metadata: Metadata {
                source,
                ..Metadata::default()
            },
            announcer: Announcer::new(budget),
            subjects: HashMap::new(),
            ready: Vec::new(),
        }
    }

    /// Decides whether the next frame is announced; to be asked once for each frame, in order.
    pub fn announce(&mut self, frame: &Frame) -> (bool, u32) {
        self.announcer.announce(frame.receive_time_us)
    }

    /// Makes the frame ready and, where `announced`, its announcement; [`send`](Self::send) queues them.
    ///
    /// # Errors
    /// Where they have no subject.
    pub fn prepare(
        &mut self,
        frame: &Frame,
        to: &Destination<'_>,
        (announced, one_in): (bool, u32),
    ) -> Result<(), Error> {
        if !announced {
            let data = self.data(frame, to, false, one_in)?;
            self.ready.push(data);
            return Ok(());
        }
        let span = tracing::info_span!(
            target: runtime::TRACED_ONLY,
            "frame receive",
            otel.kind = "producer",
            device = to.device.as_str(),
            zone = &**to.zone,
            sequence = frame.sequence,
        );
        let _entered = span.enter();
        let data = self.data(frame, to, true, one_in)?.traced();
        self.ready.push(data);
        let announcement = self.announcement(frame, to, one_in)?;
        self.ready.push(announcement);
        Ok(())
    }

    /// Queues what is ready. Waits while too many acks are outstanding.
    ///
    /// # Errors
    /// Where the bus did not take it within its time.
    pub async fn send(&mut self) -> Result<(), Error> {
        let ready = std::mem::take(&mut self.ready);
        self.ready.reserve(ready.len());
        Ok(self.pipeline.publish_all(ready).await?)
    }

    /// Queues the frame and, where `announced`, its announcement.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`send`](Self::send).
    pub async fn publish(
        &mut self,
        frame: &Frame,
        to: &Destination<'_>,
        decision: (bool, u32),
    ) -> Result<(), Error> {
        self.prepare(frame, to, decision)?;
        self.send().await
    }

    /// Queues the data plane's half.
    ///
    /// # Errors
    /// As [`FramePublisher::publish`].
    pub async fn publish_data(
        &mut self,
        frame: &Frame,
        to: &Destination<'_>,
        (announced, one_in): (bool, u32),
    ) -> Result<(), Error> {
        let data = self.data(frame, to, announced, one_in)?;
        self.ready.push(data);
        self.send().await
    }

    /// Queues the announcement's half.
    ///
    /// # Errors
    /// As [`FramePublisher::publish`].
    pub async fn publish_announcement(
        &mut self,
        frame: &Frame,
        to: &Destination<'_>,
        one_in: u32,
    ) -> Result<(), Error> {
        let announcement = self.announcement(frame, to, one_in)?;
        self.ready.push(announcement);
        self.send().await
    }

    /// The data plane's half.
    fn data(
        &mut self,
        frame: &Frame,
        to: &Destination<'_>,
        announced: bool,
        one_in: u32,
    ) -> Result<Message, Error> {
        let published = Published {
            frame_id: to.frame_id,
            device: to.device.as_str(),
            zone: &**to.zone,
            source: to.source,
            run_id: to.run,
            announced,
            sampled_one_in: one_in,
            ingest_time_us: to.ingest_time_us,
            last_of_run: to.last_of_run,
        };
        let payload = self.encoder.encode(frame, &published);
        // Only a replay can publish a frame twice (after a restart), and only for those the server keeps ids.
        let id = to
            .run
            .map(|run| format!("{}.{}", to.frame_id, run.simple()));
        Ok(Message::data(&self.subject(to)?, payload, id))
    }

    /// Made once for each device, and anew when it is moved.
    fn subject(&mut self, to: &Destination<'_>) -> Result<DataSubject, Error> {
        if let Some((zone, subject)) = self.subjects.get(to.device)
            && zone == to.zone
        {
            return Ok(subject.clone());
        }
        let subject = DataSubject::new(format!("data.csi.{}.{}", to.zone, to.device))?;
        if self.subjects.len() >= MAX_SUBJECTS {
            self.subjects.clear();
        }
        let known = (Arc::clone(to.zone), subject.clone());
        self.subjects.insert(to.device.clone(), known);
        Ok(subject)
    }

    /// The announcement's half.
    fn announcement(
        &mut self,
        frame: &Frame,
        to: &Destination<'_>,
        one_in: u32,
    ) -> Result<Message, Error> {
        let event = received(frame, to);
        let id = announcement_id(to.frame_id);
        self.metadata.data_source = Some(to.source);
        self.metadata.sampled_one_in = (one_in > 1).then_some(one_in);
        let event = OutgoingEvent::new(id, &event, &self.metadata).correlated(to.run);
        Ok(Message::outgoing(&event)?)
    }

    /// Waits for all acks.
    ///
    /// # Errors
    /// The first failure since the last flush.
    pub async fn flush(&self) -> Result<(), Error> {
        Ok(self.pipeline.flush().await?)
    }
}

/// Id of the announcement of a frame.
#[must_use]
pub fn announcement_id(frame_id: Uuid) -> Uuid {
    Uuid::new_v5(&frame_id, CsiFrameReceived::EVENT_TYPE.as_bytes())
}

fn received(frame: &Frame, to: &Destination<'_>) -> CsiFrameReceived {
    let strongest = frame.rssi_dbm.iter().max().copied();
    let snr_db = strongest
        .zip(frame.noise_floor_dbm)
        .map(|(rssi, noise)| f64::from(rssi) - f64::from(noise));
    CsiFrameReceived {
        frame_id: FrameId(to.frame_id),
        device_id: DeviceId(to.device.clone()),
        session_id: to.run.map(SessionId),
        sequence_number: frame.sequence,
        timestamp: Timestamp::from_micros(frame.receive_time_us),
        num_subcarriers: u16::try_from(frame.layout.subcarriers.len()).unwrap_or(u16::MAX),
        num_antennas: frame.antennas,
        snr_db,
        payload_size: u64::from(frame.raw_size),
    }
}
