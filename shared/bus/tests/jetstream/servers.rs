//! The launcher.

use std::process::{Command, Stdio};

use bus::Bus;
use bus::server::{self, Server, ServerConfig, ServerError};

use crate::sandbox::{Sandbox, event, soon, until};

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(server::find(None).unwrap(), data.path().to_owned());
    let first = Server::start(config.clone()).await.unwrap();
    let pid = i32::try_from(first.pid()).unwrap();
    match Server::start(config.clone()).await {
        Err(ServerError::Running { pid: running, .. }) => assert_eq!(running, pid),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two servers on the same data"),
    }
    soon("the end", first.stop()).await;
    // The pid file of a server that was killed is no server.
    std::fs::write(data.path().join("nats-server.pid"), pid.to_string()).unwrap();
    let again = soon("the start", Server::start(config)).await.unwrap();
    soon("the end", again.kill()).await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let sandbox = Sandbox::start().await;
    let data = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::new(server::find(None).unwrap(), data.path().to_owned());
    config.extra_config = "mqtt { port: -1 \n".to_owned();
    let Err(error) = soon("an error", Server::start(config.clone())).await else {
        panic!("it started");
    };
    assert!(matches!(error, ServerError::Start { .. }), "{error}");
    // A port that is taken.
    config.extra_config = String::new();
    config.port = sandbox.server.same().port;
    let Err(error) = soon("an error", Server::start(config)).await else {
        panic!("it started");
    };
    assert!(
        error.to_string().contains("address already in use"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_stored_outlives_a_stop() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    bus.publish(&event("pose.motion_detected", "kitchen", 1))
        .await
        .unwrap();
    let again = sandbox.server.same();
    let url = sandbox.server.url();
    soon("the stop", sandbox.server.stop()).await;
    let server = Server::start(again).await.unwrap();
    assert_eq!(server.url(), url, "the port is the same");
    until("the connection", || async { bus.is_connected() }).await;
    let stored = bus.replay("pose.>", bus::From::Start).await.unwrap();
    assert_eq!(stored.len(), 1);
}

/// Not a test of its own: what the next one runs in another process, where it is killed.
#[tokio::test]
async fn held_by_another_process() {
    let Some(data) = std::env::var_os("FRESNEL_TEST_HOLD") else {
        return;
    };
    let config = ServerConfig::new(server::find(None).unwrap(), data.into());
    let _server = Server::start(config).await.unwrap();
    std::future::pending::<()>().await;
}

/// Killed when dropped, also where the test fails.
#[cfg(target_os = "linux")]
struct Ended(std::process::Child);

#[cfg(target_os = "linux")]
impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_does_not_outlive_the_process_that_started_it() {
    let data = tempfile::tempdir().unwrap();
    let parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers::held_by_another_process"])
        .env("FRESNEL_TEST_HOLD", data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let parent = Ended(parent);
    let pid_file = data.path().join("nats-server.pid");
    let read = || std::fs::read_to_string(&pid_file).unwrap_or_default();
    until("the server", || async {
        read().trim().parse::<u32>().is_ok()
    })
    .await;
    let pid = read();
    let alive = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
        status.is_ok_and(|status| status.contains("nats-server") && !status.contains("State:\tZ"))
    };
    assert!(alive());
    drop(parent);
    until("the end of the server", || async { !alive() }).await;
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let sandbox = Sandbox::start().await;
    let config = sandbox.config();
    drop(sandbox);
    let config = bus::Config {
        connect_timeout_s: 0.2,
        ..config
    };
    until("the end of the server", || async {
        Bus::connect(config.clone()).await.is_err()
    })
    .await;
}
