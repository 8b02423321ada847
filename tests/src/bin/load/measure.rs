//! What the kernel and the services' own counters say.

use std::fs;
use std::net::SocketAddr;

use anyhow::Context;
use serde::Serialize;

/// Memory of a process.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Resident now, MB (10^6 bytes).
    pub resident_mb: f64,
    /// Resident at its highest.
    pub peak_mb: f64,
    /// The model runtime is loaded.
    pub model_runtime: bool,
}

/// The kernel counts CPU time for user space in hundredths of a second (USER_HZ) on every machine that we build for.
const TICKS_PER_S: f64 = 100.0;

/// CPU time that a process has used, in seconds: user and system, in the kernel's ticks of 10 ms.
pub fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name, in brackets, may hold anything; utime and stime are the 12th and 13th fields after it.
    let (_, fields) = stat
        .rsplit_once(')')
        .with_context(|| format!("{path} has no name"))?;
    let mut ticks = fields.split_whitespace().skip(11);
    let mut next = || -> anyhow::Result<f64> {
        Ok(ticks
            .next()
            .with_context(|| format!("{path} is short"))?
            .parse()?)
    };
    Ok((next()? + next()?) / TICKS_PER_S)
}

pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let megabytes = |key: &str| -> anyhow::Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kibibytes: f64 = line
            .and_then(|value| value.trim().strip_suffix(" kB"))
            .with_context(|| format!("no {key} in {path}"))?
            .parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    Ok(Memory {
        resident_mb: megabytes("VmRSS:")?,
        peak_mb: megabytes("VmHWM:")?,
        model_runtime: maps.contains("libonnxruntime"),
    })
}

/// Processes that a process started.
pub fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        if let Ok(children) = fs::read_to_string(task?.path().join("children")) {
            for child in children.split_whitespace() {
                all.push(child.parse()?);
            }
        }
    }
    Ok(all)
}

pub fn name(pid: u32) -> anyhow::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?
        .trim()
        .to_owned())
}

/// Datagrams that the kernel dropped at a socket because its buffer was full.
pub fn dropped(address: SocketAddr) -> anyhow::Result<u64> {
    let table = fs::read_to_string("/proc/net/udp")?;
    let port = format!(":{:04X}", address.port());
    let line = table.lines().skip(1).find(|line| {
        line.split_whitespace()
            .nth(1)
            .is_some_and(|local| local.ends_with(&port))
    });
    let drops = line.and_then(|line| line.split_whitespace().last());
    Ok(drops
        .with_context(|| format!("no socket on {address} in /proc/net/udp"))?
        .parse()?)
}

/// Sum over the labels of one counter of an admin port; absent where the service does not have it (yet).
pub async fn counter(
    http: &reqwest::Client,
    admin: &str,
    name: &str,
) -> anyhow::Result<Option<f64>> {
    let url = format!("http://{admin}/metrics");
    let text = http
        .get(&url)
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?;
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let rest = rest.strip_prefix("_total").unwrap_or(rest);
        if !rest.starts_with([' ', '{']) {
            continue;
        }
        let value = rest.rsplit(' ').next().unwrap_or_default();
        let value: f64 = value
            .parse()
            .with_context(|| format!("{line:?} of {url}"))?;
        sum = Some(sum.unwrap_or(0.0) + value);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_this_process_uses() {
        let me = std::process::id();
        let before = cpu_s(me).expect("ticks");
        let mut sum = 0_u64;
        while cpu_s(me).expect("ticks") - before < 0.05 {
            sum = (0..100_000_u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        std::hint::black_box(sum);
        let memory = memory(me).expect("memory");
        assert!(memory.resident_mb > 1.0 && memory.peak_mb >= memory.resident_mb);
        assert!(!memory.model_runtime);
    }

    #[test]
    fn a_full_socket_drops_and_the_kernel_counts() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        assert_eq!(dropped(address).expect("the table"), 0);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for _ in 0..2_000 {
            sender.send_to(&[0; 1_400], address).expect("sent");
        }
        assert!(dropped(address).expect("the table") > 0);
    }
}
