//! Datagrams of the simulator, sent at their pace.

use std::net::UdpSocket;
use std::time::Duration;

use csi::decode::adr018;
use num_complex::Complex32;
use simulator::{Receiver, Scenario, Simulation, Traffic};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::sandbox::Sandbox;

/// Frames per second.
pub const RATE_HZ: f64 = 100.0;

/// Ten seconds of a scenario, received by `node`.
pub fn room(preset: &str, node: u8) -> Vec<Vec<u8>> {
    datagrams(&scenario(preset, node))
}

pub fn scenario(preset: &str, node: u8) -> Scenario {
    let scenario = Scenario {
        duration_s: 10.0,
        rate_hz: RATE_HZ,
        traffic: Traffic::ideal(),
        ..Scenario::preset(preset).unwrap()
    };
    scenario.with_receivers(1, node).unwrap()
}

pub fn datagrams(scenario: &Scenario) -> Vec<Vec<u8>> {
    let simulation = Simulation::new(scenario, 1, 0).unwrap();
    simulation
        .map(|simulated| {
            let mut bytes = Vec::new();
            simulator::datagram(&simulated, &mut bytes).unwrap();
            bytes
        })
        .collect()
}

/// An empty room as `node` hears it with two antennas at one place and on one clock; the second chain adds a quarter turn.
pub fn two_antennas(node: u8) -> Vec<Vec<u8>> {
    let mut scenario = scenario("empty", node);
    let position_m = scenario.receivers[0].position_m;
    scenario.receivers.push(Receiver {
        node: node + 1,
        position_m,
    });
    // What two chains on one clock share; a receiver of its own has its own.
    scenario.radio.random_phase = false;
    scenario.radio.carrier_offset_hz = 0.0;
    scenario.radio.detection_jitter_ns = 0.0;
    scenario.radio.gain_step_db = 0.0;
    let mut chains = [Vec::new(), Vec::new()];
    for simulated in Simulation::new(&scenario, 1, 0).unwrap() {
        chains[simulated.receiver].push(simulated.frame);
    }
    let [first, second] = chains;
    first
        .into_iter()
        .zip(second)
        .map(|(mut frame, other)| {
            let turned = other.samples.iter().map(|s| s * Complex32::new(0.0, 1.0));
            frame.samples.extend(turned);
            frame.antennas = 2;
            let mut bytes = Vec::new();
            adr018::encode(&frame, node, &mut bytes).unwrap();
            bytes
        })
        .collect()
}

pub struct Stream {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Stream {
    /// Sends the datagrams round and round with sequence numbers that go on counting, until it is stopped.
    pub fn of(sandbox: &Sandbox, datagrams: Vec<Vec<u8>>) -> Self {
        Self::over(sandbox.socket.try_clone().unwrap(), datagrams)
    }

    fn over(socket: UdpSocket, datagrams: Vec<Vec<u8>>) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / RATE_HZ));
            for (sequence, mut datagram) in (0_u32..).zip(datagrams.into_iter().cycle()) {
                pace.tick().await;
                if stopped.is_cancelled() {
                    break;
                }
                datagram[12..16].copy_from_slice(&sequence.to_le_bytes());
                // While the gateway is restarted nobody listens.
                let _ = socket.send(&datagram);
            }
        });
        Self { stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}
