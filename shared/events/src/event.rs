//! Any event, read from its envelope.

use crate::{EventEnvelope, catalogue};

macro_rules! contexts {
    ($($context:ident $variant:ident),+ $(,)?) => {
        /// Any event of the catalogue, or an envelope that is not in it.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $(
                #[doc = concat!("`", stringify!($context), ".*`")]
                $variant(crate::$context::Event),
            )+
            /// A type that the catalogue does not have (`custom.*`, or from a newer release), or a payload of a newer version
            /// than ours: carried as it is.
            Other(Box<EventEnvelope>),
        }

        $(impl From<crate::$context::Event> for Event {
            fn from(event: crate::$context::Event) -> Self {
                Self::$variant(event)
            }
        })+

        fn read(event_type: &str, payload: &serde_json::Value) -> Option<Result<Event, serde_json::Error>> {
            $(if let Some(event) = crate::$context::Event::decode(event_type, payload) {
                return Some(event.map(Event::$variant));
            })+
            None
        }
    };
}

contexts! {
    hardware Hardware,
    signal Signal,
    pose Pose,
    streaming Streaming,
    alerting Alerting,
    pipeline Pipeline,
    model Model,
    job Job,
    auth Auth,
    security Security,
    workflow Workflow,
}

/// A payload that is not what its event_type and version say.
#[derive(Debug, thiserror::Error)]
#[error("the payload of event {id} is no {event_type} of version {version}")]
pub struct DecodeError {
    /// Id of the event.
    pub id: uuid::Uuid,
    /// What it says it is.
    pub event_type: String,
    /// In which version.
    pub version: u32,
    /// What does not fit.
    pub source: serde_json::Error,
}

impl Event {
    /// Reads the event in `envelope`, upgraded where its version is an older one.
    ///
    /// An unknown type and a version newer than ours are no errors: they are [`Event::Other`], whole.
    ///
    /// # Errors
    /// Where the type and version are known and the payload does not fit them.
    pub fn decode(envelope: &EventEnvelope) -> Result<Self, DecodeError> {
        let other = || Self::Other(Box::new(envelope.clone()));
        let Some(info) = catalogue::find(&envelope.event_type) else {
            return Ok(other());
        };
        if envelope.version > info.version {
            return Ok(other());
        }
        let upgraded;
        let current = if envelope.version < info.version {
            upgraded = envelope.clone().upgraded();
            &upgraded
        } else {
            envelope
        };
        match read(&current.event_type, &current.payload) {
            None => Ok(other()),
            Some(Ok(event)) => Ok(event),
            Some(Err(source)) => Err(DecodeError {
                id: envelope.id,
                event_type: envelope.event_type.clone(),
                version: envelope.version,
                source,
            }),
        }
    }
}
