//! Several services in one process, as `fresnel up` and the tests of the services run them.

use std::net::SocketAddr;

use runtime::{Ending, Exit, Process, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sample;

/// Status line and body of an HTTP GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

pub fn process(toml: &str) -> Process {
    Process::new(Settings::explicit(toml).unwrap()).unwrap()
}

#[tokio::test]
async fn several_services_start_on_free_ports_and_stop_cleanly() {
    let process = process("");
    let (one, two) = tokio::join!(
        process.start("signal", sample::start),
        process.start("pose", sample::start)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.grpc, two.grpc);
    assert_eq!(one.announced.first().map(|(what, _)| *what), Some("udp"));
    for started in [&one, &two] {
        assert_eq!(get(started.admin, "/livez").await.0, 200);
        assert_eq!(
            get(started.admin, "/readyz").await,
            (200, "[+] service ok\n".into())
        );
    }
    assert_eq!(process.stop().await, Exit::Clean);
    assert!(TcpStream::connect(one.admin).await.is_err());
}

#[tokio::test]
async fn a_fault_of_one_service_is_the_ending_of_the_process() {
    let process = process("[pose]\nfault = 'panic'");
    process.start("signal", sample::start).await.unwrap();
    // The fault may come before or after the start has returned: either way it is what ends the process.
    let _ = process.start("pose", sample::start).await;
    let Ending::Fault(fault) = process.run_until_signal().await else {
        panic!("no fault");
    };
    assert_eq!((fault.service, fault.task), ("pose", "work"));
    assert_eq!(process.stop().await, Exit::Fault);
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing_behind() {
    let process = process(
        "[nats]\nurl = 'nats://127.0.0.1:1'\nconnect_timeout_s = 0.2\n[signal]\nnats = true",
    );
    let error = process.start("signal", sample::start).await.unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Unavailable);
    assert!(
        format!("{error:#}")
            .starts_with("signal did not start: NATS at nats://127.0.0.1:1 is not reachable"),
        "{error:#}"
    );
    assert_eq!(process.stop().await, Exit::Clean);
}

#[tokio::test]
async fn readyz_says_which_check_fails() {
    let process = process("");
    let start = async |config: sample::Config, rt: &mut runtime::Runtime| {
        rt.readiness("model", || Err("no model package under models/".into()));
        sample::start(config, rt).await
    };
    let started = process.start("signal", start).await.unwrap();
    let (status, text) = get(started.admin, "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(
        text,
        "[+] service ok\n[-] model failed: no model package under models/\n"
    );
    assert_eq!(get(started.admin, "/livez").await.0, 200);
    assert_eq!(get(started.admin, "/nowhere").await.0, 404);
    process.stop().await;
}
