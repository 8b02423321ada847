//! The macros in which events are declared. Everything that is known of an event follows from its one declaration.

/// Declares the events of one context: the structs, their [`DomainEvent`](crate::DomainEvent), the context's `Event` enum
/// and its part of the catalogue.
///
/// ```text
/// events! {
///     /// What happened.
///     "hardware.device_error" v1 of "device" device_id, key(device_id), by "hardware-gateway", flags(critical),
///     when "a malformed frame, ...";
///     pub struct DeviceError {
///         pub device_id: DeviceId,
///         pub timestamp: Timestamp,
///         pub retry_after_ms: Option<u64>,
///     }
/// }
/// ```
///
/// The type, the schema version, the aggregate's type and the field that is its id, the rule of the key, who publishes it,
/// `flags` (`sourced`, `critical`, `error`), and the fact that makes it do so. From version 2 on, `from [upgrade, ..]` after
/// the version names the functions that make each older payload one version newer.
macro_rules! events {
    ($(
        $(#[$doc:meta])+
        $type:literal $version:ident $(from [$($upgrade:path),+])? of $aggregate:literal $id:ident,
        key($($key:tt)+), by $by:literal, flags($($flag:ident),*), when $when:literal;
        pub struct $event:ident { $($fields:tt)+ }
    )+) => {
        $($crate::declare::record! {
            ($(#[$doc])+ #[doc = ""] #[doc = concat!("`", $type, "`: ", $when, ".")]) $event [$type $version $aggregate $id ($($key)+) ($($flag)*)]
            $($fields)+
        })+

        /// Any event of this context.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $($(#[$doc])+ $event($event),)+
        }

        impl Event {
            /// The event of `event_type` that `payload` holds, in the version that this crate writes; `None` where the type is
            /// not of this context.
            pub(crate) fn decode(event_type: &str, payload: &serde_json::Value) -> Option<Result<Self, serde_json::Error>> {
                match event_type {
                    $($type => Some(<$event as serde::Deserialize>::deserialize(payload).map(Self::$event)),)+
                    _ => None,
                }
            }

            /// Puts the event into an envelope.
            ///
            /// # Errors
            /// Where the payload cannot be written as JSON (a number that is not finite, say).
            pub fn envelope(
                &self,
                id: uuid::Uuid,
                metadata: $crate::Metadata,
            ) -> Result<$crate::EventEnvelope, serde_json::Error> {
                match self {
                    $(Self::$event(event) => $crate::EventEnvelope::new(id, event, metadata),)+
                }
            }
        }

        $(impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$event(event)
            }
        })+

        /// This context's part of the catalogue.
        pub(crate) const CATALOGUE: &[$crate::catalogue::EventInfo] = &[$($crate::catalogue::EventInfo {
            event_type: $type,
            version: <$event as $crate::DomainEvent>::VERSION,
            aggregate_type: $aggregate,
            id_field: stringify!($id),
            key_rule: $crate::declare::key_rule!($($key)+),
            sourced: <$event as $crate::DomainEvent>::SOURCED,
            critical: $crate::declare::has(&[$(stringify!($flag)),*], "critical"),
            error: $crate::declare::has(&[$(stringify!($flag)),*], "error"),
            by: $by,
            when: $when,
            stream: $crate::catalogue::stream_of($type),
            upgrades: &[$($($upgrade),+)?],
            fields: $event::fields,
            schema: $crate::schema::envelope_schema::<$event>,
        }),+];
    };
}
pub(crate) use events;

/// Declares structs that payloads are made of.
macro_rules! records {
    ($($(#[$doc:meta])+ pub struct $name:ident { $($fields:tt)+ })+) => {$(
        $crate::declare::record! { ($(#[$doc])+) $name [] $($fields)+ }
        impl $crate::wire::Wire for $name {
            fn wire_type() -> String {
                stringify!($name).into()
            }
        }
    )+

        /// The structs that payloads are made of: name, and fields with their types in the words of the catalogue.
        #[must_use]
        pub fn records() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
            vec![$((stringify!($name), $name::fields())),+]
        }
    };
}
pub(crate) use records;

/// One struct; goes through the fields to give the optional ones their attribute (absent is left out).
macro_rules! record {
    (($($doc:tt)*) $name:ident $about:tt $($rest:tt)+) => {
        $crate::declare::record! { @ ($($doc)*) $name $about {} () $($rest)+ }
    };
    (@ $docs:tt $name:ident $about:tt {$($done:tt)*} ($($known:tt)*) $(#[$doc:meta])* pub $field:ident: Option<$type:ty>, $($rest:tt)*) => {
        $crate::declare::record! { @ $docs $name $about {
            $($done)*
            $(#[$doc])*
            #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::wire::write")]
            pub $field: Option<$type>,
        } ($($known)* {$field: Option<$type>}) $($rest)* }
    };
    (@ $docs:tt $name:ident $about:tt {$($done:tt)*} ($($known:tt)*) $(#[$doc:meta])* pub $field:ident: $type:ty, $($rest:tt)*) => {
        $crate::declare::record! { @ $docs $name $about {
            $($done)*
            $(#[$doc])*
            #[serde(serialize_with = "crate::wire::write")]
            pub $field: $type,
        } ($($known)* {$field: $type}) $($rest)* }
    };
    (@ ($($doc:tt)*) $name:ident $about:tt {$($done:tt)*} ($({$field:ident: $type:ty})+)) => {
        $($doc)*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[allow(missing_docs)] // the catalogue's field names carry their meaning and unit
        pub struct $name { $($done)* }

        impl $name {
            /// Names of the fields in order, and their types in the words of the catalogue.
            #[must_use]
            pub fn fields() -> Vec<(&'static str, String)> {
                vec![$((stringify!($field), <$type as $crate::wire::Wire>::wire_type())),+]
            }
        }

        $crate::declare::domain_event! { $name $about ($($field)+) }
    };
}
pub(crate) use record;

macro_rules! domain_event {
    ($name:ident [] $fields:tt) => {};
    ($name:ident [$type:literal $version:ident $aggregate:literal $id:ident ($($key:tt)+) ($($flag:ident)*)] ($($field:ident)+)) => {
        impl $crate::DomainEvent for $name {
            const EVENT_TYPE: &'static str = $type;
            const AGGREGATE_TYPE: &'static str = $aggregate;
            const VERSION: u32 = $crate::declare::version(stringify!($version));
            const SOURCED: bool = $crate::declare::has(&[$(stringify!($flag)),*], "sourced");

            fn aggregate_id(&self) -> String {
                self.$id.to_string()
            }
            fn key(&self) -> String {
                $crate::declare::key_of!(self, $($key)+)
            }
            fn occurred_at(&self) -> $crate::Timestamp {
                self.timestamp
            }
            fn correlation_id(&self) -> Option<uuid::Uuid> {
                $crate::declare::correlation!(self, $($field)+)
            }
        }
    };
}
pub(crate) use domain_event;

/// The rule of the key, in the words of the catalogue.
macro_rules! key_rule {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident without separators) => {
        concat!(stringify!($field), " without separators")
    };
    (sha256 of $field:ident) => {
        concat!("sha256 of ", stringify!($field), ", 16 hex digits")
    };
    (zone_id or device_id: $($field:ident)+) => {
        "zone_id or device_id"
    };
}
pub(crate) use key_rule;

macro_rules! key_of {
    ($event:ident, $field:ident) => {
        $crate::key::token(&$event.$field.to_string())
    };
    ($event:ident, $field:ident without separators) => {
        $crate::key::without_separators(&$event.$field)
    };
    ($event:ident, sha256 of $field:ident) => {
        $crate::key::hashed(&$event.$field)
    };
    ($event:ident, zone_id or device_id: zone_id $other:ident) => {
        $event
            .zone_id
            .as_ref()
            .map_or_else(|| $event.$other.to_string(), ToString::to_string)
    };
    ($event:ident, zone_id or device_id: $only:ident) => {
        $event.$only.to_string()
    };
}
pub(crate) use key_of;

/// The session, run or workflow among the fields.
macro_rules! correlation {
    ($event:ident,) => { None };
    ($event:ident, session_id $($rest:ident)*) => { $crate::key::Belongs::to(&$event.session_id) };
    ($event:ident, processing_id $($rest:ident)*) => { $crate::key::Belongs::to(&$event.processing_id) };
    ($event:ident, workflow_id $($rest:ident)*) => { $crate::key::Belongs::to(&$event.workflow_id) };
    ($event:ident, $other:ident $($rest:ident)*) => { $crate::declare::correlation!($event, $($rest)*) };
}
pub(crate) use correlation;

/// Declares enums whose JSON is one of a few texts.
macro_rules! choices {
    ($($(#[$doc:meta])+ pub enum $name:ident { $($(#[$choice_doc:meta])* $choice:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[allow(missing_docs)] // the names say it
        pub enum $name {
            $($(#[$choice_doc])* #[serde(rename = $text)] $choice,)+
        }

        impl $name {
            /// All of them, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$choice),+];

            /// The text in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$choice => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::wire::ChoiceError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$choice),)+
                    _ => Err($crate::wire::ChoiceError::new(text, <Self as $crate::wire::Wire>::wire_type())),
                }
            }
        }

        impl $crate::wire::Wire for $name {
            fn wire_type() -> String {
                [$($text),+].join("|")
            }
        }
    )+};
}
pub(crate) use choices;

/// Whether `flag` is among `flags`.
pub(crate) const fn has(flags: &[&str], flag: &str) -> bool {
    let mut rest = flags;
    while let [first, others @ ..] = rest {
        if same(first.as_bytes(), flag.as_bytes()) {
            return true;
        }
        rest = others;
    }
    false
}

/// `v2` is 2. A version is one digit: by the tenth an event deserves a new name.
pub(crate) const fn version(text: &str) -> u32 {
    match text.as_bytes() {
        [b'v', digit @ b'1'..=b'9'] => (*digit - b'0') as u32,
        _ => 0, // caught by the test of the catalogue
    }
}

pub(crate) const fn same(mut a: &[u8], mut b: &[u8]) -> bool {
    loop {
        match (a, b) {
            ([], []) => return true,
            ([x, rest_a @ ..], [y, rest_b @ ..]) if *x == *y => (a, b) = (rest_a, rest_b),
            _ => return false,
        }
    }
}
