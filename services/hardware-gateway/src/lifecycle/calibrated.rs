//! What a calibration run leaves in a device's events.

use events::hardware::DeviceCalibrated;
use events::{DataSource, DomainEvent, Name};
use uuid::Uuid;

use super::Devices;
use crate::error::Error;

impl Devices {
    /// Notes that a calibration run of a device ended. `extra` goes into the metadata.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a device that was deleted, or where the event could not be appended.
    pub async fn calibrated(
        &self,
        name: &Name,
        event: &DeviceCalibrated,
        extra: Vec<(String, serde_json::Value)>,
        origin: Option<(DataSource, Option<Uuid>)>,
    ) -> Result<(), Error> {
        let id = Uuid::new_v5(
            &event.calibration_id.0,
            DeviceCalibrated::EVENT_TYPE.as_bytes(),
        );
        let mut envelope = self.envelope(id, event)?;
        envelope.metadata.extra.extend(extra);
        envelope.metadata.data_source = origin.map(|(source, _)| source);
        let envelope = envelope.correlated(origin.and_then(|(_, run)| run));
        self.change(name, |entry| match entry {
            Some(_) => Ok(Some(envelope.clone())),
            None => Err(Error::NotFound {
                kind: "device",
                name: name.to_string(),
            }),
        })
        .await
    }
}
