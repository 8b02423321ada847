//! Each kind of source takes frames, survives its failure, and disturbs no other.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::bytes::{adr018, csv, pcap_header, pcap_packet, record};
use crate::sandbox::{Sandbox, within};

const MAC: &str = "1a:00:00:00:00:0";

/// A pty as a serial port: our end, and the path of the other. No child process inherits either.
fn pty() -> (PtyMaster, PathBuf) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = PathBuf::from(ptsname_r(&master).unwrap());
    let slave = File::options().read(true).write(true).open(&path).unwrap();
    let mut settings = tcgetattr(&slave).unwrap();
    cfmakeraw(&mut settings);
    tcsetattr(&slave, SetArg::TCSANOW, &settings).unwrap();
    // The other end stays open, so that nothing is lost before the gateway has it.
    KEPT.lock().unwrap().push(slave);
    (master, path)
}

static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());

#[tokio::test(flavor = "multi_thread")]
async fn udp_takes_datagrams_and_lines_on_one_socket() {
    let sandbox = Sandbox::start("admission = 'open'\nzone = 'lab'").await;
    let mut connected = sandbox.follow("hardware.device_connected").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(sandbox.address("udp")).unwrap();
    // Who is unknown is registered by himself, which takes a moment: frames are sent until they come.
    let mut sequence = 0;
    let mut wanted = BTreeSet::from(["adr018-7", "1a-00-00-00-00-01"]);
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    while !wanted.is_empty() {
        let event = tokio::select! {
            event = connected.find("a connection", |_| true) => event,
            _ = poll.tick() => {
                sequence += 1;
                socket.send(&adr018(7, sequence)).unwrap();
                let line = csv(&format!("{MAC}1"), u64::from(sequence), sequence * 20_000);
                socket.send(line.as_bytes()).unwrap();
                continue;
            }
        };
        assert!(
            wanted.remove(event.payload["device_id"].as_str().unwrap()),
            "{event:?}"
        );
        assert_eq!(event.payload["protocol"], "udp");
        assert_eq!(event.payload["ip_address"], "127.0.0.1");
    }
    let base = u64::from(sequence) + 1_000;
    let two =
        csv(&format!("{MAC}1"), base, 90_000_000) + &csv(&format!("{MAC}1"), base + 1, 90_010_000);
    socket.send(two.as_bytes()).unwrap();
    socket.send(&adr018(7, sequence + 1)).unwrap();
    frames.frame("1a-00-00-00-00-01", base + 1).await;
    let stored = sandbox.stored("hardware.device_configured").await;
    assert_eq!(stored.len(), 2, "{stored:?}");
    assert!(
        stored
            .iter()
            .all(|event| event.metadata.extra["zone"] == "lab")
    );
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_takes_lines_and_records_and_finds_the_stream_again() {
    let sandbox =
        Sandbox::start("[[hardware_gateway.sources]]\nkind = 'tcp'\nlisten = '127.0.0.1:0'").await;
    sandbox.register("lines", &format!("{MAC}1")).await;
    sandbox.register("records", "adr018:9").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    let mut lines = TcpStream::connect(sandbox.address("tcp")).await.unwrap();
    for byte in csv(&format!("{MAC}1"), 1, 1_000_000).as_bytes() {
        lines.write_all(&[*byte]).await.unwrap();
    }
    frames.frame("lines", 1).await;
    // A line without end, and the next one.
    lines.write_all(&vec![b'x'; 300_000]).await.unwrap();
    lines.write_all(b"\n").await.unwrap();
    lines
        .write_all(csv(&format!("{MAC}1"), 2, 1_010_000).as_bytes())
        .await
        .unwrap();
    frames.frame("lines", 2).await;
    let error = errors.error("line_too_long").await;
    assert!(
        error.payload["error_message"]
            .as_str()
            .unwrap()
            .contains("300000"),
        "{error:?}"
    );

    let mut records = TcpStream::connect(sandbox.address("tcp")).await.unwrap();
    records.write_all(&record(&adr018(9, 1))).await.unwrap();
    frames.frame("records", 1).await;
    records.write_all(&[0xFF; 100]).await.unwrap();
    records.write_all(&record(&adr018(9, 2))).await.unwrap();
    frames.frame("records", 2).await;
    errors.error("bad_record").await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_peer_that_is_not_there_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let source = format!(
        "[[hardware_gateway.sources]]\nkind = 'tcp'\nname = 'relay'\nconnect = '{address}'"
    );
    let sandbox = Sandbox::start(&source).await;
    sandbox.register("lines", &format!("{MAC}1")).await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let error = errors.error("source_failed").await;
    assert_eq!(error.payload["device_id"], "source-relay");
    assert_eq!(error.payload["error_category"], "connection");
    assert!(error.metadata.extra.contains_key("recommended_action"));
    let listener = TcpListener::bind(address).await.unwrap();
    for sequence in 1..3 {
        let (mut stream, _) = within("the gateway", listener.accept()).await.unwrap();
        stream
            .write_all(csv(&format!("{MAC}1"), sequence, 1_000_000).as_bytes())
            .await
            .unwrap();
        frames.frame("lines", sequence).await;
        // Closed from this side: it comes again.
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_port_may_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let port = dir.path().join("port");
    let (mut ours, path) = pty();
    std::os::unix::fs::symlink(&path, &port).unwrap();
    let source =
        "[[hardware_gateway.sources]]\nkind = 'serial'\npath = 'DIR/port'\nhardware_id = 'board'";
    let sandbox = Sandbox::start_in(dir, source).await;
    sandbox.register("board", "board").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    ours.write_all(b"I (312) wifi: started\n").unwrap();
    ours.write_all(csv(&format!("{MAC}1"), 1, 1_000_000).as_bytes())
        .unwrap();
    frames.frame("board", 1).await;
    // The cable is pulled, and put in again elsewhere.
    let (mut again, path) = pty();
    fs::remove_file(&port).unwrap();
    std::os::unix::fs::symlink(&path, &port).unwrap();
    drop(ours);
    errors.error("source_failed").await;
    again
        .write_all(csv(&format!("{MAC}2"), 2, 1_010_000).as_bytes())
        .unwrap();
    frames.frame("board", 2).await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_through_rotation_and_truncation() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("csi.log");
    let line = |sequence: u64| csv(&format!("{MAC}1"), sequence, sequence as u32 * 10_000);
    fs::write(&log, line(1) + &line(2)).unwrap();
    let source = "[[hardware_gateway.sources]]\nkind = 'file'\npath = 'DIR/csi.log'\nfrom = 'start'\nhardware_id = 'log'";
    let sandbox = Sandbox::start_in(dir, source).await;
    sandbox.register("log", "log").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let append = |text: String| {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let (half, rest) = (line(3)[..100].to_owned(), line(3)[100..].to_owned());
    append(half);
    append(rest);
    let event = frames.frame("log", 3).await;
    assert_eq!(event.metadata.data_source, Some(events::DataSource::Live));
    fs::rename(&log, log.with_extension("1")).unwrap();
    append(line(4));
    frames.frame("log", 4).await;
    fs::write(&log, "").unwrap();
    append(line(5));
    frames.frame("log", 5).await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    fs::remove_file(&log).unwrap();
    errors.error("source_failed").await;
    append(line(6));
    frames.frame("log", 6).await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_is_read_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("csi.pcap");
    let mut bytes = pcap_header();
    bytes.extend(pcap_packet(1_700_000_000, &adr018(9, 1)));
    bytes.extend(pcap_packet(1_700_000_001, b"something else"));
    fs::write(&path, &bytes).unwrap();
    let source = "admission = 'open'\n[[hardware_gateway.sources]]\nkind = 'pcap'\npath = 'DIR/csi.pcap'\nfrom = 'start'";
    let sandbox = Sandbox::start_in(dir, source).await;
    let mut configured = sandbox.follow("hardware.device_configured").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    configured
        .find("the registration", |event| {
            event.payload["device_id"] == "adr018-9"
        })
        .await;
    let packet = pcap_packet(1_700_000_002, &adr018(9, 2));
    let (head, tail) = packet.split_at(30);
    for part in [head, tail] {
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(part)
            .unwrap();
    }
    let event = frames.frame("adr018-9", 2).await;
    assert_eq!(
        event.occurred_at.as_micros(),
        1_700_000_002_000_000,
        "the time of capture"
    );
    sandbox.stop().await;
}
