//! What a day brings, in less than a minute: a port that is taken, a peer that goes, a nats-server that is killed, one that
//! hangs, a full disk. Devices send throughout; none is stuck, what is lost is counted and told, and recordings hold what
//! they say. The whole day is `load --profile soak`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_nats::Subscriber;
use e2e::clients::{channel, register, within};
use e2e::datagram;
use e2e::disk::SmallDisk;
use e2e::process::{Process, binary};
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::gateway::v1::recording_service_client::RecordingServiceClient;
use proto::gateway::v1::{
    DownloadRecordingRequest, GetRecordingRequest, Recording, RecordingState,
    StartRecordingRequest, StopRecordingRequest,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

const MAC: &str = "1a:00:00:00:00:01";
const PERIOD: Duration = Duration::from_millis(10);

/// Counts of the devices, which go on whatever happens to whoever hears them.
#[derive(Clone, Default)]
struct Counts {
    datagrams: Arc<AtomicU32>,
    lines: Arc<AtomicU32>,
}

fn iq(sequence: u32) -> Vec<i8> {
    (0..128_u32)
        .map(|k| i8::try_from((k * 7 + sequence) % 100).unwrap_or_default())
        .collect()
}

/// Two devices that send datagrams, one to each address.
fn datagrams(counts: &Counts, to: [SocketAddr; 2]) -> anyhow::Result<JoinHandle<()>> {
    let sockets = [(7, to[0]), (8, to[1])].map(|(node, to)| {
        let socket = UdpSocket::bind("127.0.0.1:0");
        socket.map(|socket| (node, to, socket))
    });
    let [first, second] = sockets;
    let (sockets, count) = ([first?, second?], Arc::clone(&counts.datagrams));
    Ok(tokio::spawn(async move {
        let mut pace = tokio::time::interval(PERIOD);
        loop {
            pace.tick().await;
            let sequence = count.fetch_add(1, Ordering::Relaxed);
            for (node, to, socket) in &sockets {
                // Nobody may listen there.
                let _ = socket.send_to(&datagram::csi(*node, sequence, &iq(sequence)), to);
            }
        }
    }))
}

/// A device that sends lines to whoever connects to it; aborted, it is gone with its socket.
async fn relay(
    counts: &Counts,
    address: SocketAddr,
) -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let count = Arc::clone(&counts.lines);
    let task = tokio::spawn(async move {
        let mut pace = tokio::time::interval(PERIOD);
        while let Ok((mut stream, _)) = listener.accept().await {
            loop {
                pace.tick().await;
                let sequence = count.fetch_add(1, Ordering::Relaxed);
                let line = datagram::line(MAC, sequence, sequence * 10_000, &iq(sequence));
                if stream.write_all(line.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    Ok((address, task))
}

struct Story {
    fresnel: Process,
    nats: async_nats::Client,
    gateway: Channel,
}

impl Story {
    /// Waits for a frame of each device that was sent from now on, and was stored and announced.
    async fn frames(&self, what: &str, counts: &Counts, devices: &[&str]) -> anyhow::Result<()> {
        let mut announced = self.nats.subscribe("signal.csi_frame_received").await?;
        let from = |device: &str| {
            let count = if device == "relay" {
                &counts.lines
            } else {
                &counts.datagrams
            };
            count.load(Ordering::Relaxed)
        };
        let mut missing: Vec<(&str, u32)> = devices
            .iter()
            .map(|device| (*device, from(device)))
            .collect();
        let found = async {
            while !missing.is_empty() {
                let event = payload(&mut announced).await?;
                missing.retain(|(device, from)| {
                    let newer = event["sequence_number"].as_u64() >= Some((*from).into());
                    !(event["device_id"] == *device && newer)
                });
            }
            anyhow::Ok(())
        };
        let found = within(&format!("a frame of each of {devices:?} {what}"), found).await;
        found
            .and_then(|found| found)
            .with_context(|| self.fresnel.log())
    }

    /// Waits for an event that is stored on disk, and stored now.
    async fn events(&self, what: &str) -> anyhow::Result<()> {
        let mut stored = self.nats.subscribe("signal.signal_processed").await?;
        let event = within(&format!("an event on disk {what}"), payload(&mut stored)).await;
        event.map(drop).with_context(|| self.fresnel.log())
    }

    /// An error that the gateway announces.
    async fn error(
        &self,
        errors: &mut Subscriber,
        device: &str,
        code: &str,
    ) -> anyhow::Result<Value> {
        let found = async {
            loop {
                let message = errors.next().await.context("the subscription ended")?;
                let event: Value = serde_json::from_slice(&message.payload)?;
                if event["payload"]["device_id"] == device && event["payload"]["error_code"] == code
                {
                    return anyhow::Ok(event);
                }
            }
        };
        let found = within(&format!("{code} of {device}"), found).await;
        found
            .and_then(|found| found)
            .with_context(|| self.fresnel.log())
    }

    /// The nats-server of `fresnel up`.
    fn nats_pid(&self) -> anyhow::Result<Pid> {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.fresnel.id()))? {
            let Ok(children) = std::fs::read_to_string(task?.path().join("children")) else {
                continue;
            };
            for child in children.split_whitespace() {
                let name = std::fs::read_to_string(format!("/proc/{child}/comm"))?;
                if name.trim() == "nats-server" {
                    return Ok(Pid::from_raw(child.parse()?));
                }
            }
        }
        anyhow::bail!("no nats-server runs")
    }

    async fn record(&self, name: &str) -> anyhow::Result<String> {
        let request = StartRecordingRequest {
            name: name.into(),
            ..StartRecordingRequest::default()
        };
        let mut client = RecordingServiceClient::new(self.gateway.clone());
        let begun = client.start_recording(request).await;
        let begun = begun.with_context(|| self.fresnel.log())?.into_inner();
        Ok(begun.recording.context("no recording")?.recording)
    }

    /// Waits until a recording is as it should be.
    async fn recording(
        &self,
        id: &str,
        what: &str,
        right: impl Fn(&Recording) -> bool,
    ) -> anyhow::Result<Recording> {
        let mut client = RecordingServiceClient::new(self.gateway.clone());
        let mut poll = tokio::time::interval(Duration::from_millis(50));
        let found = async {
            loop {
                poll.tick().await;
                let request = GetRecordingRequest {
                    recording: id.into(),
                };
                let recording = client.get_recording(request).await?.into_inner().recording;
                let recording = recording.context("no recording")?;
                if right(&recording) {
                    return anyhow::Ok(recording);
                }
            }
        };
        let found = within(what, found).await;
        found
            .and_then(|found| found)
            .with_context(|| self.fresnel.log())
    }

    /// The frames that the stored file of a recording has.
    async fn frames_of(&self, id: &str) -> anyhow::Result<u64> {
        let request = DownloadRecordingRequest {
            recording: id.into(),
            offset: 0,
        };
        let mut client = RecordingServiceClient::new(self.gateway.clone());
        let mut parts = client.download_recording(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await? {
            bytes.extend_from_slice(&part.data);
        }
        let reader = csi::mcap::Reader::open(std::io::Cursor::new(bytes), u64::MAX)?;
        Ok(reader.filter(Result::is_ok).count() as u64)
    }
}

async fn payload(subscriber: &mut Subscriber) -> anyhow::Result<Value> {
    let message = subscriber.next().await.context("the subscription ended")?;
    let mut event: Value = serde_json::from_slice(&message.payload)?;
    Ok(event["payload"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stuck_and_what_is_lost_is_told() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::new(&dir.path().join("disk"), 128)? else {
        println!("SKIPPED: a small disk needs root, or user namespaces");
        return Ok(());
    };
    // Whichever test comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let counts = Counts::default();
    // Another program has the port of one source when the system starts.
    let occupant = UdpSocket::bind("127.0.0.1:0")?;
    let late = occupant.local_addr()?;
    let (address, gone) = relay(&counts, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let config = dir.path().join("fresnel.toml");
    std::fs::write(
        &config,
        format!(
            "[nats]\nstorage_scale = 0.01\npublish_timeout_s = 1.5\n\n\
             [hardware_gateway]\ndevice_timeout_s = 1.0\nerror_interval_s = 1.0\n\n\
             [[hardware_gateway.sources]]\nkind = \"udp\"\nname = \"late\"\nlisten = \"{late}\"\n\n\
             [[hardware_gateway.sources]]\nkind = \"tcp\"\nname = \"relay\"\nconnect = \"{address}\"\n"
        ),
    )?;
    let mut command = disk.command(&binary("fresnel")?);
    command
        .args(["up", "--ephemeral", "--data-dir"])
        .arg(disk.dir());
    command.arg("--config").arg(&config);
    let mut fresnel = Process::spawn("fresnel", command, dir.path())?;
    let ports = fresnel.ready().await?;
    let port = |service: &str, kind: &str| {
        let address = ports[service][kind].as_str();
        address
            .map(str::to_owned)
            .with_context(|| ports.to_string())
    };
    let url = ports["nats"].as_str().context("no nats")?;
    let story = Story {
        nats: async_nats::connect(url).await?,
        gateway: channel(&port("hardware-gateway", "grpc")?).await?,
        fresnel,
    };
    let mut errors = story.nats.subscribe("hardware.device_error").await?;
    let mut disconnected = story.nats.subscribe("hardware.device_disconnected").await?;
    story.nats.flush().await?;
    register(&story.gateway, "lamp", "hall", "adr018:7").await?;
    register(&story.gateway, "late", "hall", "adr018:8").await?;
    register(&story.gateway, "relay", "hall", MAC).await?;
    let sending = datagrams(&counts, [port("hardware-gateway", "udp")?.parse()?, late])?;

    // The port that was taken is told, and had as soon as it is free.
    story
        .frames("while a port is taken", &counts, &["lamp", "relay"])
        .await?;
    story
        .error(&mut errors, "source-late", "source_failed")
        .await?;
    drop(occupant);
    story
        .frames("on a port that was taken", &counts, &["late"])
        .await?;

    // A peer that goes is missed, and heard again when it is back on its port.
    gone.abort();
    let left = within("the disconnect", async {
        loop {
            let event = payload(&mut disconnected).await?;
            if event["device_id"] == "relay" {
                return anyhow::Ok(event);
            }
        }
    });
    assert_eq!(left.await??["reason"], "timeout");
    let (_, back) = relay(&counts, address).await?;
    let all = ["lamp", "late", "relay"];
    story
        .frames("of a peer that is back", &counts, &all)
        .await?;

    // A nats-server that is killed is started again.
    kill(story.nats_pid()?, Signal::SIGKILL)?;
    story
        .frames("after a kill of nats-server", &counts, &all)
        .await?;
    story.events("after a kill of nats-server").await?;

    // One that hangs for longer than a publish may take costs frames; how many may be lost is counted, and told when it answers
    // again.
    let hangs = story.nats_pid()?;
    kill(hangs, Signal::SIGSTOP)?;
    let admin = port("hardware-gateway", "admin")?;
    within("lost frames in the counters", lost(&admin)).await??;
    kill(hangs, Signal::SIGCONT)?;
    story
        .frames("after nats-server hung", &counts, &all)
        .await?;
    let told = story
        .error(&mut errors, "hardware-gateway", "publish_failed")
        .await?;
    assert!(told["metadata"]["count"].as_u64() > Some(0), "{told}");

    // A full disk ends a recording, with the reason; frames go on meanwhile.
    let broken = story.record("broken").await?;
    // Each second a chunk is ended: some of them are on the disk.
    story
        .recording(&broken, "frames in the file", |now| now.size_bytes > 8_000)
        .await?;
    disk.fill(story.fresnel.id())?;
    let full = |now: &Recording| now.ended_by.contains("No space left on device");
    story
        .recording(&broken, "the full disk in the recording", full)
        .await?;
    story
        .frames("while the disk is full", &counts, &all)
        .await?;
    disk.free(story.fresnel.id())?;
    let ended = |now: &Recording| now.state() != RecordingState::Recording;
    let broken = story
        .recording(&broken, "the end of the recording", ended)
        .await?;
    assert_eq!(broken.state(), RecordingState::Interrupted, "{broken:?}");
    assert!(full(&broken), "{broken:?}");
    assert_eq!(story.frames_of(&broken.recording).await?, broken.frames);
    story
        .frames("after the disk was full", &counts, &all)
        .await?;
    story.events("after the disk was full").await?;

    // And the next one is whole.
    let whole = story.record("whole").await?;
    story
        .recording(&whole, "frames in the recording", |now| now.frames > 50)
        .await?;
    let request = StopRecordingRequest {
        recording: whole.clone(),
    };
    let stopped = RecordingServiceClient::new(story.gateway.clone())
        .stop_recording(request)
        .await?;
    let stopped = stopped.into_inner().recording.context("no recording")?;
    assert_eq!(stopped.state(), RecordingState::Completed, "{stopped:?}");
    assert_eq!(story.frames_of(&whole).await?, stopped.frames);

    sending.abort();
    back.abort();
    let Story { mut fresnel, .. } = story;
    assert_eq!(fresnel.stop().await?, Some(0), "{}", fresnel.log());
    Ok(())
}

/// Waits until the gateway has counted something as lost.
async fn lost(admin: &str) -> anyhow::Result<()> {
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    loop {
        poll.tick().await;
        let text = reqwest::get(format!("http://{admin}/metrics"))
            .await?
            .text()
            .await?;
        let line = text
            .lines()
            .find(|line| line.starts_with("gateway_unacknowledged_messages"));
        let value = line.and_then(|line| line.rsplit(' ').next());
        if value.is_some_and(|value| value != "0") {
            return Ok(());
        }
    }
}
