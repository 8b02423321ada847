//! What is counted of a source. Counted in plain numbers per frame, handed to the meters once a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;

macro_rules! meters {
    ($($field:ident = $name:literal, $what:literal;)+) => {
        /// Counts since the last flush.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Tally {
            $(#[doc = $what] pub $field: u64,)+
        }

        /// Counts since the start of the gateway, to be read by others.
        #[derive(Debug, Default)]
        pub struct Totals {
            $(#[doc = $what] pub $field: AtomicU64,)+
        }

        /// The meters of one source.
        #[derive(Clone, Debug)]
        pub struct Meters {
            label: [KeyValue; 1],
            /// The same, since the start of the gateway.
            pub totals: Arc<Totals>,
            $($field: Counter<u64>,)+
        }

        impl Meters {
            /// Meters with `source` as their label.
            #[must_use]
            pub fn new(source: &str) -> Self {
                let meter = opentelemetry::global::meter("hardware-gateway");
                let meters = Self {
                    label: [KeyValue::new("source", source.to_owned())],
                    totals: Arc::default(),
                    $($field: meter.u64_counter($name).with_description($what).build(),)+
                };
                // All are there from the beginning, at 0.
                $(meters.$field.add(0, &meters.label);)+
                meters
            }

            /// Adds what was counted, and begins anew.
            pub fn flush(&self, tally: &mut Tally) {
                let Tally { $($field),+ } = std::mem::take(tally);
                $(if $field > 0 {
                    self.$field.add($field, &self.label);
                    self.totals.$field.fetch_add($field, Ordering::Relaxed);
                })+
            }
        }
    };
}

meters! {
    datagrams = "gateway_datagrams", "Datagrams, lines and records read";
    bytes = "gateway_received_bytes", "Bytes of what was read";
    frames = "gateway_frames", "Frames of registered devices that were taken";
    malformed = "gateway_malformed_datagrams", "Datagrams, lines and records that could not be decoded";
    unregistered = "gateway_unregistered_frames", "Valid frames of senders that are not registered";
    refused = "gateway_refused_frames", "Frames without a right signature, or of a second device with the same id";
    duplicates = "gateway_duplicate_frames", "Frames that came twice and were published once";
    late = "gateway_late_frames", "Frames that came after younger ones, published all the same";
    limited = "gateway_rate_limited_frames", "Frames above the rate limit of their device or source";
    edge_reports = "gateway_edge_reports", "Reports of what devices conclude themselves, of registered devices";
    unpacked = "gateway_unpacked_frames", "Compressed frames that were unpacked";
    packed = "gateway_packed_frames", "Compressed frames that were left: a whole one was waited for, or all come whole as well";
    kernel_drops = "gateway_kernel_drops", "Datagrams that the kernel dropped because the socket's buffer was full";
    failures = "gateway_source_failures", "Times that the source failed and was opened again";
}
