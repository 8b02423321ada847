//! The service against a real nats-server, with real gRPC and WebSocket clients.

mod endings;
mod grpc;
mod support;
mod websocket;
