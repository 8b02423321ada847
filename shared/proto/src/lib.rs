//! Generated code only: the messages and services of `proto/`, and their descriptors for reflection.
#![allow(missing_docs, clippy::all, clippy::indexing_slicing)]

macro_rules! package {
    ($($module:ident = $package:literal),+ $(,)?) => {
        $(pub mod $module {
            pub mod v1 {
                tonic::include_proto!($package);
            }
        })+
    };
}

package! {
    csi = "fresnel.csi.v1",
    signal = "fresnel.signal.v1",
    gateway = "fresnel.gateway.v1",
    pose = "fresnel.pose.v1",
    streaming = "fresnel.streaming.v1",
    alerting = "fresnel.alerting.v1",
}

/// All services and messages as a serialized `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
