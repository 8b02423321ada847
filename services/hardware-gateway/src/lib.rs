//! hardware-gateway
