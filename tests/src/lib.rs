//! What the stories of the system are told with: a real nats-server, the real binaries as processes, real clients.

pub mod clients;
pub mod datagram;
pub mod disk;
pub mod process;
pub mod receivers;
pub mod sandbox;
