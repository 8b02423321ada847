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

/// Google's packages that ours name: their generated code finds them at this place.
pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
    pub mod longrunning {
        tonic::include_proto!("google.longrunning");
    }
}

/// Our own packages, at the depth that the generated code expects.
mod fresnel {
    package! {
        csi = "fresnel.csi.v1",
        signal = "fresnel.signal.v1",
        gateway = "fresnel.gateway.v1",
        pose = "fresnel.pose.v1",
        streaming = "fresnel.streaming.v1",
        alerting = "fresnel.alerting.v1",
        operations = "fresnel.operations.v1",
    }
}
pub use fresnel::*;

/// All services and messages as a serialized `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
