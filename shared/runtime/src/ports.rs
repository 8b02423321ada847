//! The ports file: what a process listens on, for whoever started it with port 0.

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

use crate::Started;

/// Writes `{"<service>": {"grpc": "addr", "admin": "addr", ...}, ...}`, with `more` beside the services. The file appears
/// whole: it is written under another name and renamed.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, started: &[Started], mut more: Map<String, Value>) -> anyhow::Result<()> {
    for service in started {
        let mut addresses = Map::new();
        let grpc = service.grpc.map(|address| ("grpc", address));
        let all = grpc.into_iter().chain([("admin", service.admin)]);
        for (kind, address) in all.chain(service.announced.iter().copied()) {
            addresses.insert(kind.into(), Value::String(address.to_string()));
        }
        more.insert(service.service.into(), Value::Object(addresses));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let text = serde_json::to_string_pretty(&Value::Object(more))?;
    std::fs::write(&partial, text + "\n")
        .and_then(|()| std::fs::rename(&partial, path))
        .with_context(|| format!("cannot write the ports file {}", path.display()))
}
