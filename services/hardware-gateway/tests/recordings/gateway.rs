//! A nats-server, and the gateway as a process that can be killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bus::server::{self, Server, ServerConfig};
use bus::{Bus, From};
use bytes::Bytes;
use events::EventEnvelope;
use proto::gateway::v1 as pb;
use proto::gateway::v1::recording_service_client::RecordingServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;

/// The bound after which a test that waits has failed.
const FAILED: Duration = Duration::from_secs(60);

pub type Client = RecordingServiceClient<Channel>;

pub async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(FAILED, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within {FAILED:?}"))
}

pub struct Gateway {
    server: Server,
    process: Option<Child>,
    data: TempDir,
}

impl Gateway {
    pub async fn start() -> Self {
        let binary = server::find(None).expect("a nats-server");
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(ServerConfig::new(binary, data.path().join("nats")))
            .await
            .unwrap();
        let mut gateway = Self {
            server,
            process: None,
            data,
        };
        gateway.launch();
        gateway
    }

    fn ports(&self) -> PathBuf {
        self.data.path().join("ports.json")
    }

    pub fn launch(&mut self) {
        self.process = Some(self.spawn("", "spool"));
    }

    /// A gateway as another instance, or with another spool; beside the one that may run.
    fn spawn(&self, instance: &str, spool: &str) -> Child {
        let _ = std::fs::remove_file(self.ports());
        let spool = self.data.path().join(spool);
        let log = std::fs::File::create(self.data.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hardware-gateway"));
        command
            .args(["--nats", &self.server.url(), "--grpc-listen", "127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0", "--ports-file"])
            .arg(self.ports());
        for setting in [
            "hardware_gateway.udp.listen=127.0.0.1:0",
            "nats.storage_scale=0.1",
            "nats.connect_timeout_s=60.0",
            "nats.publish_timeout_s=60.0",
            &format!("instance.name={instance}"),
            &format!("hardware_gateway.recordings.spool={}", spool.display()),
        ] {
            command.args(["--set", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Starts another gateway on the same NATS, and ends it as soon as it has said what it knows of a recording.
    pub async fn another(&self, instance: &str, spool: &str, id: &str) -> pb::Recording {
        let mut other = self.spawn(instance, spool);
        let request = pb::GetRecordingRequest {
            recording: id.to_owned(),
        };
        let known = self.client().await.get_recording(request).await;
        other.kill().unwrap();
        other.wait().unwrap();
        known.unwrap().into_inner().recording.unwrap()
    }

    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub async fn client(&self) -> Client {
        RecordingServiceClient::new(self.channel().await)
    }

    pub async fn channel(&self) -> Channel {
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let address = async {
            loop {
                poll.tick().await;
                if let Ok(text) = std::fs::read_to_string(self.ports()) {
                    let ports: serde_json::Value = serde_json::from_str(&text).unwrap();
                    let address = ports["hardware-gateway"]["grpc"].as_str();
                    return format!("http://{}", address.unwrap());
                }
            }
        };
        let address = tokio::time::timeout(FAILED, address).await;
        let log = || std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default();
        let address = address.unwrap_or_else(|_| panic!("not ready: {}", log()));
        let channel = Channel::from_shared(address).unwrap().connect().await;
        channel.unwrap()
    }

    /// The announcements that are stored.
    pub async fn announced(&self) -> Vec<EventEnvelope> {
        let config = bus::Config {
            url: self.server.url(),
            ..bus::Config::default()
        };
        let bus = Bus::connect(config).await.unwrap();
        let stored = bus.replay("signal.csi_frame_received", From::Start).await;
        let stored = stored.unwrap().into_iter();
        stored.map(|delivery| delivery.event).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub async fn upload(
    client: &mut Client,
    first: pb::UploadRecordingRequest,
    data: &[u8],
) -> Result<pb::UploadRecordingResponse, tonic::Status> {
    let mut parts: Vec<_> = data
        .chunks(10_000)
        .map(|part| pb::UploadRecordingRequest {
            data: Bytes::copy_from_slice(part),
            ..Default::default()
        })
        .collect();
    let head = std::mem::take(&mut parts[0].data);
    parts[0] = pb::UploadRecordingRequest {
        data: head,
        ..first
    };
    let answer = client.upload_recording(tokio_stream::iter(parts)).await?;
    Ok(answer.into_inner())
}

pub async fn download(client: &mut Client, recording: &str) -> Vec<u8> {
    let request = pb::DownloadRecordingRequest {
        recording: recording.to_owned(),
        offset: 0,
    };
    let mut parts = client
        .download_recording(request)
        .await
        .unwrap()
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        bytes.extend_from_slice(&part.data);
    }
    bytes
}

/// Starts a recording of zone `lab`.
pub async fn record(client: &mut Client, max_bytes: u64) -> String {
    let request = pb::StartRecordingRequest {
        zones: vec!["lab".into()],
        max_bytes,
        labels: [("why".to_owned(), "test".to_owned())].into(),
        ..Default::default()
    };
    let started = client.start_recording(request).await.unwrap().into_inner();
    started.recording.unwrap().recording
}

/// Waits until a recording is as `wanted` says.
pub async fn recorded(
    client: &mut Client,
    recording: &str,
    wanted: impl Fn(&pb::Recording) -> bool,
) -> pb::Recording {
    let request = pb::WatchRecordingRequest {
        recording: recording.to_owned(),
    };
    let mut progress = client.watch_recording(request).await.unwrap().into_inner();
    let mut last = None;
    let wait = async {
        while let Some(answer) = progress.message().await.unwrap() {
            let recording = answer.recording.unwrap();
            if wanted(&recording) {
                return Some(recording);
            }
            last = Some(recording);
        }
        None
    };
    let found = tokio::time::timeout(FAILED, wait).await.ok().flatten();
    found.unwrap_or_else(|| panic!("the recording stays at {last:?}"))
}

/// Plays a recording to its end.
pub async fn play(client: &mut Client, request: pb::ReplayRecordingRequest) -> pb::Replay {
    let started = client.replay_recording(request).await.unwrap().into_inner();
    let request = pb::WatchReplayRequest {
        replay_id: started.replay.unwrap().replay_id,
    };
    let mut progress = client.watch_replay(request).await.unwrap().into_inner();
    let wait = async {
        loop {
            let replay = progress.message().await.unwrap().unwrap().replay.unwrap();
            if replay.state() != pb::ReplayState::Running {
                return replay;
            }
        }
    };
    within("the end of the replay", wait).await
}
